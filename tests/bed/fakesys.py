"""A device tree on disk that reads like the kernel's: `<root>/sys`, `<root>/dev`, and udev's database in `<root>/run/udev`.

Code with a configurable root reads it where it lies; the namespace bed mounts it over the real directories.
"""

import os
import shutil
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

Attributes = Mapping[str, str | int | bytes]
"""sysfs attribute files by name; text and numbers get the kernel's trailing newline, bytes are written as they are."""


@dataclass(frozen=True)
class Node:
    """A device node: its name below /dev and its numbers."""

    name: str
    major: int
    minor: int
    block: bool = False

    @property
    def numbers(self) -> str:
        """The numbers as sysfs writes them."""
        return f"{self.major}:{self.minor}"

    @property
    def key(self) -> str:
        """The name of the device's record in udev's database."""
        return ("b" if self.block else "c") + self.numbers


@dataclass(frozen=True)
class Tree:
    """Builds the tree. Device paths are given as the kernel gives them: `/devices/...`, without `/sys`.

    `real_nodes` makes true device nodes, which takes root; else they are empty files. No driver stands behind a made-up
    number: opening such a node fails with ENXIO.
    """

    root: Path
    real_nodes: bool = field(default_factory=lambda: os.geteuid() == 0)

    def __post_init__(self) -> None:
        """Make the directories that every kernel has."""
        for directory in (
            "sys/bus",
            "sys/class",
            "sys/dev/char",
            "sys/dev/block",
            "sys/devices",
            "dev",
            "run/udev/data",
        ):
            (self.root / directory).mkdir(parents=True, exist_ok=True)

    @property
    def sys(self) -> Path:
        return self.root / "sys"

    @property
    def dev(self) -> Path:
        return self.root / "dev"

    @property
    def udev(self) -> Path:
        return self.root / "run/udev"

    def path(self, devpath: str) -> Path:
        """The directory of a device."""
        return self.sys / devpath.removeprefix("/")

    def add(
        self,
        devpath: str,
        *,
        bus: str | None = None,
        cls: str | None = None,
        attrs: Attributes | None = None,
        properties: Mapping[str, str] | None = None,
        node: Node | None = None,
        driver: str | None = None,
        links: Mapping[str, str] | None = None,
    ) -> str:
        """Add a device of a bus or of a class, with its links from /sys/bus, /sys/class and /sys/dev; return its path."""
        directory = self.path(devpath)
        directory.mkdir(parents=True)
        home = f"bus/{bus}" if bus else f"class/{cls}"
        _link(directory / "subsystem", self.sys / home)
        _link(self.sys / home / ("devices" if bus else "") / directory.name, directory)
        lines = dict(properties or {})
        if driver:
            (self.sys / home / "drivers" / driver).mkdir(parents=True, exist_ok=True)
            _link(directory / "driver", self.sys / home / "drivers" / driver)
            lines["DRIVER"] = driver
        if node:
            lines |= {"MAJOR": str(node.major), "MINOR": str(node.minor), "DEVNAME": node.name}
            self._write(directory / "dev", node.numbers)
            _link(self.sys / "dev" / ("block" if node.block else "char") / node.numbers, directory)
            self.add_node(node)
        for name, target in (links or {}).items():
            (directory / name).symlink_to(target)
        for name, value in (attrs or {}).items():
            self._write(directory / name, value)
        self._write(directory / "uevent", "".join(f"{key}={value}\n" for key, value in lines.items()).encode())
        return devpath

    def set(self, devpath: str, **attrs: str | int | bytes) -> None:
        """Write attributes of a device; two underscores in a name stand for a slash."""
        for name, value in attrs.items():
            self._write(self.path(devpath) / name.replace("__", "/"), value)

    def remove(self, devpath: str) -> None:
        """Take a device away with its nodes, its links, its database record and everything below it."""
        directory = self.path(devpath)
        for below in sorted(directory.rglob("uevent"), reverse=True):
            self._forget("/" + str(below.parent.relative_to(self.sys)))
        shutil.rmtree(directory)

    def _forget(self, devpath: str) -> None:
        directory, subsystem = self.path(devpath), self.subsystem(devpath)
        (self.sys / "class" / subsystem / directory.name).unlink(missing_ok=True)
        (self.sys / "bus" / subsystem / "devices" / directory.name).unlink(missing_ok=True)
        key = self.key(devpath)
        for record in (self.udev / "data" / key, *self.udev.glob(f"tags/*/{key}")):
            record.unlink(missing_ok=True)
        if node := self.node_of(devpath):
            (self.dev / node.name).unlink(missing_ok=True)
            (self.sys / "dev" / ("block" if node.block else "char") / node.numbers).unlink(missing_ok=True)

    def add_node(self, node: Node) -> None:
        """Make a node below /dev; also for the nodes of drivers that have no sysfs class."""
        path = self.dev / node.name
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.real_nodes:
            kind = stat.S_IFBLK if node.block else stat.S_IFCHR
            os.mknod(path, 0o666 | kind, os.makedev(node.major, node.minor))
        else:
            path.touch()

    def subsystem(self, devpath: str) -> str:
        """The subsystem of a device."""
        return (self.path(devpath) / "subsystem").readlink().name

    def properties(self, devpath: str) -> dict[str, str]:
        """The properties that the kernel sends with the device's events: the lines of its uevent file."""
        lines = (self.path(devpath) / "uevent").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def node_of(self, devpath: str) -> Node | None:
        """The device's node, if it has one."""
        properties = self.properties(devpath)
        if "DEVNAME" not in properties:
            return None
        major, minor = int(properties["MAJOR"]), int(properties["MINOR"])
        return Node(properties["DEVNAME"], major, minor, self.subsystem(devpath) == "block")

    def key(self, devpath: str) -> str:
        """The name of the device's record in udev's database."""
        node = self.node_of(devpath)
        return node.key if node else f"+{self.subsystem(devpath)}:{self.path(devpath).name}"

    def record(
        self,
        devpath: str,
        *,
        properties: Mapping[str, str] | None = None,
        tags: Iterable[str] = (),
        symlinks: Iterable[str] = (),
    ) -> None:
        """Write what udevd remembers of a device: properties and symlinks that rules gave it, tags past and present."""
        tags, symlinks, key = tuple(tags), tuple(symlinks), self.key(devpath)
        lines = [f"S:{name}" for name in symlinks] + ["I:1000000"]
        lines += [f"E:{name}={value}" for name, value in (properties or {}).items()]
        lines += [f"{kind}:{tag}" for kind in "GQ" for tag in tags] + ["V:1"]
        self._write(self.udev / "data" / key, "\n".join(lines))
        for tag in tags:
            self._write(self.udev / "tags" / tag / key, b"")
        if node := self.node_of(devpath):
            for name in symlinks:
                _link(self.dev / name, self.dev / node.name)

    @staticmethod
    def _write(path: Path, value: str | int | bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(value if isinstance(value, bytes) else f"{value}\n".encode())


def _link(where: Path, target: Path) -> None:
    """Make a relative link, as sysfs has them, so that the tree may be mounted anywhere."""
    where.parent.mkdir(parents=True, exist_ok=True)
    where.symlink_to(os.path.relpath(target, where.parent))
