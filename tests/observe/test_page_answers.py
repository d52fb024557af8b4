"""What the paths of the page answer: headers, entity tags, and a stylesheet that keeps its contrasts."""

import gzip
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from supervisor.observe import page
from supervisor.observe.board import StatusBoard
from supervisor.observe.exchange import Request
from supervisor.observe.metrics import Metrics
from supervisor.observe.pages import pages
from supervisor.observe.reporting import View
from supervisor.observe.series import Taken
from supervisor.report import AttributionReport, Heartbeats, Report
from supervisor.status import Liveness
from tests.observe import reports
from tests.observe.markup import parse
from tests.observe.reports import before

STYLE = (Path(page.__file__).parent / "page.css").read_text()


def _with_a_device_changed(report: Report) -> Report:
    first, *others = report.resources
    broken = replace(first.devices[-1], reason="smells of smoke")
    return replace(report, resources=(replace(first, devices=(*first.devices[:-1], broken)), *others))


def test_the_page_may_load_only_what_is_its_own() -> None:
    """The policy forbids everything that the page does not need; the address is told to nobody; a copy is asked about."""
    answer = page.show(reports.usual(), Request("/"))
    headers = dict(answer.headers)
    assert (answer.status, answer.content_type) == (200, "text/html; charset=utf-8")
    assert headers["Content-Security-Policy"] == (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("path", page.ASSETS)
def test_an_asset_comes_once(path: str) -> None:
    """With its type at first, and afterwards only the word that it is still the same."""
    first = page.asset(Request(path))
    assert (first.status, first.content_type) == (200, page.ASSETS[path])
    again = page.asset(Request(path, if_none_match=dict(first.headers)["ETag"]))
    assert (again.status, again.body) == (304, b"")


def test_there_is_no_other_asset() -> None:
    """A path that is not in the table reads no file."""
    with pytest.raises(KeyError):
        page.asset(Request("/../answers.py"))


def test_a_page_that_would_say_the_same_is_not_sent_again() -> None:
    """Time alone passes: 304. The reader's own question is a part of the tag."""
    report = reports.usual()
    etag = dict(page.show(report, Request("/")).headers)["ETag"]
    later = replace(
        report, time=before(-5), heartbeats=Heartbeats(0.9, 0.9), attribution=replace(report.attribution, read_at=before(-4))
    )
    assert page.show(later, Request("/", if_none_match=etag)).status == 304
    assert page.show(later, Request("/", {"q": "x"}, if_none_match=etag)).status == 200


@pytest.mark.parametrize(
    "change",
    [
        _with_a_device_changed,
        lambda report: replace(report, reasons=("something to know",)),
        lambda report: replace(report, active=False),
        lambda report: replace(report, attribution=AttributionReport(known=False, reason="nobody answers")),
        lambda report: replace(report, attribution=replace(report.attribution, read_at=before(90))),
        lambda report: replace(report, events=report.events[1:]),
    ],
    ids=["device", "reason", "standing", "attribution", "old-reading", "events"],
)
def test_any_change_gives_another_page(change: Callable[[Report], Report]) -> None:
    """Whatever is drawn is in the tag."""
    report = reports.usual()
    changed = change(report)
    assert page.draw(changed, {}) != page.draw(report, {})
    assert page.tag(changed, {}) != page.tag(report, {})


# --- the stylesheet ---------------------------------------------------------------------------------------------------


def _tokens(scheme: str) -> dict[str, str]:
    light, dark = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    tokens = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", light))
    return tokens if scheme == "light" else tokens | dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", dark))


def _luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """From 1, the same colour, to 21, black on white."""
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


TEXTS = {
    "paper": ("ink", "quiet", "accent"),
    "card": ("ink", "quiet", "accent", "good", "warn", "bad"),
    "hover": ("ink", "quiet", "accent", "good", "warn", "bad"),
    "good-wash": ("good",),
    "warn-wash": ("ink", "warn", "accent"),
    "bad-wash": ("ink", "bad", "accent"),
}
"""For each ground, what is written on it."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_written_can_be_read(scheme: str) -> None:
    """At least 4.5:1 for text, 3:1 for the edges of what can be operated and for the shares of a bar (WCAG 2.2 AA)."""
    tokens = _tokens(scheme)
    for ground, texts in TEXTS.items():
        for text in texts:
            assert contrast(tokens[text], tokens[ground]) >= 4.5, f"{text} on {ground}: {scheme}"
    for mark in ("edge", "accent", "good-fill", "bad-fill", "gone-fill", "held-fill"):
        assert contrast(tokens[mark], tokens["card"]) >= 3, f"{mark} on card: {scheme}"


def test_contrast_is_what_the_standard_says() -> None:
    """Black on white is 21:1, and the standard's own grey just passes."""
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


def test_every_colour_is_a_token_of_both_schemes() -> None:
    """So that no colour escapes the test of contrasts, or stays light in the dark; nothing comes from elsewhere."""
    rules = re.sub(r":root \{.*?\}", "", STYLE, flags=re.DOTALL)
    assert not re.search(r"#[0-9a-f]{3,8}\s*[;,) ]|rgba?\(|hsla?\(|url\(|@import", rules)
    assert set(re.findall(r"var\(--([\w-]+)\)", rules)) == set(_tokens("light"))
    assert {name for name, value in _tokens("dark").items() if value == _tokens("light")[name]} == set()


# --- at the paths of the server ---------------------------------------------------------------------------------------


async def test_the_server_has_the_page_and_what_belongs_to_it() -> None:
    """The root is the page of the moment, after a look at who holds what; both files lie beside it; all may be compressed."""
    asked: list[str] = []
    board = StatusBoard()

    async def look_up() -> None:
        asked.append("holders")

    def view() -> View:
        return View(board.current, Liveness(0.1, 0.1), now=50.0, wall=1_800_000_000.0, started=0.0, node="worker-eu-7")

    served = pages(view, lambda: Taken(board.current), look_up, Metrics())
    answer = await served["/"](Request("/", accepts_gzip=True))
    assert (answer.status, asked) == (200, ["holders"])
    assert parse(gzip.decompress(answer.body)).one("h1").text == "worker-eu-7"
    etag = dict(answer.headers)["ETag"]
    assert etag.startswith('W/"')
    assert (await served["/"](Request("/", if_none_match=etag))).status == 304
    for path, content_type in page.ASSETS.items():
        asset = await served[path](Request(path))
        assert (asset.status, asset.content_type) == (200, content_type)
