"""What speaks against a function at one moment, in sentences. Pure.

A sentence holds nothing that changes with every reading, like a temperature: it is told to people when it becomes true, and stays.
Sources: ``Documentation/ABI/testing/sysfs-class-fpga-manager``, ``sysfs-platform-dfl-{port,fme}``, ``Documentation/hwmon/sysfs-interface``.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Final, Literal, get_args

from supervisor_fpga.config import Limits
from supervisor_fpga.report import Evidence, Function, PciLink, Sensor

Symptom = Literal[
    "Unresponsive",
    "FallenOff",
    "Offline",
    "ManagerError",
    "NotOperating",
    "BridgeDisabled",
    "FatalErrors",
    "ShutOff",
    "TooHot",
    "TooMuchPower",
    "Errors",
    "PcieDegraded",
    "Throttled",
    "VoltageAlarm",
]
"""What has to last before it is believed, gravest first."""
SYMPTOMS: Final[tuple[Symptom, ...]] = get_args(Symptom)

RELIEF: Final = 0.95
"""What was too hot has to fall to this share of its limit: near the limit it would come and go for ever."""
LONGEST_TEXT: Final = 300
MOST_NAMED: Final = 4

_ALL_ONES: Final = frozenset({(1 << 32) - 1, (1 << 64) - 1})
"""What a PCI device that is gone reads as, in registers of 32 and 64 bits."""
_DETAILS: Final = frozenset({"first_error", "next_error", "first_malformed_req", "inject_errors"})
"""What other registers mean in detail, and what somebody has asked for."""
_FATAL: Final = frozenset({"catfatal_errors"})
_NOT_OPERATING: Final = frozenset(
    {"power off", "power up", "reset", "firmware request", "firmware request error", "write init", "write", "write complete"}
)  # fmt: skip
"""States of an FPGA manager in which it is not known to work as programmed. ``unknown`` says nothing: some drivers know no other.
That the kernel has found no file to program it with (``firmware request error``) is no error of the hardware."""
_POWER_STATES: Final = {1: "AP1", 2: "AP2"}
_SHUT_OFF: Final = 6


def symptoms(function: Function, limits: Limits, believed: Collection[str] = ()) -> Mapping[Symptom, str]:
    """Each symptom that can be told now, with why it is there; an empty sentence: it is not.

    What is missing cannot be told: nothing of a function that makes no sense or has no driver, little of one that does not answer.
    ``believed``: the symptoms that count already.
    """
    if function.problem or function.waiting_for:
        return {}
    if function.unresponsive:
        return {"Unresponsive": "reading its state does not come back, as if its firmware hung"}
    if gone := _all_ones(function):
        return {"Unresponsive": "", "FallenOff": gone}
    evidence = function.evidence
    found = {
        "Offline": "its driver says that the card is offline" if evidence.offline else "",
        "ManagerError": _manager_error(evidence),
        "NotOperating": _not_operating(evidence),
        "BridgeDisabled": _bridges(evidence),
        "ShutOff": "it is in power state AP6: the card has shut it off to save itself"
        if evidence.power_state == _SHUT_OFF
        else "",
        "TooHot": _beyond("temperature", limits.temperature, evidence, believed="TooHot" in believed),
        "TooMuchPower": _beyond("power", limits.power, evidence, believed="TooMuchPower" in believed),
        "FatalErrors": _registers(evidence, fatal=True),
        "Errors": _registers(evidence, fatal=False),
        "PcieDegraded": _pcie(evidence.pci_link),
        "Throttled": _throttled(evidence),
        "VoltageAlarm": _beyond("voltage", None, evidence, believed=False),
    }
    told: dict[Symptom, str] = {"Unresponsive": "", "FallenOff": ""}
    return told | {name: found[name][:LONGEST_TEXT] for name in SYMPTOMS if name in found}


def _all_ones(function: Function) -> str:
    """Why it has to be gone from its bus; empty: it has not."""
    for what, read in (("AFU id", function.afu_id), ("interface id", function.interface_id)):
        if read and set(read.lower()) == {"f"}:
            return f"its {what} reads all ones, as if it had fallen off its bus"
    names = sorted(name for name, value in function.evidence.errors.items() if value in _ALL_ONES)
    return f"its register {names[0]} reads all ones, as if it had fallen off its bus"[:LONGEST_TEXT] if names else ""


def _manager_error(evidence: Evidence) -> str:
    status = ", ".join(evidence.status[:MOST_NAMED])
    if evidence.state.endswith("error") and evidence.state not in _NOT_OPERATING:
        return f"its FPGA manager says {evidence.state}" + (f" ({status})" if status else "")
    return f"its FPGA manager reports {status}" if status else ""


def _not_operating(evidence: Evidence) -> str:
    if evidence.state not in _NOT_OPERATING:
        return ""
    return f"its FPGA manager says {evidence.state}: what was programmed last does not work"


def _bridges(evidence: Evidence) -> str:
    disabled = sorted(name for name, state in evidence.bridges.items() if state == "disabled")
    return f"of its region's bridges these are disabled: {some(disabled)}" if disabled else ""


def _registers(evidence: Evidence, *, fatal: bool) -> str:
    found = sorted(
        f"{name} is {value:#x}"
        for name, value in evidence.errors.items()
        if value and (register := name.rpartition("/")[2]) not in _DETAILS and (register in _FATAL) is fatal
    )
    return f"error registers are not 0: {some(found)}" if found else ""


def _throttled(evidence: Evidence) -> str:
    level = _POWER_STATES.get(evidence.power_state or 0)
    return f"it is in power state {level}: the card slows it down" if level else ""


def _beyond(kind: str, limit: float | None, evidence: Evidence, *, believed: bool) -> str:
    """Which sensors are at the operator's limit, or where he has none at their own."""
    sensors = (sensor for sensor in evidence.sensors if sensor.kind == kind)
    return some(sorted(filter(None, (_excess(sensor, limit, believed=believed) for sensor in sensors))))


