"""The devices of one resource, as tables: the unhealthy first, then by NUMA node where there is more than one."""

from collections.abc import Iterator, Sequence

from msgspec import Struct

from supervisor.observe.page.marks import Clock, many, number, plain, text
from supervisor.observe.page.selection import PIECE, Selection
from supervisor.pieces import pieces
from supervisor.report import DeviceReport, HolderReport, Report, ResourceReport

ROWS = 50
"""Of one resource, until all are asked for."""
LEAST_ROWS = 8
"""Of each group, however many groups there are."""
MOST_ROWS = 10_000
"""Of each group, even when all are asked for."""

LONG = 32
"""Rows. A browser lays longer lists out when they come into sight: a search may unfold many of them."""

_HEADING = (
    '<thead><tr><th scope="col">Device</th><th scope="col">Health</th><th scope="col">Since</th>'
    '<th scope="col"><abbr title="the part of the machine that it is nearest to">NUMA</abbr></th>'
    '<th scope="col">Held by</th></tr></thead>'
)


class Drawing(Struct, frozen=True):
    """What everything on one page is drawn from."""

    report: Report
    wanted: Selection
    clock: Clock


class Group(Struct, frozen=True):
    """Devices that are shown together."""

    title: str
    devices: Sequence[DeviceReport]


def groups(devices: Sequence[DeviceReport]) -> list[Group]:
    """All of them, each in one group. Only one group where all sit in the same place."""
    bad: list[DeviceReport] = []
    places: dict[tuple[int, ...], list[DeviceReport]] = {}
    spread: set[tuple[int, ...]] = set()
    for device in devices:
        spread.add(device.numa_nodes)
        (places.setdefault(device.numa_nodes, []) if device.health != "Unhealthy" else bad).append(device)
    if len(spread) <= 1:
        return [Group("", [*bad, *(device for each in places.values() for device in each)])]
    good = [Group(_place(nodes), places[nodes]) for nodes in sorted(places, key=lambda nodes: (not nodes, nodes))]
    return [Group("Unhealthy", bad), *good] if bad else good


def table(drawing: Drawing, resource: ResourceReport, devices: Sequence[DeviceReport]) -> Iterator[str]:
    """One table with a body for each group, and what is left out of it."""
    parts = groups(devices)
    most = MOST_ROWS if drawing.wanted.complete else max(LEAST_ROWS, ROWS // len(parts))
    shown = sum(min(most, len(group.devices)) for group in parts)
    yield '<div class="long">' if shown > LONG else "<div>"
    yield f'<table class="devices"><caption class="unseen">Devices of {text(resource.name)}</caption>{_HEADING}'
    for group in parts:
        yield "<tbody>"
        if group.title:
            title = f"{group.title} <i>{many(len(group.devices), 'device')}</i>"
            yield f'<tr class="group"><th colspan="5" scope="rowgroup">{title}</th></tr>'
        for piece in pieces(group.devices[:most], PIECE):
            yield "".join(_row(device, drawing) for device in piece)
        yield "</tbody>"
    yield "</table></div>"
    if shown < len(devices):
        yield f'<p class="rest">{number(shown)} of {number(len(devices))} are shown. {_everything(drawing, resource)}</p>'


def how_to_read(drawing: Drawing, devices: Sequence[DeviceReport]) -> str:
    """What must be known to read these rows."""
    notes = []
    attribution = drawing.report.attribution
    if devices and not attribution.known:
        notes.append(f"Who holds what is not known: {text(attribution.reason)}.")
    if attribution.known and any(not device.holders for device in devices):
        notes.append("<q>nobody known</q> is no proof that a device is free.")
    if any(not holder.certain for device in devices for holder in device.holders):
        notes.append(
            "<q>perhaps</q>: only the kubelet's checkpoint says so; it is an init container, or belongs to a pod that has ended."
        )
    return f'<p class="note">{" ".join(notes)}</p>' if notes else ""


def _place(nodes: tuple[int, ...]) -> str:
    if not nodes:
        return "No NUMA node"
    return f"NUMA node{'s' * (len(nodes) > 1)} {', '.join(map(str, nodes))}"


def _row(device: DeviceReport, drawing: Drawing) -> str:
    good = device.health != "Unhealthy"
    reason = f" <small>{text(device.reason)}</small>" if device.reason else ""
    numa = ", ".join(map(str, device.numa_nodes)) or "\N{EN DASH}"
    holders = _holders(device.holders, known=drawing.report.attribution.known)
    return (
        f'<tr><th scope="row">{text(device.id)}</th><td class="{"good" if good else "bad"}"><b>{device.health.value}</b>{reason}'
        f"</td><td>{drawing.clock.ago(device.since)}</td><td>{numa}</td><td>{holders}</td></tr>\n"
    )


def _holders(holders: tuple[HolderReport, ...], *, known: bool) -> str:
    if holders:
        return "<br>".join(map(_holder, holders))
    return '<i class="none">nobody known</i>' if known else '<i class="none">not known</i>'


def _holder(holder: HolderReport) -> str:
    pod = f"{text(holder.namespace)}/{text(holder.pod)}" if holder.namespace else f"pod with UID {text(holder.pod)}"
    return f"{'' if holder.certain else '<i>perhaps</i> '}{pod} <small>{text(holder.container)}</small>"


def _everything(drawing: Drawing, resource: ResourceReport) -> str:
    if drawing.wanted.complete:
        return 'Search to see others, or read <a href="status">/status</a>.'
    return f'<a href="?{plain(drawing.wanted.link(resource.name))}">Show all<span class="unseen"> of {text(resource.name)}</span></a>'
