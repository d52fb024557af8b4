"""The metrics of one look, of the polls since, and of the containers that were started. Names and units are Prometheus'; the supervisor puts
``device_plugin_fpga_`` before them.

What is not known now has no sample: a function that does not answer is neither hot nor cold.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Literal

from msgspec import Struct

from supervisor import MetricFamily, Sample
from supervisor_fpga.health import Counts, Verdict
from supervisor_fpga.health.policy import DEGRADATIONS
from supervisor_fpga.report import Function, Report, Sensor
from supervisor_fpga.units import Offer, Unit

Outcome = Literal["ready", "busy", "refused", "failed", "late"]
OUTCOMES: Final[tuple[Outcome, ...]] = ("ready", "busy", "refused", "failed", "late")

_LONGEST_LABEL = 256


class StartCount(Struct, frozen=True):
    """What came of making units of one resource ready for containers, since the start of the process."""

    resource: str
    outcome: Outcome
    count: int = 0
    seconds: float = 0.0
    """All of them together, with the wait for others."""
    programmed: int = 0
    programming_seconds: float = 0.0
    """Of those that were programmed."""
    resets: int = 0


def families(
    report: Report,
    offer: Offer,
    judge: Callable[[Unit], Verdict],
    readings: Mapping[str, Function],
    counts: Counts,
    starts: Iterable[StartCount] = (),
    *,
    restarts: Mapping[str, int],
) -> Iterator[MetricFamily]:
    """All families. ``readings``: the newest of each function, by id; ``restarts``: processes that took the place of another, by program."""
    functions = [readings.get(function.id, function) for function in report.functions]
    yield from _functions(functions, offer)
    yield from _sensors([each for each in functions if not (each.problem or each.unresponsive)])
    yield from _devices(offer, judge)
    yield from _starts(offer, starts)
    yield MetricFamily(
        "refused", "What looks like an FPGA and cannot be offered at all.", samples=(Sample({}, len(report.refused)),)
    )
    yield MetricFamily(
        "polls", "Messages about functions that the process which reads them has sent.", "counter", (Sample({}, counts.polls),)
    )
    yield MetricFamily(
        "process_restarts",
        "Processes of the plugin that took the place of another.",
        "counter",
        tuple(Sample({"program": program}, count) for program, count in sorted(restarts.items())),
    )


# --- functions --------------------------------------------------------------------------------------------------------


def _functions(functions: list[Function], offer: Offer) -> Iterator[MetricFamily]:
    yield MetricFamily(
        "function",
        "What is known of a function, with what is programmed in it now.",
        "info",
        tuple(Sample(_facts(each, offer), 1) for each in functions),
    )
    yield MetricFamily(
        "function_state",
        "What the manager of a function's FPGA says, in the kernel's words; only of those that have one.",
        "info",
        tuple(
            Sample({**_of(each), "state": _cut(each.evidence.state)}, 1)
            for each in functions
            if each.evidence.state and not (each.problem or each.unresponsive)
        ),
    )
    yield MetricFamily(
        "function_quarantined",
        "Whether what was read of a function makes no sense.",
        samples=tuple(Sample(_of(each), float(bool(each.problem) or each.id in offer.quarantined)) for each in functions),
    )
    yield MetricFamily(
        "function_unresponsive",
        "Whether reading a function does not come back.",
        samples=tuple(Sample(_of(each), float(each.unresponsive)) for each in functions),
    )


def _of(function: Function) -> dict[str, str]:
    return {"device": _cut(function.id), "name": _cut(function.name)}


def _cut(text: str) -> str:
    return text[:_LONGEST_LABEL]


def _facts(function: Function, offer: Offer) -> dict[str, str]:
    return {
        **_of(function),
        "backend": function.backend,
        "kind": function.kind,
        "pci": function.pci,
        "card": _cut(function.card),
        "serial": _cut(function.group),
        "region": _cut(function.region),
        "numa_node": "" if function.numa_node is None else str(function.numa_node),
        "vendor": function.vendor,
        "device_id": function.device,
        "driver": _cut(function.driver),
        "shell": _cut(function.shell),
        "interface_id": _cut(function.interface_id),
        "afu_id": _cut(function.afu_id),
        "resource": _cut(",".join(offer.taken.get(function.id, {}))),
    }


# --- what is measured -------------------------------------------------------------------------------------------------


def _sensors(functions: list[Function]) -> Iterator[MetricFamily]:
    for kind, name in (("temperature", "temperature_celsius"), ("power", "power_watts"), ("voltage", "voltage_volts")):
        found = [(function, sensor) for function in functions for sensor in _distinct(function) if sensor.kind == kind]
        yield _measured(name, f"The {kind} that a sensor of a function's card tells.", found, "value")
        if kind != "voltage":
            limit = name.replace("_", "_limit_", 1)
            yield _measured(limit, f"The {kind} at which a function's card protects itself, by sensor.", found, "limit")
    yield MetricFamily(
        "sensor_alarm",
        "Whether a sensor of a function's card raises its alarm.",
        samples=tuple(
            Sample({**_of(function), "sensor": _cut(sensor.name), "kind": sensor.kind}, float(sensor.alarm))
            for function in functions
            for sensor in _distinct(function)
        ),
    )
    yield MetricFamily(
        "error_bits",
        "How many bits of an error register of a function or its card are set; those that are 0 have no sample.",
        samples=tuple(
            Sample({**_of(function), "register": _cut(register)}, value.bit_count())
            for function in functions
            for register, value in sorted(function.evidence.errors.items())
            if value
        ),
    )


def _distinct(function: Function) -> Iterable[Sensor]:
    """Its sensors; of those that somebody has named alike, the first."""
    named: dict[tuple[str, str], Sensor] = {}
    for sensor in function.evidence.sensors:
        named.setdefault((sensor.kind, _cut(sensor.name)), sensor)
    return named.values()


def _measured(
    name: str, meaning: str, found: Iterable[tuple[Function, Sensor]], field: Literal["value", "limit"]
) -> MetricFamily:
    read = ((function, sensor, getattr(sensor, field)) for function, sensor in found)
    return MetricFamily(
        name,
        meaning,
        samples=tuple(
            Sample({**_of(function), "sensor": _cut(sensor.name)}, value)
            for function, sensor, value in read
            if value is not None and math.isfinite(value)
        ),
    )


# --- what is offered --------------------------------------------------------------------------------------------------


def _devices(offer: Offer, judge: Callable[[Unit], Verdict]) -> Iterator[MetricFamily]:
    judged = [({"resource": unit.resource, "device": unit.id}, judge(unit)) for unit in offer.units]
    yield MetricFamily(
        "device_state",
        "What is said of the health of an offered device, in one word.",
        "info",
        tuple(Sample({**labels, "state": verdict.state}, 1) for labels, verdict in judged),
    )
    yield MetricFamily(
        "device_degraded",
        "Whether a device is offered though something about it is worse than it could be, or Unhealthy for it where so configured.",
        samples=tuple(
            Sample({**labels, "reason": reason}, float(reason in verdict.degraded))
            for labels, verdict in judged
            for reason in DEGRADATIONS
        ),
    )


def _starts(offer: Offer, starts: Iterable[StartCount]) -> Iterator[MetricFamily]:
    """All outcomes of what is made ready, from the start, at zero."""
    wanted = {unit.resource for unit in offer.units if unit.rule.program is not None or unit.rule.reset}
    found = {(resource, outcome): StartCount(resource, outcome) for resource in sorted(wanted) for outcome in OUTCOMES}
    found |= {(each.resource, each.outcome): each for each in starts}
    counted = [({"resource": each.resource, "outcome": each.outcome}, each) for each in found.values()]
    ready = [({"resource": each.resource}, each) for each in found.values() if each.outcome == "ready"]
    failed = [({"resource": each.resource}, each) for each in found.values() if each.outcome == "failed"]
    yield _counter(
        "starts", "Devices that were to be made ready for a container, by what came of it.", [(a, b.count) for a, b in counted]
    )
    yield _counter("start_seconds", "Time that this took, with the wait for others.", [(a, b.seconds) for a, b in counted])
    yield _counter("programmings", "Regions that were programmed for a container.", [(a, b.programmed) for a, b in ready])
    yield _counter("programming_seconds", "Time that this took.", [(a, b.programming_seconds) for a, b in ready])
    yield _counter("programming_failures", "Starts that the hardware has failed.", [(a, b.count) for a, b in failed])
    yield _counter("resets", "Functions that were reset for a container.", [(a, b.resets) for a, b in ready])


def _counter(name: str, meaning: str, counted: Iterable[tuple[dict[str, str], float]]) -> MetricFamily:
    return MetricFamily(name, meaning, "counter", tuple(Sample(labels, value) for labels, value in counted))
