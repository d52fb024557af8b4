"""Where the driver's NVML library is, and loading it: ``pynvml`` knows a bare name only, and no driver root.

The root may be mounted somewhere else than where its own links think, so links are followed here, as if the root were ``/``.
"""

import ctypes
import os
import platform
import stat
from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct

from supervisor_nvidia_gpu.driver_root import DIRECTORIES, HOST_ROOTS, inside, mount_of

SONAME = "libnvidia-ml.so.1"
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
    mount = mount_of(mount)
    roots = HOST_ROOTS if root is None else (root,)
    found = [Library(path, root) for root in roots for path in _files(_place(mount, root))]
    found.sort(key=lambda each: not (driver and each.path.endswith(f".so.{driver}")))
    unfit: list[str] = []
    for library in found:
        if not (why := _unfit(library.path)):
            return library
        unfit.append(f"{library.path} {why}")
    raise NoLibrary("; ".join(unfit) or _not_found([_place(mount, root) for root in roots]))


def candidates(mount: str, root: str | None) -> Iterator[tuple[str, str]]:
    """Whatever has the library's name under the driver's roots: its path, and why this process cannot load it (empty: it can).

    The arguments are those of ``find``.
    """
    mount = mount_of(mount)
    seen: set[str] = set()
    for place in (_place(mount, each) for each in (HOST_ROOTS if root is None else (root,))):
        for directory in _directories(place):
            path = inside(place, f"{directory}/{SONAME}")
            if path is not None and path not in seen:
                seen.add(path)
                is_file = _is(stat.S_ISREG, path)
                yield path, _unfit(path) if is_file else "is a directory" if _is(stat.S_ISDIR, path) else "is no file"


def load(library: Library) -> None:
    """Load it, so that the bare name means this very file from now on. Raises ``NoLibrary``."""
    try:
        ctypes.CDLL(library.path)
    except OSError as error:
        raise NoLibrary(f"{library.path} cannot be loaded: {error}") from error


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
