"""The status page in a real browser: it follows the node, leaves the reader's things alone, and suits everyone."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from msgspec.structs import replace
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from supervisor.model import Health
from supervisor.observe.page.marks import ago
from supervisor.report import DeviceReport, HolderReport, Report, ResourceReport
from tests.browser import Browser, browser
from tests.observe import reports
from tests.observe.reports import FUSE, GPU, MANY, before
from tests.observe.showing import Showing, showing

pytestmark = [pytest.mark.requires("chromium", "patience"), pytest.mark.slow, pytest.mark.timeout(300)]

WIDE, PHONE = 1280, 360

REFRESHED = "return refresh().then(() => true)"
"""Do now what is done every few seconds."""

UNREADABLE = """
const channels = (css) => css.match(/[\\d.]+/g).map(Number);
const luminance = (rgb) => rgb.slice(0, 3).map((v) => v / 255)
  .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const ground = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const colour = channels(getComputedStyle(at).backgroundColor);
    if (colour.length < 4 || colour[3] > 0) return colour;
  }
  return [255, 255, 255];
};
const found = [];
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (texts.nextNode()) {
  const element = texts.currentNode.parentElement;
  if (!texts.currentNode.data.trim() || !element.checkVisibility()) continue;
  const [a, b] = [luminance(channels(getComputedStyle(element).color)), luminance(ground(element))];
  const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (contrast < 4.5) found.push(`${contrast.toFixed(2)}: ${texts.currentNode.data}`);
}
return found;
"""
"""Every visible text with less contrast than 4.5:1 against the ground it really stands on."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all these tests."""
    with browser(tmp_path_factory.mktemp("browser")) as chrome:
        yield chrome


@pytest.fixture
def chrome(running: Browser) -> Iterator[Browser]:
    """The browser, wide and light; a test fails when the console was told of any error or breach of the policy."""
    running.emulate(prefers_color_scheme="light")
    running.width(WIDE)
    running.open("about:blank")
    running.complaints()
    yield running
    assert running.complaints() == []


@pytest.fixture
def shown() -> Iterator[Showing]:
    """The page of a usual node, served."""
    with showing(reports.usual()) as served:
        yield served


def breaking(report: Report, name: str, reason: str) -> Report:
    """The same with one device broken, whatever resource it is of."""

    def changed(devices: tuple[DeviceReport, ...]) -> tuple[DeviceReport, ...]:
        return tuple(
            replace(each, health=Health.UNHEALTHY, reason=reason, since=before(0)) if each.id == name else each
            for each in devices
        )

    def counted(resource: ResourceReport) -> ResourceReport:
        return reports.resource(resource.name, resource.plugin, changed(resource.devices))

    return replace(report, resources=tuple(map(counted, report.resources)))


def details(resource: str) -> str:
    """The element that unfolds the devices of a resource, as an expression of the page's language."""
    return f"document.getElementById('r-{resource.replace('/', '%2F')}-devices')"


def press(chrome: Browser, *keys: str) -> None:
    ActionChains(chrome.chrome).send_keys(*keys).perform()


# --- it follows the node ----------------------------------------------------------------------------------------------


def test_a_change_appears_by_itself_and_leaves_the_reader_alone(chrome: Browser, shown: Showing) -> None:
    """Without a reload: what was folded, focused, typed, selected and scrolled to stays."""
    chrome.open(shown.address)
    chrome.run(f"window.mark = 1; {details(FUSE)}.open = false; scrollTo(0, 300); document.getElementById('q').focus()")
    press(chrome, "G", "P", "U")
    chrome.until("location.search === '?q=GPU'")
    chrome.until("document.getElementById('found').textContent.startsWith('8 of')")
    chrome.run("scrollTo(0, 120); document.getElementById('q').setSelectionRange(1, 2)")
    shown.report = breaking(shown.report, reports.uuid(7), "smells of smoke")
    chrome.until("document.body.innerText.includes('smells of smoke')")
    state = "[window.mark, document.activeElement.id, q.value, q.selectionStart, q.selectionEnd, scrollY]"
    assert chrome.run(f"const q = document.getElementById('q'); return {state}") == [1, "q", "GPU", 1, 2, 120]
    assert chrome.run(f"return {details(GPU)}.open") is True


