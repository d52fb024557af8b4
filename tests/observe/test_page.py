"""The status page as HTML: what it shows, that it is well made, and that no text becomes markup."""

import re
from collections.abc import Callable, Mapping
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from supervisor.model import Health
from supervisor.observe.page import draw
from supervisor.observe.page.devices import ROWS
from supervisor.observe.page.marks import LONGEST, Clock, ago, bar, many, number
from supervisor.observe.page.resources import PHASES
from supervisor.observe.page.selection import selection
from supervisor.report import (
    AttributionReport,
    ConfigReport,
    DeviceReport,
    EventReport,
    HolderReport,
    KubeletReport,
    NoticeReport,
    PluginReport,
    Report,
    ResourceReport,
)
from supervisor.status import NoticeOrigin, Phase, PluginState
from tests.observe import reports
from tests.observe.markup import Element, parse
from tests.observe.reports import GPU, MANY, NIC, NOW, before

SAMPLES: Mapping[str, Callable[[], Report]] = {
    "usual": reports.usual,
    "trouble": reports.trouble,
    "many": reports.many,
    "starting": reports.starting,
}
QUERIES: Mapping[str, Mapping[str, str]] = {
    "plain": {},
    "searched": {"q": "0"},
    "not-found": {"q": "no such thing"},
    "chosen": {"resource": GPU, "health": "unhealthy", "all": "1"},
    "nonsense": {"resource": "nobody.example/has-this", "health": "middling", "x": "y"},
}


def seen(report: Report, **query: str) -> Element:
    return parse(draw(report, query))


def rows(page: Element) -> dict[str, Element]:
    """The rows of devices by id, in their order."""
    found = (row for table in page.all("table", class_="devices") for row in table.all("tr"))
    return {row.one("th", scope="row").text: row for row in found if row.all("th", scope="row")}


# --- what it shows ----------------------------------------------------------------------------------------------------


def test_one_look_tells_what_a_usual_node_offers() -> None:
    """Every resource with its figures, every device with health, since, NUMA node and holder, unfolded where they are few."""
    report = reports.usual()
    page = seen(report)
    assert page.one("h1").text == "worker-eu-7"
    assert page.one("p", id="verdict").text == "Ready, active"
    assert page.all("section", id="problems") == []
    assert all("open" in details.attributes for details in page.all("details"))
    shown = rows(page)
    assert len(shown) == 14
    first = shown[reports.uuid(0)]
    assert [cell.text for cell in first.all("td")] == ["Healthy", "2 h ago", "0", "training/llama-0 worker"]
    assert shown["fuse-1"].all("td")[-1].text == "nobody known"
    resource = page.one("tbody", id="r-nvidia.com%2Fgpu")
    figures = [cell.text for cell in resource.all("tr")[0].all("td")]
    assert figures == ["nvidia-gpu", "8 healthy", "3 of 8", "connected", "2 h ago"]


def test_problems_come_first() -> None:
    """Before any resource stands what is wrong, each reason and each resource with broken devices."""
    report = reports.trouble()
    page = seen(report)
    assert page.one("p", id="verdict").text == "Not ready, active"
    sections = [section.attributes["id"] for section in page.one("main").all("section")]
    assert sections == ["problems", "resources", "plugins", "events"]
    problems = [item.text for item in page.one("section", id="problems").all("li")]
    assert problems == [
        *report.reasons,
        f"{GPU}: 2 of 8 devices are unhealthy, 1 of them gone",
        f"{NIC}: 1 of 2 devices is unhealthy",
    ]


def test_trouble_is_told_where_it_is() -> None:
    """The reason stands at the device, the rival at the resource, the failure at the plugin, the count at the event."""
    page = seen(reports.trouble())
    gpu, nic = page.one("tbody", id="r-nvidia.com%2Fgpu"), page.one("tbody", id="r-rdma.example.com%2Fhca")
    assert "6 healthy 1 unhealthy 1 gone" in gpu.text
    assert "contested by a rival plugin" in nic.text
    assert "another plugin registers this name" in nic.text
    assert "Unhealthy Xid 79: the GPU has fallen off the bus" in rows(page)[reports.uuid(3)].text
    assert "failing" in page.one("section", id="plugins").text
    assert "firmware 1.9 is older than 2.0" in page.one("section", id="plugins").text
    assert "37 times since 1 h ago" in page.one("section", id="events").text
    facts = {pair.one("dt").text: pair.text for pair in page.one("dl", id="facts").all("div")}
    assert "generation 4the newest edit is not appliedat the next start: http" in facts["Configuration"]


