"""The removal itself, over real directories: what goes, what stays, and that nothing else is touched."""

import os
import socket
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from supervisor.cleanup.files import owner, records, remove, sockets, take
from supervisor.cleanup.proof import Pace
from supervisor.cleanup.readings import Place
from supervisor.cleanup.work import Asked, Cleaned, clean, survey
from supervisor.errors import NodeError
from supervisor.kubelet.sockets import ProcessDirectory
from supervisor.model import Leftover
from supervisor.ownership import HIDDEN_NAME, Ownership
from tests.cleanup.test_readings import LIVING, write_checkpoint

QUICK = Pace(apart=0.1, quiet=0.1)
RESOURCE, DEVICE = "a.example/b", "of-1"
"""What the pod LIVING holds, if any pod does."""


class Node:
    """A device-plugins directory with files of ours and of others, and a file for containers."""

    def __init__(self, directory: Path, folder: Path) -> None:
        self.directory = directory
        self.file = folder / "cdi" / "ours.json"
        self.foreign = folder / "cdi" / "theirs.json"
        self.file.parent.mkdir()
        self.file.write_text("{}")
        self.foreign.write_text("{}")
        self.place = Place(directory, str(folder / "nowhere"), sysfs=str(folder / "sys"))
        self.readings = 0
        for name in ("theirs.sock", "dps-like-0123abcd.txt", "DEPRECATION"):
            (directory / name).write_text("not ours")
        self._dead_supervisor()
        self.hold(held=False)

    def _dead_supervisor(self) -> None:
        own = ProcessDirectory.create(self.directory)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(own.private_path(RESOURCE)))
            own.link(RESOURCE)
        os.close(own._lock)
        memory = self.directory / HIDDEN_NAME / "memory"
        memory.mkdir()
        (memory / "acme.json").write_text("{}")
        (self.directory / HIDDEN_NAME / "claims.json").write_text("{}")
        (self.directory / HIDDEN_NAME / ".claims.json.0123abcd.tmp").write_text("{")
        lock = Ownership.open(self.directory)
        assert lock is not None
        os.close(lock._descriptor)

    def hold(self, *, held: bool) -> None:
        """Have the pod, or not."""
        write_checkpoint(self.directory, [LIVING] if held else [])

    def ask(self, held: Mapping[str, frozenset[str]]) -> Asked:
        """As a plugin would answer."""
        self.readings += 1
        needed = tuple(held.get(RESOURCE, ()))
        return Asked((Leftover(str(self.file), needed),) if self.file.exists() else ())

    def foreign_only(self) -> bool:
        """Whether all of ours has gone and nothing of others."""
        names = {path.name for path in self.directory.iterdir()}
        others = {"theirs.sock", "dps-like-0123abcd.txt", "DEPRECATION", "kubelet_internal_checkpoint"}
        return names == others and self.foreign.exists() and not self.file.exists()


@pytest.fixture
def node(short_dir: Path, tmp_path: Path) -> Node:
    directory = short_dir / "device-plugins"
    directory.mkdir()
    return Node(directory, tmp_path)