def test_what_the_reader_folds_or_unfolds_stays_so(chrome: Browser, shown: Showing) -> None:
    """Also when its content changes, when resources come and go before it, and through a search."""
    chrome.open(shown.address)
    chrome.run(f"{details(GPU)}.open = false; {details(FUSE)}.querySelector('summary').focus()")
    shown.report = reports.report([reports.many(40).resources[0], *breaking(shown.report, "fuse-2", "gone").resources])
    assert chrome.run(REFRESHED)
    assert chrome.run(f"return [{details(MANY)}.open, {details(GPU)}.open, {details(FUSE)}.open]") == [False, False, True]
    assert chrome.run("return document.activeElement.parentElement.id") == "r-devices.example.com%2Ffuse-devices"
    chrome.run("document.getElementById('q').focus()")
    press(chrome, "0", "0", "0")
    chrome.until(f"{details(GPU)}?.open")
    press(chrome, Keys.BACKSPACE, Keys.BACKSPACE, Keys.BACKSPACE)
    chrome.until("location.search === ''")
    chrome.until(f"{details(FUSE)}?.open && !{details(GPU)}.open && !{details(MANY)}.open")
    shown.report = reports.usual()
    assert chrome.run(REFRESHED)
    assert chrome.run(f"return {details(MANY)}") is None


def test_nothing_is_drawn_anew_for_nothing(chrome: Browser, shown: Showing) -> None:
    """While nothing changes the server says only that, and no element of the page is touched but the time."""
    chrome.open(shown.address)
    assert chrome.run(REFRESHED)
    chrome.run("""window.seen = []; new MutationObserver((records) => seen.push(...records.map((r) => r.target.nodeName)))
                  .observe(document.body, {subtree: true, childList: true, attributes: true, characterData: true})""")
    statuses = len(shown.statuses)
    assert chrome.run(REFRESHED)
    assert shown.statuses[statuses:] == [304]
    touched = chrome.run("return seen")
    assert "TIME" in touched
    assert set(touched) <= {"TIME", "#text"}


def test_times_go_on_while_nothing_changes(chrome: Browser, shown: Showing) -> None:
    """By the server's clock, in the words that the server itself uses."""
    chrome.open(shown.address)
    assert chrome.run(REFRESHED)
    grid = [-3, 0, 1.9, 2, 30, 59.9, 60, 3599, 3600, 90_000, 172_799, 172_800, 10_000_000]
    assert chrome.run("return arguments[0].map(ago)", grid) == [ago(seconds) for seconds in grid]
    assert " days ago" in chrome.run("return document.querySelector('.devices time').textContent")


def test_a_lost_connection_is_told_until_it_is_back(chrome: Browser, shown: Showing) -> None:
    """What is old is said to be old, politely and without taking the page away."""
    chrome.open(shown.address)
    assert chrome.run(REFRESHED)
    shown.status = 503
    assert chrome.run(REFRESHED)
    link = chrome.run("return document.getElementById('link').textContent")
    assert link.startswith("Connection lost (the server answers 503). This is how it was at ")
    assert chrome.run("return document.documentElement.classList.contains('lost')")
    shown.status = None
    chrome.offline(lost=True)
    try:
        assert chrome.run(REFRESHED)
        assert "no answer" in chrome.run("return document.getElementById('link').textContent")
    finally:
        chrome.offline(lost=False)
    assert chrome.run(REFRESHED)
    assert chrome.run("return [document.getElementById('link').textContent, document.documentElement.className]") == [
        "",
        "live",
    ]
    assert chrome.run("return document.querySelectorAll('.devices tbody tr').length") > 14
    assert all("503" in each or "ERR_INTERNET_DISCONNECTED" in each for each in chrome.complaints())


def test_a_page_that_nobody_sees_asks_for_nothing(chrome: Browser, shown: Showing) -> None:
    """It stops when hidden, and is fresh as soon as somebody looks again."""
    chrome.open(shown.address)
    chrome.run("""window.planned = []; const plan = setTimeout;
                  window.setTimeout = (what, when) => (planned.push(when), plan(what, when));
                  Object.defineProperty(document, "hidden", {configurable: true, get: () => true});""")
    assert chrome.run(REFRESHED)
    assert chrome.run("return planned.includes(EVERY)") is False
    shown.report = breaking(shown.report, "fuse-3", "fell on the floor")
    chrome.run("""Object.defineProperty(document, "hidden", {configurable: true, get: () => false});
                  document.dispatchEvent(new Event("visibilitychange"))""")
    chrome.until("document.body.innerText.includes('fell on the floor')")
    chrome.until("planned.includes(EVERY)")


