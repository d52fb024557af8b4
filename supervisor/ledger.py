"""Who holds which device, as the kubelet tells it: by podresources, and by its checkpoint.

The Device Plugin API never says that a device is free again, so this has to be read. Nothing here speaks with the kubelet:
``supervisor.kubelet.podresources`` and ``supervisor.kubelet.checkpoint`` are the two sources of a ``Reading``.
Times are ``time.monotonic()`` seconds.
"""

import math
from collections.abc import Awaitable, Callable
from typing import Literal

import msgspec
from msgspec import Struct

SETTLE = 5.0
"""Seconds from a change to the read that looks for it: admission writes the ledger only after the last Allocate of a pod."""
PERIOD = 30.0
"""Seconds between reads while there is something to learn."""
WATCHED_PERIOD = 10.0
"""The same while somebody looks who holds what: nothing tells that a pod has ended."""
DOUBT = 60.0
"""Seconds after a change in which one read is not enough: a fresh kubelet answers, and its answer is still empty."""


class Holding(Struct, frozen=True, gc=False):
    """One device in the hands of one container."""

    resource: str
    device_id: str
    namespace: str
    """Empty where the checkpoint was read: it knows pods by UID alone."""
    pod: str
    """The pod's name; its UID where the checkpoint was read."""
    container: str
    numa_nodes: tuple[int, ...] = ()
    """Where the kubelet believes the device to sit. Empty: nowhere special."""


class Reading(Struct, frozen=True):
    """What one source said at one moment."""

    at: float
    """When the reading began, so that whatever happened before is in it."""
    source: Literal["podresources", "checkpoint", "none"]
    complete: bool
    """Whether an id that is not in ``holdings`` is not held, as far as the kubelet knows. Else nothing was learned."""
    holdings: tuple[Holding, ...] = ()
    unlisted: tuple[Holding, ...] = ()
    """What only the checkpoint shows, where podresources was believed: ordinary init containers, which podresources never lists,
    and containers of pods that have ended since the kubelet last wrote the file."""
    reason: str = ""
    """Why it is not complete, for people."""

    def held(self, resource: str) -> frozenset[str]:
        """The ids of one resource that some container holds."""
        return frozenset(holding.device_id for holding in self.holdings if holding.resource == resource)

    def unsure(self, resource: str) -> frozenset[str]:
        """The ids of one resource that only the checkpoint shows as held."""
        return frozenset(holding.device_id for holding in self.unlisted if holding.resource == resource)


Read = Callable[[], Awaitable[Reading]]
"""Ask a source. It never raises: a source that cannot be read gives an incomplete ``Reading``."""


def both(podresources: Read, checkpoint: Read) -> Read:
    """A source that believes podresources where it answers, and beside it notes what only the checkpoint shows; else the checkpoint.

    Podresources is asked first: the kubelet forgets ended pods when it is asked, so that whatever it writes later is true.
    """

    async def read() -> Reading:
        asked, kept = await podresources(), await checkpoint()
        if not asked.complete:
            reason = f"{asked.reason}; {kept.reason}"
            return kept if kept.complete else Reading(asked.at, "none", complete=False, reason=reason)
        listed = {(holding.resource, holding.device_id) for holding in asked.holdings}
        unlisted = (each for each in kept.holdings if kept.complete and (each.resource, each.device_id) not in listed)
        return msgspec.structs.replace(asked, unlisted=tuple(unlisted))

    return read


def next_read_at(
    read_at: float | None, changed_at: float, unread_since: float | None, *, tombstones: bool, attribution: bool
) -> float | None:
    """When to read next; ``-inf``: at once; ``None``: not before something changes.

    ``read_at``: when the last reading began. ``changed_at``: the last change. ``unread_since``: the first change that no
    reading has covered.

    - The first read is due at once: what was held before this process began is listed only after it.
    - A change is read ``SETTLE`` seconds later, however many follow it: a burst is one read, a stream of them one each 5 s.
    - It goes on every ``PERIOD`` while tombstones wait to be freed and until one read began ``DOUBT`` seconds after the last
      change, and every ``WATCHED_PERIOD`` while somebody looks who holds what (``attribution``).
    - Then there is nothing to learn, and an idle node is not asked.
    """
    if read_at is None:
        return -math.inf
    after_change = math.inf if unread_since is None else unread_since + SETTLE
    periodic = read_at + PERIOD if tombstones or read_at < changed_at + DOUBT else math.inf
    watched = read_at + WATCHED_PERIOD if attribution else math.inf
    due = min(after_change, periodic, watched)
    return None if due == math.inf else due


class Ledger:
    """The newest readings of one source, and when the next is due. Owned by one task, which calls ``refresh``."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._changed_at = -math.inf
        self._unread_since: float | None = None
        self.newest: Reading | None = None
        """The last answer, complete or not."""
        self.complete: Reading | None = None
        """The last complete answer. It may be old: ``newest`` tells whether it still stands."""

    def changed(self, now: float) -> None:
        """Something happened that a reading may show.

        A promotion, a kubelet that came or went, an id that vanished; and an Allocate, where attribution is wanted.
        """
        self._changed_at = now
        if self._unread_since is None:
            self._unread_since = now

    async def refresh(self) -> Reading:
        """Read now. A change that arrives after the reading began stays unread."""
        reading = await self._read()
        self.newest = reading
        if reading.complete:
            self.complete = reading
        self._unread_since = self._changed_at if self._changed_at > reading.at else None
        return reading

    def next_read_at(self, *, tombstones: bool, attribution: bool) -> float | None:
        """When ``refresh`` is due; see the function of this name."""
        read_at = None if self.newest is None else self.newest.at
        return next_read_at(read_at, self._changed_at, self._unread_since, tombstones=tombstones, attribution=attribution)

    def holders(self, resource: str, device_id: str) -> tuple[Holding, ...]:
        """Who holds this device, by the last complete reading; several, where a pod's containers share it."""
        holdings = () if self.complete is None else self.complete.holdings
        return tuple(each for each in holdings if each.device_id == device_id and each.resource == resource)
