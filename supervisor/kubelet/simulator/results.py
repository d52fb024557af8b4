"""What measurements and loads report: frozen values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Latencies:
    """A summary of call latencies in microseconds; all 0 when ``count`` is 0."""

    count: int
    failed: int
    p50: float
    p99: float
    max: float

    @classmethod
    def of(cls, nanoseconds: Sequence[int], failed: int = 0) -> Latencies:
        """Summarise single latencies."""
        if not nanoseconds:
            return cls(0, failed, 0.0, 0.0, 0.0)
        ordered = sorted(nanoseconds)
        last = len(ordered) - 1
        return cls(
            len(ordered),
            failed,
            ordered[round(last * 0.50)] / 1000,
            ordered[round(last * 0.99)] / 1000,
            ordered[-1] / 1000,
        )


@dataclass(frozen=True, slots=True)
class AllocateLoadResult:
    """What a steady Allocate load saw."""

    latencies: Latencies
    failures: tuple[str, ...]
    """The different error texts."""


@dataclass(frozen=True, slots=True)
class FailedAdmission:
    """A pod that a load could not place."""

    at_ns: int
    message: str


@dataclass(frozen=True, slots=True)
class AdmissionLoadResult:
    """What a steady admission load saw; ``skipped`` counts pods for which no kubelet was there."""

    admitted: int
    failed: tuple[FailedAdmission, ...]
    skipped: int
