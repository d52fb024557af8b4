"""The directory of CDI specs: whole files or none, verified, ours tidied up and others' left alone."""

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from supervisor import CdiDevice, CdiEdits, CdiFiles, CdiNode, CdiSpec, CdiState, cdi_spec
from supervisor.cdi.schema import decode, host_paths
from supervisor.nodefiles import MAX_BYTES

KIND = "vendor.example/gpu"
PREFIX = "device-plugin-supervisor-test_"


def gone(spec: CdiSpec, device: CdiDevice) -> bool:
    """In these tests what belongs to another now is what is called so."""
    return device.name == "gone"


FILES = CdiFiles(PREFIX, gone)


def spec(*names: str, kind: str = KIND, node: str = "/dev/node0") -> CdiSpec:
    return cdi_spec(kind, tuple(CdiDevice(name, CdiEdits(device_nodes=(CdiNode(node),))) for name in names))


def everything(path: str) -> bool:
    return True


def published(folder: Path, *specs: CdiSpec, present: Callable[[str], bool] = everything) -> CdiState:
    return FILES.publish(str(folder), specs, present)


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {file.name: (file.stat().st_ino, file.read_bytes()) for file in folder.iterdir()}


def test_specs_are_written_and_verified(tmp_path: Path) -> None:
    """Each spec has a file that runtimes read, and its devices can be resolved."""
    state = published(tmp_path, spec("a", "b"), spec("all", kind="vendor.example/gds"))
    assert state.usable
    assert state.names == {f"{KIND}=a", f"{KIND}=b", "vendor.example/gds=all"}
    assert state.written == 2
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        f"{PREFIX}vendor.example-gds.json",
        f"{PREFIX}vendor.example-gpu.json",
    ]
    file = tmp_path / FILES.file_name(KIND)
    assert decode(file.read_bytes()) == spec("a", "b")
    assert file.stat().st_mode & 0o777 == 0o644


def test_an_unchanged_spec_is_not_written_again(tmp_path: Path) -> None:
    """Runtimes read every changed file anew; so a look that found nothing new leaves the very same file."""
    published(tmp_path, spec("a"))
    before = contents(tmp_path)
    assert published(tmp_path, spec("a")).written == 0
    assert contents(tmp_path) == before
    assert published(tmp_path, spec("a", "b")).written == 1


def test_what_was_lost_or_changed_is_written_anew(tmp_path: Path) -> None:
    """After a reboot the directory is empty; somebody may have edited or emptied a file."""
    file = tmp_path / FILES.file_name(KIND)
    published(tmp_path, spec("a"))
    for damage in (file.unlink, lambda: file.write_bytes(b""), lambda: file.write_text("{}")):
        damage()
        assert not FILES.check(str(tmp_path), [spec("a")], everything).usable
        state = published(tmp_path, spec("a"))
        assert (state.written, state.usable) == (1, True)


def devices(folder: Path, kind: str = KIND) -> list[str]:
    return [device.name for device in decode((folder / FILES.file_name(kind)).read_bytes()).devices]


def test_a_spec_that_is_not_wanted_any_more_stays(tmp_path: Path) -> None:
    """No device is found, or the vendor was edited: containers that hold its devices are made again without asking anybody."""
    published(tmp_path, spec("a"), spec("all", kind="vendor.example/gds"))
    before = contents(tmp_path)
    for others in ((), (spec("all", kind="vendor.example/gds"),), (spec("a", kind="other.example/gpu"),)):
        assert published(tmp_path, *others).usable
        assert contents(tmp_path).items() >= before.items()


def test_a_device_that_is_not_wanted_any_more_stays_in_its_spec(tmp_path: Path) -> None:
    """With the rest brought up to date; but only what is wanted can be named to new containers."""
    published(tmp_path, spec("a", "b", node="/dev/node0"))
    state = published(tmp_path, spec("b", "c", node="/dev/node1"))
    assert state.usable
    assert state.names == {f"{KIND}=b", f"{KIND}=c"}
    found = {device.name: device for device in decode((tmp_path / FILES.file_name(KIND)).read_bytes()).devices}
    assert found == {device.name: device for device in (*spec("b", "c", node="/dev/node1").devices, *spec("a").devices)}
    assert FILES.check(str(tmp_path), [spec("b", "c", node="/dev/node1")], everything) == msgspec.structs.replace(
        state, written=0
    )
    assert published(tmp_path, spec("b", "c", node="/dev/node1")).written == 0


def test_what_belongs_to_another_now_does_not_stay(tmp_path: Path) -> None:
    """The plugin knows; where it is wanted, it is said all the same."""
    published(tmp_path, spec("a", "gone"))
    assert devices(tmp_path) == ["a", "gone"]
    published(tmp_path, spec("b"))
    assert devices(tmp_path) == ["b", "a"]


