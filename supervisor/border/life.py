"""One life of a program: its control connection, the connections for questions, and what is told when it cannot answer."""

import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, Protocol

import msgspec

from supervisor.border import framing
from supervisor.border.messages import Failure
from supervisor.errors import BorderFailed, PluginRefused


class Held(Protocol):
    """Whoever holds the process: ``Process`` as its parent, ``Remote`` as a client of the helper that is."""

    @property
    def pid(self) -> int: ...

    @property
    def ended(self) -> bool:
        """Whether it is gone and reaped. A killed one may hang in the kernel for ever."""

    def wait(self, timeout: float) -> bool:
        """Wait for its end, at most so many seconds; whether it came."""

    def kill(self) -> None:
        """End it with all it started; waits for nothing. Harmless when it has ended."""

    def how(self) -> str:
        """How it ended, in words; only when it has."""


Hold = Callable[[Callable[[], None]], tuple[socket.socket, Held]]
"""Start a process, and call that function when it is gone: its control connection, and who holds it. Raises ``BorderFailed``."""


class Life:
    """A program that runs. ``start`` comes first, once; then it is called by whoever has a question, from any thread."""

    def __init__(self, hold: Hold) -> None:
        """Raises ``BorderFailed``."""
        self._since = time.monotonic()
        self._over = 0.0
        self._lock = threading.RLock()  # a garbage collection inside may end in `kill`
        self._idle: defaultdict[str, list[socket.socket]] = defaultdict(list)
        self._start_over = threading.Event()
        self._killed_because = ""
        self._control, self._held = hold(self._close)

    @property
    def pid(self) -> int:
        return self._held.pid

    @property
    def ended(self) -> bool:
        """Whether its process is gone and reaped. A killed one may hang in the kernel for ever."""
        return self._held.ended

    @property
    def usable(self) -> bool:
        """Whether it makes sense to ask it anything."""
        return not (self._killed_because or self.ended)

    @property
    def lived(self) -> float:
        """Seconds until it was killed or ended, or until now."""
        return (self._over or time.monotonic()) - self._since

    def wait(self, timeout: float) -> bool:
        """Wait for its end, at most so many seconds; whether it came."""
        return self._held.wait(timeout)

    def kill(self, because: str) -> None:
        """End it with all it started; waits for nothing. Harmless when it has ended."""
        with self._lock:
            if not self._held.ended:
                self._killed_because = self._killed_because or because
                self._over = self._over or time.monotonic()
                self._held.kill()

    def start(self, message: msgspec.Struct, kind: Any, deadline: float) -> Any:
        """Send the first message and wait for its answer, one of ``kind``. Raises ``PluginRefused`` and ``BorderFailed``."""
        try:
            with self.blamed("loading it"):
                framing.send(self._control, message, deadline)
                reply = msgspec.msgpack.decode(framing.receive(self._control, deadline), type=kind)
            self._control.settimeout(1.0)  # to hand over a descriptor takes no time, and its loop does nothing else
            if isinstance(reply, Failure):
                raise PluginRefused(reply.text) if reply.refused else BorderFailed(reply.text)
        except (BorderFailed, PluginRefused):
            self.kill("loading it failed")
            raise
        finally:
            self._start_over.set()
        return reply

    def exchange(self, request: msgspec.Struct, kind: Any, deadline: float, *, what: str, lane: str = "") -> Any:
        """The answer to a request, one of ``kind``. Past ``deadline`` (``time.monotonic()``) the process is killed.

        Requests of one ``lane`` that do not overlap run in one thread over there. ``what`` is the request's name in the sentence
        of ``BorderFailed``.
        """
        seconds = deadline - time.monotonic()
        with self._connection(lane) as connection, self.blamed(what, f"took longer than {max(seconds, 0):.3g} s"):
            framing.send(connection, request, deadline)
            return msgspec.msgpack.decode(framing.receive(connection, deadline), type=kind)

    @contextmanager
    def blamed(self, what: str, late: str = "took too long") -> Iterator[None]:
        """What goes wrong with an answer in here, the process is killed for, and ``BorderFailed`` says so."""
        try:
            yield
        except TimeoutError as error:
            self.kill(f"{what} {late}; its process was killed")
            raise BorderFailed(self.fate()) from error
        except (EOFError, OSError) as error:
            raise BorderFailed(self.fate()) from error
        except (msgspec.MsgspecError, ValueError) as error:
            self.kill(f"{what} was answered with nonsense ({error}); its process was killed")
            raise BorderFailed(self.fate()) from error

    @contextmanager
    def _connection(self, lane: str) -> Iterator[socket.socket]:
        """A connection that is idle in this lane, else a new one. After an error it is not used again."""
        with self._lock:
            idle = self._idle[lane]
            connection = idle.pop() if idle else None
        connection = connection or self.connect()
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        with self._lock:
            if not self._held.ended:
                self._idle[lane].append(connection)
                return
        connection.close()

    def connect(self) -> socket.socket:
        """A new connection, served by a thread of its own on the other side. Raises ``BorderFailed``."""
        ours, theirs = socket.socketpair()
        try:
            with theirs, self._lock:
                if self._held.ended:
                    raise EOFError
                framing.send_socket(self._control, theirs)
        except (OSError, EOFError) as error:
            ours.close()
            raise BorderFailed(self.fate()) from error
        return ours

    def fate(self) -> str:
        """Why there is no answer from it: a sentence for people. Waits up to a second for the end that a lost connection means."""
        if not (self._killed_because or self._held.wait(1.0)):
            self.kill("its process closed the connection, and was killed")
        return self._killed_because or self._held.how()

    def _close(self) -> None:
        """It is gone. The only place that closes our ends."""
        self._over = self._over or time.monotonic()
        self._start_over.wait()  # it may have answered and ended; the answer is to be read
        with self._lock:
            for connection in (self._control, *chain.from_iterable(self._idle.values())):
                connection.close()


def spawned(module: str, name: str) -> Hold:
    """A child of this process that runs ``module``."""
    from supervisor.border.process import Process

    def hold(at_end: Callable[[], None]) -> tuple[socket.socket, Held]:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                return ours, Process(module, name, control=theirs, tie=ours, at_end=at_end)
            except BorderFailed:
                ours.close()
                raise

    return hold
