"""When the id that has shared hardware has let go of it, and which held ids have hardware that nobody is known to have.

The rules are those of ``supervisor.tombstones``, for the same reason: nothing but the kubelet's ledger tells that a device is free.
Nothing here reads a clock: every time is passed in, in ``time.monotonic()`` seconds.
"""

import math
from collections.abc import Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from supervisor.inventory import Inventory
from supervisor.ledger import Holding, Reading
from supervisor.tenancy import Tenant
from supervisor.tombstones import APART, QUIET, RECHECK


class Found(Struct, frozen=True):
    """What a reading says about who has shared hardware."""

    vacant: Mapping[str, Tenant] = {}
    """Claims that are free, with the tenants that have gone."""
    stale: bool = False
    """A list is to be sent again: only the checkpoint shows a tenant, perhaps because it is old; it is written upon every list."""


class _Evidence(Struct, frozen=True):
    """What the readings have shown of one tenant since the kubelet named it last."""

    tenant: Tenant
    free_at: float | None = None
    """When the first of the readings began that showed it free, one after the other."""
    repeated_at: float | None = None
    """When the kubelet was last made to write its checkpoint anew."""


class Vacancies:
    """A class, because each reading counts only with the ones before it. Owned by the supervising thread."""

    def __init__(self) -> None:
        self._evidence: dict[str, _Evidence] = {}
        self._heard_at = -math.inf
        """When the newest complete reading began."""

    def observe_reading(
        self, reading: Reading, now: float, started: float, tenants: Mapping[str, Tenant], unread_limit: float
    ) -> Found:
        """``started``: the later of the kubelet's start and of this process's promotion.

        Call it for incomplete readings, too: when none has been complete for ``unread_limit`` seconds, tenancies end.
        """
        if reading.complete:
            self._heard_at = max(self._heard_at, reading.at)
        known = self._evidence
        self._evidence = {}
        vacant: dict[str, Tenant] = {}
        stale = False
        for claim, tenant in tenants.items():
            before = known.get(claim)
            if before is None or before.tenant != tenant:
                before = _Evidence(tenant)
            after = self._judge(before, reading, now, started + QUIET, unread_limit)
            if after is None:
                vacant[claim] = tenant
                continue
            self._evidence[claim] = after
            stale = stale or after.repeated_at not in {None, before.repeated_at}
        return Found(vacant, stale)

    def _judge(
        self, evidence: _Evidence, reading: Reading, now: float, quiet_until: float, unread_limit: float
    ) -> _Evidence | None:
        """``None``: it has gone."""
        tenant = evidence.tenant
        if not reading.complete:
            return None if now - max(tenant.at, self._heard_at) >= unread_limit else evidence
        earliest = max(quiet_until, tenant.at + QUIET)
        if tenant.device in reading.held(tenant.resource):
            return _Evidence(tenant)
        if evidence.free_at is not None and evidence.free_at < earliest:
            evidence = _Evidence(tenant)  # a kubelet's start that became known later takes back what was shown before it
        if reading.at < earliest:
            return evidence
        if evidence.free_at is None:
            return replace(evidence, free_at=reading.at)
        if reading.at - evidence.free_at < APART:
            return evidence
        if tenant.device not in reading.unsure(tenant.resource):
            return None
        if evidence.repeated_at is None or reading.at - evidence.repeated_at >= RECHECK:
            return replace(evidence, repeated_at=reading.at)
        return evidence


def found_held(reading: Reading, inventories: Iterable[Inventory], tenants: Mapping[str, Tenant]) -> Mapping[str, Tenant]:
    """The ids that a complete reading shows to be held, by claims that nobody has."""
    shared = {inventory.resource: inventory for inventory in inventories if inventory.shared}
    held: dict[str, Tenant] = {}
    for holding in (*reading.holdings, *reading.unlisted) if shared and reading.complete else ():
        claim = _claim(holding, shared)
        if claim and claim not in tenants:
            held.setdefault(claim, Tenant(holding.resource, holding.device_id, reading.at))
    return held


def _claim(holding: Holding, inventories: Mapping[str, Inventory]) -> str:
    inventory = inventories.get(holding.resource)
    device = None if inventory is None else inventory.get(holding.device_id)
    return "" if device is None else device.claim
