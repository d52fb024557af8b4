"""An id that may be allocated is never dropped: what vanished stays listed, Unhealthy, until the ledger shows it free.

A kubelet of 1.34 or later dereferences nil when an allocated id is missing from the list, and an older one loses the device's
NUMA node. Nothing here reads a clock: every time is passed in, in ``time.monotonic()`` seconds.
"""

import math
from collections.abc import Collection, Mapping

import msgspec
from msgspec import Struct

from supervisor.events import DeviceTombstoned, Observer, TombstoneCleared
from supervisor.inventory import Inventory
from supervisor.ledger import Reading
from supervisor.model import Device, Health, Topology
from supervisor.pieces import pieces

REASON = "no longer found; may still be in use by a pod"
UNSURE = "no longer found; only the kubelet's checkpoint shows it in use"
"""Listed when podresources has shown it free and the checkpoint has not. The new text is a new list, upon which the kubelet writes
its checkpoint anew: what stood there for an ended pod is gone then, and what is left there is an init container."""
RECHECK = 600.0
"""Seconds after which that is tried again, from the start: the init container may have ended since."""

APART = 10.0
"""Seconds between the two reads that must both show an id free."""
QUIET = 60.0
"""Seconds after a kubelet start, or after an id's last Allocate, in which a read proves nothing: podresources answers with an
empty list in a kubelet's first seconds, and an allocation is recorded only when the whole pod is admitted."""
BOUND = 1_000
"""Tombstones of one resource."""
UNREAD_LIMIT = 24 * 3600.0
"""Seconds that a tombstone lasts while no source can be read."""


class Tombstone(Struct, frozen=True, gc=False):
    """One id that vanished."""

    device: Device
    """What is listed. Without edits, for an Allocate of it is refused; with its topology, so that hints stay as they were."""
    since: float
    free_at: float | None = None
    """When the first of the reads began that showed it free, one after the other; ``None``: it may be held."""

    @classmethod
    def of(cls, device_id: str, topology: Topology, now: float) -> "Tombstone":
        return cls(Device(device_id, Health.UNHEALTHY, REASON, topology), now)


class _Kept(Struct, frozen=True):
    """One resource."""

    found: Inventory | None
    """What the last look found; ``None``: the look had no such key."""
    tombstones: Mapping[str, Tombstone]
    """By id, oldest first. None of them is in ``found``."""
    listed: Inventory
    """``found``, then ``tombstones``; kept because its identity tells those downstream that nothing changed."""

    def with_tombstones(self, tombstones: Mapping[str, Tombstone]) -> "_Kept":
        return _Kept(self.found, tombstones, _listed(self.found, tombstones, self.listed))


