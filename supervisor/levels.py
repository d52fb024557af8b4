"""What the wire thread knows of each resource, as frozen values that any thread may read.

Levels, not events: the wire thread replaces a value and wakes the supervising thread once; nothing can overflow or get lost.
"""

import enum
from collections.abc import Mapping

from msgspec import Struct


class Outcome(enum.StrEnum):
    """How a call of ``Register`` ended. None of them proves a registration: only an open ``ListAndWatch`` does."""

    ANSWERED = "answered"
    REFUSED = "refused"
    """The kubelet answered with an error."""
    UNREACHABLE = "unreachable"
    """The connection failed or broke."""
    TIMED_OUT = "timed_out"
    """No answer in time; kubelets up to 1.34 may still complete the registration later."""
    SKIPPED = "skipped"
    """A stream was open when the call was about to be sent."""


class Attempt(Struct, frozen=True):
    """One call of ``Register``. Times are ``time.monotonic()`` seconds."""

    generation: int
    outcome: Outcome | None = None
    """``None`` while the call is under way."""
    ended_at: float = 0.0
    detail: str = ""


class Level(Struct, frozen=True):
    """One resource as the kubelet sees it."""

    life: int = 0
    """Which service of this name it is: another one after the resource was closed and offered again."""
    bound: bool = False
    """The server accepts connections."""
    path: str = ""
    """Where it was bound last, apart from public names."""
    bind_problem: str = ""
    """Why it does not."""
    listed: bool = False
    """There is a device list that can be sent."""
    list_problem: str = ""
    """Why the newest list was refused; the one before it stays in force."""
    streams: int = 0
    """Open ``ListAndWatch`` calls."""
    opened: int = 0
    """``ListAndWatch`` calls so far."""
    ended_at: float = 0.0
    """When the last stream ended."""
    attempt: Attempt | None = None
    pre_start_required: bool = False
    registered_pre_start: bool = False
    """The ``pre_start_required`` that the kubelet was told last."""


class Counts(Struct, frozen=True):
    """RPCs of one resource since the process started."""

    allocations: Mapping[str, int]
    """Outcome to number: ``ok``, ``refused``, ``failed``, ``timed_out``."""
    allocation_buckets: tuple[int, ...]
    """Calls of ``Allocate`` that took at most ``ALLOCATION_BOUNDS[i]`` seconds; the last one counts all others."""
    allocation_seconds: float
    registrations: Mapping[str, int]


ALLOCATION_BOUNDS = (2.5e-5, 5e-5, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds; chosen around a pure answer (0.03 ms here, of the 0.4 ms that the kubelet sees) and a plugin's own limit (10 s)."""
