"""A machine's files below a directory, and how they follow what happens to it."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from supervisor_infiniband.simulate.files import Content, Files, Folder, Link, Node, render
from supervisor_infiniband.simulate.machine import Machine, Trouble

NodeMaker = Callable[[Path, Node], None]
"""Makes a character device."""

_FAILS = "/proc/self/mem"
"""Reading it from its start fails with EIO, whoever reads: no process has memory there."""
_STANDING = ("sys/bus", "sys/class", "sys/devices", "sys/module", "dev")


def _plain(path: Path, _node: Node) -> None:
    path.touch()


class Tree:
    """A machine below a directory: ``sys`` and ``dev`` are in it. To be used by one thread at a time.

    Whoever reads it meanwhile never sees half of an attribute. Devices come into ``/sys/class`` last and leave it first.
    """

    def __init__(self, root: Path, machine: Machine, node: NodeMaker = _plain) -> None:
        """``node`` makes what is below ``dev``: plain files where nobody opens them. Raises ``OSError``."""
        self.root = root
        self._node = node
        self._files: Files = {}
        for directory in (*_STANDING, ".new"):
            (root / directory).mkdir(parents=True, exist_ok=True)
        self.become(machine)

    @property
    def sys(self) -> Path:
        return self.root / "sys"

    @property
    def dev(self) -> Path:
        return self.root / "dev"

    def become(self, machine: Machine) -> None:
        """Show this machine in place of the one before. Raises ``OSError``."""
        self.machine = machine
        old, new = self._files, render(machine)
        self._files = new
        for path in sorted(old.keys() - new.keys(), key=lambda path: (_rank(old[path], path), path)):
            self._remove(path, old[path])
        come = [path for path, content in new.items() if old.get(path) != content]
        for path in sorted(come, key=lambda path: (-_rank(new[path], path), path)):
            self._write(path, new[path], old.get(path))

    def devices(self) -> dict[str, str]:
        """The subsystem of each device by its path as events have it (``/devices/…``)."""
        return {
            path.removeprefix("sys").removesuffix("/subsystem"): content.target.rpartition("/")[2]
            for path, content in self._files.items()
            if isinstance(content, Link) and path.endswith("/subsystem")
        }

    def close(self) -> None:
        """Remove it all, and let go those that hang in it."""
        for path, content in self._files.items():
            if content is Trouble.HANGS:
                _release(self.root / path, b"")
        shutil.rmtree(self.root, ignore_errors=True)

    def _write(self, path: str, content: Content, was: Content | None) -> None:
        where, new, old = self.root / path, self.root / ".new/new", self.root / ".new/old"
        where.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Folder):
            where.mkdir(exist_ok=True)
            return
        self._make(new, content, where.parent)
        if was is not Trouble.HANGS:
            new.replace(where)
            return
        where.replace(old)
        new.replace(where)
        _release(old, content if isinstance(content, bytes) else b"")
        old.unlink()

    def _make(self, new: Path, content: Content, parent: Path) -> None:
        if isinstance(content, bytes):
            new.write_bytes(content)
        elif isinstance(content, Link):
            new.symlink_to(os.path.relpath(self.root / content.target, parent))
        elif isinstance(content, Node):
            self._node(new, content)
        elif content is Trouble.HANGS:
            os.mkfifo(new)
        else:
            new.symlink_to(_FAILS)

    def _remove(self, path: str, was: Content) -> None:
        """With the directories that hold nothing more."""
        where = self.root / path
        if was is Trouble.HANGS:
            _release(where, b"")
        if not isinstance(was, Folder):
            where.unlink()
            path, where = path.rpartition("/")[0], where.parent
        while path not in self._files and path not in _STANDING and where.is_dir() and not any(where.iterdir()):
            where.rmdir()
            path, where = path.rpartition("/")[0], where.parent


def _rank(content: Content, path: str) -> int:
    """In which order things go; they come in the opposite one."""
    if isinstance(content, Link) and path.startswith(("sys/class/", "sys/bus/")):
        return 0
    return 2 if isinstance(content, Folder) else 1


def _release(fifo: Path, value: bytes) -> None:
    """Let those go who wait in opening it; one of them reads the value, the others nothing."""
    try:
        opened = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:  # ENXIO: nobody waits
        return
    try:
        os.write(opened, value)
    finally:
        os.close(opened)
