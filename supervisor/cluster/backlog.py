"""What waits to be told, and how often something may be told. Both are bounded, whatever happens how often."""

from collections import Counter
from collections.abc import Iterable

from msgspec.structs import replace

from supervisor.cluster.happenings import Happening, Reason

MOST_WAITING = 1024
"""Subjects; what is about others is only counted."""
BURST = 25
REFILL = 10.0
"""Requests at once, and seconds for each one after them."""
NAMED = 8
"""Devices that a sum names."""

_WORDS = {Reason.DEVICE_LOST: "lost", Reason.DEVICE_UNHEALTHY: "unhealthy", Reason.DEVICE_RECOVERED: "healthy again"}
"""The gravest first."""


class Bucket:
    """Requests that may be made. Times are passed in, in seconds of any clock that does not jump."""

    def __init__(self, now: float) -> None:
        self._tokens = float(BURST)
        self._at = now

    def take(self, now: float) -> bool:
        """Whether one more may be made now; then it counts."""
        self._tokens = min(float(BURST), self._tokens + (now - self._at) / REFILL)
        self._at = now
        if self._tokens < 1 - 1e-6:  # a sum of parts is never quite one
            return False
        self._tokens -= 1
        return True

    def wait(self, now: float) -> float:
        """Seconds until there is one."""
        return max(0.0, (1 - self._tokens) * REFILL - (now - self._at))


class Backlog:
    """Happenings by subject, the oldest first. The last word about a subject stands in the place of its first."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, ...], Happening] = {}
        self._uncounted = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, new: Happening) -> None:
        before = self._waiting.get(new.subject)
        if before is None and len(self._waiting) >= MOST_WAITING:
            self._uncounted += 1
            return
        same = before is not None and before.reason is new.reason
        self._waiting[new.subject] = replace(new, times=before.times + 1) if same and before is not None else new

    def put_back(self, told_in_vain: Happening) -> None:
        """To be told later than all others, unless there is newer word about its subject."""
        if told_in_vain.subject not in self._waiting and len(self._waiting) < MOST_WAITING:
            self._waiting[told_in_vain.subject] = told_in_vain

    def clear(self) -> None:
        self._waiting.clear()
        self._uncounted = 0

    def take(self, *, sum_up: bool) -> Happening:
        """The oldest; with ``sum_up``, or when not all could be kept, all devices in one if the oldest is a device.

        Raises ``StopIteration`` when nothing waits.
        """
        first = next(iter(self._waiting.values()))
        devices = [one for one in self._waiting.values() if one.device] if sum_up or self._uncounted else []
        if not first.device or len(devices) + self._uncounted < 2:
            return self._waiting.pop(first.subject)
        for one in devices:
            del self._waiting[one.subject]
        uncounted, self._uncounted = self._uncounted, 0
        return _sum(devices, uncounted)


def _sum(devices: Iterable[Happening], uncounted: int) -> Happening:
    """One happening for many devices, as grave as the gravest of them."""
    gravity = list(_WORDS)
    told = sorted(devices, key=lambda one: gravity.index(one.reason))
    counts = Counter(one.reason for one in told)  # in the order of their first, so the gravest comes first
    parts = [f"{count} {_WORDS[reason]}" for reason, count in counts.items()]
    names = ", ".join(f"{one.resource} {one.device}" for one in told[:NAMED]) + (", …" if len(told) > NAMED else "")
    others = f", and {uncounted} changes of others" if uncounted else ""
    message = f"{len(told)} more devices: {', '.join(parts)} ({names}){others}"
    return Happening(("sum",), told[0].reason, message, max(one.at for one in told), similar="sum")
