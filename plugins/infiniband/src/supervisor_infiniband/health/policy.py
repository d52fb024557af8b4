"""What is said of a unit: what is known of its devices, held against what the operator wants to count. Pure."""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from supervisor_infiniband.config import Judgement, Pool
from supervisor_infiniband.health import faults
from supervisor_infiniband.health.linking import link_faults, link_notes
from supervisor_infiniband.health.scene import Fault, Scene
from supervisor_infiniband.report import RdmaDevice
from supervisor_infiniband.units import Unit

DEGRADATIONS: Final = ("PcieDegraded", "ErrorRate")
"""What makes a device Unhealthy only where the operator says so."""
FAULTS: Final = (
    "Quarantined",
    "Unresponsive",
    "NoPorts",
    "UverbsMissing",
    "CharDeviceMissing",
    "GuidNotConfigured",
    "PortDown",
    "NoSubnetManager",
    *DEGRADATIONS,
    "NoDevices",
)
STATES: Final = ("Healthy", "Degraded", "InUseElsewhere", "Unmonitored", *FAULTS)
"""All that a verdict may say; those of ``FAULTS`` are Unhealthy."""

ELSEWHERE = "in use in another network namespace"
MOST_TOLD = 4
"""Faults in one reason."""


class Verdict(Struct, frozen=True):
    """What is said of one unit."""

    healthy: bool
    """Whether new pods may get it."""
    state: str
    """One of ``STATES``."""
    reason: str = ""
    """Why it is not healthy: sentences, the first of which begins with the state."""
    shown: tuple[str, ...] = ()
    """What is worth knowing and does not count."""
    degraded: tuple[str, ...] = ()
    """Which of ``DEGRADATIONS`` it has, counting or not."""


def judge(unit: Unit, judgement: Judgement, scene: Scene) -> Verdict:
    """The verdict of a unit; one of many devices is healthy while any of them is."""
    if not judgement.enabled:
        return Verdict(healthy=True, state="Unmonitored", shown=("its health is not judged: health.enabled is false",))
    verdicts = [judge_device(device, unit.pool, judgement, scene) for device in unit.devices]
    if len(verdicts) == 1:
        return verdicts[0]
    return _together(unit.devices, verdicts)


def _together(devices: Sequence[RdmaDevice], verdicts: Sequence[Verdict]) -> Verdict:
    said = tuple(f"{device.id}: {text}" for device, each in zip(devices, verdicts, strict=True) for text in _texts(each))
    degraded = tuple(name for name in DEGRADATIONS if any(name in each.degraded for each in verdicts))
    best = next((each for each in verdicts if each.healthy), None)
    if best is not None:
        states = {each.state for each in verdicts if each.healthy}
        state = "Healthy" if "Healthy" in states else best.state
        return Verdict(healthy=True, state=state, shown=said, degraded=degraded)
    if not verdicts:
        return Verdict(healthy=False, state="NoDevices", reason="NoDevices: the resource has no devices")
    state = verdicts[0].state
    reason = f"{state}: none of its {len(verdicts)} devices is healthy; {'; '.join(said[:MOST_TOLD])}"
    return Verdict(healthy=False, state=state, reason=reason, shown=said[MOST_TOLD:], degraded=degraded)


def _texts(verdict: Verdict) -> tuple[str, ...]:
    return (verdict.reason, *verdict.shown) if verdict.reason else verdict.shown


def judge_device(device: RdmaDevice, pool: Pool, judgement: Judgement, scene: Scene) -> Verdict:
    """The verdict of one device."""
    if device.elsewhere:
        # Whoever has it uses it now; nothing of it can be seen from here.
        return Verdict(healthy=True, state="InUseElsewhere", shown=(ELSEWHERE,))
    counting, tolerated = _sorted(device, pool, judgement, scene)
    degraded = tuple(name for name in DEGRADATIONS if any(fault.state == name for fault in (*counting, *tolerated)))
    said = {fault.text for fault in counting}
    notes = (text for text in link_notes(device, judgement, scene) if text not in said)
    shown = (*map(str, tolerated), *notes)
    if not counting:
        return Verdict(healthy=True, state="Degraded" if degraded else "Healthy", shown=shown, degraded=degraded)
    reason = "; ".join(map(str, counting[:MOST_TOLD]))
    return Verdict(healthy=False, state=counting[0].state, reason=reason, shown=shown, degraded=degraded)


def _sorted(device: RdmaDevice, pool: Pool, judgement: Judgement, scene: Scene) -> tuple[list[Fault], list[Fault]]:
    """The faults that count, gravest first, and those that are only shown."""
    counting = list(faults.answering(device, judgement, scene))
    if device.problem:
        return counting, []  # what else was read of it makes no more sense
    tolerated: list[Fault] = []
    counting += faults.char_devices(device, pool, scene)
    (counting if judgement.vf_require_guid else tolerated).extend(faults.guid(device))
    if not counting or counting[0].state != "Unresponsive":
        counting += link_faults(device, judgement, scene)
    (counting if judgement.pcie_degraded == "unhealthy" else tolerated).extend(faults.pci_link(device, scene))
    rates = faults.error_rates(device, judgement, scene)
    (counting if judgement.error_rates.action == "unhealthy" else tolerated).extend(rates)
    return counting, tolerated