class Tombstones:
    """What stays listed, for all resources of the process.

    A class, because each call builds on what the one before it found; its state is one frozen value for each resource, replaced
    as a whole, and the newest complete reading. Owned by the supervising thread.
    """

    def __init__(self, observe: Observer, *, bound: int = BOUND, unread_limit: float = UNREAD_LIMIT) -> None:
        self._observe = observe
        self._bound = bound
        self.unread_limit = unread_limit
        self._kept: dict[str, _Kept] = {}
        self._complete: Reading | None = None

    @property
    def count(self) -> int:
        """How many there are, over all resources."""
        return sum(len(kept.tombstones) for kept in self._kept.values())

    def listed(self, resource: str) -> Inventory:
        """The list to publish, as it is now. Raises ``KeyError`` for a resource that was never given to this object."""
        return self._kept[resource].listed

    def settled(self, resource: str) -> bool:
        """Whether a retired key has nothing left to list: once its empty list has been sent, its stream may be closed."""
        kept = self._kept.get(resource)
        return kept is not None and kept.found is None and not kept.tombstones

    def forget(self, resource: str) -> None:
        """Drop everything: the resource is closed, or was removed by configuration."""
        self._kept.pop(resource, None)

    def retain(self, resource: str, discovered: Inventory | None, now: float) -> Inventory:
        """The list to publish after a look: what it found, then what vanished. ``None``: the look had no such key.

        Devices keep their identity, and so does the list as a whole where it does not differ. With no tombstones it is
        ``discovered`` itself; a retired key is listed with its tombstones alone, then empty.
        """
        kept = self._kept.get(resource) or _Kept(None, {}, Inventory.of(resource, ()))
        if resource in self._kept and discovered is kept.found:
            return kept.listed
        vanished = _vanished(kept.found, discovered)
        returned = [] if discovered is None else [each for each in kept.tombstones if each in discovered.index]
        tombstones = kept.tombstones
        if vanished or returned:
            tombstones = self._bury(resource, vanished, set(returned), now)
        kept = self._kept[resource] = _Kept(discovered, tombstones, _listed(discovered, tombstones, kept.listed))
        return kept.listed

    def adopt(self, reading: Reading, resources: Collection[str], now: float) -> dict[str, tuple[str, ...]]:
        """List the ids of these resources that are held and were not found; answers the new ones, by resource.

        For every complete reading, the first one after a start or promotion above all: a predecessor's tombstones come back this
        way. Name only resources whose plugin has looked. Nothing is adopted beyond the bound: it would push out another.
        """
        adopted: dict[str, tuple[str, ...]] = {}
        for resource in sorted(resources):
            kept = self._kept.get(resource) or _Kept(None, {}, Inventory.of(resource, ()))
            missing = [each for each in _nodes(reading, resource).items() if each[0] not in kept.listed.index]
            room = max(0, self._bound - len(kept.tombstones))
            new = {each: Tombstone.of(each, Topology(nodes), now) for each, nodes in sorted(missing)[:room]}
            if new:
                self._kept[resource] = kept.with_tombstones({**kept.tombstones, **new})
                self._tell_tombstoned(resource, new)
                adopted[resource] = tuple(new)
        return adopted

    def observe_reading(
        self, reading: Reading, now: float, kubelet_started_at: float | None, last_allocated: Mapping[str, float]
    ) -> dict[str, tuple[str, ...]]:
        """Clear what a reading shows to be free; answers the cleared ids, maybe none, of each resource whose list differs now.

        ``kubelet_started_at``: the later of the kubelet's start and of this process's promotion, for what a predecessor
        allocated is not in ``last_allocated`` (when an Allocate named the id last, granted or not, by id).
        Call it for incomplete readings too: when none has been complete for 24 hours (setting), tombstones end.
        """
        if reading.complete and (self._complete is None or reading.at > self._complete.at):
            self._complete = reading
        quiet_from = -math.inf if kubelet_started_at is None else kubelet_started_at + QUIET
        cleared: dict[str, tuple[str, ...]] = {}
        for resource, kept in self._kept.items():
            left = self._review(resource, reading, now, quiet_from, last_allocated)
            if gone := tuple(each for each in kept.tombstones if each not in left):
                cleared[resource] = gone
                self._kept[resource] = kept.with_tombstones(left)
            elif any(left[each].device is not tombstone.device for each, tombstone in kept.tombstones.items()):
                cleared[resource] = ()
                self._kept[resource] = kept.with_tombstones(left)
            else:
                self._kept[resource] = msgspec.structs.replace(kept, tombstones=left)
        self._tell_cleared(cleared, "the ledger shows it free" if reading.complete else "nothing could be read for too long")
        return cleared

    def _review(
        self, resource: str, reading: Reading, now: float, quiet_from: float, last_allocated: Mapping[str, float]
    ) -> Mapping[str, Tombstone]:
        """The tombstones of one resource that a reading leaves."""
        left: dict[str, Tombstone] = {}
        tombstones = self._kept[resource].tombstones
        held, unsure = (reading.held(resource), reading.unsure(resource)) if tombstones else ((), ())
        for device_id, tombstone in tombstones.items():
            allocated_at = last_allocated.get(device_id, -math.inf)
            if reading.complete:
                earliest = max(quiet_from, allocated_at + QUIET)
                judged = _judge(tombstone, reading.at, held=device_id in held, unsure=device_id in unsure, earliest=earliest)
            else:
                judged = None if self._is_unread(max(tombstone.since, allocated_at), now) else tombstone
            if judged is not None:
                left[device_id] = judged
        return left

    def _is_unread(self, since: float, now: float) -> bool:
        heard_at = since if self._complete is None else max(since, self._complete.at)
        return now - heard_at >= self.unread_limit

    def _bury(self, resource: str, vanished: list[Device], returned: set[str], now: float) -> dict[str, Tombstone]:
        """The tombstones after a look. Beyond the bound those that the last reading did not show as held go first, oldest first."""
        kept = self._kept[resource]
        new = {device.id: device for device in vanished}
        ids = [each for each in kept.tombstones if each not in returned] + list(new)
        last = self._complete
        held = frozenset[str]() if last is None else last.held(resource) | last.unsure(resource)
        excess = set(sorted(ids, key=held.__contains__)[: max(0, len(ids) - self._bound)])
        left = {
            each: kept.tombstones.get(each) or Tombstone.of(each, new[each].topology, now) for each in ids if each not in excess
        }
        self._tell_tombstoned(resource, [each for each in new if each in left])
        self._tell_cleared({resource: tuple(each for each in kept.tombstones if each in returned)}, "found again")
        crowded_out = tuple(each for each in kept.tombstones if each in excess)
        self._tell_cleared({resource: crowded_out}, f"more than {self._bound} ids of this resource have vanished")
        return left

    def _tell_tombstoned(self, resource: str, device_ids: Collection[str]) -> None:
        for device_id in device_ids:
            self._observe(DeviceTombstoned(resource, device_id))

    def _tell_cleared(self, cleared: Mapping[str, tuple[str, ...]], reason: str) -> None:
        for resource, device_ids in cleared.items():
            for device_id in device_ids:
                self._observe(TombstoneCleared(resource, device_id, reason))


