"""How soon a program that has ended is started again."""

from msgspec import Struct

FIRST = 1.0
MOST = 30.0
"""Seconds before the third life, and before any later one. The second starts at once: one crash is not the rule."""
STEADY = 120.0
"""Seconds of life after which an end counts as the first again."""


class Backoff(Struct, frozen=True):
    """How many lives have ended too early in a row, and until when there is to be no other."""

    failures: int = 0
    until: float = 0.0
    """A time of ``time.monotonic()``."""

    def after(self, lived: float, now: float, jitter: float) -> "Backoff":
        """Another life has ended after so many seconds. ``jitter``: 0 to 1."""
        failures = 1 if lived >= STEADY else self.failures + 1
        delay = 0.0 if failures == 1 else min(MOST, FIRST * float(2 ** min(failures - 2, 10))) * (1 + jitter / 4)
        return Backoff(failures, now + delay)
