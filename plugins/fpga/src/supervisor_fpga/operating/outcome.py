"""How an operation ends early: with an outcome and a sentence, and in time."""

import errno
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

LONGEST = 30.0
"""Seconds: the kubelet waits no longer for a container to be made ready."""

_GONE = frozenset({errno.ENOENT, errno.ENXIO, errno.ENODEV})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


class Stopped(Exception):
    """The operation is over, and its function is not ready; the text is a short sentence for a person."""

    def __init__(self, outcome: Literal["busy", "refused", "failed", "late"], text: str) -> None:
        super().__init__(text)
        self.outcome = outcome
        self.text = text


class Clock:
    """The time that an operation has, and what it is doing."""

    def __init__(self, deadline: float) -> None:
        """``deadline``: of ``time.monotonic()``; one that is too far away is believed no more than anything else."""
        self.deadline = min(deadline, time.monotonic() + LONGEST)
        self.step = "beginning"

    @property
    def left(self) -> float:
        """Seconds; never less than 0."""
        return max(0.0, self.deadline - time.monotonic())

    def begin(self, step: str) -> None:
        """Begin a step, said as in "resetting its port". Raises ``Stopped`` where there is no time for it."""
        self.step = step
        self.check()

    def check(self) -> None:
        """Raises ``Stopped`` when the time is over: what comes back late must not go on."""
        if time.monotonic() >= self.deadline:
            raise self.late()

    def late(self) -> Stopped:
        return Stopped("late", f"there was no time left for {self.step}")

    @contextmanager
    def doing(self, step: str) -> Iterator[None]:
        """A step that talks to a driver, whose errors become ``Stopped``."""
        self.begin(step)
        try:
            yield
        except OSError as error:
            raise stopped(step, error) from error


def stopped(step: str, error: OSError) -> Stopped:
    """What an error of the kernel means for whoever waits."""
    why = (error.strerror or str(error)).lower()
    if error.errno == errno.EBUSY:
        return Stopped("busy", f"{step}: it is in use elsewhere")
    if error.errno in _GONE:
        return Stopped("failed", f"{step}: the device is gone ({why})")
    if error.errno in _FORBIDDEN:
        return Stopped("refused", f"{step}: {why}; only the helper container may do this, see components/fpga-programming")
    return Stopped("failed", f"{step}: {why}")