def _judge(tombstone: Tombstone, read_at: float, *, held: bool, unsure: bool, earliest: float) -> Tombstone | None:
    """The tombstone after a complete reading; ``None``: it has been shown free twice. Reads before ``earliest`` prove nothing."""
    earliest = max(earliest, tombstone.since)
    device, free_at = tombstone.device, tombstone.free_at
    if held or (free_at is not None and free_at < earliest):
        # An Allocate or a kubelet start that became known later also takes back what an earlier read had shown.
        device, free_at = _with_reason(device, REASON), None
    if not held and read_at >= earliest:
        if free_at is None:
            free_at = read_at
        elif read_at - free_at >= APART:
            if not unsure:
                return None
            if device.reason == UNSURE and read_at - free_at >= RECHECK:
                device, free_at = _with_reason(device, REASON), None
            else:
                device = _with_reason(device, UNSURE)
    if device is tombstone.device and free_at == tombstone.free_at:
        return tombstone
    return Tombstone(device, tombstone.since, free_at)


def _with_reason(device: Device, reason: str) -> Device:
    return device if device.reason == reason else msgspec.structs.replace(device, reason=reason)


def _nodes(reading: Reading, resource: str) -> dict[str, tuple[int, ...]]:
    """The held ids of one resource, with those of their NUMA nodes that may be listed (the kubelet's masks end at 63)."""
    nodes: dict[str, set[int]] = {}
    for holding in (*reading.holdings, *reading.unlisted) if reading.complete else ():
        if holding.resource == resource:
            nodes.setdefault(holding.device_id, set()).update(node for node in holding.numa_nodes if 0 <= node <= 63)
    return {each: tuple(sorted(found)) for each, found in nodes.items()}


def _vanished(before: Inventory | None, now: Inventory | None) -> list[Device]:
    """The devices of ``before`` that are not in ``now``, in their order."""
    if before is None:
        return []
    if now is None:
        return list(before.devices)
    return [device for piece in pieces(before.devices) for device in piece if device.id not in now.index]


def _listed(found: Inventory | None, tombstones: Mapping[str, Tombstone], before: Inventory) -> Inventory:
    if found is None:
        alone = tuple(tombstone.device for tombstone in tombstones.values())
        return Inventory.of(before.resource, alone, pre_start_required=before.pre_start_required)
    if not tombstones:
        return found
    # Copying the index is several times quicker than building it anew for a long list.
    index = {**found.index, **{each: at for at, each in enumerate(tombstones, len(found.devices))}}
    devices = found.devices + tuple(tombstone.device for tombstone in tombstones.values())
    return msgspec.structs.replace(found, devices=devices, index=index)
