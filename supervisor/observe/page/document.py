"""The whole page as HTML, and the tag that tells whether it would be another one now."""

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Final
from urllib.parse import quote

import msgspec
from msgspec.structs import replace

from supervisor import __version__
from supervisor.observe.page.devices import Drawing
from supervisor.observe.page.marks import Clock, plain, text
from supervisor.observe.page.resources import resources
from supervisor.observe.page.sections import OLD, Verdict, events, facts, plugins, to_know, verdict
from supervisor.observe.page.selection import PIECE, selection
from supervisor.pieces import pieces
from supervisor.report import Heartbeats, Report

RELOAD: Final = 30
"""Seconds, where there is no script: each reload takes what was unfolded by hand away."""

_SHAPES: Final = {
    "good": '<circle cx="8" cy="8" r="7" fill="#2c9a5b"/>',
    "warn": '<path d="M8 1 15 14.5H1z" fill="#d38a00"/>',
    "bad": '<path d="M1 1h14v14H1z" fill="#d43c31"/><path d="M4 8h8" stroke="#fff" stroke-width="2.5"/>',
}
"""The icon in the browser's tab, told apart by shape and colour."""

_LINKS: Final = {"metrics": "/metrics", "status": "/status (JSON)", "readyz": "/readyz", "livez": "/livez"}


def draw(report: Report, query: Mapping[str, str]) -> bytes:
    """The page for a reader who asked with this query (``q``, ``resource``, ``health``, ``all``)."""
    drawing = Drawing(report, selection(query), Clock(report.time))
    return "".join(_document(drawing)).encode(errors="replace")


def tag(report: Report, query: Mapping[str, str]) -> str:
    """An entity tag, equal for pages that differ in the passing of time alone."""
    clock, attribution = Clock(report.time), report.attribution
    read_at = attribution.read_at if clock.older(attribution.read_at, OLD) else None
    timeless = replace(
        report,
        time="",
        heartbeats=Heartbeats(0.0, 0.0),
        attribution=replace(attribution, read_at=read_at),
        resources=tuple(replace(each, devices=()) for each in report.resources),
    )
    known = blake2b(msgspec.json.encode((__version__, sorted(query.items()), timeless)), digest_size=12)
    for resource in report.resources:
        for piece in pieces(resource.devices, PIECE):
            known.update(msgspec.json.encode(piece))
    return f'W/"{known.hexdigest()}"'


def _document(drawing: Drawing) -> Iterator[str]:
    report = drawing.report
    seen = verdict(report)
    yield f'<!doctype html><html lang="en"><head>{_head(report, seen)}</head><body>'
    yield from _header(drawing, seen)
    yield "<main>"
    yield from to_know(report)
    yield from resources(drawing)
    yield from plugins(drawing)
    yield from events(drawing)
    yield f"</main>{_footer(drawing)}</body></html>"


def _head(report: Report, seen: Verdict) -> str:
    picture = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">{_SHAPES[seen.look]}</svg>'
    return (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{plain(report.node or 'This node')}: {seen.words.lower()}</title>"
        f'<link rel="icon" id="icon" href="data:image/svg+xml,{quote(picture)}">'
        '<link rel="stylesheet" href="page.css"><script src="page.js" defer></script>'
        f'<noscript><meta http-equiv="refresh" content="{RELOAD}"></noscript>'
    )


def _header(drawing: Drawing, seen: Verdict) -> Iterator[str]:
    report = drawing.report
    yield f'<header id="top"><div class="title"><p class="program">device-plugin-supervisor {text(report.version)}</p>'
    yield f"<h1>{text(report.node) if report.node else 'This node'}</h1></div>"
    yield f'<p id="verdict" class="{seen.look}" role="status"><b>{seen.words}</b></p>'
    yield f'<p class="now">As of {drawing.clock.now()} <span id="link" role="status"></span></p>'
    yield from facts(drawing)
    yield "</header>"


def _footer(drawing: Drawing) -> str:
    links = "".join(f'<li><a href="{path}">{name}</a></li>' for path, name in _LINKS.items())
    return (
        f'<footer id="bottom"><nav aria-label="Other pages"><ul>{links}</ul></nav>'
        f"<p>Started {drawing.clock.ago(drawing.report.started_at)}.</p></footer>"
    )
