"""The files of this process in the device-plugins directory.

Each process binds its servers once, in a directory of its own that the kubelet's clean-up passes over (it never touches
directories), and hard-links a socket under a fresh public name for each registration. A ``flock`` in the directory tells the
living from the dead; process ids mean nothing across pods.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import socket
import stat
import time
from collections.abc import Collection
from pathlib import Path
from typing import Self

from msgspec import Struct

from supervisor.errors import NodeError
from supervisor.ownership import HIDDEN_NAME

KUBELET_SOCKET = "kubelet.sock"
MAX_SOCKET_PATH = 107
"""Bytes of ``sun_path`` without its final NUL."""

_PUBLIC = re.compile(r"dps-[a-z0-9-]+-[0-9a-f]{8}\.sock")
_PROCESS = re.compile(r"[0-9a-f]{8}")
_LOCK = "lock"
_NEWBORN_SECONDS = 60.0


class FileIdentity(Struct, frozen=True):
    """Which file this is. The inode number alone can be reused at once."""

    device: int
    inode: int
    changed_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        return cls(status.st_dev, status.st_ino, status.st_ctime_ns)


class DirectoryView(Struct, frozen=True):
    """The device-plugins directory as it is now."""

    identity: tuple[int, int] | None = None
    """Device and inode; ``None``: there is no such directory."""
    unlinked: bool = False
    """Our view of it is a mount of a directory that no longer exists; nothing can ever be created in it."""
    kubelet: FileIdentity | None = None
    """``kubelet.sock``, when it is a socket."""
    obstacle: str = ""
    """What stands in the kubelet's place, for people."""


def look_at(directory: Path) -> DirectoryView:
    try:
        own = directory.stat()
    except OSError as error:
        return DirectoryView(obstacle=f"{directory}: {error.strerror}")
    identity = (own.st_dev, own.st_ino)
    if not stat.S_ISDIR(own.st_mode):
        return DirectoryView(obstacle=f"{directory} is not a directory")
    if own.st_nlink == 0:
        return DirectoryView(identity, unlinked=True, obstacle=f"{directory} was removed under this mount")
    try:
        kubelet = (directory / KUBELET_SOCKET).lstat()
    except OSError as error:
        return DirectoryView(identity, obstacle=f"{directory / KUBELET_SOCKET}: {error.strerror}")
    if not stat.S_ISSOCK(kubelet.st_mode):
        return DirectoryView(identity, obstacle=f"{directory / KUBELET_SOCKET} is not a socket")
    return DirectoryView(identity, kubelet=FileIdentity.of(kubelet))


def accepts(path: Path) -> bool:
    """Whether somebody listens there: a raw connect, so that gRPC never begins its one-second back-off."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as probe:
        try:
            probe.connect(str(path))
        except BlockingIOError:
            return True  # the backlog is full: somebody listens, and is busy
        except OSError:
            return False
        return True


def foreign_sockets(directory: Path, ours: Collection[str]) -> tuple[str, ...]:
    """Sockets of other plugins: neither the kubelet's nor one of ``ours``. Another supervisor that does not see our lock is one."""
    with os.scandir(directory) as entries:
        return tuple(
            sorted(
                entry.name for entry in entries if entry.name != KUBELET_SOCKET and entry.name not in ours and _is_socket(entry)
            )
        )


def _is_socket(entry: "os.DirEntry[str]") -> bool:
    try:
        return stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode)
    except OSError:
        return False


