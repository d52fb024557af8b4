"""Measured values, what was aimed at, and the table that shows both."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of the values lie. Raises IndexError without values."""
    ordered = sorted(values)
    return ordered[round((len(ordered) - 1) * share)]


@dataclass(frozen=True)
class Row:
    """One measure: a value for each round, of the supervisor and of what it is compared with."""

    measure: str
    unit: str
    ours: Sequence[float]
    reference: Sequence[float] = ()
    """From the same rounds, in the same order, or nothing to compare with."""
    at_most: float | None = None
    ratio_at_most: float | None = None
    worst: bool = False
    """Judge the worst round instead of the median."""
    note: str = ""

    @property
    def value(self) -> float:
        """What is judged."""
        return max(self.ours) if self.worst else statistics.median(self.ours)

    @property
    def ratio(self) -> float | None:
        """Median of the rounds' ratios: what disturbs a round disturbs both sides of it."""
        if not self.reference:
            return None
        return statistics.median(ours / other for ours, other in zip(self.ours, self.reference, strict=True))

    @property
    def good(self) -> bool:
        """Whether every target is met."""
        absolute = self.at_most is None or self.value <= self.at_most
        return absolute and (self.ratio_at_most is None or (self.ratio is not None and self.ratio <= self.ratio_at_most))

    @property
    def target(self) -> str:
        """The targets in words."""
        wanted = [] if self.at_most is None else [f"≤ {self.at_most:g} {self.unit}"]
        return ", ".join(wanted if self.ratio_at_most is None else [*wanted, f"≤ {self.ratio_at_most:g}x"])

    def to_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {
            "measure": self.measure,
            "unit": self.unit,
            "ours": list(self.ours),
            "reference": list(self.reference),
            "value": self.value,
            "ratio": self.ratio,
            "at_most": self.at_most,
            "ratio_at_most": self.ratio_at_most,
            "good": self.good,
            "note": self.note,
        }


HEADINGS = ("measure", "ours (min … max)", "reference (min … max)", "ratio", "target", "")


def table(rows: Iterable[Row]) -> str:
    """The rows as aligned text."""
    lines = [HEADINGS, *(cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    lines.insert(1, tuple("─" * width for width in widths))
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)


def cells(row: Row) -> tuple[str, ...]:
    """What the table shows of a row."""
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}x"
    verdict = "met" if row.good else "MISSED"
    measure = f"{row.measure} ({row.note})" if row.note else row.measure
    return (measure, _spread(row.ours, row.unit), _spread(row.reference, row.unit), ratio, row.target, verdict)


def _spread(values: Sequence[float], unit: str) -> str:
    if not values:
        return ""
    middle = f"{_number(statistics.median(values))} {unit}"
    return middle if len(values) == 1 else f"{middle} ({_number(min(values))} … {_number(max(values))})"


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