def test_the_tab_tells_the_verdict(chrome: Browser, shown: Showing) -> None:
    """Its title and its icon change with the state."""
    chrome.open(shown.address)
    assert chrome.chrome.title == "worker-eu-7: ready, active"
    icon = "return document.getElementById('icon').href"
    before_it = chrome.run(icon)
    shown.report = reports.trouble()
    assert chrome.run(REFRESHED)
    assert chrome.chrome.title == "worker-eu-7: not ready, active"
    assert chrome.run(icon) != before_it
    assert chrome.run("return document.querySelector('main').firstElementChild.id") == "problems"


# --- it suits everyone ------------------------------------------------------------------------------------------------


def test_it_can_be_used_by_keyboard_alone(chrome: Browser, shown: Showing) -> None:
    """Tab leads to the search, the choices and each resource; Enter folds; where one is can be seen."""
    chrome.open(shown.address)
    press(chrome, Keys.TAB)
    assert chrome.run("return document.activeElement.id") == "q"
    assert chrome.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    press(chrome, "j", "u", "p", "y", "t", "e", "r")
    chrome.until("document.getElementById('found').textContent.startsWith('1 of')")
    press(chrome, Keys.TAB, Keys.TAB)
    assert chrome.run("return document.activeElement.id") == "health"
    press(chrome, "h")
    chrome.until("location.search === '?q=jupyter&health=healthy'")
    press(chrome, Keys.TAB, Keys.ENTER)
    assert chrome.run(f"return [document.activeElement.tagName, {details(GPU)}.open]") == ["SUMMARY", False]


SAMPLES: dict[str, Callable[[], Report]] = {
    "usual": reports.usual,
    "trouble": reports.trouble,
    "many": reports.many,
    "starting": reports.starting,
}


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, PHONE])
def test_it_can_be_read_anywhere(
    chrome: Browser, tmp_path: Path, sample: Callable[[], Report], scheme: str, width: int
) -> None:
    """Light and dark, wide and narrow: every text has its contrast, and nothing must be scrolled to from the side."""
    chrome.emulate(prefers_color_scheme=scheme)
    chrome.width(width)
    with showing(sample()) as served:
        chrome.open(served.address)
        chrome.picture(tmp_path / f"{scheme}-{width}.png")
        assert chrome.run(UNREADABLE) == []
        assert chrome.run("return document.documentElement.scrollWidth") <= width
        assert (
            chrome.run("return getComputedStyle(document.body).backgroundColor")
            == {
                "light": "rgb(244, 246, 248)",
                "dark": "rgb(16, 21, 27)",
            }[scheme]
        )


def test_names_without_a_place_to_break_fit_on_a_phone(chrome: Browser) -> None:
    """Whatever the length of an id, a reason, a pod or a resource."""
    long = "n" * 300
    held = replace(reports.device(long, [0], long), holders=(HolderReport(long, long, long),))
    plugin = replace(reports.usual().plugins[0], name=long, distribution=long, reason=long)
    event = replace(reports.usual().events[0], text=long)
    resources = [reports.resource(f"{long}/{long}", long, [held], reason=long)]
    chrome.width(PHONE)
    with showing(reports.report(resources, [long], node=long, plugins=(plugin,), events=(event,))) as served:
        chrome.open(served.address)
        assert chrome.run("return document.documentElement.scrollWidth") <= PHONE
        chrome.width(WIDE)
        assert chrome.run("return document.documentElement.scrollWidth") <= WIDE


def roles(chrome: Browser) -> dict[str, list[str]]:
    """What assistive technology is told: the names of all things of each role."""
    tree = chrome.chrome.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    found: dict[str, list[str]] = {}
    for node in tree:
        if not node.get("ignored"):
            found.setdefault(node["role"]["value"], []).append(str(node.get("name", {}).get("value", "")))
    return found


