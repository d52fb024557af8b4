"""What was known of devices that cannot be read now: those that have moved to another network namespace, and those that hang.

A device moves by being taken away here and made anew there: for a moment it is nowhere. So in RDMA mode ``exclusive`` one whose
function is there still, with the same driver, is waited for.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import structs

from supervisor_infiniband.report import Link, Port, RdmaDevice, Report

MOVING = 10.0
"""Seconds for which a device may be nowhere while its function is there."""

MOST = 1000
"""Devices that are remembered."""

Present = Callable[[RdmaDevice], bool]
"""Whether the function of a device is there, with its driver."""

_FACTS = tuple(
    name
    for name in RdmaDevice.__struct_fields__
    if name not in {"id", "name", "uverbs", "elsewhere", "unresponsive", "problem"}
)


class Known:
    """The newest facts of each device, by id."""

    def __init__(self, present: Present) -> None:
        self._present = present
        self._facts: dict[str, RdmaDevice] = {}
        self._nowhere: dict[str, float] = {}
        """Since when each device is in no list of the kernel."""
        self._asked = False
        """A look was asked for since the last one: nothing asks twice for one that fails."""
        self._exclusive = False

    def complete(self, report: Report, now: float) -> Report:
        """The report with what was known of those that it knows little of, and with those that are on their way."""
        self._exclusive = report.netns_mode == "exclusive"
        found = {device.id: self._completed(device) for device in report.devices}
        moving = {device.id: device for device in self._moving(found, now)} if self._exclusive else {}
        self._nowhere = {name: self._nowhere.get(name, now) for name in moving}
        self._asked = False
        self._facts = {name: device for name, device in (found | moving).items() if not device.problem}
        return structs.replace(report, devices=tuple((found | moving).values()))

    def wake_at(self) -> float | None:
        """When the first of those that are on their way will have been waited for long enough."""
        nowhere = self._nowhere
        return min(nowhere.values()) + MOVING if nowhere and not self._asked else None

    def due(self, now: float) -> bool:
        """Whether a look is due; saying so counts as having asked for it."""
        at = self.wake_at()
        if at is None or at > now:
            return False
        self._asked = True
        return True

    def remember(self) -> Mapping[str, Any]:
        """Facts that a restart must not lose: those of an ``exclusive`` node, where a device may be away for days."""
        kept = list(self._facts.values())[:MOST] if self._exclusive else []
        return {device.id: msgspec.to_builtins(_unlinked(device)) for device in kept}

    def recall(self, remembered: object) -> None:
        """What the process before kept; entries that make no sense are passed over."""
        for name, entry in remembered.items() if isinstance(remembered, Mapping) else ():
            try:
                device = msgspec.convert(entry, RdmaDevice)
            except msgspec.ValidationError:
                continue
            if device.id == name and len(self._facts) < MOST:
                self._facts.setdefault(name, device)

    def _completed(self, device: RdmaDevice) -> RdmaDevice:
        before = self._facts.get(device.id)
        if before is None or not (device.elsewhere or device.unresponsive):
            return device
        lacking = {name: getattr(before, name) for name in _FACTS if not getattr(device, name)}
        if "ports" not in lacking:
            lacking["ports"] = tuple(_joined(port, before) for port in device.ports)
        return _unlinked(structs.replace(device, **lacking)) if device.elsewhere else structs.replace(device, **lacking)

    def _moving(self, found: Mapping[str, RdmaDevice], now: float) -> Iterator[RdmaDevice]:
        for name, device in self._facts.items():
            if name not in found and self._present(device) and now - self._nowhere.get(name, now) < MOVING:
                yield structs.replace(device, elsewhere=True, uverbs=None)


def _joined(port: Port, before: RdmaDevice) -> Port:
    """What was known of a port, with what is known of its character devices now."""
    known = next((old for old in before.ports if old.number == port.number), port)
    return structs.replace(known, umad=port.umad, issm=port.issm)


def _unlinked(device: RdmaDevice) -> RdmaDevice:
    return structs.replace(device, ports=tuple(structs.replace(port, link=Link()) for port in device.ports))
