"""What a supervisor and an isolated plugin package say to each other: msgpack messages, each after its length.

A connection carries one request at a time, so that neither side needs a reader thread. What comes from a plugin is believed in
nothing: lengths are bounded, and devices and edits are checked again by whoever uses them.
"""

import socket
import struct
import time
from typing import Any

import msgspec

from supervisor.host import Host
from supervisor.model import ContainerEdits, Device

MAX_FRAME = 64 << 20
"""Bytes of one message. The kubelet's own limit of 4 MiB for a list is reached long before."""

MAX_ANSWER = MAX_FRAME - 1024
"""Bytes of what plugin code returned, inside a message."""

_LENGTH = struct.Struct("!I")


class Start(msgspec.Struct, frozen=True):
    """The first message to a new process: which package it is to run, with what, and how many bytes of data it may have."""

    package: str
    section: dict[str, Any] | None
    host: Host
    memory: int


class PluginInfo(msgspec.Struct, frozen=True):
    """One plugin object of the package."""

    name: str
    subsystems: tuple[str, ...]
    capabilities: frozenset[str]


class Started(msgspec.Struct, frozen=True, tag=True):
    """The answer to ``Start``. ``refused`` holds pairs of a plugin's name and why it is left out."""

    plugins: tuple[PluginInfo, ...]
    refused: tuple[tuple[str, str], ...] = ()


class Failure(msgspec.Struct, frozen=True, tag=True):
    """Plugin code raised. ``refused``: it did so on purpose (``AllocationRefused``, ``PluginRefused``)."""

    text: str
    refused: bool = False


class Answer(msgspec.Struct, frozen=True, tag=True):
    """Plugin code returned this, whatever it is."""

    value: msgspec.Raw


class Unchanged(msgspec.Struct, frozen=True, tag=True):
    """A look gave, byte for byte, what the last one over this connection gave."""


class Discover(msgspec.Struct, frozen=True, tag="discover"):
    plugin: str


class Explain(msgspec.Struct, frozen=True, tag="explain"):
    plugin: str
    text: str


class Allocate(msgspec.Struct, frozen=True, tag="allocate"):
    plugin: str
    resource: str
    devices: tuple[Device, ...]
    edits: ContainerEdits


class PreferredAllocation(msgspec.Struct, frozen=True, tag="preferred_allocation"):
    plugin: str
    resource: str
    available: tuple[str, ...]
    must_include: tuple[str, ...]
    size: int


class PreStart(msgspec.Struct, frozen=True, tag="pre_start"):
    plugin: str
    resource: str
    devices: tuple[Device, ...]


class Watch(msgspec.Struct, frozen=True, tag="watch"):
    """Turns the connection into a stream of bytes from the plugin: ``LOOK_AGAIN`` for each call, then ``ENDED`` and why."""

    plugin: str


LOOK_AGAIN = b"!"
ENDED = b"."

Request = Discover | Explain | Allocate | PreferredAllocation | PreStart | Watch


class Seen(msgspec.Struct, frozen=True):
    """The value that answers ``Discover``: the devices, and what else is asked of a plugin after each look."""

    resources: Any
    """By resource name; whatever the plugin returned."""
    subsystems: tuple[str, ...]
    pre_start_required: dict[str, bool | str]
    """By resource name; a string is the error that the question raised."""
    notices: tuple[str, ...] | str
    """A string is the error that the question raised."""


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
    if length > MAX_FRAME:
        raise ValueError(f"a message of {length} bytes; the limit is {MAX_FRAME}")
    return _receive_exactly(connection, length, deadline)


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
