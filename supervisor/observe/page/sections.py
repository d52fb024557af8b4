"""The parts of the page around its resources: the verdict, what to know, the facts, the plugins, what happened."""

from collections.abc import Iterable, Iterator
from typing import Literal

from msgspec import Struct

from supervisor.observe.page.devices import Drawing
from supervisor.observe.page.marks import many, number, text
from supervisor.observe.page.resources import anchor
from supervisor.report import EventReport, PluginReport, Report
from supervisor.status import PluginState

OLD = 60.0
"""Seconds after which it is told how old the knowledge of who holds what is."""

_STATES = {
    PluginState.WAITING: ("idle", "has not looked yet"),
    PluginState.UP: ("good", "up"),
    PluginState.FAILING: ("warn", "failing"),
    PluginState.STUCK: ("bad", "stuck"),
    PluginState.REJECTED: ("bad", "rejected"),
}


class Verdict(Struct, frozen=True):
    """The state of the whole in one look and a few words."""

    look: Literal["good", "warn", "bad"]
    words: str


def verdict(report: Report) -> Verdict:
    """What one look tells."""
    if not report.live:
        return Verdict("bad", "Not alive: it will be started anew")
    standing = "active" if report.active else "standing by"
    if not report.ready:
        return Verdict("bad", f"Not ready, {standing}")
    return Verdict("warn" if report.reasons or any(_devices_to_know(report)) else "good", f"Ready, {standing}")


def to_know(report: Report) -> Iterator[str]:
    """What is wrong or worth knowing, what stops the node first."""
    problems = [*(text(reason) for reason in report.reasons), *_devices_to_know(report)]
    if problems:
        look = verdict(report).look
        yield f'<section id="problems" class="{look}" aria-labelledby="problems-title"><h2 id="problems-title">To know</h2><ul>'
        yield from (f"<li>{problem}</li>" for problem in problems)
        yield "</ul></section>"


def _devices_to_know(report: Report) -> Iterator[str]:
    for each in report.resources:
        if each.unhealthy:
            link = f'<a href="#{anchor(each.name)}">{text(each.name)}</a>'
            gone = f", {number(each.tombstones)} of them gone" if each.tombstones else ""
            verb = "is" if each.unhealthy == 1 else "are"
            yield f"{link}: {number(each.unhealthy)} of {many(each.healthy + each.unhealthy, 'device')} {verb} unhealthy{gone}"


# --- the facts --------------------------------------------------------------------------------------------------------


def facts(drawing: Drawing) -> Iterator[str]:
    """What a person wants to know of the whole, as terms with descriptions."""
    report = drawing.report
    yield '<dl id="facts">'
    for name, value, more in (_devices(report), _held(drawing), _standing(drawing), _kubelet(drawing), _config(report)):
        lines = "".join(f'<dd class="more">{line}</dd>' for line in more if line)
        yield f"<div><dt>{name}</dt><dd>{value}</dd>{lines}</div>"
    yield "</dl>"


Fact = tuple[str, str, tuple[str, ...]]


def _devices(report: Report) -> Fact:
    good, bad = sum(each.healthy for each in report.resources), sum(each.unhealthy for each in report.resources)
    said = f"{number(bad)} unhealthy" if bad else "all healthy" if good else ""
    return "Devices", number(good + bad), (said, f"in {many(len(report.resources), 'resource')}")


def _held(drawing: Drawing) -> Fact:
    attribution = drawing.report.attribution
    if not attribution.known:
        return "Held by pods", "not known", (text(attribution.reason),)
    held = sum(each.held or 0 for each in drawing.report.resources)
    age = ""
    if attribution.read_at is not None and drawing.clock.older(attribution.read_at, OLD):
        age = f"as it was {drawing.clock.ago(attribution.read_at)}"
    return "Held by pods", number(held), (f"by the kubelet's {text(attribution.source)}", age)