def test_what_belongs_to_another_now_goes_from_specs_that_are_not_wanted(tmp_path: Path) -> None:
    """With its file, if nothing else is in that; a broken file stays what it is."""
    published(tmp_path, spec("a", "gone"), spec("gone", kind="vendor.example/gds"))
    torn = tmp_path / FILES.file_name("vendor.example/torn")
    torn.write_text("{")
    assert FILES.renew(str(tmp_path), ()) == ""
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([FILES.file_name(KIND), torn.name])
    assert devices(tmp_path) == ["a"]
    before = contents(tmp_path)
    assert FILES.renew(str(tmp_path), ()) == ""
    assert contents(tmp_path) == before


def test_what_is_left(tmp_path: Path) -> None:
    """Files of ours with what they define, also what a newer release says in it; nothing of a broken one."""
    published(tmp_path, spec("a", "b"))
    newer = {"kind": "vendor.example/gds", "devices": [{"name": "all", "annotations": {}}], "netDevices": []}
    (tmp_path / FILES.file_name("vendor.example/gds")).write_text(json.dumps(newer))
    (tmp_path / FILES.file_name("vendor.example/torn")).write_text("{")
    (tmp_path / f".{FILES.file_name(KIND)}.0123abcd.tmp").touch()
    (tmp_path / "other.json").write_text(json.dumps(newer))
    assert FILES.left(str(tmp_path)) == {
        str(tmp_path / FILES.file_name(KIND)): {f"{KIND}=a", f"{KIND}=b"},
        str(tmp_path / FILES.file_name("vendor.example/gds")): {"vendor.example/gds=all"},
        str(tmp_path / FILES.file_name("vendor.example/torn")): frozenset(),
        str(tmp_path / f".{FILES.file_name(KIND)}.0123abcd.tmp"): frozenset(),
    }
    with pytest.raises(OSError, match="gone"):
        FILES.left(str(tmp_path / "gone"))


def test_what_a_killed_process_left_half_written_goes(tmp_path: Path) -> None:
    """No runtime has ever read it."""
    (tmp_path / f".{FILES.file_name(KIND)}.0123abcd.tmp").touch()
    assert published(tmp_path).usable
    assert contents(tmp_path) == {}


def test_a_directory_of_before_gets_no_new_file(tmp_path: Path) -> None:
    """What lies there is brought up to date, since of two directories the later one counts; nothing is added."""
    published(tmp_path, spec("a"))
    wanted = spec("b"), spec("all", kind="vendor.example/gds")
    assert FILES.renew(str(tmp_path), wanted) == ""
    assert [file.name for file in tmp_path.iterdir()] == [FILES.file_name(KIND)]
    assert devices(tmp_path) == ["b", "a"]
    before = contents(tmp_path)
    assert FILES.renew(str(tmp_path), wanted) == ""
    assert contents(tmp_path) == before
    assert "cannot be" in FILES.renew(str(tmp_path / "gone"), wanted)


def test_files_of_others_are_untouched(tmp_path: Path) -> None:
    """Whatever they are called, and whatever is in them."""
    (tmp_path / "other.yaml").write_text("kind: other.example/gpu\n")
    (tmp_path / "vendor.json").write_text("not a spec")
    (tmp_path / f"{PREFIX}mine.json").write_text(json.dumps({"kind": "somebody.else/gpu"}))
    (tmp_path / f"{PREFIX}notes.txt").write_text("")
    (tmp_path / "directory.json").mkdir()
    before = contents_of_files(tmp_path)
    assert published(tmp_path, spec("a")).usable
    (tmp_path / FILES.file_name(KIND)).unlink()
    assert contents_of_files(tmp_path) == before
    assert (tmp_path / "directory.json").is_dir()


def contents_of_files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def test_a_device_that_somebody_else_defines_too_is_unresolvable(tmp_path: Path) -> None:
    """Runtimes refuse a name that two files define; it is told, and not given to containers."""
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"kind": KIND, "devices": [{"name": "a", "more": 1}], "unknown": []}))
    state = published(tmp_path, spec("a", "b"))
    assert state.names == {f"{KIND}=b"}
    assert state.conflicts == (f"{other}, which is not ours, defines devices of our kind {KIND}",)
    other.unlink()
    assert published(tmp_path, spec("a", "b")).conflicts == ()


