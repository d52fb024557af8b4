"""The lives of one thing, one after the other: one is of use at most, and killed ones are counted until they are gone."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from supervisor.border.life import Life
from supervisor.errors import BorderFailed

L = TypeVar("L", bound=Life)
Begin = Callable[[float, L | None], L]

MOST_UNREAPED = 3
"""Killed processes of one thing that may hang in the kernel (in a driver that does not return) before no new one is started."""


class Succession(Generic[L]):
    """Begins a life when one is asked for and none is of use. How soon that is asked again is the caller's matter.

    All methods may be called from any thread; ``usable`` blocks.
    """

    def __init__(self, closing: str) -> None:
        """``closing`` is why there is no life after ``close``."""
        self._closing = closing
        self._lock = threading.Lock()
        self._life: L | None = None
        self._killed: list[L] = []
        self._closed = False

    @property
    def latest(self) -> L | None:
        """The last life, of use or not; ``None`` before the first and after one that has ended and found no successor."""
        return self._life

    @property
    def pid(self) -> int | None:
        """The process now, if there is one."""
        life = self._life
        return life.pid if life is not None and life.usable else None

    @property
    def unreaped(self) -> int:
        """Killed processes that the kernel has not let go yet."""
        return sum(not life.ended for life in self._killed)

    def usable(self, deadline: float, most: float, begin: Begin[L]) -> L:
        """The life, begun if need be before ``deadline`` (``time.monotonic()``) and within ``most`` seconds.

        ``begin`` makes a life before a deadline, given the one before it if that was not succeeded yet, and raises ``BorderFailed``. It is
        not kept: who holds this would then never be let go. Raises as ``begin`` does, and ``BorderFailed``.
        """
        if not self._lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise BorderFailed("its process did not come up in time")
        try:
            if self._life is None or not self._life.usable:
                self._life = self._successor(min(deadline, time.monotonic() + most), begin)
            return self._life
        finally:
            self._lock.release()

    def outlived(self, life: L) -> None:
        """Count a life, that ``begin`` had to give up, until it is gone. To be called by ``begin``."""
        self._killed.append(life)

    def close(self) -> None:
        """Kill the process for good. Waits for nothing."""
        self._closed = True
        if (life := self._life) is not None:
            life.kill(self._closing)

    def _successor(self, deadline: float, begin: Begin[L]) -> L:
        before, self._life = self._life, None
        if before is not None:
            self._killed.append(before)
        self._killed = [life for life in self._killed if not life.wait(0.1)]
        if self._closed:
            raise BorderFailed(self._closing)
        if len(self._killed) >= MOST_UNREAPED:
            raise BorderFailed(
                f"{len(self._killed)} killed processes of it hang in the kernel; no other is started before one ends"
            )
        life = begin(deadline, before)
        if self._closed:
            life.kill(self._closing)
        return life
