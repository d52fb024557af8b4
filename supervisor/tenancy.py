"""Who has hardware that several ids share: of all ids with one claim, one at a time may be in the hands of pods.

The kubelet tells devices apart by id alone, so it gives out two ids of one FPGA region within a millisecond, from two lists that both
were right. The table here decides, in one place, which of them has the hardware. Pure: every time is passed in, in
``time.monotonic()`` seconds.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from msgspec import Struct
from msgspec.structs import replace

from supervisor.errors import DeviceOccupied
from supervisor.inventory import Inventory
from supervisor.model import Device, Health


class Tenant(Struct, frozen=True, gc=False):
    """The id that has the hardware of a claim."""

    resource: str
    device: str
    at: float
    """When the kubelet last named it, in ``Allocate`` or ``PreStartContainer``, or when it was found to be held."""

    def is_other(self, resource: str, device_id: str) -> bool:
        """Whether this is not that id. One that has moved to another resource is: the pod that holds it knows it by its old one."""
        return (self.resource, self.device) != (resource, device_id)


@dataclass(slots=True)
class _Entry:
    tenant: Tenant
    granted: bool
    """Else it falls when the last call that named it is refused."""
    under_way: int = 0
    """Calls that are being answered."""


class Tenancy:
    """All claims of the process. Owned by the wire thread; ``granted`` may be read by any.

    A class, because calls build on each other: each is taken before its first await, and settled when its answer is known.
    """

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self.granted: Mapping[str, Tenant] = {}
        """Claim to the id that has it, replaced as a whole; without those whose first call is yet to be answered."""
        self.version = 0
        """Another one whenever another id has a claim, or nobody has it any more."""

    def take(self, resource: str, devices: Iterable[Device], now: float) -> tuple[str, ...]:
        """Take the claims of all devices that have one, or none of them; answers the claims, for ``settle``.

        Raises ``DeviceOccupied``, naming the id that has one already.
        """
        wanted: dict[str, Device] = {}
        for device in devices:
            if not device.claim:
                continue
            other = wanted.setdefault(device.claim, device)
            if other.id != device.id:
                raise DeviceOccupied(f"{resource} devices {other.id!r} and {device.id!r} are the same hardware: ask for one")
            entry = self._entries.get(device.claim)
            if entry is not None and entry.tenant.is_other(resource, device.id):
                raise DeviceOccupied(f"{resource} device {device.id!r} cannot be had: {in_use_by(entry.tenant)}")
        for claim, device in wanted.items():
            entry = self._entries.get(claim)
            if entry is None:
                entry = self._entries[claim] = _Entry(Tenant(resource, device.id, now), granted=False)
                self.version += 1
            entry.under_way += 1
            self._named(claim, entry, now)
        return tuple(wanted)

    def settle(self, claims: Iterable[str], now: float, *, granted: bool) -> None:
        """The call that took these claims is answered; what only refused calls have named is free again."""
        for claim in claims:
            entry = self._entries[claim]
            entry.under_way -= 1
            if granted:
                entry.granted = True
                self._named(claim, entry, now)
            elif not entry.granted and not entry.under_way:
                self._remove(claim)

    def release(self, claim: str, tenant: Tenant) -> None:
        """Let go of a claim, unless it has another tenant by now or the kubelet has named it since."""
        entry = self._entries.get(claim)
        if entry is not None and entry.tenant == tenant and not entry.under_way:
            self._remove(claim)

    def adopt(self, tenants: Mapping[str, Tenant]) -> None:
        """Know of what was taken elsewhere: by a predecessor, or before there was a table. The newer of two tenants stays."""
        for claim, tenant in tenants.items():
            entry = self._entries.get(claim)
            if entry is not None and (entry.under_way or entry.tenant.at >= tenant.at):
                continue
            self._entries[claim] = _Entry(tenant, granted=True)
            self.granted = {**self.granted, claim: tenant}
            self.version += 1

    def all(self) -> Mapping[str, Tenant]:
        """Those whose first call is yet to be answered, too: what must be written down before it is."""
        return {claim: entry.tenant for claim, entry in self._entries.items()}

    def tenant(self, claim: str) -> Tenant | None:
        """Who has it, granted or not."""
        entry = self._entries.get(claim)
        return None if entry is None else entry.tenant

    def _named(self, claim: str, entry: _Entry, now: float) -> None:
        entry.tenant = replace(entry.tenant, at=now)
        if entry.granted:
            self.granted = {**self.granted, claim: entry.tenant}

    def _remove(self, claim: str) -> None:
        del self._entries[claim]
        self.granted = {other: tenant for other, tenant in self.granted.items() if other != claim}
        self.version += 1


def in_use_by(tenant: Tenant) -> str:
    """Why a device that shares the hardware cannot be had; for people."""
    return f"its hardware is in use as {tenant.device} of {tenant.resource}"


def withdrawn(inventory: Inventory, tenants: Mapping[str, Tenant]) -> Inventory:
    """The list without what others have: those devices are Occupied. The same object where nothing is."""
    if not tenants or not inventory.shared:
        return inventory

    def seen(device: Device) -> Device:
        tenant = tenants.get(device.claim) if device.claim and device.healthy else None
        if tenant is None or not tenant.is_other(inventory.resource, device.id):
            return device
        return replace(device, health=Health.OCCUPIED, reason=in_use_by(tenant))

    return replace(inventory, devices=tuple(map(seen, inventory.devices)))
