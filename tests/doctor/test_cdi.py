"""CDI directories and the specs in them: what a runtime would stumble over."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from supervisor.doctor.cdi import MAX_BYTES, MAX_YAML_BYTES, directories, specs
from tests.doctor.ground import Ground


def spec(kind: str = "acme.example/widget", *names: str, node: str = "", **more: Any) -> dict[str, Any]:
    """A spec that is right."""
    edits = {"deviceNodes": [{"path": node}]} if node else {"env": ["A=1"]}
    return {"cdiVersion": "0.6.0", "kind": kind, "devices": [{"name": name, "containerEdits": edits} for name in names], **more}


def put(folder: Path, name: str, content: object) -> str:
    """A file, of JSON unless it is a text; returns its path."""
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def test_good_directories_are_fine(ground: Ground) -> None:
    """Both are there and can be written."""
    assert set(ground.levels(directories).values()) == {"ok"}


def test_a_missing_directory_is_noted(ground: Ground) -> None:
    """Not every node has CDI; a file in its place is a mistake."""
    first, second = ground.cdi
    first.rmdir()
    second.rmdir()
    second.write_text("")
    assert ground.levels(directories) == {str(first): "note", str(second): "warning"}
    assert "not there, or not mounted here" in ground.check(directories)[0].text


def test_empty_directories_say_nothing(ground: Ground) -> None:
    """No spec, no finding; files of other names are passed over, as runtimes do."""
    put(ground.cdi[0], "README", "not a spec")
    assert ground.check(specs) == []


def test_good_specs_are_counted(ground: Ground) -> None:
    """Of JSON and of YAML, with nodes that the host has."""
    ground.write("/dev/widget0", "")
    put(ground.cdi[0], "a.json", spec("acme.example/widget", "0", node="/dev/widget0"))
    put(ground.cdi[1], "b.yaml", "cdiVersion: 0.5.0\nkind: acme.example/gadget\ndevices:\n- name: all\n  containerEdits: {}\n")
    ground.process("5", "containerd")
    found = {finding.subject: finding for finding in ground.check(specs)}
    assert found["CDI specs"].text == "2 files were read."
    assert "enable_cdi = true" in found["container runtime"].text
    assert len(found) == 2


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", ""),
        ("a.json", "{"),
        ("a.json", "[]"),
        ("a.json", {"kind": "acme.example/widget"}),
        ("a.json", {**spec(), "devices": 5}),
        ("a.json", "[" * 100_000),
        ("a.yaml", ""),
        ("a.yaml", "a: [1"),
        ("a.yaml", "- 1"),
        ("a.yml", "cdiVersion: 0.5.0\n"),
        ("a.yaml", "&a [*a]"),
        ("a.json", " " * (MAX_BYTES + 1)),
    ],
)
def test_a_broken_spec_is_a_warning(ground: Ground, name: str, content: object) -> None:
    """Its neighbour is fine."""
    path = put(ground.cdi[0], name, content)
    put(ground.cdi[0], "good.json", spec("acme.example/gadget", "0"))
    warning, fine = ground.check(specs)
    assert (warning.level, warning.subject) == ("warning", path)
    assert "It is no CDI spec" in warning.text
    assert fine.text == "2 files were read."


def test_what_is_no_file_does_not_hang(ground: Ground) -> None:
    """A pipe, a directory and a link into nothing."""
    os.mkfifo(ground.cdi[0] / "pipe.json")
    (ground.cdi[0] / "folder.json").mkdir()
    (ground.cdi[0] / "link.json").symlink_to("/nowhere/at-all")
    assert [finding.level for finding in ground.check(specs)] == ["warning", "warning", "warning", "ok"]


def test_long_yaml_is_not_looked_into(ground: Ground) -> None:
    """It would take minutes."""
    put(ground.cdi[0], "long.yaml", "#" * (MAX_YAML_BYTES + 1))
    note, _ = ground.check(specs)
    assert note.level == "note"


def test_two_specs_of_one_device_are_a_conflict(ground: Ground) -> None:
    """In one directory neither counts; of two directories the later one does, which is no conflict."""
    first = put(ground.cdi[0], "a.json", spec("acme.example/widget", "0", "1"))
    put(ground.cdi[1], "a.json", spec("acme.example/widget", "0"))
    assert [finding.level for finding in ground.check(specs)] == ["ok"]
    second = put(ground.cdi[0], "b.json", spec("acme.example/widget", "1", "2"))
    warning, _ = ground.check(specs)
    assert (warning.level, warning.subject) == ("warning", second)
    assert f"It defines acme.example/widget=1, which {first} defines, too" in warning.text


@pytest.mark.parametrize("where", ["devices", "containerEdits"])
def test_a_node_that_is_gone_is_a_warning(ground: Ground, where: str) -> None:
    """A container with that device would not start."""
    gone = {"deviceNodes": [{"path": "/dev/w", "hostPath": "/dev/widget7"}, {"path": "/srv/elsewhere"}, 5]}
    content = spec("acme.example/widget", "0", node="/dev/widget7") if where == "devices" else spec(containerEdits=gone)
    put(ground.cdi[0], "a.json", content)
    warning, _ = ground.check(specs)
    assert "It names /dev/widget7, which the host does not have" in warning.text


def test_what_a_supervisor_keeps_for_held_devices_is_no_warning(ground: Ground) -> None:
    """It is so by design, and who removes it is said."""
    path = put(
        ground.cdi[0], "device-plugin-supervisor-acme_widget.json", spec("acme.example/widget", "0", node="/dev/widget7")
    )
    finding = next(each for each in ground.check(specs) if each.subject == path)
    assert finding.level == "note"
    assert "cleanup" in finding.cure


def test_a_directory_that_cannot_be_read_is_passed_over(ground: Ground) -> None:
    """The other check tells of it."""
    shutil.rmtree(ground.cdi[0])
    assert ground.check(specs) == []
