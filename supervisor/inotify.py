"""inotify(7) under trio: which directory entries changed, without polling.

Only what this program needs: one instance, a few watches, whole batches of events. Python's standard library has no binding,
and the C one is four functions.
"""

import ctypes
import enum
import errno
import os
import struct
from typing import Self

import trio
from msgspec import Struct

from supervisor.errors import NodeError

_HEADER = struct.Struct("iIII")
"""``struct inotify_event`` without its name: watch, mask, cookie, length of the name field."""

_BATCH = 64 * 1024
"""Bytes of one read. It must hold one event with the longest name (16 + 256 bytes); this takes about two thousand."""

_libc = ctypes.CDLL(None, use_errno=True)


class Mask(enum.IntFlag):
    """What to watch for, and what happened; values of ``<sys/inotify.h>``."""

    MODIFY = 0x2
    ATTRIB = 0x4
    CLOSE_WRITE = 0x8
    MOVED_FROM = 0x40
    MOVED_TO = 0x80
    CREATE = 0x100
    DELETE = 0x200
    DELETE_SELF = 0x400
    """The watched inode itself is gone. Not sent while something still holds it, a bind mount for instance."""
    MOVE_SELF = 0x800
    UNMOUNT = 0x2000
    Q_OVERFLOW = 0x4000
    """Events were lost: everything must be looked at again. Its watch is -1."""
    IGNORED = 0x8000
    """The kernel has removed this watch; its number means nothing any more."""
    ONLYDIR = 0x0100_0000
    DONT_FOLLOW = 0x0200_0000
    ISDIR = 0x4000_0000


ENTRIES = Mask.CREATE | Mask.DELETE | Mask.MOVED_FROM | Mask.MOVED_TO
"""Names appear in a directory and leave it."""
GONE = Mask.DELETE_SELF | Mask.MOVE_SELF | Mask.UNMOUNT | Mask.IGNORED
"""The watched directory is no longer the one at its path."""


class InotifyEvent(Struct, frozen=True):
    """One event. ``name`` is the directory entry it is about, empty for the watched directory itself."""

    watch: int
    mask: Mask
    name: str = ""

    @property
    def overflow(self) -> bool:
        """Whether events were lost before this one."""
        return Mask.Q_OVERFLOW in self.mask


class Inotify:
    """One inotify instance, to be used as a context manager inside ``trio.run`` by one task at a time.

    Raises ``NodeError`` where the node's limits on instances or watches are reached: only its administrator can help.
    """

    def __init__(self) -> None:
        self._fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise _failure("inotify")

    def add(self, path: str | os.PathLike[str], mask: Mask) -> int:
        """Watch ``path``; the number returned is in each of its events.

        Adding an inode again replaces its mask and returns the same number. Raises ``OSError`` where the path cannot be read.
        """
        watch: int = _libc.inotify_add_watch(self._fd, os.fsencode(path), ctypes.c_uint32(mask))
        if watch < 0:
            raise _failure(os.fspath(path))
        return watch

    def remove(self, watch: int) -> None:
        """Stop a watch; one that the kernel has already removed is no error."""
        if _libc.inotify_rm_watch(self._fd, watch) < 0 and ctypes.get_errno() != errno.EINVAL:
            raise _failure(f"inotify watch {watch}")

    async def wait(self) -> list[InotifyEvent]:
        """The next events, at least one. Raises ``trio.ClosedResourceError`` when closed by another task."""
        await trio.lowlevel.checkpoint()
        while True:
            try:
                return _decode(os.read(self._fd, _BATCH))
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._fd)

    def close(self) -> None:
        """Give up all watches; a second call does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            trio.lowlevel.notify_closing(fd)
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _decode(batch: bytes) -> list[InotifyEvent]:
    events: list[InotifyEvent] = []
    at = 0
    while at < len(batch):
        watch, mask, _cookie, length = _HEADER.unpack_from(batch, at)
        at += _HEADER.size + length
        events.append(InotifyEvent(watch, Mask(mask), os.fsdecode(batch[at - length : at].rstrip(b"\0"))))
    return events


def _failure(what: str) -> OSError | NodeError:
    number = ctypes.get_errno()
    if number == errno.EMFILE:
        return NodeError("no inotify instance is left: raise the sysctl fs.inotify.max_user_instances (or ulimit -n)")
    if number == errno.ENOSPC:
        return NodeError(f"no inotify watch is left for {what}: raise the sysctl fs.inotify.max_user_watches")
    return OSError(number, os.strerror(number), what)
