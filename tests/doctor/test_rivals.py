"""Who else is there: supervisors of ours, plugins of others, and what the kubelet has from whom."""

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from supervisor.doctor.rivals import foreign_plugins, registered, supervisors
from supervisor.kubelet.sockets import ProcessDirectory
from supervisor.model import Finding
from supervisor.ownership import Ownership
from tests.doctor.ground import Ground, assert_shown, dead_socket, listen
from tests.kubelet.simulator.bare_plugin import BarePlugin, devices

WIDGET = "example.com/widget"


@pytest.fixture
def owned(ground: Ground) -> Iterator[Ownership]:
    """The directory belongs to a supervisor that runs."""
    ownership = Ownership.open(ground.directory)
    assert ownership is not None
    assert ownership.try_take()
    yield ownership
    os.close(ownership._descriptor)


def test_a_node_without_a_supervisor_is_fine(ground: Ground) -> None:
    """That is how all begin."""
    assert ground.one(supervisors).text == "None runs on this node."


def test_a_directory_that_is_not_mounted_is_not_taken_for_an_empty_one(ground: Ground) -> None:
    """Nobody is said not to run, nor the kubelet not to know anything."""
    ground.directory.rmdir()
    finding = ground.one(supervisors)
    assert (finding.level, finding.text) == ("note", f"Who runs here cannot be told: {ground.directory} cannot be seen.")
    assert ground.check(foreign_plugins) == []
    assert ground.check(lambda site: registered(site, {})) == []


def test_an_owner_and_its_standbys_are_counted(ground: Ground, owned: Ownership) -> None:
    """By the locks they hold, which asking does not take from them."""
    living = [ProcessDirectory.create(ground.directory) for _ in range(3)]
    for _ in range(3):
        assert ground.one(supervisors).text == "One owns the directory; 2 more stand by."
    for each in living:
        each.remove()
    assert ground.one(supervisors).text == "One owns the directory."
    assert owned.holds()


def test_what_a_dead_one_left_is_noted(ground: Ground) -> None:
    """A directory whose lock nobody holds."""
    left = ground.directory / ".device-plugin-supervisor" / "0123abcd"
    left.mkdir(parents=True)
    (left / "lock").touch()
    assert ground.levels(supervisors) == {"running supervisor": "ok", "ended supervisors": "note"}


def test_living_ones_without_an_owner_are_a_warning(ground: Ground) -> None:
    """Somebody has removed the lock of the owner."""
    living = ProcessDirectory.create(ground.directory)
    finding = ground.one(supervisors)
    living.remove()
    assert finding.level == "warning"


def test_our_own_sockets_are_not_foreign(ground: Ground) -> None:
    """Neither a public link to a private socket, nor a name that one of ours has noted down."""
    own = ProcessDirectory.create(ground.directory)
    with listen(own.private_path(WIDGET)), ExitStack() as stack:
        assert own.link(WIDGET) is not None
        stack.enter_context(listen(ground.directory / own.claim(WIDGET)))
        assert ground.one(foreign_plugins).text == "No socket of another one is there."
    own.remove()


def test_each_foreign_socket_is_told_with_what_answers(ground: Ground) -> None:
    """A plugin, somebody else, nobody; the kubelet's own socket is none of them."""
    dead_socket(ground.directory / "old.sock")
    with BarePlugin(ground.directory, WIDGET, devices(1)) as plugin, listen(ground.directory / "kubelet.sock"):
        with listen(ground.directory / "mute.sock"):
            found = {finding.subject: finding.text for finding in ground.check(foreign_plugins)}
        assert "Another device plugin answers there" in found[plugin.endpoint]
    assert "who is no device plugin" in found["mute.sock"]
    assert "nobody listens" in found["old.sock"]
    assert found.keys() == {plugin.endpoint, "mute.sock", "old.sock"}


def judged(ground: Ground, offered: dict[str, set[str]]) -> list[Finding]:
    """What is said of the resources that the kubelet has."""
    found = list(registered(ground.site, {name: frozenset(ids) for name, ids in offered.items()}))
    assert_shown(found)
    return found


def checkpoint(folder: Path, **resources: list[str] | None) -> None:
    """The kubelet's note of what is registered."""
    data = {"PodDeviceEntries": None, "RegisteredDevices": {f"example.com/{name}": ids for name, ids in resources.items()}}
    (folder / "kubelet_internal_checkpoint").write_text(json.dumps({"Data": data, "Checksum": 1}))


def test_a_kubelet_without_a_checkpoint_has_nothing(ground: Ground) -> None:
    """It writes one with the first plugin."""
    (finding,) = judged(ground, {WIDGET: {"a"}})
    assert finding.level == "note"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"Data": 5}', '{"Data": {"RegisteredDevices": [1]}}'])
def test_a_broken_checkpoint_is_a_warning(ground: Ground, text: str) -> None:
    """It is said, and nothing is guessed."""
    (ground.directory / "kubelet_internal_checkpoint").write_text(text)
    (finding,) = judged(ground, {WIDGET: {"a"}})
    assert finding.level == "warning"


def test_other_resources_are_nobodys_concern(ground: Ground) -> None:
    """A rival is one who wants the same name."""
    checkpoint(ground.directory, gadget=["x"], none=None)
    with BarePlugin(ground.directory, "example.com/gadget", devices(1)):
        (finding,) = judged(ground, {WIDGET: {"a"}})
    assert finding.level == "ok"


@pytest.mark.parametrize(
    ("ids", "word"), [(["a"], "from an earlier run, or from somebody else"), (["z"], "not found here (z)")]
)
def test_our_resource_beside_a_foreign_plugin_is_a_warning(ground: Ground, ids: list[str], word: str) -> None:
    """While no supervisor of ours runs, whoever answers there may have registered it."""
    checkpoint(ground.directory, widget=ids)
    with BarePlugin(ground.directory, WIDGET, devices(1)) as plugin:
        (finding,) = judged(ground, {WIDGET: {"a"}})
    assert (finding.level, finding.subject) == ("warning", WIDGET)
    assert word in finding.text
    assert plugin.endpoint in finding.text


def test_our_resource_of_an_earlier_run_is_fine(ground: Ground) -> None:
    """Nobody else is there who could have it."""
    checkpoint(ground.directory, widget=["a"])
    (finding,) = judged(ground, {WIDGET: {"a"}})
    assert finding.level == "ok"


def test_strange_ids_beside_a_running_supervisor_are_noted(ground: Ground, owned: Ownership) -> None:
    """A device that has just gone, or a rival; the same ids are fine."""
    assert owned.holds()
    checkpoint(ground.directory, widget=["a", "z"])
    assert [finding.level for finding in judged(ground, {WIDGET: {"a"}})] == ["note"]
    assert [finding.level for finding in judged(ground, {WIDGET: {"a", "z"}})] == ["ok"]