def snapshot(*folders: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of each path below them."""
    every = [path for folder in folders for path in (folder, *folder.rglob("*"))]
    return {str(path): (path.lstat().st_ino, path.lstat().st_mtime_ns) for path in every}


def test_all_of_ours_goes_and_nothing_else(node: Node) -> None:
    """Sockets of a dead process under both names, memory, lock and folder, and the file that nobody needs."""
    (public,) = node.directory.glob("dps-*.sock")
    cleaned = clean(node.place, node.ask, QUICK)
    assert cleaned.complete
    assert {str(public), str(node.file), str(node.directory / HIDDEN_NAME)} <= set(cleaned.removed)
    assert node.foreign_only()
    assert node.readings >= 2


def test_again_there_is_nothing_to_do(node: Node) -> None:
    """It may be run as often as one likes."""
    clean(node.place, node.ask, QUICK)
    before = snapshot(node.directory)
    assert clean(node.place, node.ask, QUICK) == Cleaned()
    assert snapshot(node.directory) == before


def test_what_is_held_stays_and_so_does_its_trace(node: Node) -> None:
    """The memory says where the file is; the sockets of the dead help nobody."""
    node.hold(held=True)
    cleaned = clean(node.place, node.ask, QUICK)
    (kept,) = cleaned.kept
    assert kept.path == str(node.file)
    assert kept.reason == f"needed by the pod with UID {LIVING}, container main"
    assert [holding.device_id for holding in kept.holders] == [DEVICE]
    assert node.file.exists()
    assert (node.directory / HIDDEN_NAME / "memory" / "acme.json").exists()
    assert not list(node.directory.glob("dps-*.sock"))
    node.hold(held=False)
    assert clean(node.place, node.ask, QUICK).complete
    assert node.foreign_only()


def test_it_waits_for_what_is_held(node: Node) -> None:
    """As long as it is told to, and says why."""
    node.hold(held=True)
    told: list[str] = []

    def release(why: str) -> None:
        told.append(why)
        node.hold(held=False)

    assert clean(node.place, node.ask, Pace(apart=0.1, quiet=0.1, wait=30), tell=release).complete
    assert told[0] == f"waiting: needed by the pod with UID {LIVING}, container main"
    assert node.foreign_only()


def test_it_gives_way_to_a_supervisor_that_comes(node: Node) -> None:
    """That one stands by for as long as we have the lock, and must not wait for pods to end."""
    node.hold(held=True)
    came: list[ProcessDirectory] = []

    def come(_: str) -> None:
        came.append(ProcessDirectory.create(node.directory))

    with pytest.raises(NodeError, match="a supervisor is about to take over"):
        clean(node.place, node.ask, Pace(apart=1000, quiet=0.1, wait=1000), tell=come)
    assert node.file.exists()
    assert came[0].path.exists()
    came[0].remove()


def test_where_nobody_can_be_asked_nothing_goes(node: Node) -> None:
    """Unless one insists."""
    (node.directory / "kubelet_internal_checkpoint").unlink()
    (kept,) = clean(node.place, node.ask, QUICK).kept
    assert kept.reason.startswith("who holds devices cannot be read: podresources: ")
    assert node.file.exists()
    assert clean(node.place, node.ask, QUICK, force=True).complete
    assert not node.file.exists()


def test_force_removes_what_is_held(node: Node) -> None:
    """At once."""
    node.hold(held=True)
    assert clean(node.place, node.ask, Pace(apart=1000, quiet=1000), force=True).complete
    assert node.foreign_only()


def test_a_dry_run_changes_nothing(node: Node) -> None:
    """And tells what the run would do, held or not."""
    before = snapshot(node.directory, node.file.parent)
    would = survey(node.place, node.ask)
    assert snapshot(node.directory, node.file.parent) == before
    assert would.complete
    assert set(would.removed) == set(clean(node.place, node.ask, QUICK).removed)


def test_a_dry_run_names_who_holds_what(node: Node) -> None:
    """The memory would stay as well."""
    node.hold(held=True)
    would = survey(node.place, node.ask)
    assert [kept.path for kept in would.kept] == [str(node.file)]
    assert not any("memory" in path for path in would.removed)
    assert any(path.endswith(".sock") for path in would.removed)


def test_a_plugin_that_cannot_say_keeps_the_traces(node: Node) -> None:
    """What the others have left goes; with force, the traces too."""

    def ask(held: Mapping[str, frozenset[str]]) -> Asked:
        return Asked(node.ask(held).leftovers, ("acme: its section has mistakes",))

    cleaned = clean(node.place, ask, QUICK)
    assert (cleaned.kept, cleaned.problems) == ((), ("acme: its section has mistakes",))
    assert not node.file.exists()
    assert (node.directory / HIDDEN_NAME / "memory").exists()
    assert not clean(node.place, ask, QUICK, force=True).complete
    assert node.foreign_only()


def test_what_is_foreign_in_our_folder_stays(node: Node) -> None:
    """And is told."""
    stranger = node.directory / HIDDEN_NAME / "memory" / "notes.txt"
    stranger.write_text("mine")
    cleaned = clean(node.place, node.ask, QUICK)
    assert len(cleaned.problems) == 2
    assert all("cannot be removed: Directory not empty" in problem for problem in cleaned.problems)
    assert stranger.exists()


def test_a_folder_is_never_taken_for_a_file(node: Node, tmp_path: Path) -> None:
    """Not if it has anything in it; a link to one goes without it."""
    full, link = tmp_path / "full", tmp_path / "link"
    full.mkdir()
    (full / "file").write_text("")
    link.symlink_to(full)
    assert remove(full).endswith("Directory not empty")
    assert remove(link) == remove(tmp_path / "nothing") == ""
    assert not link.is_symlink()
    assert (full / "file").exists()


def test_nothing_goes_while_a_supervisor_runs(node: Node) -> None:
    """Its process is named where it can be seen; asking who it is leaves no trace."""
    running = Ownership.open(node.directory)
    assert running is not None
    assert running.try_take()
    before = snapshot(node.directory)
    with pytest.raises(NodeError, match=rf"a supervisor runs \(process {os.getpid()}\) in .*: delete its DaemonSet"):
        take(node.directory, "/proc")
    assert owner(node.directory, "/proc") == f"a supervisor runs (process {os.getpid()})"
    assert owner(node.directory, "/nowhere") == "a supervisor runs"
    assert snapshot(node.directory) == before
    os.close(running._descriptor)


def test_nothing_goes_while_one_waits_to_run(node: Node) -> None:
    """Its own sockets say that it lives, whoever has the lock at this moment."""
    standby = ProcessDirectory.create(node.directory)
    with pytest.raises(NodeError, match="a supervisor is about to take over in "):
        take(node.directory, "/proc")
    assert owner(node.directory, "/proc") == "a supervisor is about to take over"
    assert standby.path.exists()
    assert standby.path not in sockets(node.directory)
    standby.remove()
    assert owner(node.directory, "/proc") == ""


def test_a_supervisor_that_starts_meanwhile_waits_and_finds_a_place(node: Node) -> None:
    """What it locked in vain is gone, so that it begins anew with a lock of its own."""
    lock = take(node.directory, "/proc")
    assert lock is not None
    newcomer = Ownership.open(node.directory)
    assert newcomer is not None
    assert not newcomer.try_take()
    assert clean(node.place, node.ask, QUICK).complete
    got: list[bool] = []
    waiting = threading.Thread(target=lambda: got.append(newcomer.take()))
    waiting.start()
    os.close(lock._descriptor)
    waiting.join(10)
    assert got == [False]
    again = Ownership.open(node.directory)
    assert again is not None
    assert again.try_take()
    for each in (newcomer, again):
        os.close(each._descriptor)


def test_where_nothing_is_ours_nothing_is_made(tmp_path: Path) -> None:
    """Nor where there is no kubelet at all."""
    assert take(tmp_path, "/proc") is None
    assert take(tmp_path / "nowhere", "/proc") is None
    assert sockets(tmp_path) == records(tmp_path) == ()
    assert list(tmp_path.iterdir()) == []
