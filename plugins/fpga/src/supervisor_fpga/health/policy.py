"""What is said of a unit: what is known of its functions, held against what the operator wants to count. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal

from msgspec import Struct

from supervisor_fpga.config import Limits, Resource
from supervisor_fpga.health.failures import Failure, concerns
from supervisor_fpga.health.symptoms import LONGEST_TEXT, SYMPTOMS, Symptom, missing_nodes, some
from supervisor_fpga.health.track import Track
from supervisor_fpga.report import Function
from supervisor_fpga.units import Unit, problem_of

DEGRADATIONS: Final = ("Errors", "PcieDegraded", "Throttled", "VoltageAlarm")
"""What makes a function Unhealthy at most where the operator says so."""
FAULTS: Final = ("Quarantined", "Waiting", "NodeMissing", "ProgrammingFailed", *SYMPTOMS)
"""What may be wrong; of several the first gives its name to the state."""
STATES: Final = ("Healthy", "Degraded", "Unmonitored", *FAULTS)
"""All that a verdict may say; those of ``FAULTS`` are Unhealthy."""

MOST_TOLD = 4
"""Faults in one reason."""

_Weight = Literal["unhealthy", "degraded", "ignore"]
_MENDED: Final = frozenset({"NotOperating", "BridgeDisabled"})
"""What is as it should be until something has been programmed."""


class Fault(Struct, frozen=True):
    """Something that is wrong with one function."""

    state: str
    """One of ``FAULTS``."""
    text: str
    counts: bool = True
    """Whether the symptom has lasted long enough."""

    def __str__(self) -> str:
        return f"{self.state}: {self.text}"


class Scene(Struct, frozen=True):
    """All that is known when a unit is judged."""

    tracks: Mapping[str, Mapping[Symptom, Track]]
    """By the function's id."""
    failures: Mapping[str, Failure]
    """By the id of the function that was operated."""
    operated: frozenset[str] = frozenset()
    """Functions that are programmed or reset right now, by id."""


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
    """Which of ``DEGRADATIONS`` it has, counting or not, unless they are ignored."""


def judge(unit: Unit, limits: Limits, scene: Scene) -> Verdict:
    """The verdict of a unit: it is healthy when all its functions are, for a container gets them all."""
    if not limits.enabled:
        return Verdict(healthy=True, state="Unmonitored", shown=("its health is not judged: health.enabled is false",))
    many = len(unit.functions) > 1
    faults = [
        Fault(fault.state, f"{function.id}: {fault.text}" if many else fault.text, fault.counts)
        for function in unit.functions
        for fault in _faults(function, unit.rule, limits, scene)
    ]
    return _verdict(sorted(faults, key=lambda fault: FAULTS.index(fault.state)), unit.rule, limits)


def _verdict(faults: Sequence[Fault], rule: Resource, limits: Limits) -> Verdict:
    counting = [fault for fault in faults if fault.counts]
    grave = [fault for fault in counting if _weight(fault.state, rule, limits) == "unhealthy"]
    present = {fault.state for fault in counting if _weight(fault.state, rule, limits) != "ignore"}
    degraded = tuple(name for name in DEGRADATIONS if name in present)
    shown = tuple(str(fault) for fault in faults if fault not in grave)
    if not grave:
        return Verdict(healthy=True, state="Degraded" if degraded else "Healthy", shown=shown, degraded=degraded)
    reason = "; ".join(map(str, grave[:MOST_TOLD]))
    more = tuple(map(str, grave[MOST_TOLD:]))
    return Verdict(healthy=False, state=grave[0].state, reason=reason, shown=(*more, *shown), degraded=degraded)


def _weight(state: str, rule: Resource, limits: Limits) -> _Weight:
    """What a fault does to the units of a resource."""
    match state:
        case "Errors":
            return limits.nonfatal_errors
        case "PcieDegraded":
            return limits.pcie_degraded
        case "Throttled" | "VoltageAlarm":
            return "degraded"
        case _ if state in _MENDED and rule.program is not None:
            return "ignore"
        case _:
            return "unhealthy"


def _faults(function: Function, rule: Resource, limits: Limits, scene: Scene) -> Iterator[Fault]:
    for failed_id, failed in sorted(scene.failures.items()):
        if concerns(failed, failed_id, function):
            yield Fault("ProgrammingFailed", f"the hardware has failed to be made ready for a container: {failed.text}")
    if function.id not in scene.operated:  # what is seen meanwhile says nothing
        yield from _plain(function, rule)
        if problem_of(function, rule) or function.waiting_for:
            return  # what was believed before is of no use to anybody now
    for symptom, track in scene.tracks.get(function.id, {}).items():
        if not track.clean:
            yield Fault(symptom, _telling(track, limits.hold_down), track.believed)


def _plain(function: Function, rule: Resource) -> Iterator[Fault]:
    """What needs no hold-down: an allocation would fail at once."""
    if problem := problem_of(function, rule):
        yield Fault("Quarantined", problem[:LONGEST_TEXT])
    elif function.waiting_for:
        yield Fault("Waiting", function.waiting_for[:LONGEST_TEXT])
    elif missing := [*missing_nodes(function, rule.nodes)]:
        yield Fault("NodeMissing", f"not there: {some(missing)}")


def _telling(track: Track, hold_down: float) -> str:
    if not track.believed:
        return f"{track.text}, not for long enough to count"
    if not track.seen:
        return f"{track.text}; that is over, but not for {hold_down:g} s yet"
    return track.text
