"""Interfaces that go up or down, told by the kernel at once: rtnetlink(7), which speaks of this process's network namespace alone.

Of a message only its head is read, since it just says when to ask the ports. For that a library of rtnetlink is too much: the one
that is kept best takes a third of a second to import and 27 MiB, which is more than all else in this process.
"""

import errno
import select
import socket
import struct
import time
from collections.abc import Collection
from typing import Self

_GROUP = 1  # RTMGRP_LINK
_NEW, _GONE = 16, 17  # RTM_NEWLINK, RTM_DELLINK
_HEAD = struct.Struct("=IHHII")  # struct nlmsghdr
_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg
_STATE = 0x10041  # IFF_UP, IFF_RUNNING, IFF_LOWER_UP
_MOST = 1 << 16
"""Bytes of one datagram that are read; the heads are at the front of all messages that the kernel sends of links."""


class Links:
    """What is told from now on. A context manager; used by one thread."""

    def __init__(self) -> None:
        """Raises ``OSError`` where there is no such socket."""
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        try:
            self._socket.bind((0, _GROUP))
        except OSError:
            self._socket.close()
            raise
        self._states: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def wait(self, seconds: float, names: Collection[str]) -> bool:
        """Wait so long, or until one of these interfaces may have gone up or down; whether one may."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if select.select([self._socket], [], [], left)[0] and self._hear(names):
                return True
        return False

    def _hear(self, names: Collection[str]) -> bool:
        try:
            data, (sender, _) = self._socket.recvfrom(_MOST)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            return True  # more has changed than the kernel could keep
        return sender == 0 and self._tells(data, names)

    def _tells(self, data: bytes, names: Collection[str]) -> bool:
        """Whether one of these interfaces is in another state than it was."""
        changed, at = False, 0
        while at + _HEAD.size + _LINK.size <= len(data):
            length, kind, *_ = _HEAD.unpack_from(data, at)
            _, _, index, flags, _ = _LINK.unpack_from(data, at + _HEAD.size)
            name = _name(index) if kind in {_NEW, _GONE} else ""
            if name in names and self._states.get(name) != flags & _STATE:
                self._states[name] = flags & _STATE
                changed = True
            at += max(_HEAD.size, (length + 3) & ~3)
        return changed


def _name(index: int) -> str:
    """Of an interface of this network namespace; empty when it has gone."""
    try:
        return socket.if_indextoname(index)
    except OSError:
        return ""


def problem(names: Collection[str]) -> str:
    """Why nothing is heard of these interfaces here, in a sentence; empty where they can be heard."""
    try:
        with Links():
            pass
    except OSError as error:
        return f"rtnetlink cannot be listened to ({error.strerror}); changes of ports are seen by the poll"
    if not names or any(_is_here(name) for name in names):
        return ""
    some = ", ".join(sorted(names)[:3])
    return f"rtnetlink needs the host's network namespace (hostNetwork), {some} not being in this one; changes are seen by the poll"


def _is_here(name: str) -> bool:
    try:
        socket.if_nametoindex(name)
    except OSError:
        return False
    return True
