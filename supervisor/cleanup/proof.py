"""When a file may go: two complete readings, a while apart, show that nobody holds a device whose containers need it.

Nothing here reads a clock: times are passed in, in ``time.monotonic()`` seconds.
"""

import math
from collections.abc import Iterable

from msgspec import Struct

from supervisor.kubelet.sockets import FileIdentity
from supervisor.ledger import Reading
from supervisor.model import Leftover
from supervisor.tombstones import APART, QUIET


class Pace(Struct, frozen=True):
    """Seconds of everything that takes time."""

    apart: float = APART
    quiet: float = QUIET
    """After the start of a kubelet."""
    wait: float = 0.0
    """For devices that are held."""


class Verdict(Struct, frozen=True):
    """What one reading means for the leftovers."""

    free: tuple[Leftover, ...] = ()
    """They may go."""
    pending: tuple[Leftover, ...] = ()
    """Nobody seems to need them; another reading has to confirm it."""
    held: tuple[Leftover, ...] = ()
    """Somebody needs them, or nobody could be asked."""


class Proof:
    """What the readings so far have shown."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._free_since: dict[str, float] = {}
        self._kubelet: FileIdentity | None = None
        self._quiet_until = -math.inf
        self._begun = False

    def judge(self, reading: Reading, leftovers: Iterable[Leftover], kubelet: FileIdentity | None, wall: float) -> Verdict:
        """``kubelet``: its socket, seen after the reading; ``wall``: seconds since the epoch at the reading."""
        self._see(kubelet, reading.at, wall)
        free, pending, held = [], [], []
        for each in leftovers:
            if each.needed_by or not reading.complete:
                self._free_since.pop(each.path, None)
                held.append(each)
            elif self._confirmed(each.path, reading.at):
                free.append(each)
            else:
                pending.append(each)
        return Verdict(tuple(free), tuple(pending), tuple(held))

    def _see(self, kubelet: FileIdentity | None, now: float, wall: float) -> None:
        """A kubelet that has started takes back what was shown before: its first answers are empty."""
        if self._begun and kubelet == self._kubelet:
            return
        self._begun, self._kubelet = True, kubelet
        self._free_since.clear()
        age = math.inf if kubelet is None else max(0.0, wall - kubelet.changed_ns / 1e9)
        self._quiet_until = now - age + self._pace.quiet

    def _confirmed(self, path: str, at: float) -> bool:
        if at < self._quiet_until:
            return False
        return at - self._free_since.setdefault(path, at) >= self._pace.apart

    def next_at(self, reading: Reading) -> float:
        """When another reading can prove more."""
        return max(reading.at + self._pace.apart, self._quiet_until)
