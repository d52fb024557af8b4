"""One look at the host: every directory is listed once and every file read once, whoever asks, however often.

Bounded in every direction (bytes, entries, depth, links), never out of the roots, and no device is ever opened. What vanishes in
the middle of a walk is passed over: it is absent, not an error. Other things can be done in a microsecond, a look takes hundreds of
them: hence plain ``os`` calls on strings here, and no step that was taken before.
"""

import os
import posixpath
import stat
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from msgspec import Struct

from supervisor.host.device import HostDevice
from supervisor.host.names import glob_pattern, is_wild, natural_order
from supervisor.host.roots import Host
from supervisor.host.udevdb import UdevRecord, parse_record

MAX_BYTES = 4096
"""Of an attribute: sysfs gives one page."""
MAX_RECORD_BYTES = 65_536
MAX_ENTRIES = 50_000
"""Of one directory, and of one pattern."""
MAX_DEPTH = 64
"""Directories in a row; also how deep ``**`` goes."""
MAX_LINKS = 40
"""Links followed for one name, as in the kernel."""

_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

_KINDS = (
    (stat.S_ISCHR, "character device"),
    (stat.S_ISBLK, "block device"),
    (stat.S_ISREG, "regular file"),
    (stat.S_ISDIR, "directory"),
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISFIFO, "named pipe"),
)


_MOUNT_POINTS = frozenset({"/", "/sys", "/dev", "/proc", "/run", "/run/udev"})


class HostNode(Struct, frozen=True):
    """What lies at a name, by ``stat`` alone."""

    name: str
    """As it was asked for, perhaps a link."""
    path: str
    """Without links."""
    kind: str
    """In words: ``character device``, ``block device``, ``regular file``, ``directory``, ``socket``, ``named pipe``."""
    number: tuple[int, int] | None = None
    """Major and minor of a device."""

    @property
    def is_device(self) -> bool:
        return self.number is not None


class _Entry(Struct, frozen=True):
    name: str
    is_directory: bool
    inode: int


