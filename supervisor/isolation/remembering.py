"""The memory of an isolated package: its process asks, over a connection of its own, and the supervisor answers.

``Remote`` is that process's end, ``serve`` the supervisor's.
"""

import contextlib
import socket
import threading

import msgspec

from supervisor.border import framing
from supervisor.isolation.frames import Keep, Kept, Recall, Recalled
from supervisor.memory import EMPTY, Keeper, decoded


class Remote:
    """A keeper whose memory is with the supervisor. Until the connection is there it has what came with the start."""

    def __init__(self, recalled: bytes) -> None:
        self._recalled = recalled
        self._held: bytes | None = None
        self._connection: socket.socket | None = None
        self._lock = threading.Lock()

    def connect(self, connection: socket.socket) -> None:
        """Ask over this connection from now on."""
        with self._lock:
            self._connection = connection
            if self._held is not None:
                self._send(connection, self._held)

    def recall(self) -> bytes:
        with self._lock:
            if self._connection is None:
                return self._recalled
            try:
                framing.send(self._connection, Recall())
                return msgspec.msgpack.decode(framing.receive(self._connection), type=Recalled).memory
            except (OSError, EOFError):  # the supervisor ends, and we with it
                return EMPTY

    def keep(self, memory: bytes) -> None:
        with self._lock:
            if self._connection is None:
                self._held = memory
            else:
                self._send(self._connection, memory)

    def _send(self, connection: socket.socket, memory: bytes) -> None:
        with contextlib.suppress(OSError, EOFError):  # as above
            framing.send(connection, Keep(memory))
            framing.receive(connection)


def serve(connection: socket.socket, keeper: Keeper) -> None:
    """Answer until the process has ended or sends what is no memory."""
    with connection, contextlib.suppress(EOFError, OSError, ValueError, msgspec.MsgspecError):
        while True:
            request = msgspec.msgpack.decode(framing.receive(connection), type=Keep | Recall)
            if isinstance(request, Recall):
                framing.send(connection, Recalled(keeper.recall()))
            else:
                decoded(request.memory)  # raises for what is no JSON object
                keeper.keep(request.memory)
                framing.send(connection, Kept())