def test_the_unhealthy_come_first_and_then_each_numa_node() -> None:
    """In one resource on two nodes: a group of the broken ones, then one for each node."""
    table = seen(reports.trouble()).one("tbody", id="r-nvidia.com%2Fgpu").one("table", class_="devices")
    titles = [heading.text for heading in table.all("th", scope="rowgroup")]
    assert titles == ["Unhealthy 2 devices", "NUMA node 0 3 devices", "NUMA node 1 3 devices"]
    assert [row.one("b").text for row in table.all("tr") if row.all("b")] == ["Unhealthy"] * 2 + ["Healthy"] * 6


def test_nobody_is_claimed_to_hold_nothing() -> None:
    """Where holders are not known it says so and why; a holder that is not sure is marked; no device is called free."""
    unsure = replace(reports.trouble(), attribution=AttributionReport(known=False, reason="nobody answers"))
    page = seen(unsure)
    holders = {name: row.all("td")[-1].text for name, row in rows(page).items()}
    assert holders.pop(reports.uuid(2)) == "perhaps training/llama-0 worker"
    assert set(holders.values()) == {"not known"}
    assert "nobody answers" in page.one("p", class_="note").text
    assert "free" not in page.text
    known = seen(reports.usual())
    assert known.text.count("free") == known.text.count("no proof that a device is free") == 1


def test_a_pod_known_by_its_uid_alone_is_shown_so() -> None:
    """The checkpoint has no names."""
    holder = HolderReport("", "6bd3f5f4-1e1c", "main")
    held = replace(reports.device("d0"), holders=(holder,))
    page = seen(reports.report([reports.resource(GPU, "nvidia-gpu", [held])]))
    assert rows(page)["d0"].all("td")[-1].text == "pod with UID 6bd3f5f4-1e1c main"


def test_a_node_that_has_just_started_says_what_is_missing() -> None:
    """Nothing to show is said in words, section by section."""
    page = seen(reports.starting())
    assert page.one("h1").text == "This node"
    assert [empty.text for empty in page.all("p", class_="empty")] == [
        "No plugin offers anything here yet.",
        "None is loaded.",
        "Nothing yet.",
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "Ready, active"),
        ({"active": False}, "Ready, standing by"),
        ({"ready": False}, "Not ready, active"),
        ({"live": False, "ready": False}, "Not alive: it will be started anew"),
    ],
)
def test_the_verdict_in_words(change: Mapping[str, bool], words: str) -> None:
    """On the page, and in the title of the browser's tab."""
    page = seen(replace(reports.usual(), **change))
    assert page.one("p", id="verdict").text == words
    assert page.one("title").text == f"worker-eu-7: {words.lower()}"


def test_every_phase_has_its_words() -> None:
    """A new phase cannot be forgotten."""
    assert set(PHASES) == set(Phase)


# --- long lists, and finding things -----------------------------------------------------------------------------------


def test_a_long_list_is_folded_and_can_be_had_whole() -> None:
    """The broken ones and some of each node are there at first; one link shows all."""
    page = seen(reports.many())
    part = page.one("tbody", id="r-devices.example.com%2Flane")
    assert "open" not in part.one("details").attributes
    shown = rows(part)
    assert len(shown) <= ROWS
    assert [row.text.count("Unhealthy") for row in shown.values()][:5] == [1, 1, 1, 1, 0]
    rest = part.one("p", class_="rest")
    assert rest.text.startswith(f"{len(shown)} of 5\N{NARROW NO-BREAK SPACE}000 are shown.")
    assert rest.one("a").attributes["href"] == "?resource=devices.example.com%2Flane&all=1"
    assert len(rows(seen(reports.many(), resource=MANY, all="1"))) == 5000


def test_a_search_shows_what_it_found() -> None:
    """Unfolded, with the count, and with the words still in the box."""
    page = seen(reports.many(), q="JOB-0300 batch")
    assert sorted(rows(page)) == ["lane-03000", "lane-03003", "lane-03006", "lane-03009"]
    assert "open" in page.one("details").attributes
    assert page.one("summary").text == f"4 of 5\N{NARROW NO-BREAK SPACE}000 devices of {MANY}"
    assert page.one("input").attributes["value"] == "JOB-0300 batch"
    assert page.one("p", id="found").text == "4 of 5\N{NARROW NO-BREAK SPACE}014 devices found"
    assert page.one("h1").text == "worker-eu-7"


def test_the_filters_say_what_they_are_set_to() -> None:
    """Resource and health are chosen by the address, and the choice is shown."""
    page = seen(reports.trouble(), resource=GPU, health="unhealthy")
    assert list(rows(page)) == [reports.uuid(3), reports.uuid(6)]
    chosen = [option.text for option in page.all("option") if "selected" in option.attributes]
    assert chosen == [GPU, "unhealthy"]


