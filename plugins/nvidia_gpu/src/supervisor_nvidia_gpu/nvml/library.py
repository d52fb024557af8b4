"""Where the driver's NVML library is, and loading it: ``pynvml`` knows a bare name only, and no driver root.

The root may be mounted somewhere else than where its own links think, so links are followed here, as if the root were ``/``.
"""

import ctypes
import os
import platform
import stat
from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct

SONAME = "libnvidia-ml.so.1"
HOST_ROOTS = ("/", "/run/nvidia/driver")
"""Where drivers are installed: on the host itself, or by a container that brings the driver."""
MOUNT = "/driver-root"
"""Where a pod sees the host's root, by convention."""

_TRIPLET = f"{platform.machine()}-linux-gnu"
DIRECTORIES = (
    f"usr/lib/{_TRIPLET}",  # Debian, Ubuntu
    f"usr/lib/{_TRIPLET}/nvidia/current",  # Debian, without its alternatives
    "usr/lib64",  # Red Hat, Amazon, SUSE; the OpenShift driver container
    "usr/lib64/nvidia",
    f"lib/{_TRIPLET}",  # systems whose /lib is no link to /usr/lib
    "lib64",
    "usr/lib",
    "lib",
    "usr/local/nvidia/lib64",
    "home/kubernetes/bin/nvidia/lib64",  # Container-Optimized OS
    "opt/nvidia/lib64",  # systems whose /usr cannot be written: Flatcar and others
    "opt/nvidia/lib",
    "opt/nvidia/current/usr/lib64",
    "opt/nvidia/*/*/usr/lib64",  # Flatcar: one for each driver and kernel; only the running kernel's counts
    "opt/lib64",
    "opt/lib",
)
_MAX_LINKS = 40
_MAX_ENTRIES = 100
_IDENTITY = slice(4, 6), slice(18, 20)
"""Word size and byte order, and the machine, in the first bytes of an ELF file."""


class Library(Struct, frozen=True):
    """The library that fits."""

    path: str
    """Of the file itself, as this process sees it."""
    root: str
    """The driver's root, as the host names it."""


class NoLibrary(Exception):
    """There is none that can be loaded; the text says why, for people."""


def find(mount: str, root: str | None, driver: str = "") -> Library:
    """The first library that this process can load, one of version ``driver`` before all others. Raises ``NoLibrary``.

    ``mount`` is where this process sees the host's root (empty: by convention), ``root`` the driver's root as the host names it
    (``None``: each of ``HOST_ROOTS``).
    """
    mount = mount or (MOUNT if _is(stat.S_ISDIR, MOUNT) else "/")
    roots = HOST_ROOTS if root is None else (root,)
    found = [Library(path, root) for root in roots for path in _files(_place(mount, root))]
    found.sort(key=lambda each: not (driver and each.path.endswith(f".so.{driver}")))
    unfit: list[str] = []
    for library in found:
        if not (why := _unfit(library.path)):
            return library
        unfit.append(f"{library.path} {why}")
    raise NoLibrary("; ".join(unfit) or _not_found([_place(mount, root) for root in roots]))


def load(library: Library) -> None:
    """Load it, so that the bare name means this very file from now on. Raises ``NoLibrary``."""
    try:
        ctypes.CDLL(library.path)
    except OSError as error:
        raise NoLibrary(f"{library.path} cannot be loaded: {error}") from error


def inside(root: str, name: str) -> str | None:
    """The path of ``name`` without links, all of them followed as if ``root`` were ``/``; ``None`` where nothing is."""
    left = [part for part in name.split("/") if part]
    found: list[str] = []
    links = 0
    while left:
        part = left.pop(0)
        if part == "..":
            found = found[:-1]
            continue
        path = "/".join([root.rstrip("/"), *found, part])
        try:
            is_link = stat.S_ISLNK(os.lstat(path).st_mode)
            target = os.readlink(path) if is_link else ""
        except OSError:
            return None
        if not is_link:
            found = [*found, part] if part != "." else found
            continue
        links += 1
        if links > _MAX_LINKS:
            return None
        left = [*(each for each in target.split("/") if each), *left]
        found = [] if target.startswith("/") else found
    return "/".join([root.rstrip("/"), *found])


def _place(mount: str, root: str) -> str:
    """Where this process sees a directory that the host calls ``root``."""
    return (mount.rstrip("/") + "/" + root.strip("/")).rstrip("/") or "/"


def _files(root: str) -> Iterator[str]:
    """Regular files of that name; a directory, or a link that leads nowhere, is passed over."""
    seen: set[str] = set()
    for directory in _directories(root):
        path = inside(root, f"{directory}/{SONAME}")
        if path is not None and path not in seen and _is(stat.S_ISREG, path):
            seen.add(path)
            yield path


def _directories(root: str) -> Iterator[str]:
    for directory in DIRECTORIES:
        before, star, behind = directory.partition("/*/*/")
        if not star:
            yield directory
        else:
            yield from (f"{before}/{version}/{os.uname().release}/{behind}" for version in _entries(inside(root, before)))


def _entries(directory: str | None) -> list[str]:
    try:
        return sorted(os.listdir(directory), reverse=True)[:_MAX_ENTRIES] if directory else []
    except OSError:
        return []


def _unfit(path: str) -> str:
    """Why this process cannot load the file; empty if it can, as far as its first bytes tell."""
    try:
        theirs = _head(path)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if not theirs.startswith(b"\x7fELF") or len(theirs) < 20:
        return "is no library"
    ours = _head("/proc/self/exe")
    if any(theirs[part] != ours[part] for part in _IDENTITY):
        return f"is made for another processor than this one ({platform.machine()})"
    return ""


def _head(path: str) -> bytes:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(file, 20)
    finally:
        os.close(file)


def _is(kind: Callable[[int], bool], path: str) -> bool:
    try:
        return kind(os.stat(path).st_mode)
    except OSError:
        return False


def _not_found(places: Sequence[str]) -> str:
    if there := [place for place in places if _is(stat.S_ISDIR, place)]:
        return f"no {SONAME} under {' or '.join(there)}: is the driver installed? Looked in {', '.join(DIRECTORIES)}"
    return f"there is no directory {' or '.join(places)} to look for the driver in"