class ProcessDirectory:
    """``.device-plugin-supervisor/<8 hex>/``: the private sockets of this process, for as long as its lock is held."""

    def __init__(self, directory: Path, path: Path, lock: int) -> None:
        self.directory = directory
        self.path = path
        self._lock = lock
        self._public: set[str] = set()
        self._claimed: set[str] = set()
        self._private: dict[str, Path] = {}

    @classmethod
    def create(cls, directory: Path) -> Self:
        """Raises ``NodeError`` when the directory cannot be written or its path is too long for sockets."""
        hidden = directory / HIDDEN_NAME
        token = secrets.token_hex(4)
        newborn, path = hidden / f".{token}", hidden / token
        if len(os.fsencode(path)) + len("/x-000000.sock") > MAX_SOCKET_PATH:
            raise NodeError(
                f"{directory} is too long: a socket path has at most {MAX_SOCKET_PATH} bytes; use a shorter directory"
            )
        try:
            hidden.mkdir(mode=0o755, exist_ok=True)
            newborn.mkdir(mode=0o755)
            lock = os.open(newborn / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX)
            newborn.rename(path)  # a sweeper never sees it without its lock held
        except OSError as error:
            raise NodeError(f"cannot write to {directory}: {error.strerror}; mount it writable and run as its owner") from error
        return cls(directory, path, lock)

    def private_path(self, resource: str) -> Path:
        path = self._private.get(resource)
        if path is None:
            path = self._private[resource] = self.path / f"{self._slug(resource)}.sock"
        return path

    def public_name(self, resource: str) -> str:
        """A name that no earlier registration had: a kubelet that cleans up deletes by a list made before."""
        return f"dps-{self._slug(resource)}-{secrets.token_hex(4)}.sock"

    def _slug(self, resource: str) -> str:
        room_private = MAX_SOCKET_PATH - len(os.fsencode(self.path)) - len("/-000000.sock")
        room_public = MAX_SOCKET_PATH - len(os.fsencode(self.directory)) - len("/dps--000000-00000000.sock")
        digest = hashlib.sha256(resource.encode()).hexdigest()[:6]
        readable = re.sub(r"[^a-z0-9]+", "-", resource.lower()).strip("-")[: max(0, min(room_private, room_public))]
        return f"{readable}-{digest}".lstrip("-")

    def link(self, resource: str) -> str | None:
        """Give the resource's server a fresh public name; ``None`` where the file system refuses hard links to sockets."""
        name = self.public_name(resource)
        try:
            os.link(self.private_path(resource), self.directory / name)
        except OSError:
            return None
        self._public.add(name)
        return name

    def claim(self, resource: str) -> str:
        """A fresh public name to bind at, where links are refused; noted down, so that a successor can sweep the socket."""
        name = self.public_name(resource)
        with contextlib.suppress(OSError):  # on a full disk a socket may outlive us; it refuses everybody
            (self.path / name).touch()
        self._public.add(name)
        self._claimed.add(name)
        return name

    def relink(self, resource: str, name: str) -> None:
        """Somebody removed a public link that is in use: put it back. Harmless where it cannot be."""
        with contextlib.suppress(OSError):
            os.link(self.private_path(resource), self.directory / name)

    def unlink(self, name: str) -> None:
        self._public.discard(name)
        with contextlib.suppress(OSError):
            (self.directory / name).unlink()
        if name in self._claimed:
            self._claimed.remove(name)
            with contextlib.suppress(OSError):
                (self.path / name).unlink()

    def remove(self) -> None:
        """Remove this directory, its sockets and every public link to them, and let the lock go."""
        for name in tuple(self._public):  # a server that stopped has removed its private socket, so inodes tell nothing
            self.unlink(name)
        _sweep_one(self.directory, self.path)
        os.close(self._lock)

    def predecessors(self) -> tuple[Path, ...]:
        """The directories of processes that are dead: their lock can be taken."""
        return tuple(path for path in _process_directories(self.directory) if path != self.path and _is_dead(path))

    def sweep(self, dead: Path) -> None:
        _sweep_one(self.directory, dead)


def private_sockets(process_directory: Path) -> tuple[Path, ...]:
    return tuple(path for path in _named_sock(process_directory) if not _PUBLIC.fullmatch(path.name))


def _named_sock(process_directory: Path) -> tuple[Path, ...]:
    """Private sockets, and the notes of public ones that are no links."""
    try:
        return tuple(sorted(process_directory.glob("*.sock")))
    except OSError:
        return ()


def _process_directories(directory: Path) -> list[Path]:
    try:
        paths = sorted((directory / HIDDEN_NAME).iterdir())
    except OSError:
        return []
    return [path for path in paths if _PROCESS.fullmatch(path.name) or _is_abandoned_newborn(path)]


def _is_abandoned_newborn(path: Path) -> bool:
    """A process died between making its directory and naming it."""
    try:
        return bool(_PROCESS.fullmatch(path.name[1:])) and time.time() - path.stat().st_mtime > _NEWBORN_SECONDS
    except OSError:
        return False


def _is_dead(process_directory: Path) -> bool:
    try:
        lock = os.open(process_directory / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(lock)
    return True


def census(directory: Path) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """The directories of processes that live, and of those that have ended."""
    every = _process_directories(directory)
    dead = tuple(path for path in every if _is_dead(path))
    return tuple(path for path in every if path not in dead), dead


def remains(directory: Path, process_directory: Path) -> tuple[Path, ...]:
    """The files of a dead process, its public sockets among them; some may have gone already."""
    inodes = set()
    for private in private_sockets(process_directory):
        try:
            inodes.add(private.stat().st_ino)
        except OSError:
            continue
    try:
        with os.scandir(directory) as entries:
            ours = [Path(entry.path) for entry in entries if _PUBLIC.fullmatch(entry.name) and entry.inode() in inodes]
    except OSError:
        ours = []
    noted = _named_sock(process_directory)
    ours += [directory / note.name for note in noted if _PUBLIC.fullmatch(note.name)]
    return (*ours, *noted, process_directory / _LOCK)


def _sweep_one(directory: Path, process_directory: Path) -> None:
    for path in remains(directory, process_directory):
        with contextlib.suppress(OSError):  # it has gone, or is no file of ours
            path.unlink()
    with contextlib.suppress(OSError):  # something foreign lies in it, or it has gone already
        process_directory.rmdir()