def test_nothing_found_leads_back() -> None:
    """A search without result says so, and offers the whole page."""
    page = seen(reports.usual(), q="no such thing")
    assert page.one("p", id="found").text == "0 of 14 devices found"
    assert page.one("p", class_="empty").one("a").attributes["href"] == "./"


WORDS = st.sampled_from(["lane-0000", "07", "Broken", "numa1", "BATCH/job-3", "main", "example.com/lane", "unhealthy", "ß"])
DEVICES = [
    reports.device(
        f"lane-{n:05d}", [n % 2] if n % 4 else [], "ß broken" if n % 5 == 0 else "", f"batch/job-{n}/main" * (n % 3 > 0)
    )
    for n in range(40)
]


@given(words=st.lists(WORDS, max_size=3), health=st.sampled_from(["", "healthy", "unhealthy"]))
def test_a_device_is_found_by_all_the_words(words: list[str], health: str) -> None:
    """Those and only those rows that have every word, in whatever case."""
    resource = reports.resource(MANY, "generic", DEVICES)

    def expected(device: DeviceReport) -> bool:
        numa = " ".join(f"numa{node}" for node in device.numa_nodes)
        holders = " ".join(f"{holder.namespace}/{holder.pod} {holder.container}" for holder in device.holders)
        said = f"{MANY} {device.id} {device.health} {device.reason} {numa} {holders}".casefold()
        return all(word.casefold() in said for word in words) and health in {"", device.health.lower()}

    wanted = selection({"q": " ".join(words), "health": health})
    assert list(wanted.devices(resource)) == [device for device in DEVICES if expected(device)]


# --- well made --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_it_is_well_made(sample: Callable[[], Report], query: Mapping[str, str]) -> None:
    """Landmarks, headings in order, captions and scopes, labels, unique ids, links that lead somewhere, no inline code."""
    page = seen(sample(), **query)
    assert page.attributes == {"lang": "en"}
    assert [len(page.all(tag)) for tag in ("h1", "title", "main", "header", "footer", "nav")] == [1] * 6
    levels = [int(element.tag[1]) for element in page if re.fullmatch("h[1-6]", element.tag)]
    assert levels[0] == 1
    assert all(after <= level + 1 for level, after in pairwise(levels))
    ids = [element.attributes["id"] for element in page if "id" in element.attributes]
    assert len(set(ids)) == len(ids)
    assert not any(" " in name for name in ids)
    assert all(table.all("caption") and table.all("thead") for table in page.all("table"))
    assert all("scope" in heading.attributes for heading in page.all("th"))
    labelled = {label.attributes["for"] for label in page.all("label")}
    assert {element.attributes["id"] for element in page if element.tag in {"input", "select"}} == labelled
    assert all(section.attributes["aria-labelledby"] in ids for section in page.all("section"))


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_it_needs_nothing_from_elsewhere_and_runs_no_code_of_its_own(sample: Callable[[], Report]) -> None:
    """Every address is beside the page, also behind a proxy; no style, script or handler stands in the markup."""
    page = seen(sample())
    ids = {element.attributes.get("id") for element in page}
    for element in page:
        assert "style" not in element.attributes
        assert not any(name.startswith("on") for name in element.attributes)
        for name in {"href", "src", "action"} & set(element.attributes):
            address = element.attributes[name]
            if address.startswith("#"):
                assert element.all("a") == [element]
                assert address[1:] in ids
            else:
                assert re.match(r"(\?|\./$|data:image/svg|page\.(css|js)$|(metrics|status|readyz|livez)$)", address), address
    assert [(script.attributes, script.text) for script in page.all("script")] == [({"src": "page.js", "defer": ""}, "")]
    assert page.all("style") == []


def test_without_script_it_reloads() -> None:
    """Only there: with the script a reload would take away what the reader has unfolded."""
    (reload,) = seen(reports.usual()).one("noscript").all("meta")
    assert reload.attributes == {"http-equiv": "refresh", "content": "30"}


# --- texts of others --------------------------------------------------------------------------------------------------


