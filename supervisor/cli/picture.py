"""The status of a supervisor as a person reads it on a terminal: what stops it first, then resources, devices, plugins, events.

Colours only repeat what words say. Ages are counted on the clock of the machine that reports.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice

from msgspec import Struct
from rich.console import Console, Group, RenderableType
from rich.segment import Segment, Segments
from rich.text import Text

from supervisor.cli.columns import Columns
from supervisor.model import Health
from supervisor.report import API_VERSION, DeviceReport, EventReport, HolderReport, PluginReport, Report, ResourceReport
from supervisor.status import printable

MOST_DEVICES = 20
"""Of one resource, unless all are asked for."""
MOST_EVENTS = 10

_BOUNDLESS = 1 << 16
"""Columns of what is no terminal: a line that another program reads is never broken."""
_STYLES = {
    "Healthy": "green",
    "connected": "green",
    "up": "green",
    "Unhealthy": "red",
    "Occupied": "yellow",
    "lost": "red",
    "contested": "red",
    "failing": "red",
    "stuck": "red",
    "rejected": "red",
    "error": "red",
    "warning": "yellow",
    "registering": "yellow",
    "waiting": "yellow",
}
_NARROWEST = 80
"""Columns that the tables need; a terminal with fewer breaks the lines itself, where a table would leave something out."""
_UNITS = (("d", 86400), ("h", 3600), ("min", 60))


class Wanted(Struct, frozen=True):
    """What of it a person wants to see."""

    resource: str = ""
    """Only what concerns this one."""
    all: bool = False
    """Every device, every event."""


def console() -> Console:
    """Standard output. rich finds out whether it is a terminal, how wide, and whether ``NO_COLOR`` is set."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    found = Console(highlight=False, markup=False, emoji=False)
    found.width = max(found.width, _NARROWEST) if found.is_terminal else _BOUNDLESS
    return found


def show(screen: Console, parts: Iterable[RenderableType]) -> None:
    """Print the parts with an empty line between two, none of the lines filled up with blanks."""
    for number, part in enumerate(parts):
        lines = screen.render_lines(part, pad=False)
        plain = (segment for line in lines for segment in (*_without_blanks(line), Segment.line()))
        screen.print(Segments([Segment.line()] * bool(number) + list(plain)), end="", soft_wrap=True)


def _without_blanks(line: Sequence[Segment]) -> list[Segment]:
    """The line up to its last word."""
    kept = list(line)
    while kept and not kept[-1].text.strip():
        kept.pop()
    return [*kept[:-1], Segment(kept[-1].text.rstrip(), kept[-1].style)] if kept else []


def paint(report: Report, url: str, wanted: Wanted) -> Iterator[RenderableType]:
    """The parts of the picture."""
    resources = [each for each in report.resources if wanted.resource in {"", each.name}]
    plugins = [each for each in report.plugins if not wanted.resource or each.name in {one.plugin for one in resources}]
    events = [each for each in report.events if wanted.resource in {"", each.resource}]
    yield _heading(report, url)
    if report.reasons:
        yield _listed("What stops it, and what else to know:" if not report.ready else "To know:", report.reasons)
    yield _resources(resources, report) if resources else Text("No resource is offered.")
    for resource in resources:
        if resource.devices or resource.reason or resource.list_problem:
            yield _devices(resource, report, fold=not wanted.all and not wanted.resource)
    if plugins:
        yield _plugins(plugins, report)
    if events:
        yield _events(events, report, fold=not wanted.all)


def age(moment: str | None, now: str) -> str:
    """How long ago, in the largest whole unit; what is no time as it is, nothing where there is none."""
    try:
        seconds = (datetime.fromisoformat(now) - datetime.fromisoformat(moment or "")).total_seconds()
    except (ValueError, TypeError):
        return printable(moment or "-", 40)
    for unit, size in _UNITS:
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(0, int(seconds))} s"


def holder_text(holder: HolderReport) -> str:
    """A container, in words that claim no more than is known."""
    place = f"{holder.namespace}/{holder.pod}" if holder.namespace else f"pod {holder.pod}"
    return f"{'' if holder.certain else 'perhaps '}{place} {holder.container}"


# --- the parts --------------------------------------------------------------------------------------------------------


def _heading(report: Report, url: str) -> RenderableType:
    state = ("ready" if report.ready else "not ready") + ("" if report.live else ", not live")
    role = "active" if report.active else "standing by"
    good = report.ready and report.live
    style = "bold green" if good else "bold red"
    title = Text.assemble((printable(report.node or url), "bold"), ": ", (f"{state}, {role}", style))
    known = list(_facts(report, url))
    facts = Columns("", "*", indent=2, styles=dict.fromkeys((name for name, _ in known), "dim"))
    for name, value in known:
        facts.add(name, value)
    return Group(title, facts)


