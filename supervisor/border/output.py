"""What a child prints, passed on to our own error output: never waiting for it, and never more than an operator can read."""

import os
import select
import time

KEPT = 500
"""Last bytes that are kept, for the sentence about its end."""
BURST = 256 << 10
"""Bytes that are passed on at once, after a silence."""
RATE = 16 << 10
"""Bytes in a second that are passed on in the long run."""

_PIECE = select.PIPE_BUF
"""Bytes that a pipe which can be written to takes without waiting."""


class Output:
    """The output of one child."""

    def __init__(self, to: int = 2) -> None:
        """``to``: a descriptor; it may be a pipe that nobody reads, or closed."""
        self._to = to
        self._last = b""
        self._allowance = float(BURST)
        self._at = time.monotonic()
        self._left_out = 0

    @property
    def last_line(self) -> str:
        """What it said last."""
        return self._last.decode(errors="replace").strip().rpartition("\n")[2]

    def pass_on(self, some: bytes) -> bool:
        """Pass on some output; whether there was any. What is too much is counted instead, and the count is told."""
        self._last = (self._last + some)[-KEPT:]
        now = time.monotonic()
        self._allowance = min(BURST, self._allowance + (now - self._at) * RATE)
        self._at = now
        if self._left_out and self._allowance >= BURST / 2:
            self._write(f"\n[{self._left_out} bytes of output were left out here]\n".encode())
            self._left_out = 0
        if len(some) <= self._allowance and not self._left_out:
            self._allowance -= len(some)
            self._left_out += len(some) - self._write(some)
        else:
            self._left_out += len(some)
        return bool(some)

    def _write(self, some: bytes) -> int:
        """How many bytes could be written without waiting."""
        written = 0
        poller = select.poll()
        poller.register(self._to, select.POLLOUT)
        while written < len(some) and dict(poller.poll(0)).get(self._to) == select.POLLOUT:
            try:
                written += os.write(self._to, some[written : written + _PIECE])
            except OSError:
                break
        return written
