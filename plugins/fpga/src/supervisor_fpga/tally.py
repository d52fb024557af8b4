"""What came of the starts of containers, counted for the metrics."""

import threading
from collections.abc import Iterable

from supervisor_fpga.metrics import Outcome, StartCount
from supervisor_fpga.operating.messages import Prepared


class Tally:
    """Counts since the start of the process; may be used by any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, Outcome], StartCount] = {}

    def add(self, resource: str, outcome: Outcome, seconds: float, prepared: Iterable[Prepared]) -> None:
        """Count one unit: ``seconds`` with the wait for others, ``prepared`` what was said of its functions."""
        done = [each for each in prepared if each.outcome == "ready"]
        programmed = [each for each in done if each.programmed]
        with self._lock:
            before = self._counts.get((resource, outcome), StartCount(resource, outcome))
            self._counts[resource, outcome] = StartCount(
                resource,
                outcome,
                count=before.count + 1,
                seconds=before.seconds + seconds,
                programmed=before.programmed + len(programmed),
                programming_seconds=before.programming_seconds + sum(each.seconds for each in programmed),
                resets=before.resets + sum(each.was_reset for each in done),
            )

    def counts(self) -> tuple[StartCount, ...]:
        """By resource and outcome."""
        with self._lock:
            return tuple(self._counts.values())
