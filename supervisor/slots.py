"""A plugin's own worker threads for the kubelet's calls: one plugin that hangs uses up its own slots and nobody else's.

A call goes from the thread that answers the kubelet to a worker and straight back; no event loop is in between, and none is
imported here. Threads are daemon threads: one that never returns must not keep the process from ending.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

DEFAULT_SLOTS = 8
"""Calls of one plugin that run at once."""


@dataclass(frozen=True, slots=True)
class Returned:
    """The function came back; what it returned is not checked here."""

    value: Any


@dataclass(frozen=True, slots=True)
class Raised:
    """The function raised, or no thread could be had for it. Holds ``SystemExit`` and its like too: plugin code ends no thread."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class Expired:
    """The function was never started: its deadline passed while it waited for a slot, or the slots were closed."""


Outcome = Returned | Raised | Expired
Done = Callable[[Outcome], None]


@dataclass(eq=False, slots=True)
class _Call:
    run: Callable[[], Any]
    deadline: float
    done: Done


class Slots:
    """At most ``size`` threads, started when first needed and kept for the next call; ``close`` lets them go.

    A thread that hangs keeps its slot until it returns. No method waits for plugin code; all may be called from any thread.
    """

    def __init__(self, name: str, size: int = DEFAULT_SLOTS, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self.size = size
        self._clock = clock
        self._changed = threading.Condition(threading.Lock())
        self._queue: deque[_Call] = deque()
        self._running: set[_Call] = set()
        self._threads = 0
        self._idle = 0
        self._closed = False

    def submit(self, function: Callable[..., Any], *args: Any, deadline: float, done: Done) -> None:
        """Run ``function(*args)`` in a slot; ``deadline`` is a time of ``time.monotonic()`` and counts the wait for a slot.

        ``done`` is called exactly once with the outcome, however late that is: by the worker, or, for a call that cannot be
        started, by the thread that finds this out. It must not block or raise. The caller keeps its own timer.
        """
        call = _Call(lambda: function(*args), deadline, done)
        with self._changed:
            over = [self._queue.popleft() for _ in range(self._expired_at_head())]
            refusal = Expired() if self._closed else self._enqueue(call)
        for late in over:  # hung slots take nothing from the queue; without this it would grow with every call
            late.done(Expired())
        if refusal is not None:
            done(refusal)

    @property
    def late(self) -> int:
        """How many calls are past their deadline and still running."""
        now = self._clock()
        with self._changed:
            return sum(call.deadline <= now for call in self._running)

    @property
    def busy(self) -> bool:
        """Whether there is a call whose deadline has not passed: somebody may still wait for its answer."""
        now = self._clock()
        with self._changed:
            return any(call.deadline > now for call in (*self._running, *self._queue))

    def close(self) -> None:
        """Start nothing any more; calls that run come to their end, and then their threads do."""
        with self._changed:
            self._closed = True
            waiting = list(self._queue)
            self._queue.clear()
            self._changed.notify_all()
        for call in waiting:
            call.done(Expired())

    def _expired_at_head(self) -> int:
        now = self._clock()
        return next((at for at, call in enumerate(self._queue) if call.deadline > now), len(self._queue))

    def _enqueue(self, call: _Call) -> Raised | None:
        self._queue.append(call)
        if len(self._queue) <= self._idle or self._threads >= self.size:
            self._changed.notify()
            return None
        self._threads += 1
        worker = threading.Thread(target=self._work, name=f"{self.name} rpc {self._threads}", daemon=True)
        try:
            worker.start()
        except RuntimeError as error:  # the node's limit of threads is reached
            self._threads -= 1
            if self._threads == 0:
                self._queue.remove(call)
                return Raised(error)
        return None

    def _work(self) -> None:
        while (call := self._next()) is not None:
            call.done(Expired() if call.deadline <= self._clock() else self._run(call))
            del call  # an idle thread must not keep a plugin's objects alive

    def _next(self) -> _Call | None:
        with self._changed:
            self._idle += 1
            while not self._queue and not self._closed:
                self._changed.wait()
            self._idle -= 1
            if self._queue:
                return self._queue.popleft()
            self._threads -= 1
            return None

    def _run(self, call: _Call) -> Returned | Raised:
        with self._changed:
            self._running.add(call)
        try:
            return Returned(call.run())
        except BaseException as error:  # noqa: BLE001 - plugin code may raise anything, and a slot outlives it
            return Raised(error)
        finally:
            with self._changed:
                self._running.discard(call)