def everywhere(text: str) -> Report:
    """A report that says this wherever others decide what is said."""
    holders = (HolderReport(text, text, text), HolderReport("", text, text, certain=False))
    moment = before(60)
    devices = (
        DeviceReport(text, Health.UNHEALTHY, moment, text, (0,), holders),
        DeviceReport("other", Health.HEALTHY, text, "", (1,)),
    )
    resource = ResourceReport(text, text, Phase.LOST, moment, text, 1, 1, 1, None, text, devices)
    notice = NoticeReport(NoticeOrigin.LOOK, text, text, moment)
    return replace(
        reports.usual(),
        node=text,
        version=text,
        active_reason=text,
        reasons=(text,),
        kubelet=KubeletReport(connected=False, reason=text, since=text),
        config=ConfigReport(1, (text,), (text,)),
        attribution=AttributionReport(known=False, reason=text, source=text, read_at=text),
        resources=(resource,),
        plugins=(PluginReport(text, text, text, PluginState.UP, text, text, (notice,)),),
        notices=(notice,),
        events=(EventReport(moment, moment, "info", text, text, 2, text, text, text),),
    )


HOSTILE = st.text(min_size=1, max_size=60) | st.sampled_from(
    ["<script>alert(1)</script>", "\"'><b onclick=x>", "&lt;&#0;", "]]>"]
)


@given(text=HOSTILE)
@example(text="<script>alert(1)</script>")
@example(text="\N{RIGHT-TO-LEFT OVERRIDE}gpu\N{HEBREW LETTER ALEF}")
@example(text="\ud800")
@example(text="--><!-- </table></script></title>")
def test_no_text_becomes_markup(text: str) -> None:
    """Whatever others call their things, the page has the same elements and attributes, and shows the text as it is."""
    query = {"q": text, "resource": text}
    page = parse(draw(everywhere(text), query))
    usual = parse(draw(everywhere("x"), {"q": "x", "resource": "x"}))
    assert page.shape == usual.shape
    shown = text.encode(errors="replace").decode()
    assert page.one("h1").text == shown
    assert page.one("title").text.startswith(shown)
    assert page.one("input").attributes["value"] == shown.strip()
    assert next(iter(rows(page))) == shown


@given(text=HOSTILE)
def test_every_foreign_text_keeps_its_direction_to_itself(text: str) -> None:
    """It stands in an element of its own that isolates it, so that no mark in it can turn the rest around."""
    unseen = {"option", "title", "input"}
    marker = "x\N{RIGHT-TO-LEFT OVERRIDE}" + text
    shown = marker.encode(errors="replace").decode()
    page = parse(draw(everywhere(marker), {}))
    for element in page:
        own = "".join(child for child in element.children if isinstance(child, str))
        assert shown not in own or element.tag in unseen | {"bdi"}, element.tag


def test_endless_texts_are_cut() -> None:
    """A megabyte in every field makes no megabyte of page."""
    body = draw(everywhere("<" * 1_000_000), {})
    assert len(body) < 500_000
    assert parse(body).one("h1").text == "<" * (LONGEST - 1) + "…"


# --- small things -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "just now"),
        (1.9, "just now"),
        (2, "2 s ago"),
        (59.9, "59 s ago"),
        (60, "1 min ago"),
        (3599, "59 min ago"),
        (3600, "1 h ago"),
        (172_799, "47 h ago"),
        (172_800, "2 days ago"),
    ],
)
def test_moments_in_relative_words(seconds: float, words: str) -> None:
    """From seconds to days; what a clock puts into the future is now."""
    assert ago(seconds) == words


def test_a_moment_has_its_exact_time_with_it() -> None:
    """For people in a tooltip, for programs as RFC 3339; what is no moment is shown as it is."""
    clock = Clock(NOW.isoformat())
    assert clock.ago("2026-03-14T15:08:26.535Z") == (
        '<time datetime="2026-03-14T15:08:26.535Z" title="2026-03-14 15:08:26 UTC">1 min ago</time>'
    )
    assert clock.ago("<yesterday>") == "<bdi>&lt;yesterday&gt;</bdi>"
    assert "just now" in clock.ago("9999-12-31T23:59:59Z")


def test_numbers_are_readable() -> None:
    """Thousands are set apart, and the noun fits the number."""
    assert number(1234567) == "1\N{NARROW NO-BREAK SPACE}234\N{NARROW NO-BREAK SPACE}567"
    assert [many(count, "device") for count in (0, 1, 2)] == ["0 devices", "1 device", "2 devices"]


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=4))
def test_a_bar_shows_every_share(counts: list[int]) -> None:
    """Whatever is there can be seen, and all together fill the bar."""
    drawn = bar(*((f"part{index}", count) for index, count in enumerate(counts)))
    widths = [float(width) for width in re.findall(r' width="([\d.]+)"', drawn)]
    assert len(widths) == sum(count > 0 for count in counts)
    assert all(width > 2 for width in widths)
    assert not widths or sum(widths) == pytest.approx(100, abs=0.5)
