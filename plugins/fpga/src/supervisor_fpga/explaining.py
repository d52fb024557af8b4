"""Why a function is offered, refused or unhealthy, in sentences for people."""

from collections.abc import Callable, Iterator

from supervisor_fpga import pci
from supervisor_fpga.health import Verdict
from supervisor_fpga.naming import bare_id
from supervisor_fpga.report import Function, Report
from supervisor_fpga.units import Offer, Unit, title, titles

Judge = Callable[[Unit], Verdict]


def explain(text: str, report: Report, offer: Offer, judge: Judge) -> Iterator[str]:
    """All that is known of what a person names; nothing where nothing is.

    ``text`` is an id of the kubelet, a PCI address, the kernel's name of a function, a card, region or serial number, an interface or AFU
    id, a device node like ``/dev/dfl-port.0``, or a resource.
    """
    name = text.strip()
    if (why := report.refused.get(name)) is not None:
        yield f"{name} is not offered: {why}"
    if name in offer.resources:
        yield from _resource(name, offer)
    told: set[str] = set()
    for function in report.functions:
        if _means(name, function) or any(name == unit.id and function in unit.functions for unit in offer.units):
            yield from _function(function, offer)
            for unit in offer.units:
                if function in unit.functions and unit.id not in told:
                    told.add(unit.id)
                    yield from _unit(unit, judge(unit))


def _means(name: str, function: Function) -> bool:
    facts = {function.id, function.name, function.pci, function.card, function.region, function.group}
    nodes = {each for node in function.nodes for each in (node.path, node.path.removeprefix("/dev/"))}
    ids = {bare_id(function.interface_id), bare_id(function.afu_id)}
    return name != "" and not (facts | nodes | ids).isdisjoint({name, pci.normal(name), bare_id(name)} - {""})


def _resource(name: str, offer: Offer) -> Iterator[str]:
    ids = [unit.id for unit in offer.units if unit.resource == name]
    yield f"{name} offers {', '.join(ids) or 'nothing, as no function fits'}"


# --- one function -----------------------------------------------------------------------------------------------------------


def _function(function: Function, offer: Offer) -> Iterator[str]:
    yield f"{title(function)}: {', '.join(filter(None, _facts(function)))}"
    if ids := [f"{word} {text}" for word, text in _identity(function) if text]:
        yield f"{function.id} says {', '.join(ids)}"
    if programming := [*function.programmable, *(["reset"] if function.resettable else [])]:
        yield f"{function.id} offers {' and '.join(programming)}" + (
            f", in region {function.region}" if function.region else ""
        )
    if function.nodes:
        yield f"{function.id} has {', '.join(_nodes(function))}"
    yield from offer.reasons.get(function.id, ())
    if (why := offer.quarantined.get(function.id)) and not function.problem:
        yield f"{function.id} is quarantined: {why}"


def _facts(function: Function) -> Iterator[str]:
    kinds = {"pf": "a physical function", "vf": "a virtual function", "platform": "of this machine's own fabric"}
    yield kinds[function.kind]
    yield f"back end {function.backend}"
    yield f"{function.vendor}:{function.device}" if function.vendor else ""
    yield f"driver {function.driver}" if function.driver else "no driver"
    yield f"card {function.card}" if function.card not in {"", function.id} else ""
    yield f"serial number {function.group}" if function.group else ""
    yield f"NUMA node {function.numa_node}" if function.numa_node is not None else ""
    yield f"IOMMU group {function.iommu_group}" if function.iommu_group else ""


def _identity(function: Function) -> Iterator[tuple[str, str]]:
    yield "shell", function.shell
    yield "shell id", function.shell_id
    yield "timestamp", function.timestamp
    yield "interface id", function.interface_id
    yield "AFU id", function.afu_id


def _nodes(function: Function) -> Iterator[str]:
    for node in function.nodes:
        yield f"{node.path} ({node.role}{'' if node.present else ', missing'})"


# --- one unit ---------------------------------------------------------------------------------------------------------------


def _unit(unit: Unit, verdict: Verdict) -> Iterator[str]:
    what = "it" if len(unit.functions) == 1 else f"{titles(unit.functions)} together"
    yield f"{unit.resource} offers {what} ({unit.rule.unit}), by the id {unit.id}"
    if unit.rule.program is not None:
        yield f"{unit.id} is programmed with {unit.rule.program.bitstream} before a container starts"
    elif unit.rule.reset:
        yield f"{unit.id} is reset before a container starts"
    if unit.claim:
        yield f"{unit.id} is for one container at a time, together with all that is {unit.claim}"
    state = "healthy" if verdict.healthy else "not healthy"
    yield f"{unit.id} is {state} ({verdict.state})" + (f": {verdict.reason}" if verdict.reason else "")
    yield from verdict.shown
