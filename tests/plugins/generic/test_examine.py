"""What each match says of a node to people."""

import os
from pathlib import Path

import pytest

from supervisor import Finding
from supervisor.findings import check_findings
from tests.bed.fakesys import Node, Tree
from tests.plugins.generic.rig import adapter, plugin_on

NULL = (1, 3)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A machine without hardware."""
    return Tree(tmp_path)


def examined(tree: Tree, match: str) -> list[Finding]:
    """What a resource with one match says."""
    found, problems = check_findings(plugin_on(tree, f"- {{name: example.com/thing, match: [{match}]}}").examine())
    assert problems == ()
    return list(found)


@pytest.mark.root
def test_what_is_there_is_fine(tree: Tree) -> None:
    """With the number of what was found."""
    tree.add_node(Node("widget0", *NULL))
    (tree.dev / "widget0").chmod(0o666)
    (finding,) = examined(tree, "{path: /dev/widget*}")
    assert (finding.level, finding.subject) == ("ok", "example.com/thing, match 1")
    assert finding.text == "Found 1 by path /dev/widget*."


def test_a_pattern_that_matches_nothing_is_noted(tree: Tree) -> None:
    """Absent hardware is a state; something that may be absent needs no cure."""
    (finding,) = examined(tree, "{path: /dev/widget*}")
    assert (finding.level, bool(finding.cure)) == ("note", True)
    first, second = examined(tree, "{group: [{path: /dev/a}, {path: /dev/b, optional: true}]}")
    assert (bool(first.cure), bool(second.cure)) == (True, False)


def test_a_node_that_is_none_is_a_warning(tree: Tree) -> None:
    """A file in the place of a device node."""
    (tree.dev / "widget0").write_text("")
    (finding,) = examined(tree, "{path: /dev/widget0}")
    assert finding.level == "warning"
    assert "is a regular file, not a device node" in finding.text


@pytest.mark.parametrize("condition", ["tags: [systemd]", "properties: {ID_SERIAL: x}"])
def test_a_match_on_udev_needs_its_database(tree: Tree, condition: str) -> None:
    """Without it nothing is ever found, which is a failure and no waiting."""
    (finding,) = examined(tree, f"{{udev: {{subsystem: tty, {condition}}}}}")
    assert finding.level == "failure"
    assert "/run/udev" in finding.cure
    adapter(tree, "1", 0)
    tree.record("/devices/pci0000:00/0000:00:14.0/usb1/1-1", properties={"ID_X": "1"})
    (finding,) = examined(tree, f"{{udev: {{subsystem: tty, {condition}}}}}")
    assert finding.level == "note"


@pytest.mark.root
@pytest.mark.parametrize(
    ("mode", "level", "cure"),
    [
        (0o666, None, ""),
        (0o604, None, ""),
        (0o660, "note", "supplementalGroups"),
        (0o600, "note", "To change that, set its mode"),
    ],
)
def test_a_node_that_others_cannot_open_is_noted(tree: Tree, mode: int, level: str | None, cure: str) -> None:
    """Where the group may open it, that is the cure."""
    tree.add_node(Node("widget0", *NULL))
    os.chown(tree.dev / "widget0", 0, 44)
    (tree.dev / "widget0").chmod(mode)
    fine, *notes = examined(tree, "{path: /dev/widget0}")
    assert fine.level == "ok"
    assert [note.level for note in notes] == ([level] if level else [])
    assert not notes or cure in notes[0].cure


def test_mounts_have_no_mode(tree: Tree) -> None:
    """Files are mounted as they are."""
    (tree.dev / "secret").write_text("")
    (tree.dev / "secret").chmod(0o600)
    assert [finding.level for finding in examined(tree, "{mount: /dev/secret}")] == ["ok"]


def test_ids_stay_as_they_are(tree: Tree) -> None:
    """An examination is no look: what the next one offers is what it would have offered."""
    tree.add_node(Node("widget0", *NULL))
    plugin = plugin_on(tree, "- {name: example.com/thing, match: [{path: /dev/widget*}]}")
    before = plugin.discover()
    list(plugin.examine())
    assert plugin.discover() == before
