"""A wake-up that may be given as often as one likes: by its trio loop, or by any thread."""

import contextlib

import trio


class WakeUp:
    """Remembers at most one wake-up. One task waits. Make it inside the trio loop that waits."""

    def __init__(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._event = trio.Event()
        self._called = False

    def set(self) -> None:
        """From the loop itself."""
        self._event.set()

    def set_from_thread(self) -> None:
        """From any thread; never blocks. Many calls before the loop turns are one. Silent once the loop has ended."""
        if self._called:
            return  # the loop has not turned since; whatever the caller has done by now will be seen
        self._called = True
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._answer)

    def _answer(self) -> None:
        self._called = False  # before anybody wakes: what is done from now on needs a call of its own
        self._event.set()

    async def wait(self) -> None:
        """Until the next wake-up; at once when there was one since the last call."""
        await self._event.wait()
        self._event = trio.Event()