def _facts(report: Report, url: str) -> Iterator[tuple[str, str]]:
    now, kubelet, config, held = report.time, report.kubelet, report.config, report.attribution
    yield "supervisor", f"version {report.version}, up for {age(report.started_at, now)}, {url}"
    if report.api_version != API_VERSION:
        yield "", f"it speaks {report.api_version}, this program {API_VERSION}: what follows may lack something"
    role = "active" if report.active else "standing by"
    since = f" for {age(report.active_since, now)}" if report.active and report.active_since else ""
    yield "role", role + since + _because(report.active_reason)
    since = f" for {age(kubelet.since, now)}" if kubelet.since else ""
    yield "kubelet", ("connected" if kubelet.connected else "not connected") + since + _because(kubelet.reason)
    faults = f", the newest edit is refused ({len(config.problems)} mistakes)" if config.problems else ""
    pending = f", at the next start: {', '.join(config.pending)}" if config.pending else ""
    profiles = f", for {', '.join(config.profiles)}" if config.profiles else ""
    yield "configuration", f"generation {config.generation}{profiles}{faults}{pending}"
    read = f", read {age(held.read_at, now)} ago" if held.read_at else ""
    known = f"from {held.source or 'a source without a name'}" if held.known else "not known"
    yield "holders", known + read + _because(held.reason)


def _listed(title: str, sentences: Iterable[str]) -> RenderableType:
    bullets = Columns("", "*", indent=2, gap=1)
    for sentence in sentences:
        bullets.add("-", sentence)
    return _titled(title, bullets)


def _resources(resources: Sequence[ResourceReport], report: Report) -> RenderableType:
    table = Columns("RESOURCE*", "PLUGIN", "HEALTHY", "UNHEALTHY", "GONE", "HELD", "KUBELET", "SINCE", styles=_STYLES)
    for each in resources:
        held = "?" if each.held is None else str(each.held)
        counts = map(str, (each.healthy, each.unhealthy - each.tombstones, each.tombstones))
        table.add(each.name, each.plugin, *counts, held, each.phase, age(each.since, report.time))
    return table


def _devices(resource: ResourceReport, report: Report, *, fold: bool) -> RenderableType:
    table = Columns("DEVICE*", "HEALTH", "SINCE", "NUMA", "HELD BY*", "WHY*", indent=2, styles=_STYLES)
    ordered = sorted(resource.devices, key=lambda device: device.health == Health.HEALTHY)
    shown = ordered[:MOST_DEVICES] if fold else ordered
    for each in shown:
        numa = ",".join(map(str, each.numa_nodes)) or "-"
        table.add(each.id, each.health, age(each.since, report.time), numa, _held_by(each, resource, report), each.reason)
    remarks = Columns("*", indent=2)
    for remark in filter(None, (resource.reason, resource.list_problem and f"an older list stays: {resource.list_problem}")):
        remarks.add(remark)
    title = f"{resource.name}: {resource.healthy} of {len(resource.devices)} healthy"
    body = Group(remarks, table) if resource.devices else remarks
    return _titled(title, body, _hidden(ordered[len(shown) :]))


def _hidden(devices: Sequence[DeviceReport]) -> str:
    bad = sum(device.health == Health.UNHEALTHY for device in devices)
    kind = f"{bad} of them not healthy" if bad else "all healthy"
    return f"  … {len(devices)} more, {kind}: --all or --resource shows them" if devices else ""


def _held_by(device: DeviceReport, resource: ResourceReport, report: Report) -> str:
    nobody = "-" if report.attribution.known and resource.held is not None else "?"
    return "\n".join(map(holder_text, device.holders)) or nobody


def _plugins(plugins: Sequence[PluginReport], report: Report) -> RenderableType:
    table = Columns("PLUGIN*", "PACKAGE", "STATE", "LAST LOOK", "SAYS*", styles=_STYLES)
    for each in plugins:
        said = (each.reason, *(f"{notice.about}: {notice.text}" if notice.about else notice.text for notice in each.notices))
        last = f"{age(each.last_look, report.time)} ago" if each.last_look else "-"
        table.add(each.name, f"{each.distribution} {each.version}", each.state, last, "\n".join(filter(None, said)))
    return table


def _events(events: Sequence[EventReport], report: Report, *, fold: bool) -> RenderableType:
    table = Columns("AGO", "LEVEL", "WHAT HAPPENED*", styles=_STYLES)
    for each in islice(events, MOST_EVENTS if fold else None):
        times = f" ({each.count} times in {age(each.first, each.last)})" if each.count > 1 else ""
        table.add(age(each.last, report.time), each.level, each.text + times)
    more = len(events) - MOST_EVENTS if fold else 0
    return _titled("", table, f"… {more} older: --all shows them" if more > 0 else "")


# --- pieces -----------------------------------------------------------------------------------------------------------


def _titled(title: str, body: RenderableType, end: str = "") -> RenderableType:
    heading = [Text(printable(title), "bold")] if title else []
    return Group(*heading, body, *([Text(end, "dim")] if end else []))


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""
