"""Files, links and device nodes below a directory, which follow a description of them by the differences.

It stands for ``/sys`` and ``/dev`` of a machine that is not there: what reads it meanwhile never sees half of a file, devices come into
``/sys/class`` and ``/sys/bus`` last and leave them first, and attributes can be made to fail or hang as those of broken hardware do.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path

from msgspec import Struct


class Trouble(Enum):
    """What is wrong with a file."""

    ABSENT = "it is not there, and nothing below it"
    HANGS = "reading it does not come back"
    FAILS = "reading it fails with EIO"


class TreeLink(Struct, frozen=True):
    """A symbolic link to this path of the tree."""

    target: str


class TreeDevice(Struct, frozen=True):
    """A character device."""

    major: int
    minor: int


class TreeFolder(Struct, frozen=True):
    """A directory that is there with nothing in it, too."""


TreeContent = bytes | TreeLink | TreeDevice | TreeFolder | Trouble
TreeFiles = dict[str, TreeContent]
"""What is where, by paths without a slash at their start, like ``sys/class/net``. ``Trouble.ABSENT`` says nothing in it."""
NodeMaker = Callable[[Path, TreeDevice], None]
"""Makes a character device."""

_FAILS = "/proc/self/mem"
"""Reading it from its start fails with EIO, whoever reads: no process has memory there."""
_STANDING = ("sys/bus", "sys/class", "sys/devices", "sys/module", "dev")
_SPARE = ".new"
"""Where things are made before they come to their places in one step."""


def _plain(path: Path, _node: TreeDevice) -> None:
    path.touch()


class FileTree:
    """Files below a directory: ``sys`` and ``dev`` are in it. To be used by one thread at a time."""

    def __init__(self, root: Path, files: TreeFiles, node: NodeMaker | None = None) -> None:
        """``node`` makes what is below ``dev``: plain files by default, where nobody opens them. Raises ``OSError``."""
        self.root = root
        self._node = node or _plain
        self._files: TreeFiles = {}
        for directory in (*_STANDING, _SPARE):
            (root / directory).mkdir(parents=True, exist_ok=True)
        self.show(files)

    @property
    def sys(self) -> Path:
        return self.root / "sys"

    @property
    def dev(self) -> Path:
        return self.root / "dev"

    @property
    def files(self) -> Mapping[str, TreeContent]:
        """What is there now."""
        return self._files

    def show(self, files: TreeFiles) -> None:
        """Have these files in place of those before. Raises ``OSError``."""
        old, self._files = self._files, files
        for path in sorted(old.keys() - files.keys(), key=lambda path: (_rank(old[path], path), path)):
            self._remove(path, old[path])
        come = [path for path, content in files.items() if old.get(path) != content]
        for path in sorted(come, key=lambda path: (-_rank(files[path], path), path)):
            self._write(path, files[path], old.get(path))

    def put(self, path: str, content: bytes) -> None:
        """Have this in one file. Raises ``OSError``."""
        self._write(path, content, self._files.get(path))
        self._files[path] = content

    def learn(self, path: str) -> bytes | None:
        """Take what somebody else has put into a file for what is there, and say it; ``None`` for what is no file with a value."""
        if not isinstance(self._files.get(path), bytes):
            return None
        found = (self.root / path).read_bytes()
        self._files[path] = found
        return found

    def move(self, before: str, after: str, link: str) -> None:
        """Move the directory of a device, and its link of the class in one step: it is never without a name, nor has two.

        ``link`` is that link as it is before; both get the last word of ``after`` as their name. Raises ``OSError``.
        """
        new, renamed = self.root / _SPARE / "new", f"{link.rpartition('/')[0]}/{after.rpartition('/')[2]}"
        self._make(new, TreeLink(after), (self.root / link).parent)
        (self.root / before).rename(self.root / after)
        new.replace(self.root / link)
        (self.root / link).rename(self.root / renamed)
        self._files = {_moved(path, before, after): content for path, content in self._files.items() if path != link}
        self._files[renamed] = TreeLink(after)

    def devices(self) -> dict[str, str]:
        """The subsystem of each device by its path as events have it (``/devices/…``)."""
        return {
            path.removeprefix("sys").removesuffix("/subsystem"): content.target.rpartition("/")[2]
            for path, content in self._files.items()
            if isinstance(content, TreeLink) and path.endswith("/subsystem")
        }

    def close(self) -> None:
        """Remove it all, and let go those that hang in it."""
        for path, content in self._files.items():
            if content is Trouble.HANGS:
                _release(self.root / path, b"")
        shutil.rmtree(self.root, ignore_errors=True)

    def _write(self, path: str, content: TreeContent, was: TreeContent | None) -> None:
        where, new, old = self.root / path, self.root / _SPARE / "new", self.root / _SPARE / "old"
        where.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, TreeFolder):
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

    def _make(self, new: Path, content: TreeContent, parent: Path) -> None:
        if isinstance(content, bytes):
            new.write_bytes(content)
        elif isinstance(content, TreeLink):
            new.symlink_to(os.path.relpath(self.root / content.target, parent))
        elif isinstance(content, TreeDevice):
            self._node(new, content)
        elif content is Trouble.HANGS:
            os.mkfifo(new)
        else:
            new.symlink_to(_FAILS)

    def _remove(self, path: str, was: TreeContent) -> None:
        """With the directories that hold nothing more."""
        where = self.root / path
        if was is Trouble.HANGS:
            _release(where, b"")
        if not isinstance(was, TreeFolder):
            where.unlink()
            path, where = path.rpartition("/")[0], where.parent
        while path not in self._files and path not in _STANDING and where.is_dir() and not any(where.iterdir()):
            where.rmdir()
            path, where = path.rpartition("/")[0], where.parent


def device_files(path: str, home: str, uevent: Mapping[str, str], attributes: Mapping[str, object]) -> TreeFiles:
    """What every device of the kernel has in ``path``, with its link from its ``home``: a bus or class, like ``class/net``."""
    files: TreeFiles = {
        f"{path}/{name}": value if isinstance(value, bytes | Trouble) else f"{value}\n".encode()
        for name, value in attributes.items()
    }
    files[f"{path}/uevent"] = "".join(f"{key}={value}\n" for key, value in uevent.items()).encode()
    files[f"{path}/subsystem"] = TreeLink(f"sys/{home}")
    files[f"sys/{home}/{'devices/' if home.startswith('bus/') else ''}{path.rpartition('/')[2]}"] = TreeLink(path)
    return files


def driver_files(path: str, bus: str, driver: str) -> TreeFiles:
    """The links between the device in ``path`` and its driver."""
    home = f"sys/bus/{bus}/drivers/{driver}"
    return {home: TreeFolder(), f"{home}/{path.rpartition('/')[2]}": TreeLink(path), f"{path}/driver": TreeLink(home)}


def spoil(files: TreeFiles, path: str, trouble: bytes | Trouble) -> None:
    """Put a trouble, or something odd, in the place of what is in ``path``, and below it."""
    for below in [other for other in files if other == path or other.startswith(f"{path}/")]:
        del files[below]
    if trouble is not Trouble.ABSENT:
        files[path] = trouble


def _moved(path: str, before: str, after: str) -> str:
    return after + path.removeprefix(before) if path.startswith(f"{before}/") else path


def _rank(content: TreeContent, path: str) -> int:
    """In which order things go; they come in the opposite one."""
    if isinstance(content, TreeLink) and path.startswith(("sys/class/", "sys/bus/")):
        return 0
    return 2 if isinstance(content, TreeFolder) else 1


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
