"""How fast the error counters of a port rise: errors in a minute, over a sliding window. Pure.

Counters are reset by tools and by driver reloads, and may wrap: where one has fallen, what it shows is taken as its rise.
"""

import itertools
from collections.abc import Iterator, Mapping
from typing import Final

from msgspec import Struct

from supervisor_infiniband.config import ErrorRates

WINDOW = 60.0
"""Seconds."""
HOLD = 120.0
"""Seconds for which a rate counts at least, so that one near its limit does not come and go with each reading."""
MOST_SAMPLES = 128

JUDGED: Final = tuple(name for name in ErrorRates.__struct_fields__ if name != "action")
"""The counters that have limits, by the kernel's file names."""


class Counted(Struct, frozen=True):
    """One reading."""

    at: float
    values: Mapping[str, int]


class Peak(Struct, frozen=True):
    """A rate, and until when it counts."""

    per_minute: float
    until: float


class Slope(Struct, frozen=True):
    """The counters of one port."""

    samples: tuple[Counted, ...] = ()
    """Those of the window and the last one before it, oldest first."""
    peaks: Mapping[str, tuple[Peak, ...]] = {}
    """By counter; none is zero."""

    def rate(self, counter: str, now: float) -> float:
        """The highest rate that counts still."""
        return max((peak.per_minute for peak in self.peaks.get(counter, ()) if peak.until > now), default=0.0)


def counted(slope: Slope, values: Mapping[str, int], now: float) -> Slope:
    """The slope after a reading; one that is not newer than the last changes nothing."""
    last = slope.samples[-1].at if slope.samples else None
    if last is not None and now <= last:
        return slope
    judged = {name: values[name] for name in JUDGED if name in values}
    samples = _within((*slope.samples, Counted(now, judged)), now)
    until = now + max(HOLD, 2 * (now - last) if last is not None else 0.0)
    peaks = {
        name: kept for name in JUDGED if (kept := _kept(slope.peaks.get(name, ()), _per_minute(samples, name), until, now))
    }
    return Slope(samples, peaks)


def _within(samples: tuple[Counted, ...], now: float) -> tuple[Counted, ...]:
    older = sum(sample.at <= now - WINDOW for sample in samples)
    return samples[max(0, older - 1) :][-MOST_SAMPLES:]


def _per_minute(samples: tuple[Counted, ...], name: str) -> float:
    """Errors in a minute; of a shorter time no more is claimed than was counted."""
    known = [sample for sample in samples if name in sample.values]
    if len(known) < 2:
        return 0.0
    return sum(_rises(known, name)) * 60.0 / max(known[-1].at - known[0].at, WINDOW)


def _rises(samples: list[Counted], name: str) -> Iterator[int]:
    for before, after in itertools.pairwise(samples):
        rise = after.values[name] - before.values[name]
        yield rise if rise >= 0 else after.values[name]


def _kept(peaks: tuple[Peak, ...], per_minute: float, until: float, now: float) -> tuple[Peak, ...]:
    """Those that will be the highest at some time to come."""
    lasting = (peak for peak in peaks if peak.until > now and (peak.per_minute > per_minute or peak.until > until))
    return (*lasting, Peak(per_minute, until)) if per_minute > 0 else tuple(lasting)


def unseen(slope: Slope, now: float) -> Slope:
    """The slope of a port that cannot be seen now: how its counters go on is unknown, but what they have shown counts still."""
    left = {name: tuple(peak for peak in peaks if peak.until > now) for name, peaks in slope.peaks.items()}
    return Slope(peaks={name: peaks for name, peaks in left.items() if peaks})


def together(mine: Slope, kept: Slope) -> Slope:
    """What two processes have counted: of this one the readings, of both the rates."""
    names = mine.peaks.keys() | kept.peaks.keys()
    peaks = {name: {*mine.peaks.get(name, ()), *kept.peaks.get(name, ())} for name in sorted(names)}
    return Slope(mine.samples, {name: tuple(sorted(some, key=lambda peak: peak.until)) for name, some in peaks.items()})


def excesses(slope: Slope, limits: ErrorRates, now: float) -> Iterator[tuple[str, float]]:
    """The counters that rise too fast, with their limits."""
    for name in JUDGED:
        limit = getattr(limits, name)
        if limit and slope.rate(name, now) >= limit:
            yield name, limit