class HostView:
    """The host at one moment. Make one for each look and drop it; use it in one thread."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.problems: list[str] = []
        """What could not be seen, in sentences."""
        self._resolved: dict[str, str | None] = {}
        self._locals: dict[str, str | None] = {}
        self._texts: dict[str, str | None] = {}
        self._listings: dict[str, tuple[_Entry, ...]] = {}
        self._nodes: dict[str, HostNode | None] = {}
        self._devices: dict[str, HostDevice | None] = {}
        self._subsystems: dict[tuple[str, str], tuple[HostDevice, ...]] = {}
        self._records: dict[str, UdevRecord | None] = {}
        self._globs: dict[str, tuple[str, ...]] = {}
        self._database: bool | None = None

    def resolve(self, name: str) -> str | None:
        """The host's name without links; ``None`` where nothing is, or where a link leads out of the roots."""
        if name in self._resolved:
            return self._resolved[name]
        if len(name) > MAX_BYTES or name.count("/") > MAX_DEPTH:
            return None
        return self._resolve("/" + posixpath.normpath(name).strip("/"), MAX_LINKS)

    def _resolve(self, name: str, links: int) -> str | None:
        if name in self._resolved:
            return self._resolved[name]
        found: str | None = None
        if name in _MOUNT_POINTS:
            found = name  # mounted here by configuration, never a link of the host
        else:
            above, base = posixpath.split(name)
            if (place := self._resolve(above, links)) is not None:
                found = self._follow(place, base, links)
        self._resolved[name] = found
        return found

    def _follow(self, place: str, base: str, links: int) -> str | None:
        """Where ``base`` in the linkless directory ``place`` leads."""
        if (local := self._local(place, base)) is None:
            return None
        try:
            if not stat.S_ISLNK(os.lstat(local).st_mode):
                return _join(place, base)
            target = os.readlink(local)
        except OSError:
            return None
        if place.startswith("/sys/") and target.startswith("../"):
            # The kernel writes the links of sysfs along true directories: the words alone say where one leads.
            found = posixpath.normpath(f"{place}/{target}")
            return found if (there := self.host.local(found)) is not None and os.path.lexists(there) else None
        return self._walk_link("/" if target.startswith("/") else place, target, links - 1) if links else None

    def _walk_link(self, place: str | None, target: str, links: int) -> str | None:
        """Where the text of a link leads, step by step from ``place``."""
        for step in target.split("/"):
            if place is None or place.count("/") > MAX_DEPTH:
                return None
            if step == "..":
                place = posixpath.dirname(place)
            elif step not in {"", "."}:
                place = self._resolve(_join(place, step), links)
        return place

    def _local(self, place: str, base: str) -> str | None:
        """Where this process sees ``base`` in a directory of the host."""
        if place not in self._locals:
            self._locals[place] = self.host.local(place)
        local = self._locals[place]
        return None if local is None else f"{local}/{base}"

    def read(self, name: str, limit: int = MAX_BYTES) -> str | None:
        """The text of a regular file outside ``/dev``, cut at ``limit`` bytes, without its line end; else ``None``."""
        if name not in self._texts:
            self._texts[name] = self._read(name, limit)
        return self._texts[name]

    def _read(self, name: str, limit: int) -> str | None:
        above, base = posixpath.split(name)
        place = self.resolve(above)
        if place is None or place.startswith("/dev") or base in {"", ".", ".."}:
            return None
        local = self._local(place, base)
        try:
            mode = 0 if local is None else os.lstat(local).st_mode
            if local is None or not stat.S_ISREG(mode):
                path = self.resolve(name) if stat.S_ISLNK(mode) else None
                return None if path is None else self.read(path, limit)
            return _read_file(local, limit)
        except OSError:
            return None

    def link_name(self, name: str) -> str | None:
        """The last word of where a link points (``driver``, ``subsystem``); ``None`` where no link is."""
        above, base = posixpath.split(name)
        place = self.resolve(above)
        local = None if place is None else self._local(place, base)
        try:
            return None if local is None else posixpath.basename(os.readlink(local))
        except OSError:
            return None

    def names(self, directory: str) -> tuple[str, ...]:
        """The names in a directory, in natural order; empty where there is none."""
        return _counted(entry.name for entry in self._entries(directory))

    def directories(self, directory: str) -> tuple[str, ...]:
        """As ``names``, of directories alone (links to some are none)."""
        return _counted(entry.name for entry in self._entries(directory) if entry.is_directory)

    def inodes(self, directory: str) -> Mapping[str, int]:
        """The inode number of each name in a directory. In sysfs what is made anew has a new one, even under an old name."""
        return {entry.name: entry.inode for entry in self._entries(directory)}

    def _entries(self, directory: str) -> tuple[_Entry, ...]:
        path = self.resolve(directory)
        local = None if path is None else self.host.local(path)
        if path is None or local is None:
            return ()
        if path not in self._listings:
            self._listings[path] = self._list(path, local)
        return self._listings[path]

    def _list(self, path: str, local: str) -> tuple[_Entry, ...]:
        try:
            with os.scandir(local) as found:
                entries = [
                    _Entry(entry.name, entry.is_dir(follow_symlinks=False), entry.inode())
                    for entry in islice(found, MAX_ENTRIES + 1)
                ]
        except PermissionError:
            self._complain(f"{path} cannot be listed: permission denied")
            return ()
        except OSError:
            return ()
        if len(entries) > MAX_ENTRIES:
            self._complain(f"{path} has more than {MAX_ENTRIES} entries; the rest is not looked at")
        return tuple(entries[:MAX_ENTRIES])

    def _complain(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)

    def glob(self, pattern: str) -> tuple[str, ...]:
        """The names that match a pattern of the host's names, in natural order.

        ``*``, ``?`` and ``[...]`` stay within one directory and do not match a leading dot; ``**`` stands for any number of
        directories and follows no links.
        """
        if pattern not in self._globs:
            found = islice(self._walk("/", tuple(pattern.strip("/").split("/"))), MAX_ENTRIES + 1)
            names = dict.fromkeys(found)
            if len(names) > MAX_ENTRIES:
                self._complain(f"{pattern} matches more than {MAX_ENTRIES} names; the rest is not looked at")
            self._globs[pattern] = _counted(names)[:MAX_ENTRIES]
        return self._globs[pattern]

    def _walk(self, place: str, steps: tuple[str, ...]) -> Iterator[str]:
        if not steps:
            yield place
            return
        step, rest = steps[0], steps[1:]
        if step == "**":
            yield from self._walk(place, rest or ("*",))
            if place.count("/") < MAX_DEPTH:
                for entry in self._entries(place):
                    if entry.is_directory and not entry.name.startswith("."):
                        yield from self._walk(_join(place, entry.name), steps)
        elif is_wild(step):
            pattern = glob_pattern(step)
            for entry in self._entries(place):
                if pattern.match(entry.name) and (step.startswith(".") or not entry.name.startswith(".")):
                    yield from self._walk(_join(place, entry.name), rest)
        elif self.resolve(name := _join(place, step)) is not None:
            yield from self._walk(name, rest)

    def node(self, name: str) -> HostNode | None:
        """What lies at a name, links followed; ``None`` where nothing does."""
        if name not in self._nodes:
            self._nodes[name] = self._stat(name)
        return self._nodes[name]

    def _stat(self, name: str) -> HostNode | None:
        path = self.resolve(name)
        local = None if path is None else self.host.local(path)
        if path is None or local is None:
            return None
        try:
            status = os.lstat(local)
        except OSError:
            return None
        kind = next((word for is_kind, word in _KINDS if is_kind(status.st_mode)), "something unknown")
        is_device = stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)
        number = (os.major(status.st_rdev), os.minor(status.st_rdev)) if is_device else None
        return HostNode(name, path, kind, number)

    def device(self, path: str) -> HostDevice | None:
        """The device at a directory of sysfs, links followed; ``None`` where there is none."""
        found = self.resolve(path)
        if found is None:
            return None
        if found not in self._devices:
            text = self.read(f"{found}/uevent") if found.startswith("/sys/devices/") else None
            lines = (line.partition("=") for line in (text or "").splitlines())
            uevent = {key: value for key, equals, value in lines if equals}
            self._devices[found] = None if text is None else HostDevice(self, found, uevent)
        return self._devices[found]

    def device_of(self, node: HostNode) -> HostDevice | None:
        """The device behind a device node, by its number; some drivers register none."""
        if node.number is None:
            return None
        kind = "block" if node.kind == "block device" else "char"
        return self.device(f"/sys/dev/{kind}/{node.number[0]}:{node.number[1]}")

    def devices(self, subsystem: str, names: str = "*") -> tuple[HostDevice, ...]:
        """The devices of a class or bus whose kernel names match, in natural order; others cost nothing but their name."""
        key = (subsystem, names)
        if key not in self._subsystems:
            places = [f"/sys/class/{subsystem}", f"/sys/bus/{subsystem}/devices"]
            matches = glob_pattern(names.replace("/", "!")).match
            named = ((place, _counted(filter(matches, self.inodes(place)))) for place in places)
            found = (self.device(f"{place}/{name}") for place, names in named for name in names)
            self._subsystems[key] = tuple(dict.fromkeys(device for device in found if device is not None))
        return self._subsystems[key]

    def udev_database_available(self) -> bool:
        """Whether the host's udev database is mounted here; an empty directory is none."""
        if self._database is None:
            path = self.host.local("/run/udev/data")
            try:
                with os.scandir(path) as entries:
                    self._database = next(entries, None) is not None
            except OSError:
                self._database = False
        return self._database

    def udev_record(self, device_id: str) -> UdevRecord | None:
        """The record of a device by udev's own id for it: ``c189:0``, ``b8:0``, ``n2``, ``+pci:0000:00:02.0``."""
        if device_id not in self._records:
            text = self.read(f"/run/udev/data/{device_id}", MAX_RECORD_BYTES) if "/" not in device_id else None
            self._records[device_id] = None if text is None else parse_record(text)
        return self._records[device_id]


def _counted(names: Iterable[str]) -> tuple[str, ...]:
    """In natural order; names that count alike (``a1``, ``a01``) by their characters."""
    return tuple(sorted(names, key=lambda name: (natural_order(name), name)))


def _join(directory: str, name: str) -> str:
    return f"/{name}" if directory == "/" else f"{directory}/{name}"


def _read_file(path: str, limit: int) -> str:
    descriptor = os.open(path, _READ_FLAGS)
    try:
        return os.read(descriptor, limit).decode(errors="replace").rstrip("\n")
    finally:
        os.close(descriptor)