@pytest.mark.parametrize(
    "line", ["kind: vendor.example/gpu", 'kind: "vendor.example/gpu"  # ours?', "kind: 'vendor.example/gpu'"]
)
def test_a_yaml_file_with_our_kind_is_told(tmp_path: Path, line: str) -> None:
    """It is not parsed, but its kind is seen."""
    (tmp_path / "other.yaml").write_text(f'cdiVersion: "0.5.0"\n{line}\ndevices: []\n')
    assert len(published(tmp_path, spec("a")).conflicts) == 1
    (tmp_path / "other.yaml").write_text("devices: [{name: a}]\nkind: vendor.example/gpus\n")
    assert published(tmp_path, spec("a")).conflicts == ()


def test_a_path_that_the_host_does_not_have(tmp_path: Path) -> None:
    """Such a spec keeps its containers from starting, so its names are not given; the others are."""
    state = published(
        tmp_path,
        spec("a"),
        spec("all", kind="vendor.example/gds", node="/dev/fs0"),
        present=lambda path: path != "/dev/fs0",
    )
    assert state.names == {f"{KIND}=a"}
    assert "names what the host does not have: /dev/fs0" in state.problem


def test_an_absent_directory_is_told_and_not_made(tmp_path: Path) -> None:
    """Without the directory no runtime reads it; making one would hide that."""
    state = published(tmp_path / "absent", spec("a"))
    assert "is not there" in state.problem
    assert (state.usable, state.names) == (False, frozenset())
    assert not (tmp_path / "absent").exists()
    (tmp_path / "absent").write_text("a file")
    assert "is not there" in published(tmp_path / "absent", spec("a")).problem


@pytest.mark.requires("root")
def test_an_unwritable_directory_is_told(tmp_path: Path) -> None:
    """procfs takes no files from anybody."""
    assert "cannot be written" in published(Path("/proc"), spec("a")).problem


def test_a_file_that_cannot_be_replaced_is_told(tmp_path: Path) -> None:
    """Where something stands in the way, the reason is the system's, and nothing half-written stays."""
    (tmp_path / FILES.file_name(KIND) / "in the way").mkdir(parents=True)
    state = published(tmp_path, spec("a"))
    assert "cannot be written" in state.problem
    assert [file.name for file in tmp_path.iterdir()] == [FILES.file_name(KIND)]


def test_why_there_is_no_spec_is_passed_on(tmp_path: Path) -> None:
    """Where there is no driver, say, that is the problem of CDI."""
    state = FILES.publish(str(tmp_path), [], everything, "there is no driver")
    assert state.problem == "there is no driver"


def test_a_standby_writes_nothing(tmp_path: Path) -> None:
    """It knows by reading what the owner has written, and finds out what has not been."""
    assert not FILES.check(str(tmp_path), [spec("a")], everything).usable
    published(tmp_path, spec("a"))
    before = contents(tmp_path)
    assert FILES.check(str(tmp_path), [spec("a")], everything).names == {f"{KIND}=a"}
    assert "does not say what it should" in FILES.check(str(tmp_path), [spec("b")], everything).problem
    assert FILES.check(str(tmp_path), [], everything).usable
    assert contents(tmp_path) == before


def test_readers_never_see_half_a_file(tmp_path: Path) -> None:
    """While specs change, whoever lists and reads the directory finds a whole spec under a name that counts, or none."""
    nodes = {"/dev/node0", "/dev/node-with-a-longer-name"}
    turns = [spec(*(f"d{number}" for number in range(400)), node=node) for node in nodes]
    published(tmp_path, turns[0])
    seen: set[str] = set()
    broken: list[str] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            for file in tmp_path.glob("*.json"):
                try:
                    seen.update(host_paths(decode(file.read_bytes())))
                except ValueError as error:
                    broken.append(str(error))

    reader = threading.Thread(target=watch)
    reader.start()
    deadline = time.monotonic() + 30
    try:
        while seen != nodes and not broken and time.monotonic() < deadline:
            assert all(published(tmp_path, each).usable for each in turns)
    finally:
        done.set()
        reader.join()
    assert (seen, broken) == (nodes, [])


def test_huge_and_strange_files_do_no_harm(tmp_path: Path) -> None:
    """A huge file, a deep one, a link, a pipe and a directory with such names are passed over without a wait."""
    (tmp_path / "deep.json").write_text('{"a":' + "[" * 1_000_000)
    (tmp_path / f"{PREFIX}bytes.json").write_bytes(b'{"kind": "\xff"}')
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    (tmp_path / "link.json").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "folder.yaml").mkdir()
    before = len(os.listdir("/proc/self/fd"))
    state = published(tmp_path, spec("a"))
    assert (state.usable, state.conflicts) == (True, ())
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_state_is_a_value() -> None:
    """Two looks that found the same are equal, so that nothing is told twice."""
    assert CdiState("/a") == msgspec.structs.replace(CdiState("/a", problem="x"), problem="")
