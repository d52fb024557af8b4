"""What this node offers: which resource, by which plugin, with which list. It turns looks into feeds.

One object of the supervising thread. A look comes in; who may offer what is settled (``claims``), ids that vanished are kept
(``tombstones``), what shares its hardware with another that is in use is withdrawn (``tenancy``), and what differs goes into the feeds and is told as events.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from typing import Protocol

from supervisor.ages import Ages, Since
from supervisor.calls import PluginCalls
from supervisor.claims import Claims, Settlement
from supervisor.events import (
    DeviceChanged,
    DeviceQuarantined,
    InventoryPublished,
    Observer,
    PluginNoticed,
    PluginRetired,
    ResourceContended,
    ResourceOffered,
    ResourceRetired,
)
from supervisor.feed import Feed
from supervisor.inventory import Inventory, Look
from supervisor.model import Device
from supervisor.pieces import PIECE, pieces
from supervisor.tenancy import Tenant, withdrawn
from supervisor.tombstones import Tombstones

TOLD = 1_000
"""Devices of one publication that are told one by one."""

_EVENTS = 8
"""Events that are told in one go: 0.2 ms of work."""


class Outlet(Protocol):
    """Where feeds are read: the wire thread."""

    def open(self, feed: Feed, calls: PluginCalls) -> None: ...
    def replace_calls(self, resource: str, calls: PluginCalls) -> None: ...
    def close(self, resource: str) -> None: ...


@dataclass(frozen=True, slots=True)
class _Offer:
    feed: Feed
    plugin: str
    calls: PluginCalls


class Offers:
    """All resources of the process."""

    def __init__(
        self, outlet: Outlet, tombstones: Tombstones, observe: Observer, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._outlet = outlet
        self._tombstones = tombstones
        self._observe = observe
        self._clock = clock
        self._claims = Claims()
        self._offers: dict[str, _Offer] = {}
        self._looks: dict[str, tuple[Look, PluginCalls]] = {}
        self._contended: dict[tuple[str, str], str] = {}
        self._told: dict[str, tuple[object, ...]] = {}
        self._ages = Ages()
        self._tenants: Mapping[str, Tenant] = {}

    @property
    def ages(self) -> Mapping[str, Since]:
        """Since when the devices of each resource have been as they are."""
        return self._ages.picture()

    @property
    def resources(self) -> Mapping[str, Inventory | None]:
        return {resource: offer.feed.current for resource, offer in self._offers.items()}

    def start(self, looks: Mapping[str, tuple[Look, PluginCalls]]) -> None:
        """The first looks of all plugins together: their order must not decide who gets a contended resource."""
        settlements = self._claims.settle_all({plugin: look.inventories.keys() for plugin, (look, _) in looks.items()})
        for plugin, (look, calls) in sorted(looks.items()):
            self._apply(plugin, look, calls, settlements[plugin])

    def update(self, plugin: str, look: Look, calls: PluginCalls, *, reconfigured: bool = False) -> None:
        """A plugin has looked. ``reconfigured``: what it no longer names was removed by the operator and ends at once."""
        settlement = self._claims.settle(plugin, look.inventories.keys())
        self._apply(plugin, look, calls, settlement, reconfigured=reconfigured)
        self._settle_heirs(settlement.heirs)

    def retire(self, plugin: str) -> None:
        """The operator has removed this plugin: its streams end at once, without an empty list."""
        self._looks.pop(plugin, None)
        heirs = self._claims.release(plugin)
        for resource in [resource for resource, offer in self._offers.items() if offer.plugin == plugin]:
            self._close(resource)
        self._told.pop(plugin, None)
        self._contended = {pair: owner for pair, owner in self._contended.items() if plugin not in (pair[1], owner)}
        self._observe(PluginRetired(plugin))
        self._settle_heirs(heirs)

    def tombstones_changed(self, resources: Mapping[str, object]) -> None:
        """The ledger has freed or added ids of these resources."""
        for resource in resources:
            if offer := self._offers.get(resource):
                self._publish(offer, self._tombstones.listed(resource))

    def tenants_changed(self, tenants: Mapping[str, Tenant]) -> bool:
        """Others have shared hardware now, by its claim: what cannot be had is withdrawn, what can be had again is back.

        Answers whether it made a difference.
        """
        before, self._tenants = self._tenants, tenants
        if {claim: (each.resource, each.device) for claim, each in before.items()} == {
            claim: (each.resource, each.device) for claim, each in tenants.items()
        }:
            return False
        for resource, offer in self._offers.items():
            self._publish(offer, self._tombstones.listed(resource))
        return True

    @property
    def settled(self) -> tuple[str, ...]:
        """Resources that no plugin names any more, with nothing left to list."""
        return tuple(resource for resource in self._offers if self._tombstones.settled(resource))

    def close_settled(self) -> None:
        """End the streams of these; their empty list should have had a moment to arrive."""
        for resource in self.settled:
            self._close(resource)

    # --- one look -----------------------------------------------------------------------------------------------------

    def _apply(
        self, plugin: str, look: Look, calls: PluginCalls, settlement: Settlement, *, reconfigured: bool = False
    ) -> None:
        self._looks[plugin] = (look, calls)
        self._tell_look(plugin, look, settlement)
        for resource in sorted(settlement.kept):
            self._offer(resource, plugin, look.inventories[resource], calls)
        for resource, offer in list(self._offers.items()):
            if offer.plugin == plugin and resource not in settlement.kept:
                if reconfigured:
                    self._close(resource)
                else:
                    self._publish(offer, self._tombstones.retain(resource, None, self._clock()))

    def _offer(self, resource: str, plugin: str, found: Inventory, calls: PluginCalls) -> None:
        offer = self._offers.get(resource)
        listed = self._tombstones.retain(resource, found, self._clock())
        if offer is None:
            offer = self._offers[resource] = _Offer(Feed(resource), plugin, calls)
            self._observe(ResourceOffered(plugin, resource))
            self._publish(offer, listed)
            self._outlet.open(offer.feed, calls)
            return
        if offer.plugin != plugin:
            self._observe(ResourceOffered(plugin, resource))
        if offer.plugin != plugin or offer.calls is not calls:
            offer = self._offers[resource] = _Offer(offer.feed, plugin, calls)
            self._outlet.replace_calls(resource, calls)
        self._publish(offer, listed)

    def _publish(self, offer: _Offer, listed: Inventory) -> None:
        listed = withdrawn(listed, self._tenants)
        before = offer.feed.current
        if listed is before or listed.same_list(before):
            return
        offer.feed.publish(listed)
        healthy = sum(device.sound for piece in pieces(listed.devices) for device in piece)
        self._observe(InventoryPublished(offer.plugin, listed.resource, healthy, len(listed.devices) - healthy))
        changes = _changes(offer.plugin, before, listed)
        told = tuple(islice(changes, TOLD))
        if before is None:
            self._ages.first_listed(listed.resource, self._clock())
        else:
            self._ages.changed(listed.resource, chain(told, changes), self._clock())
        for some in pieces(told, _EVENTS):
            for event in some:
                self._observe(event)

    def _close(self, resource: str) -> None:
        offer = self._offers.pop(resource)
        self._tombstones.forget(resource)
        self._ages.forget(resource)
        self._outlet.close(resource)
        self._observe(ResourceRetired(offer.plugin, resource))

    def _settle_heirs(self, heirs: frozenset[str]) -> None:
        """What another plugin gave up belongs to the next claimant, whose last look is still good."""
        for plugin in sorted(heirs & self._looks.keys()):
            look, calls = self._looks[plugin]
            self._apply(plugin, look, calls, self._claims.settle(plugin, look.inventories.keys()))

    def _tell_look(self, plugin: str, look: Look, settlement: Settlement) -> None:
        for resource, owner in settlement.lost.items():
            if self._contended.get((resource, plugin)) != owner:
                self._observe(ResourceContended(resource, owner, plugin))
        others = {pair: owner for pair, owner in self._contended.items() if pair[1] != plugin}
        self._contended = others | {(resource, plugin): owner for resource, owner in settlement.lost.items()}
        told = (look.quarantined, look.notices)
        if self._told.get(plugin, ((), ())) == told:
            return
        self._told[plugin] = told
        self._observe(PluginNoticed(plugin, look.notices))
        for each in look.quarantined[:TOLD]:
            self._observe(DeviceQuarantined(plugin, each.resource, each.device, each.reason))


def _changes(plugin: str, before: Inventory | None, now: Inventory) -> Iterator[DeviceChanged]:
    """What is new, what changed its health and what left. Unchanged runs are skipped at C speed."""
    old = before.devices if before is not None else ()
    for number, part in enumerate(pieces(now.devices)):
        if part != old[number * PIECE : (number + 1) * PIECE]:
            for device in part:
                known = before.get(device.id) if before is not None else None
                if known is None or _shown(known) != _shown(device):
                    was = None if known is None else known.health
                    yield DeviceChanged(plugin, now.resource, device.id, device.health, device.reason, was)
    for device in old:
        if device.id not in now.index:
            yield DeviceChanged(plugin, now.resource, device.id, None, "", device.health)


def _shown(device: Device) -> tuple[object, str]:
    return device.health, device.reason