def _excess(sensor: Sensor, limit: float | None, *, believed: bool) -> str:
    unit = {"temperature": " °C", "power": " W", "voltage": " V"}[sensor.kind]
    threshold = sensor.limit if limit is None else limit
    if limit is None and sensor.alarm:
        return f"{sensor.kind} {sensor.name} raises its alarm"
    if sensor.kind == "voltage" or threshold is None or threshold <= 0 or sensor.value is None:
        return ""
    if sensor.value >= threshold * (RELIEF if believed else 1.0):
        return f"{sensor.kind} {sensor.name} is at its limit of {threshold:g}{unit}, or beyond"
    return ""


def _pcie(link: PciLink | None) -> str:
    """Whether its PCI Express link has trained below what it can do; what is not known, or 0, says nothing."""
    if link is None or not (_below(link.speed, link.max_speed) or _below(link.width, link.max_width)):
        return ""
    runs, can = _pci(link.speed, link.width), _pci(link.max_speed, link.max_width)
    return f"its PCI Express link runs at {runs}, and can do {can}"


def _below(now: float | None, best: float | None) -> bool:
    return bool(now and best and now < best)


def _pci(speed: float | None, width: int | None) -> str:
    """``16 GT/s x8``, as far as it is known."""
    return " ".join(filter(None, (f"{speed:g} GT/s" if speed else "", f"x{width}" if width else "")))


def some(texts: Collection[str]) -> str:
    """The first few of them, and how many there are besides."""
    named = [*texts][:MOST_NAMED]
    return ", ".join(named) + (f" and {len(texts) - MOST_NAMED} more" if len(texts) > MOST_NAMED else "")


def missing_nodes(function: Function, roles: Collection[str]) -> Iterator[str]:
    """The nodes that a container would get and that are not there. Of those for the IOMMU, of which VFIO has an old and a new kind, one does."""
    wanted = [node for node in function.nodes if node.role in roles]
    has_iommu = any(node.present for node in wanted if node.role == "iommu")
    for node in wanted:
        if not node.present and not (node.role == "iommu" and has_iommu):
            yield node.path
