"""A program's process that the helper container holds for us."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable

import msgspec

from supervisor.border import framing
from supervisor.border.life import Held, Hold
from supervisor.border.messages import Ended, Open, Opened, Refused
from supervisor.errors import BorderFailed


class Remote:
    """A child of the helper, held by our connection to it: it is killed when that is closed or half closed.

    A thread waits for the helper to say how it ended.
    """

    def __init__(self, connection: socket.socket, path: str, pid: int, at_end: Callable[[], None]) -> None:
        self.pid = pid
        """The helper's number for it."""
        self._connection = connection
        self._at_end = at_end
        self._how = f"the helper at {path} has ended, and its process with it"
        self._ended = threading.Event()
        connection.settimeout(None)
        threading.Thread(target=self._keep, name=f"helper's {pid} keeper", daemon=True).start()

    @property
    def ended(self) -> bool:
        """Whether the helper has reaped it or has ended itself."""
        return self._ended.is_set()

    def wait(self, timeout: float) -> bool:
        """Wait for its end, at most so many seconds; whether it came."""
        return self._ended.wait(timeout)

    def kill(self) -> None:
        """Have it ended with all it started; waits for nothing. Harmless when it has ended."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)

    def how(self) -> str:
        """How it ended, in the helper's words."""
        return self._how

    def _keep(self) -> None:
        with contextlib.suppress(EOFError, OSError, ValueError, msgspec.MsgspecError):
            self._how = msgspec.msgpack.decode(framing.receive(self._connection), type=Ended).how
        self._ended.set()
        self._at_end()
        self._connection.close()


def helped(path: str, program: str, deadline: float) -> Hold:
    """A child of the helper that listens at ``path``."""

    def hold(at_end: Callable[[], None]) -> tuple[socket.socket, Held]:
        connection = socket.socket(socket.AF_UNIX)
        try:
            control, pid = _opened(connection, path, program, deadline)
            return control, Remote(connection, path, pid, at_end)
        except TimeoutError as error:
            connection.close()
            raise BorderFailed(f"the helper at {path} did not answer in time; look at the log of its container") from error
        except (OSError, EOFError, RuntimeError, ValueError, msgspec.MsgspecError) as error:
            connection.close()
            why = str(error) or "it closed the connection"
            raise BorderFailed(f"the helper at {path} is not there: {why}; look at the log of its container") from error
        except BorderFailed:
            connection.close()
            raise

    return hold


def _opened(connection: socket.socket, path: str, program: str, deadline: float) -> tuple[socket.socket, int]:
    connection.settimeout(max(0.001, deadline - time.monotonic()))
    connection.connect(path)
    framing.send(connection, Open(program), deadline)
    reply = msgspec.msgpack.decode(framing.receive(connection, deadline), type=Opened | Refused)
    if isinstance(reply, Refused):
        raise BorderFailed(f"the helper at {path} refused: {reply.reason}")
    control = framing.receive_socket(connection)
    if control is None:
        raise EOFError
    return control, reply.pid
