"""Whether a thread turns, judged so that a paused machine is never taken for a wedged program."""

from msgspec import Struct

PERIOD = 5.0
"""Seconds between two beats, and between two observations."""
FATAL = 30.0
"""Seconds after which a thread that has not turned ends the process; a container restart is the cure."""
OBSERVATIONS = 2
"""Late observations in a row before that: after a pause of the machine the first one is always late."""


class Watch(Struct, frozen=True):
    """What one thread has seen of another."""

    late: int = 0

    def observe(self, beat: float, now: float) -> "Watch":
        """``beat``: when the other last turned. Both are ``time.monotonic()`` seconds."""
        return Watch(self.late + 1 if now - beat > FATAL else 0)

    @property
    def wedged(self) -> bool:
        return self.late >= OBSERVATIONS
