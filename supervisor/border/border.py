"""What a plugin holds of the program that touches its hardware."""

import contextlib
import os
import random
import stat
import sys
import time
from collections.abc import AsyncGenerator, Callable
from typing import TypeVar

import msgspec

from supervisor.border import framing
from supervisor.border.backoff import Backoff
from supervisor.border.life import Life, spawned
from supervisor.border.messages import Answer, Call, Failure, Start, Started
from supervisor.border.programs import module_of
from supervisor.border.remote import helped
from supervisor.border.stream import BorderStream
from supervisor.border.succession import Succession
from supervisor.errors import AllocationRefused, BorderFailed, PluginRefused
from supervisor.host import Host

T = TypeVar("T")

_LISTENS = 5.0
"""Seconds until a new process has to listen."""
_LONGEST_PAUSE = 30.0
"""Seconds between two tries to listen to a process that keeps ending."""
_IDLE = 2.0
"""Seconds between two questions whether there is something to listen to by now."""


class BorderLimits(msgspec.Struct, frozen=True):
    """How long a program may take, in seconds, and how much memory it may have, in bytes."""

    start: float = 10.0
    """Until it can be asked."""
    beat: float = 5.0
    """Without a beat in a stream; it sends one each second."""
    memory: int = 512 << 20


class Border:
    """A program in a process of its own: a child of the helper where its socket is there, else of this process.

    One that opens no device is not ``helped``: always a child of this process, it gets no privilege that it does not need.

    ``program`` is the name of an entry point in the group ``device_plugin_supervisor.programs``, whose value is a module that calls
    ``serve_program`` when it is run. ``ask`` and ``open`` start it when it does not run; a program that keeps ending is started
    ever more rarely. All methods may be called from any thread; ``ask`` and ``open`` block.

    Every error is a ``BorderFailed`` with a sentence for people; the next ``ask`` is the cure of most, since it has a new process. The
    program ends with ``close``, when nothing refers to this object any more, and with this process.
    """

    def __init__(
        self,
        program: str,
        host: Host,
        options: msgspec.Struct | None = None,
        limits: BorderLimits | None = None,
        *,
        helped: bool = True,
    ) -> None:
        """Starts nothing. ``options`` is what the program's ``make`` gets."""
        self.program = program
        self.limits = limits or BorderLimits()
        self._socket = host.helper_socket if helped else ""
        self._start = Start(msgspec.Raw(msgspec.msgpack.encode(options)), self.limits.memory)
        self._lives: Succession[Life] = Succession("it is not needed any more")
        self._begins = 0
        self._place = ""
        self._moved: Life | None = None
        self._backoff = Backoff()
        self._why = ""

    def __del__(self, finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        """Nobody tells a plugin object when it is not needed any more.

        When the interpreter ends, so does the program, by itself; a lock may then be held by a thread that never runs again.
        """
        if hasattr(self, "_lives") and not finalizing():
            self.close()

    @property
    def pid(self) -> int | None:
        """The number of the process, in the helper its number there; ``None`` when it does not run."""
        return self._lives.pid

    @property
    def where(self) -> str:
        """Where it runs, ran last or will run: ``child of this process`` or ``helper at PATH``."""
        helper = self._place if self._lives.latest is not None else self._helper()
        return f"helper at {helper}" if helper else "child of this process"

    @property
    def restarts(self) -> int:
        """How often another process took the place of one that had ended."""
        return max(0, self._begins - 1)

    @property
    def unreaped(self) -> int:
        """Killed processes that the kernel has not let go yet."""
        return self._lives.unreaped

    def open(self, deadline: float) -> None:
        """Start the program if it does not run, before ``deadline`` (``time.monotonic()``). Raises ``BorderFailed``."""
        try:
            self._running(deadline)
        except BorderFailed as error:
            raise self._named(error) from error

    def ask(self, request: msgspec.Struct, kind: type[T], deadline: float) -> T:
        """The answer to a request, as a ``kind``; a program that does not run is started for it.

        Past ``deadline`` (``time.monotonic()``) its process is killed. Raises ``AllocationRefused`` when the program did so, and
        ``BorderFailed`` for everything else.
        """
        try:
            life = self._running(deadline)
            reply: Answer | Failure = life.exchange(_call(request), Answer | Failure, deadline, what=_name(request))
            if isinstance(reply, Answer):
                with life.blamed(_name(request)):
                    return msgspec.msgpack.decode(reply.value, type=kind)
        except BorderFailed as error:
            raise self._named(error) from error
        if reply.refused:
            raise AllocationRefused(reply.text)
        raise self._named(reply.text)

    def connect(self, request: msgspec.Struct, kind: type[T]) -> BorderStream[T]:
        """The stream of ``kind`` that answers a request; to be closed. Never starts the program: ``BorderFailed`` if it does not run.

        ::

            with border.connect(Watch(), Event) as events:
                async for event in events:
                    look_again()
        """
        life = self._lives.latest
        if life is None or not life.usable:
            raise self._named("does not run; the next look starts it" if life is None else life.fate())
        try:
            connection = life.connect()
            try:
                with life.blamed(_name(request)):
                    framing.send(connection, _call(request), time.monotonic() + 1.0)
            except BorderFailed:
                connection.close()
                raise
        except BorderFailed as error:
            raise self._named(error) from error
        return BorderStream(life, connection, kind, self.limits.beat, self._named)

    async def follow(
        self, request: msgspec.Struct, kind: type[T], absent: Callable[[], bool]
    ) -> AsyncGenerator[T | None, None]:
        """What answers a request, as it comes, for ever; the program is started for that, but not while all is ``absent``.

        ``None`` comes where something may have been missed: whenever a stream has ended.
        """
        import trio  # not at the top: programs, and who only asks, need none

        pause = 1.0
        while True:
            while absent():  # noqa: ASYNC110  # where the host's events do not come, nobody tells
                await trio.sleep(_IDLE)
            try:
                await trio.to_thread.run_sync(self.open, time.monotonic() + _LISTENS, abandon_on_cancel=True)
                with self.connect(request, kind) as stream:
                    async for each in stream:
                        pause = 1.0
                        yield each
            except BorderFailed:
                await trio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            yield None

    def restart(self, because: str) -> None:
        """Kill the process; the next ``ask`` has a new one. Waits for nothing."""
        if (life := self._lives.latest) is not None:
            life.kill(because)

    def close(self) -> None:
        """Kill the process for good. Waits for nothing."""
        self._lives.close()

    def _running(self, deadline: float) -> Life:
        life = self._lives.latest
        if life is not None and life.usable and not self._place and self._helper():
            self._moved = life
            life.kill("the helper is there now")
        return self._lives.usable(deadline, self.limits.start, self._begun)

    def _begun(self, deadline: float, before: Life | None) -> Life:
        if before is not None and before is not self._moved:
            self._note(before.fate(), before)
        if (left := self._backoff.until - time.monotonic()) > 0:
            raise BorderFailed(f"{self._why}; it is started again in {left:.1f} s at the earliest")
        self._place = self._helper()
        # Where not even this is possible, nothing was started, and there is nothing to slow down.
        life = Life(
            helped(self._place, self.program, deadline) if self._place else spawned(module_of(self.program), self.program)
        )
        try:
            life.start(self._start, Started | Failure, deadline)
        except (BorderFailed, PluginRefused) as error:
            self._note(str(error), life)
            self._lives.outlived(life)
            raise BorderFailed(str(error)) from error
        self._begins += 1
        return life

    def _note(self, why: str, life: Life) -> None:
        """A life has ended that should not have."""
        self._why = why
        self._backoff = self._backoff.after(life.lived, time.monotonic(), random.random())  # noqa: S311 - no secret

    def _helper(self) -> str:
        """The path of the helper's socket, empty where there is none."""
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.stat(self._socket).st_mode):
                return self._socket
        return ""

    def _named(self, fate: object) -> BorderFailed:
        return BorderFailed(f"program {self.program} ({self.where}): {fate}")


def _name(request: msgspec.Struct) -> str:
    return type(request).__name__


def _call(request: msgspec.Struct) -> Call:
    return Call(_name(request), msgspec.Raw(msgspec.msgpack.encode(request)))
