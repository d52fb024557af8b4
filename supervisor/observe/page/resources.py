"""The resources: how to narrow them down, and one table of all, in which each unfolds its devices."""

from collections.abc import Iterator, Sequence
from urllib.parse import quote

from supervisor.model import Health
from supervisor.observe.page.devices import Drawing, how_to_read, table
from supervisor.observe.page.marks import LONGEST, bar, many, number, plain, text
from supervisor.observe.page.selection import found
from supervisor.report import DeviceReport, ResourceReport
from supervisor.status import Phase

FEW = 24
"""So many devices of a node are shown without being asked for."""

PHASES = {
    Phase.OFFERED: ("idle", "no server yet"),
    Phase.BOUND: ("idle", "served, not asked for yet"),
    Phase.REGISTERING: ("idle", "registering"),
    Phase.CONNECTED: ("good", "connected"),
    Phase.LOST: ("bad", "connection lost"),
    Phase.CONTESTED: ("bad", "contested by a rival plugin"),
}
"""How each looks, and its words."""

_COLUMNS = ("Resource", "Plugin", "Devices", "Held", "Kubelet", "Since")


def anchor(resource: str) -> str:
    """The id of a resource's part of the page."""
    return f"r-{quote(resource[:LONGEST], safe='', errors='replace')}"


def resources(drawing: Drawing) -> Iterator[str]:
    """The section."""
    yield '<section id="resources" aria-labelledby="resources-title"><h2 id="resources-title">Resources</h2>'
    shown = list(found(drawing.report, drawing.wanted))
    if drawing.report.resources:
        yield from _search(drawing, shown)
    if shown:
        headings = "".join(f'<th scope="col">{name}</th>' for name in _COLUMNS)
        yield f'<table class="resources"><caption class="unseen">Resources of this node</caption><thead><tr>{headings}</tr></thead>'
        few = sum(len(devices) for _, devices in shown) <= FEW
        for resource, devices in shown:
            yield from _resource(drawing, resource, devices, unfolded=few)
        yield "</table>"
        yield how_to_read(drawing, [device for _, devices in shown for device in devices])
    elif drawing.wanted:
        yield '<p class="empty">Nothing here is like that. <a href="./">Show everything</a></p>'
    else:
        yield '<p class="empty">No plugin offers anything here yet.</p>'
    yield "</section>"


def _search(drawing: Drawing, shown: Sequence[tuple[ResourceReport, tuple[DeviceReport, ...]]]) -> Iterator[str]:
    wanted = drawing.wanted
    yield '<form id="search" role="search" action="./" method="get"><p><label for="q">Search</label>'
    yield (
        f'<input type="search" id="q" name="q" value="{plain(wanted.sought)}" maxlength="200" autocomplete="off" '
        'spellcheck="false" placeholder="device, reason, pod …"></p>'
    )
    names = [resource.name for resource in drawing.report.resources]
    yield _choice("resource", "Resource", [("", "all"), *((name, name) for name in names)], wanted.resource)
    healths = [("", "any"), *((health.lower(), health.lower()) for health in Health)]
    yield _choice("health", "Health", healths, (wanted.health or "").lower())
    yield '<p class="go"><button>Search</button></p></form>'
    count, whole = sum(len(devices) for _, devices in shown), sum(len(each.devices) for each in drawing.report.resources)
    result = f"{number(count)} of {many(whole, 'device')} found" if wanted else ""
    yield f'<p id="found" role="status">{result}</p>'


def _choice(name: str, label: str, options: Sequence[tuple[str, str]], chosen: str) -> str:
    if chosen not in dict(options):
        options = [*options, (chosen, chosen)]
    rows = (
        f'<option value="{plain(value)}"{" selected" * (value == chosen)}>{plain(shown)}</option>' for value, shown in options
    )
    return f'<p><label for="{name}">{label}</label><select id="{name}" name="{name}">{"".join(rows)}</select></p>'


def _resource(drawing: Drawing, resource: ResourceReport, devices: Sequence[DeviceReport], *, unfolded: bool) -> Iterator[str]:
    look, words = PHASES[resource.phase]
    reasons = "".join(f"<small>{text(reason)}</small>" for reason in (resource.reason, resource.list_problem) if reason)
    label, counts, since = anchor(resource.name), _counts(resource), drawing.clock.ago(resource.since)
    yield (
        f'<tbody id="{label}"><tr><th scope="row">{text(resource.name)}</th><td>{text(resource.plugin)}</td><td>{counts}</td>'
        f'<td>{_held(resource)}</td><td class="{look}"><b>{words}</b>{reasons}</td><td>{since}</td></tr>'
    )
    if devices:
        opened = " open" if unfolded or drawing.wanted else ""
        some = f"{number(len(devices))} of " if len(devices) < len(resource.devices) else ""
        which = f'{some}{many(len(resource.devices), "device")}<span class="unseen"> of {text(resource.name)}</span>'
        yield f'<tr class="inside"><td colspan="6"><details id="{label}-devices"{opened}><summary>{which}</summary>'
        yield from table(drawing, resource, devices)
        yield "</details></td></tr>"
    yield "</tbody>"


def _counts(resource: ResourceReport) -> str:
    gone = min(resource.tombstones, resource.unhealthy)
    parts = (("good", resource.healthy, "healthy"), ("bad", resource.unhealthy - gone, "unhealthy"), ("gone", gone, "gone"))
    words = " ".join(f'<b class="{look}">{number(count)} {word}</b>' for look, count, word in parts if count)
    return f"<span>{words or 'none'}</span>{bar(*((look, count) for look, count, _ in parts))}"


def _held(resource: ResourceReport) -> str:
    if resource.held is None:
        return '<i class="none">not known</i>'
    whole = resource.healthy + resource.unhealthy
    return f"{number(resource.held)} of {number(whole)}{bar(('held', resource.held), ('rest', max(0, whole - resource.held)))}"
