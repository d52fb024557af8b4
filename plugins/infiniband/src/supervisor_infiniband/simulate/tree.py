"""A machine's files below a directory, and how they follow what happens to it."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec import structs

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
        self.machine = Machine()
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
        for before, after, name in _renamed(self.machine, machine):
            self._rename(before, after, name)
        old, new = self._files, render(machine)
        self.machine, self._files = machine, new
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

    def _rename(self, before: str, after: str, name: str) -> None:
        """Move the directory of an RDMA device, and its link of the class in one step: it is never without a name, nor has two."""
        link, old = f"sys/class/infiniband/{name}", f"sys/class/infiniband/{before.rpartition('/')[2]}"
        for path in [path for path in self._files if path.endswith("/ibdev") and self._files[path] == _line(old)]:
            self._write(path, _line(link), None)
            self._files[path] = _line(link)
        new = self.root / ".new/new"
        self._make(new, Link(after), (self.root / link).parent)
        (self.root / before).rename(self.root / after)
        new.replace(self.root / old)
        (self.root / old).rename(self.root / link)
        self._files = {_moved(path, before, after): content for path, content in self._files.items() if path != old}
        self._files[link] = Link(after)

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


def _renamed(before: Machine, after: Machine) -> Iterator[tuple[str, str, str]]:
    """The directories of RDMA devices that have nothing but another name, before and after, and that name."""
    taken = {hca.name for _, hca in before.hcas()}
    now = {(function.id, hca.node_guid, hca.uverbs): hca for function, hca in after.hcas()}
    for function, hca in before.hcas():
        new = now.get((function.id, hca.node_guid, hca.uverbs), hca)
        if new.name not in taken and new == structs.replace(hca, name=new.name):
            home = f"sys/{function.path}/infiniband"
            yield f"{home}/{hca.name}", f"{home}/{new.name}", new.name


def _line(path: str) -> bytes:
    """The last word of a path, as an attribute has it."""
    return f"{path.rpartition('/')[2]}\n".encode()


def _moved(path: str, before: str, after: str) -> str:
    return after + path.removeprefix(before) if path.startswith(f"{before}/") else path


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
