"""Messages over a connected unix stream socket: each is msgpack after its length, four bytes, the highest first.

A connection carries one request at a time, so that neither side needs a reader thread. What comes from the other side is believed
in nothing: lengths are bounded, and the value is checked by whoever decodes it.
"""

import socket
import struct
import time
from collections.abc import Iterator

import msgspec

MAX_FRAME = 64 << 20
"""Bytes of one message."""

MAX_ANSWER = MAX_FRAME - 1024
"""Bytes of an answer, inside a message."""

_LENGTH = struct.Struct("!I")


def send(connection: socket.socket, message: msgspec.Struct, deadline: float | None = None) -> None:
    """Send a message; ``deadline`` is a time of ``time.monotonic()``. Raises ``TimeoutError``, other ``OSError``, and what
    msgspec raises for a value that no message can hold.
    """
    payload = msgspec.msgpack.encode(message)
    if len(payload) > MAX_FRAME:
        raise ValueError(f"a message of {len(payload)} bytes; the limit is {MAX_FRAME}")
    _set_timeout(connection, deadline)
    connection.sendall(_LENGTH.pack(len(payload)) + payload)


def receive(connection: socket.socket, deadline: float | None = None) -> bytearray:
    """The next message. Raises ``TimeoutError``, other ``OSError``, ``EOFError``, and ``ValueError`` for one that is too long."""
    (length,) = _LENGTH.unpack(_receive_exactly(connection, _LENGTH.size, deadline))
    _check(length)
    return _receive_exactly(connection, length, deadline)


def send_socket(connection: socket.socket, handed: socket.socket) -> None:
    """Hand a socket to the other side; ours stays open. Raises ``OSError``."""
    socket.send_fds(connection, [b"+"], [handed.fileno()])


def receive_socket(connection: socket.socket) -> socket.socket | None:
    """The socket that the other side hands over next, ``None`` when it has closed the connection. Raises ``OSError``."""
    _, descriptors, _, _ = socket.recv_fds(connection, 1, 1, socket.MSG_CMSG_CLOEXEC)
    return socket.socket(fileno=descriptors[0]) if descriptors else None


class Inbox:
    """Messages out of bytes as they come, for a reader that must not block."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def put(self, some: bytes) -> None:
        self._bytes += some

    def take(self) -> Iterator[bytes]:
        """The messages that are whole, each once. Raises ``ValueError`` for one that is too long."""
        while len(self._bytes) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._bytes)
            _check(length)
            end = _LENGTH.size + length
            if len(self._bytes) < end:
                return
            message = bytes(self._bytes[_LENGTH.size : end])
            del self._bytes[:end]
            yield message


def _check(length: int) -> None:
    if length > MAX_FRAME:
        raise ValueError(f"a message of {length} bytes; the limit is {MAX_FRAME}")


def _receive_exactly(connection: socket.socket, length: int, deadline: float | None) -> bytearray:
    message = bytearray(length)
    view = memoryview(message)
    while view:
        _set_timeout(connection, deadline)
        got = connection.recv_into(view)
        if got == 0:
            raise EOFError
        view = view[got:]
    return message


def _set_timeout(connection: socket.socket, deadline: float | None) -> None:
    left = None if deadline is None else deadline - time.monotonic()
    if left is not None and left <= 0:
        raise TimeoutError
    connection.settimeout(left)
