"""One owner of a device-plugins directory at a time: a ``flock`` that falls with the process and is never let go by code.

Open it first thing in the process. At SIGKILL the kernel closes high descriptors first, so a lock on the lowest one falls after
every connection of this process is closed, and the successor never meets one that is still open.
"""

import fcntl
import os
from pathlib import Path
from typing import Self

from supervisor.errors import NodeError

HIDDEN_NAME = ".device-plugin-supervisor"


class Ownership:
    """The lock file of one directory, open."""

    FILE = "owner.lock"

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    @classmethod
    def open(cls, directory: Path) -> Self | None:
        """``None`` where there is no such directory, or none any more. Raises ``NodeError`` where it may not be written."""
        hidden = directory / HIDDEN_NAME
        path = hidden / cls.FILE
        try:
            if not directory.is_dir():
                return None
            hidden.mkdir(mode=0o755, exist_ok=True)
            # Neither inherited by children nor closed before the process ends.
            return cls(path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except FileNotFoundError:
            return None  # it is being removed right now
        except OSError as error:
            raise NodeError(f"cannot write to {directory}: {error.strerror}; mount it writable and run as its owner") from error

    def try_take(self) -> bool:
        """Whether this process owns the directory now."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return self.holds()

    def take(self) -> bool:
        """Wait until it can be had. ``False``: what was locked is no longer the file at the path; open it again."""
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        return self.holds()

    def holds(self) -> bool:
        """Whether what was locked is still the file at the path."""
        mine = os.fstat(self._descriptor)
        try:
            there = self.path.stat()
        except OSError:
            return False
        return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)


def locked(path: Path) -> bool:
    """Whether a process holds a lock. It is tried for a microsecond, shared: who waits for it hardly waits longer."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
