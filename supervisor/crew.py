"""Threads for reads that may never return: one device that hangs delays no other."""

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

STALL = 0.02
"""Seconds without progress after which others take over the rest."""

MOST = 160
"""Threads that may hang at once; then what is left of a round is not read."""


class Crew(Generic[K, V]):
    """Reads one thing after the other in one thread, as long as that goes on.

    When it stalls, a second thread takes over what is left, then two more, then four: a card that hangs takes all its functions with
    it. What hangs is left alone until its thread has come back. One thread calls this at a time.
    """

    def __init__(self, stall: float = STALL, most: int = MOST) -> None:
        self._stall = stall
        self._most = most
        self._lock = threading.RLock()
        self._change = threading.Condition(self._lock)
        self._running: dict[K, float] = {}
        """Since when each is being read."""
        self._threads = 0

    def waiting(self, key: K) -> float:
        """For how many seconds it has been read without an end; 0 when it is not being read."""
        since = self._running.get(key)
        return 0.0 if since is None else time.monotonic() - since

    def read(self, jobs: Mapping[K, Callable[[], V]], patience: Callable[[K], float] = lambda _: 0.0) -> dict[K, V]:
        """What each job returned, of those that returned in time.

        A job that does not is waited for so many seconds of ``patience``, and for a moment in any case. One that still hangs from
        before is not begun. A job that raises has no result; the error goes to the log.
        """
        left = deque((key, job) for key, job in jobs.items() if key not in self._running)
        mine = frozenset(key for key, _ in left)
        done: dict[K, V] = {}
        with self._change:
            self._enlist(left, done, 1)
            more = 1
            while left or self._is_worth_waiting(mine, patience):
                before = len(done)
                self._change.wait(self._stall)
                if left and len(done) == before:
                    if self._threads >= self._most:
                        break
                    self._enlist(left, done, more)
                    more *= 2
            left.clear()
            return dict(done)

    def _is_worth_waiting(self, keys: frozenset[K], patience: Callable[[K], float]) -> bool:
        return any(self.waiting(key) < max(patience(key), self._stall) for key in keys & self._running.keys())

    def _enlist(self, left: deque[tuple[K, Callable[[], V]]], done: dict[K, V], count: int) -> None:
        for _ in range(min(count, len(left), self._most - self._threads)):
            self._threads += 1
            threading.Thread(target=self._work, args=(left, done), name="crew", daemon=True).start()

    def _work(self, left: deque[tuple[K, Callable[[], V]]], done: dict[K, V]) -> None:
        begun: tuple[K, Callable[[], V]] | None = None
        finished: list[tuple[K, V]] = []
        try:
            while (begun := self._next(left, done, finished)) is not None:
                finished = [(begun[0], begun[1]())]
        finally:
            with self._lock:
                if begun is not None:
                    del self._running[begun[0]]
                self._threads -= 1
                self._change.notify_all()

    def _next(
        self, left: deque[tuple[K, Callable[[], V]]], done: dict[K, V], finished: list[tuple[K, V]]
    ) -> tuple[K, Callable[[], V]] | None:
        """Hand in what is finished, and take what comes next."""
        with self._lock:
            for key, value in finished:
                del self._running[key]
                done[key] = value
            if not left:
                return None
            self._running[left[0][0]] = time.monotonic()
            return left.popleft()
