"""The reader of `kubelet_internal_checkpoint`: both key forms, init containers, and every way in which it can be unreadable."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.kubelet.checkpoint import NAME, SIZE_LIMIT, read_checkpoint, read_registered
from supervisor.ledger import Holding

RESOURCE = "example.com/fuse"


def entry(device_ids: Any, container: str = "main", pod: str = "uid-1", resource: str = RESOURCE) -> dict[str, Any]:
    """One `PodDeviceEntries` item as Go's JSON has it."""
    return {
        "PodUID": pod,
        "ContainerName": container,
        "ResourceName": resource,
        "DeviceIDs": device_ids,
        "AllocResp": "CgwKBUFfRU5WEgNmb28=",
    }


def open_descriptors() -> list[str]:
    """What this process has open."""
    return sorted(each.name for each in Path("/proc/self/fd").iterdir())


def write(directory: Path, *entries: dict[str, Any]) -> None:
    """As the kubelet does: a dotted temporary file, then a rename."""
    data = {"PodDeviceEntries": list(entries) or None, "RegisteredDevices": {RESOURCE: ["fuse-0", "fuse-1"]}}
    temporary = directory / ".1234567"
    temporary.write_text(json.dumps({"Data": data, "Checksum": 1925941526}))
    temporary.replace(directory / NAME)


def test_holdings_of_a_modern_kubelet(tmp_path: Path) -> None:
    """Node -1 means "nowhere special", and a device of two NUMA nodes is held once."""
    write(tmp_path, entry({"-1": ["fuse-0"], "0": ["fuse-1"], "1": ["fuse-1", "fuse-2"]}))
    reading = read_checkpoint(tmp_path)
    assert (reading.source, reading.complete, reading.reason) == ("checkpoint", True, "")
    assert reading.holdings == (
        Holding(RESOURCE, "fuse-0", "", "uid-1", "main", ()),
        Holding(RESOURCE, "fuse-1", "", "uid-1", "main", (0, 1)),
        Holding(RESOURCE, "fuse-2", "", "uid-1", "main", (1,)),
    )


def test_holdings_of_an_old_kubelet(tmp_path: Path) -> None:
    """Up to 1.22 a device without topology stands under node 0."""
    write(tmp_path, entry({"0": ["fuse-0"]}))
    assert read_checkpoint(tmp_path).holdings == (Holding(RESOURCE, "fuse-0", "", "uid-1", "main", (0,)),)


def test_init_containers_and_other_resources_are_in_it(tmp_path: Path) -> None:
    """Each container of a pod has an entry of its own, an init container too; whose resource it is does not matter."""
    write(tmp_path, entry({"-1": ["a"]}, "init"), entry({"-1": ["a"]}), entry({"-1": ["b"]}, resource="other.com/b"))
    reading = read_checkpoint(tmp_path)
    assert {(each.device_id, each.container) for each in reading.holdings} == {("a", "init"), ("a", "main"), ("b", "main")}
    assert reading.held(RESOURCE) == {"a"}


@pytest.mark.parametrize("device_ids", [None, {}, {"0": None}, {"0": []}])
def test_an_entry_without_devices_is_no_error(tmp_path: Path, device_ids: Any) -> None:
    """Go writes an empty map or list as null."""
    write(tmp_path, entry(device_ids))
    assert (read_checkpoint(tmp_path).complete, read_checkpoint(tmp_path).holdings) == (True, ())


def test_no_entries_is_a_complete_answer(tmp_path: Path) -> None:
    """A kubelet whose pods hold nothing writes null for the list of entries."""
    write(tmp_path)
    assert (read_checkpoint(tmp_path).complete, read_checkpoint(tmp_path).holdings) == (True, ())


def test_registered_devices_are_not_holdings(tmp_path: Path) -> None:
    """A device that is only registered is free."""
    write(tmp_path, entry({"-1": ["fuse-1"]}))
    assert read_checkpoint(tmp_path).held(RESOURCE) == {"fuse-1"}


def test_the_format_before_1_20_is_refused_with_its_reason(tmp_path: Path) -> None:
    """There the ids are a plain list; to guess at it could free a device that is held."""
    write(tmp_path, entry({"-1": ["a"]}), entry(["fuse-0"]))
    reading = read_checkpoint(tmp_path)
    assert (reading.complete, reading.holdings) == (False, ())
    assert reading.reason == "checkpoint: it has the format of kubelets before 1.20"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Input data was truncated"),
        (b'{"Data":{"PodDeviceEntries":[', "Input data was truncated"),
        (b"\x7fELF\x00\xff", "JSON is malformed"),
        (b"[]", "Expected `object`, got `array`"),
        (b"{}", "missing required field `Data`"),
        (b'{"Data":{}}', "missing required field `PodDeviceEntries`"),
        (b'{"Data":{"PodDeviceEntries":[{}]}}', "missing required field `PodUID`"),
        (b'{"Data":' + b"[" * 100_000, "Expected `object`"),
        (b'{"Other":' + b"[" * 100_000, "recursion"),
    ],
)
def test_nonsense_is_incomplete_and_says_so(tmp_path: Path, content: bytes, reason: str) -> None:
    """Whatever is not a whole checkpoint shows nothing, and above all not that devices are free."""
    (tmp_path / NAME).write_bytes(content)
    reading = read_checkpoint(tmp_path)
    assert (reading.complete, reading.holdings) == (False, ())
    assert reason in reading.reason


