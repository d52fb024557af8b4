"""A bell that any thread rings and trio tasks hear; for plugins whose looks have something to say to their watch."""

import contextlib
import threading

import trio


class Bell:
    """To miss no ring: note ``rings``, look whether what is waited for is there, and only then ``wait`` for another ring."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[trio.Event, trio.lowlevel.TrioToken] = {}
        self.rings = 0
        """How often it rang."""

    def ring(self) -> None:
        """Wake all who wait; from any thread."""
        with self._lock:
            self.rings += 1
            waiting = dict(self._waiting)
        for event, token in waiting.items():
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(event.set)

    async def wait(self, rings: int, seconds: float | None) -> bool:
        """Whether it rang after ``rings``, waiting for it so many seconds (``None``: for ever)."""
        event = trio.Event()
        with self._lock:
            self._waiting[event] = trio.lowlevel.current_trio_token()
            if self.rings != rings:
                event.set()
        try:
            with trio.move_on_after(float("inf") if seconds is None else seconds):
                await event.wait()
        finally:
            with self._lock:
                del self._waiting[event]
        return event.is_set()
