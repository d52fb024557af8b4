"""The kubelet's clock: runs at a chosen pace and can be moved forward.

Durations of the kubelet (the 10 s of the dial, the 5 minutes of grace) are *kubelet seconds*; ``scale`` says how many
real seconds one of them lasts.
"""

from __future__ import annotations

import asyncio
import time


class Clock:
    """Monotonic kubelet seconds since an arbitrary start."""

    def __init__(self, scale: float = 1.0) -> None:
        """``scale`` is real seconds for each kubelet second; raises ``ValueError`` unless it is positive."""
        if scale <= 0:
            raise ValueError(f"the time scale must be positive, not {scale}")
        self.scale = scale
        self._moved = 0.0
        self._jump = asyncio.Event()

    def now(self) -> float:
        """Kubelet seconds, jumps included."""
        return time.monotonic() / self.scale + self._moved

    def real(self, seconds: float) -> float:
        """How long ``seconds`` of the kubelet last on the wall."""
        return seconds * self.scale

    def advance(self, seconds: float) -> None:
        """Move the clock forward and wake all sleepers, so that they notice."""
        self._moved += seconds
        self._jump.set()
        self._jump = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        """Sleep for kubelet seconds; a jump shortens the sleep."""
        until = self.now() + seconds
        while (left := until - self.now()) > 0:
            try:
                await asyncio.wait_for(self._jump.wait(), self.real(left))
            except TimeoutError:
                return