def test_what_is_not_a_readable_file_is_incomplete(tmp_path: Path) -> None:
    """No file, no directory, a directory in its place, a FIFO that nobody writes, a dangling link: none of them blocks."""
    path = tmp_path / NAME
    assert "No such file" in read_checkpoint(tmp_path).reason
    assert "No such file" in read_checkpoint(tmp_path / "gone").reason
    path.mkdir()
    assert "directory" in read_checkpoint(tmp_path).reason
    path.rmdir()
    os.mkfifo(path)
    assert "is not a regular file" in read_checkpoint(tmp_path).reason
    path.unlink()
    path.symlink_to("nowhere")
    assert not read_checkpoint(tmp_path).complete


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    """A file over the limit is judged by its size."""
    with (tmp_path / NAME).open("wb") as file:
        file.truncate(SIZE_LIMIT + 1)
    assert f"more than {SIZE_LIMIT}" in read_checkpoint(tmp_path).reason


def test_reading_changes_nothing_and_leaks_nothing(tmp_path: Path) -> None:
    """The file keeps its mode, its times and its content, the directory its entries, and no descriptor stays open."""
    write(tmp_path, entry({"-1": ["a"]}))
    (tmp_path / NAME).chmod(0o600)
    before, listing = (tmp_path / NAME).stat(), sorted(tmp_path.iterdir())
    content, descriptors = (tmp_path / NAME).read_bytes(), open_descriptors()
    (tmp_path / "broken" / NAME).mkdir(parents=True)
    for _ in range(5):
        read_checkpoint(tmp_path)
        read_checkpoint(tmp_path / "broken")
        read_checkpoint(tmp_path / "gone")
    after = (tmp_path / NAME).stat()
    assert (after.st_ino, after.st_mtime_ns, stat.S_IMODE(after.st_mode)) == (before.st_ino, before.st_mtime_ns, 0o600)
    assert (sorted(set(tmp_path.iterdir()) - {tmp_path / "broken"}), (tmp_path / NAME).read_bytes()) == (listing, content)
    assert open_descriptors() == descriptors


IDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


@given(
    held=st.dictionaries(st.tuples(IDS, IDS, IDS), st.dictionaries(st.integers(-1, 63), st.sets(IDS, min_size=1)), max_size=5)
)
def test_every_held_id_is_read(tmp_path_factory: pytest.TempPathFactory, held: dict[tuple[str, str, str], Any]) -> None:
    """Whatever was allocated to whom is read again, with the NUMA nodes that are real."""
    directory = tmp_path_factory.mktemp("checkpoint")
    write(
        directory,
        *(
            entry({str(node): sorted(ids) for node, ids in nodes.items()}, container, pod, resource)
            for (resource, pod, container), nodes in held.items()
        ),
    )
    expected = {
        Holding(resource, each, "", pod, container, tuple(sorted(n for n, ids in nodes.items() if each in ids and n >= 0)))
        for (resource, pod, container), nodes in held.items()
        for each in set().union(*nodes.values())
    }
    reading = read_checkpoint(directory)
    assert (reading.complete, set(reading.holdings), len(reading.holdings)) == (True, expected, len(expected))


def test_registered_resources_are_read(tmp_path: Path) -> None:
    """With the ids of each that are healthy; pods are of no interest."""
    write(tmp_path, entry({"0": ["fuse-7"]}))
    assert read_registered(tmp_path) == {RESOURCE: frozenset({"fuse-0", "fuse-1"})}


@pytest.mark.parametrize("devices", [None, {}])
def test_a_kubelet_without_plugins_has_none_registered(tmp_path: Path, devices: object) -> None:
    """Go writes an empty map in both ways; a resource without devices is one."""
    (tmp_path / NAME).write_text(json.dumps({"Data": {"PodDeviceEntries": None, "RegisteredDevices": devices}}))
    assert read_registered(tmp_path) == {}
    (tmp_path / NAME).write_text(json.dumps({"Data": {"RegisteredDevices": {RESOURCE: None}}}))
    assert read_registered(tmp_path) == {RESOURCE: frozenset()}


@pytest.mark.parametrize("text", ["", "{}", "null", '{"Data": {"RegisteredDevices": {"a": 5}}}'])
def test_what_is_no_checkpoint_raises(tmp_path: Path, text: str) -> None:
    """So that nobody takes it for a kubelet without plugins."""
    with pytest.raises(FileNotFoundError):
        read_registered(tmp_path)
    (tmp_path / NAME).write_text(text)
    with pytest.raises(ValueError, match=r".+"):
        read_registered(tmp_path)
