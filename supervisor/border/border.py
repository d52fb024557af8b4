"""What a plugin holds of the program that touches its hardware."""

import contextlib
import os
import random
import stat
import threading
import time
from typing import TypeVar

import msgspec

from supervisor.border import framing
from supervisor.border.backoff import Backoff
from supervisor.border.life import Life, spawned
from supervisor.border.messages import Answer, Call, Failure, Start, Started
from supervisor.border.programs import module_of
from supervisor.border.remote import helped
from supervisor.border.stream import BorderStream
from supervisor.errors import AllocationRefused, BorderFailed, PluginRefused
from supervisor.host import Host

T = TypeVar("T")

MOST_UNREAPED = 3
"""Killed processes of one program that may hang in the kernel (in a driver that does not return) before no new one is started."""


class BorderLimits(msgspec.Struct, frozen=True):
    """How long a program may take, in seconds, and how much memory it may have, in bytes."""

    start: float = 10.0
    """Until it can be asked."""
    beat: float = 5.0
    """Without a beat in a stream; it sends one each second."""
    memory: int = 512 << 20


class Border:
    """A program in a process of its own: a child of the helper where its socket is there, else of this process.

    ``program`` is the name of an entry point in the group ``device_plugin_supervisor.programs``, whose value is a module that calls
    ``serve_program`` when it is run. ``ask`` and ``open`` start it when it does not run; a program that keeps ending is started
    ever more rarely. All methods may be called from any thread; ``ask`` and ``open`` block.

    Every error is a ``BorderFailed`` with a sentence for people. The next ``ask`` is the cure of most: it has a new process.
    """

    def __init__(
        self, program: str, host: Host, options: msgspec.Struct | None = None, limits: BorderLimits | None = None
    ) -> None:
        """Starts nothing. ``options`` is what the program's ``make`` gets."""
        self.program = program
        self.limits = limits or BorderLimits()
        self._socket = host.helper_socket
        self._start = Start(msgspec.Raw(msgspec.msgpack.encode(options)), self.limits.memory)
        self._lock = threading.Lock()
        self._life: Life | None = None
        self._place = ""
        self._lives = 0
        self._ended: list[Life] = []
        self._backoff = Backoff()
        self._why = ""
        self._closed = False

    @property
    def pid(self) -> int | None:
        """The number of the process, in the helper its number there; ``None`` when it does not run."""
        life = self._life
        return life.pid if life is not None and life.usable else None

    @property
    def where(self) -> str:
        """Where it runs, ran last or will run: ``child of this process`` or ``helper at PATH``."""
        helper = self._place if self._life is not None else self._helper()
        return f"helper at {helper}" if helper else "child of this process"

    @property
    def restarts(self) -> int:
        """How often another process took the place of one that had ended."""
        return max(0, self._lives - 1)

    @property
    def unreaped(self) -> int:
        """Killed processes that the kernel has not let go yet."""
        return sum(not life.ended for life in self._ended)

    def open(self, deadline: float) -> None:
        """Start the program if it does not run, before ``deadline`` (``time.monotonic()``). Raises ``BorderFailed``."""
        self._running(deadline)

    def ask(self, request: msgspec.Struct, kind: type[T], deadline: float) -> T:
        """The answer to a request, as a ``kind``; a program that does not run is started for it.

        Past ``deadline`` (``time.monotonic()``) its process is killed. Raises ``AllocationRefused`` when the program did so, and
        ``BorderFailed`` for everything else.
        """
        life = self._running(deadline)
        try:
            reply: Answer | Failure = life.exchange(_call(request), Answer | Failure, deadline, what=_name(request))
            if isinstance(reply, Answer):
                with life.blamed(_name(request)):
                    return msgspec.msgpack.decode(reply.value, type=kind)
        except BorderFailed as error:
            raise BorderFailed(self._named(str(error))) from error
        if reply.refused:
            raise AllocationRefused(reply.text)
        raise BorderFailed(self._named(reply.text))

    def connect(self, request: msgspec.Struct, kind: type[T]) -> BorderStream[T]:
        """The stream of ``kind`` that answers a request; to be closed. Never starts the program: ``BorderFailed`` if it does not run.

        ::

            with border.connect(Watch(), Event) as events:
                async for event in events:
                    look_again()
        """
        life = self._life
        if life is None or not life.usable:
            raise BorderFailed(self._named("does not run; the next look starts it" if life is None else life.fate()))
        try:
            connection = life.connect()
            with life.blamed(_name(request)):
                framing.send(connection, _call(request), time.monotonic() + 1.0)
        except BorderFailed as error:
            raise BorderFailed(self._named(str(error))) from error
        return BorderStream(life, connection, kind, self.limits.beat, self._named)

    def restart(self, because: str) -> None:
        """Kill the process; the next ``ask`` has a new one. Waits for nothing."""
        if (life := self._life) is not None:
            life.kill(because)

    def close(self) -> None:
        """Kill the process for good. Waits for nothing."""
        self._closed = True
        self.restart("it is not needed any more")

    def _running(self, deadline: float) -> Life:
        if not self._lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise BorderFailed(self._named("did not come up in time"))
        try:
            life, helper = self._life, self._helper()
            if life is not None and life.usable and self._place != helper and helper:
                life.kill("the helper is there now")
                self._retire(life)
            elif life is not None and not life.usable:
                self._note(life.fate(), life)
                self._retire(life)
            if self._life is None:
                self._life = self._successor(helper, min(deadline, time.monotonic() + self.limits.start))
            return self._life
        finally:
            self._lock.release()

    def _retire(self, life: Life) -> None:
        self._life = None
        self._ended.append(life)

    def _note(self, why: str, life: Life) -> None:
        """A life has ended that should not have."""
        self._why = why
        self._backoff = self._backoff.after(life.lived, time.monotonic(), random.random())  # noqa: S311 - no secret

    def _successor(self, helper: str, deadline: float) -> Life:
        self._ended = [life for life in self._ended if not life.wait(0.1)]
        if self._closed:
            raise BorderFailed(self._named("is not needed any more"))
        if len(self._ended) >= MOST_UNREAPED:
            count = len(self._ended)
            raise BorderFailed(self._named(f"{count} killed processes hang in the kernel; no other is started before one ends"))
        if (left := self._backoff.until - time.monotonic()) > 0:
            raise BorderFailed(self._named(f"{self._why}; it is started again in {left:.1f} s at the earliest"))
        try:
            life = self._begun(helper, deadline)
        except (BorderFailed, PluginRefused) as error:
            raise BorderFailed(self._named(str(error))) from error
        self._lives += 1
        self._place = helper
        if self._closed:
            life.kill("it is not needed any more")
        return life

    def _begun(self, helper: str, deadline: float) -> Life:
        hold = helped(helper, self.program, deadline) if helper else spawned(module_of(self.program), self.program)
        life = Life(hold)  # where not even this is possible, nothing was started, and there is nothing to slow down
        try:
            life.start(self._start, Started | Failure, deadline)
        except (BorderFailed, PluginRefused) as error:
            self._note(str(error), life)
            self._ended.append(life)
            raise
        return life

    def _helper(self) -> str:
        """The path of the helper's socket, empty where there is none."""
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.stat(self._socket).st_mode):
                return self._socket
        return ""

    def _named(self, fate: str) -> str:
        return f"program {self.program} ({self.where}): {fate}"


def _name(request: msgspec.Struct) -> str:
    return type(request).__name__


def _call(request: msgspec.Struct) -> Call:
    return Call(_name(request), msgspec.Raw(msgspec.msgpack.encode(request)))
