"""Who has shared hardware, as the wire thread keeps it: decided at once, and answered when it is written down."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from supervisor.errors import AllocationRefused
from supervisor.inventory import Inventory
from supervisor.kubelet.plugin_calls import call_plugin
from supervisor.model import Device
from supervisor.slots import Slots
from supervisor.tenancy import Tenancy, Tenant

WRITE_TIMEOUT = 3.0
"""Seconds that an answer waits for the disk, at most."""

Write = Callable[[Mapping[str, Tenant]], None]
"""Put all claims where they outlive this process. Raises ``OSError``. Called in a thread of its own, never twice at once."""


_Edition = tuple[int, Mapping[str, Tenant]]
"""A version of the table, and what it says."""
_UNWRITTEN = "who has its hardware could not be written down"


def _nowhere(claims: Mapping[str, Tenant]) -> None:
    """Without a place to write to nothing outlives the process."""


class Tenancies:
    """The table and its file. Made anywhere; then used on the wire thread, apart from ``granted``.

    ``changed`` is called on that thread when it may be another one.
    """

    def __init__(self, write: Write = _nowhere, changed: Callable[[], None] = lambda: None) -> None:
        self._write = write
        self._changed = changed
        self._table = Tenancy()
        self._slots = Slots("claims", 1)
        self._newest: _Edition = 0, {}
        self._written: _Edition = 0, {}
        """What is on the disk; replaced by the writing thread."""

    @property
    def granted(self) -> Mapping[str, Tenant]:
        """Claim to the id that has it. For any thread; a call that is yet to be answered is not in it."""
        return self._table.granted

    def take(self, resource: str, devices: Iterable[Device]) -> tuple[str, ...]:
        """As ``Tenancy.take``, now. Raises ``DeviceOccupied``."""
        return self._table.take(resource, devices, time.monotonic())

    async def written(self, claims: Iterable[str]) -> None:
        """Wait until it is on the disk who has these. Raises ``AllocationRefused`` where it cannot be put there."""
        if all(self._is_written(claim) for claim in claims):
            return
        try:
            await call_plugin(self._slots, self._put, (self._edition(),), WRITE_TIMEOUT, set())
        except TimeoutError:
            raise AllocationRefused(f"{_UNWRITTEN}: the disk has not answered for {WRITE_TIMEOUT:g} s") from None

    def _is_written(self, claim: str) -> bool:
        ours, theirs = self._table.tenant(claim), self._written[1].get(claim)
        return ours is not None and theirs is not None and not ours.is_other(theirs.resource, theirs.device)

    def _edition(self) -> int:
        """The version of the table, which from now on is the one to write."""
        if self._newest[0] != self._table.version:
            self._newest = self._table.version, self._table.all()
        return self._table.version

    def _put(self, version: int) -> None:
        """In the writing thread. The newest edition will do for all who wait."""
        if self._written[0] >= version:
            return
        newest = self._newest
        try:
            self._write(newest[1])
        except OSError as error:
            raise AllocationRefused(f"{_UNWRITTEN}: {error.strerror or error}") from error
        self._written = newest

    def settle(self, claims: Iterable[str], *, granted: bool) -> None:
        """As ``Tenancy.settle``, now."""
        self._table.settle(claims, time.monotonic(), granted=granted)
        self._changed()
        self._write_soon()

    def release(self, vacant: Mapping[str, Tenant]) -> None:
        """Let go of these, where nothing has happened to them since they were seen to be vacant."""
        for claim, tenant in vacant.items():
            self._table.release(claim, tenant)
        self._changed()
        self._write_soon()

    def adopt(self, tenants: Mapping[str, Tenant]) -> None:
        """As ``Tenancy.adopt``."""
        self._table.adopt(tenants)
        self._changed()
        self._write_soon()

    def recall(self, tenants: Mapping[str, Tenant]) -> None:
        """This process owns the node from now on, perhaps in another directory, where these were written down."""
        if self._table.version:
            self._submit(self._forget)
            self._newest = -1, {}
        self.adopt(tenants)

    def _forget(self) -> None:
        self._written = -1, {}

    def _write_soon(self) -> None:
        """Nobody waits for this. If it fails, the file names a tenant that has gone: the ledger will show it again."""
        if self._newest[0] != self._table.version:
            self._submit(self._put, self._edition())

    def _submit(self, work: Callable[..., None], *arguments: Any) -> None:
        self._slots.submit(work, *arguments, deadline=time.monotonic() + WRITE_TIMEOUT, done=lambda _: None)

    def open_to(self, inventory: Inventory, available: tuple[str, ...], size: int) -> tuple[str, ...]:
        """Those that could be granted together now, if they suffice: the kubelet's list may be older than what was taken."""
        if not inventory.shared:
            return available
        chosen: dict[str, str] = {}
        for device in (device for each in available if (device := inventory.get(each)) is not None):
            tenant = self._table.tenant(device.claim) if device.claim else None
            if tenant is None:
                chosen.setdefault(device.claim or device.id, device.id)
            elif not tenant.is_other(inventory.resource, device.id):
                chosen[device.claim] = device.id
        return tuple(chosen.values()) if len(chosen) >= size else available

    def close(self) -> None:
        """Write nothing any more but what is being written."""
        self._slots.close()