@pytest.mark.parametrize("width", [WIDE, PHONE])
def test_assistive_technology_finds_its_way(chrome: Browser, shown: Showing, width: int) -> None:
    """Landmarks, headings, named tables with their headings, named controls, on a phone as well."""
    chrome.width(width)
    chrome.open(shown.address)
    found = roles(chrome)
    assert [len(found[role]) for role in ("banner", "main", "contentinfo", "search", "navigation")] == [1] * 5
    assert found["heading"] == ["worker-eu-7", "Resources", "Plugins", "Recent events"]
    around = ("Resources of this node", "Plugins with their states", "Recent events, the newest first")
    assert sorted(found["table"]) == sorted((*around, *(f"Devices of {each.name}" for each in shown.report.resources)))
    assert set(found["searchbox"]) == {"Search"}
    assert found["combobox"] == ["Resource", "Health"]
    assert {"nvidia.com/gpu", "fuse-1", "generic"} <= set(found["rowheader"])
    assert {"Device", "Health", "Since", "Held by"} <= set(found["columnheader"])


def test_preferences_and_paper_are_respected(chrome: Browser, shown: Showing) -> None:
    """Nothing moves for those who do not want it; a printed page has no search box, and all devices."""
    chrome.emulate(prefers_reduced_motion="reduce")
    chrome.open(shown.address)
    assert chrome.run("return getComputedStyle(document.documentElement).scrollBehavior") == "auto"
    chrome.run("document.querySelectorAll('details').forEach((details) => (details.open = false))")
    chrome.chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert chrome.run("return getComputedStyle(document.getElementById('search')).display") == "none"
        assert chrome.run("return document.querySelector('.devices').checkVisibility({contentVisibilityAuto: true})")
    finally:
        chrome.chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_thousands_of_devices_can_be_searched(chrome: Browser) -> None:
    """As one types; a link shows the whole list, which can be searched and refreshed as well."""
    with showing(reports.many()) as served:
        chrome.open(served.address)
        chrome.run("document.getElementById('q').focus()")
        for letter in "job-04998":
            press(chrome, letter)
        chrome.until("document.getElementById('found').textContent.startsWith('1 of')")
        assert chrome.run("return document.querySelector('.devices tbody th[scope=row]').textContent") == "lane-04998"
        chrome.open(f"{served.address}?resource={MANY}&all=1")
        assert chrome.run("return document.querySelectorAll('.devices th[scope=row]').length") == 5000
        served.report = breaking(served.report, "lane-02001", "dark")
        assert chrome.run(REFRESHED)
        assert chrome.run("return document.querySelectorAll('.devices td.bad').length") == 5


def test_hostile_texts_stay_texts(chrome: Browser) -> None:
    """No markup of others becomes an element, at first or by a refresh, and the policy has nothing to stop."""
    bad = '"><img src=x onerror=alert(1)><script>alert(2)</script>'
    with showing(reports.usual()) as served:
        chrome.open(served.address)
        hostile = reports.resource(bad, bad, [reports.device(bad, reason=bad)], reason=bad)
        served.report = reports.report([hostile], [bad], node=bad)
        assert chrome.run(REFRESHED)
        assert chrome.run("return document.querySelectorAll('img, body script').length") == 0
        assert chrome.run("return document.querySelector('h1').textContent") == bad
        assert chrome.run("return document.getElementById(arguments[0])?.tagName", f"r-{quote(bad, safe='')}") == "TBODY"


# --- without script ---------------------------------------------------------------------------------------------------


def test_it_works_without_script(tmp_path: Path) -> None:
    """All is shown, the search is a form with a button, lists can be had whole, and the page reloads by itself."""
    with browser(tmp_path, script=False) as plain, showing(reports.many()) as served:
        plain.open(served.address)

        def text() -> Any:
            return plain.chrome.find_element("tag name", "body").text

        assert "worker-eu-7" in text()
        assert "connected" in text()
        plain.chrome.find_element("id", "q").send_keys("job-0300")
        plain.chrome.find_element("css selector", "#search button").click()
        assert "4 of 5\N{NARROW NO-BREAK SPACE}014 devices found" in text()
        assert "lane-03006" in text()
        plain.open(served.address)
        plain.chrome.find_element("css selector", f"#{_css('r-nvidia.com%2Fgpu-devices')} summary").click()
        assert reports.uuid(4) in text()
        plain.open(f"{served.address}?q=lane-0")
        plain.chrome.find_element("css selector", ".rest a").send_keys(Keys.ENTER)
        assert len(plain.chrome.find_elements("css selector", ".devices th[scope=row]")) == 5000
        assert plain.complaints() == []


def _css(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_" else f"\\{letter}" for letter in name)