def _standing(drawing: Drawing) -> Fact:
    report = drawing.report
    since = drawing.clock.ago(report.active_since) if report.active and report.active_since else ""
    return "This process", "active" if report.active else "standing by", (since, text(report.active_reason))


def _kubelet(drawing: Drawing) -> Fact:
    kubelet = drawing.report.kubelet
    since = drawing.clock.ago(kubelet.since) if kubelet.since else ""
    reason = text(kubelet.reason) if kubelet.reason else ""
    return "Kubelet", "connected" if kubelet.connected else "not connected", (since, reason)


def _config(report: Report) -> Fact:
    config = report.config
    lines = ["the newest edit is not applied"] if config.problems else []
    if config.pending:
        lines.append(f"at the next start: {text(', '.join(config.pending))}")
    if config.profiles:
        lines.append(f"for {text(', '.join(config.profiles))}")
    name = f"generation {number(config.generation)}" if config.generation else "none yet"
    return "Configuration", name, tuple(lines) or ("applied in full" if config.generation else "",)


# --- plugins and events -----------------------------------------------------------------------------------------------


def plugins(drawing: Drawing) -> Iterator[str]:
    """The section of the plugins."""
    yield '<section id="plugins" aria-labelledby="plugins-title"><h2 id="plugins-title">Plugins</h2>'
    if drawing.report.plugins:
        yield '<table class="plugins"><caption class="unseen">Plugins with their states</caption><thead><tr>'
        yield "".join(f'<th scope="col">{name}</th>' for name in ("Plugin", "State", "Distribution", "Last good look"))
        yield "</tr></thead><tbody>"
        yield from (_plugin(drawing, plugin) for plugin in drawing.report.plugins)
        yield "</tbody></table>"
    else:
        yield '<p class="empty">None is loaded.</p>'
    yield from _notices(drawing)
    yield "</section>"


def _plugin(drawing: Drawing, plugin: PluginReport) -> str:
    look, words = _STATES[plugin.state]
    said = [plugin.reason, *(f"{each.about}: {each.text}" if each.about else each.text for each in plugin.notices)]
    notes = "".join(f"<small>{text(each)}</small>" for each in said if each)
    return (
        f'<tr><th scope="row">{text(plugin.name)}</th><td class="{look}"><b>{words}</b>{notes}</td>'
        f"<td>{text(plugin.distribution)} {text(plugin.version)}</td>"
        f"<td>{drawing.clock.ago(plugin.last_look) if plugin.last_look else 'none yet'}</td></tr>"
    )


def _notices(drawing: Drawing) -> Iterable[str]:
    notices = drawing.report.notices
    if not notices:
        return ()
    lines = (
        f"<li>{text(f'{each.about}: {each.text}' if each.about else each.text)} <small>{drawing.clock.ago(each.since)}</small></li>"
        for each in notices
    )
    return ("<h3>Of the process itself</h3><ul>", *lines, "</ul>")


def events(drawing: Drawing) -> Iterator[str]:
    """The section of what happened lately."""
    yield '<section id="events" aria-labelledby="events-title"><h2 id="events-title">Recent events</h2>'
    if drawing.report.events:
        yield '<table class="events"><caption class="unseen">Recent events, the newest first</caption><thead><tr>'
        yield '<th scope="col">When</th><th scope="col">Level</th><th scope="col">What</th></tr></thead><tbody>'
        yield from (_event(drawing, event) for event in drawing.report.events)
        yield "</tbody></table>"
    else:
        yield '<p class="empty">Nothing yet.</p>'
    yield "</section>"


def _event(drawing: Drawing, event: EventReport) -> str:
    look = {"error": "bad", "warning": "warn"}.get(event.level, "idle")
    times = f" <small>{number(event.count)} times since {drawing.clock.ago(event.first)}</small>" if event.count > 1 else ""
    return (
        f'<tr><td>{drawing.clock.ago(event.last)}</td><td class="{look}"><b>{event.level}</b></td>'
        f"<td>{text(event.text)}{times}</td></tr>\n"
    )
