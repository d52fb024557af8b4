"""How long a server that has failed is left alone."""

from msgspec import Struct

FIRST = 1.0
LONGEST = 300.0
"""Seconds until the next request after one that failed; doubled each time."""


class Patience(Struct, frozen=True):
    """How many requests have failed in a row, and when the next may be made. Times are seconds of a clock that does not jump."""

    failures: int = 0
    until: float = 0.0

    def after_failure(self, now: float, asked: float, jitter: float) -> "Patience":
        """``asked``: seconds that the server asked for, 0 if it did not. ``jitter``: 0 to 1, so that nodes spread."""
        own = min(LONGEST, FIRST * 2.0 ** min(self.failures, 16)) * (0.5 + jitter / 2)
        return Patience(self.failures + 1, now + max(own, min(asked, LONGEST) * (1 + jitter / 4)))
