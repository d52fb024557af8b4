"""What metrics cost: the scrapes themselves, Allocate beside them, and a node whose health changes all the time."""

from __future__ import annotations

import bisect
import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from supervisor.kubelet.simulator import EventKind, KubeletSimulator
from tests.bed.program import Program
from tests.bench import answers, pulse
from tests.bench.figures import Row, percentile
from tests.bench.lab import PATIENCE, Lab, Supervisor

RESOURCES, DEVICES = 32, 64
FORMATS = {"OpenMetrics": "application/openmetrics-text;version=1.0.0", "text": "text/plain;version=0.0.4"}
EVERY = 5.0
"""Seconds between two scrapes of an eager Prometheus."""
TURN = 1.5 * EVERY
"""Seconds of Allocate with such scrapes, and of as many without: two scrapes are in it."""
BACK_TO_BACK = 3.0
WARM_UP = 0.5

CHANGING = 2_048
FEW, MANY = 1, 60
"""Devices that change in each of nearly twenty looks a second: the latter are a thousand changes a second."""
BETWEEN_LOOKS = 0.05
STORM = 20.0
MOST_STORMS = 2
"""Rounds: it takes long, and its median is that of four hundred looks."""


@contextlib.contextmanager
def _busy_node(lab: Lab) -> Iterator[tuple[KubeletSimulator, Supervisor]]:
    """Every device of every resource is held by a pod, and known to be."""
    with lab.kubelet() as kubelet, lab.supervisor(kubelet, RESOURCES, replicas=DEVICES) as ours:
        ours.lists()
        for number, name in enumerate(ours.resources):
            pod = kubelet.add_pod(f"pod{number}", {name: DEVICES})
            assert pod.admitted, pod.message
        deadline = time.monotonic() + PATIENCE
        while ours.metrics().count(b"\ndevice_plugin_allocated{") < RESOURCES * DEVICES:
            assert time.monotonic() < deadline, "the holders did not come"
            time.sleep(0.1)
        yield kubelet, ours


def _scraper(lab: Lab, ours: Supervisor, accept: str = FORMATS["OpenMetrics"]) -> Program:
    return lab.program("-m", "tests.bench.scraper", ours.address, accept)


def _scrape(scraper: Program, seconds: float, every: float = 0.0) -> list[tuple[int, int, int]]:
    scraper.write(str(every))
    time.sleep(seconds)
    scraper.write("")
    taken: list[tuple[int, int, int]] = scraper.json(PATIENCE)
    return taken


def scrape(lab: Lab, rounds: int) -> Iterator[Row]:
    """The time until the last byte, of pages whose devices do not change."""
    with _busy_node(lab) as (_, ours):
        for name, accept in FORMATS.items():
            with _scraper(lab, ours, accept) as scraper:
                _scrape(scraper, WARM_UP)
                turns = [_scrape(scraper, 1.0) for _ in range(rounds)]
            median = [statistics.median(took / 1e6 for _, took, _ in turn) for turn in turns]
            size = f"{turns[-1][-1][2] / 1000:.0f} kB compressed"
            yield Row(f"a scrape of {RESOURCES} x {DEVICES} held devices, {name}", "ms", median, at_most=60, note=size)


def scraped(lab: Lab, rounds: int) -> Iterator[Row]:
    """Allocate beside scrapes: every five seconds, against none at all, and one after the other."""
    quiet, eager, worst = [], [], []
    with (
        _busy_node(lab) as (kubelet, ours),
        lab.program("-m", "tests.bench.caller") as caller,
        _scraper(lab, ours) as scraper,
    ):
        for _ in range(rounds):
            quiet.append(_allocate(caller, kubelet, ours, lambda: time.sleep(TURN)).microseconds(0.99))
            eager.append(_allocate(caller, kubelet, ours, lambda: _scrape(scraper, TURN, EVERY)).microseconds(0.99))
            worst.append(_allocate(caller, kubelet, ours, lambda: _scrape(scraper, BACK_TO_BACK)).microseconds(1.0) / 1000)
    yield Row(f"Allocate p99, a scrape every {EVERY:g} s", "µs", eager, quiet, ratio_at_most=1.2, note="reference without")
    yield Row("Allocate max, back-to-back scrapes", "ms", worst, at_most=15, worst=True)


def _allocate(caller: Program, kubelet: KubeletSimulator, ours: Supervisor, meanwhile: Callable[[], object]) -> answers.Calls:
    answers.begin(caller, kubelet, ours.resources[0])
    meanwhile()
    return answers.end(caller)


def changes(lab: Lab, rounds: int) -> Iterator[Row]:
    """A thousand changes of health a second, scraped all the while: what stays in memory, and how late the lists are."""
    calm, storms = [], []
    for _ in range(min(rounds, MOST_STORMS)):
        calm.append(_storm(lab, FEW))
        storms.append(_storm(lab, MANY))
    note = f"{min(storm.rate for storm in storms):.0f} changes a second"
    delays = [storm.delay for storm in storms]
    few = [storm.delay for storm in calm]
    yield Row(
        f"look → list, {MANY} of {CHANGING} devices change", "ms", delays, few, ratio_at_most=2, note=f"{note}; reference {FEW}"
    )
    yield Row(f"RSS more after {STORM:g} s of it", "MB", [storm.growth for storm in storms], at_most=1.5, note=note)


@dataclass(frozen=True)
class Storm:
    """What became of it."""

    delay: float
    """Milliseconds from a look to its list, in the middle."""
    rate: float
    """Changes a second."""
    growth: float
    """MB."""


def _storm(lab: Lab, flips: int) -> Storm:
    journal = lab.new_folder() / "journal"
    section = {"devices": CHANGING, "flips": flips, "every": BETWEEN_LOOKS, "journal": str(journal)}
    with lab.kubelet() as kubelet, lab.supervisor(kubelet, pulse=section) as ours:
        ours.lists(resources=[*ours.resources, pulse.RESOURCE])
        with _scraper(lab, ours) as scraper:
            _scrape(scraper, STORM / 4, 1.0)
            before, began = ours.usage().rss, time.monotonic_ns()
            _scrape(scraper, STORM, 1.0)
            growth, ended = ours.usage().rss - before, time.monotonic_ns()
        events = kubelet.log(EventKind.LIST_RECEIVED, resource=pulse.RESOURCE)
    looks = [at for at in _looks(journal) if began <= at < ended]
    lists = [event.at_ns for event in events]
    answered = (bisect.bisect(lists, at) for at in looks)
    delays = [(lists[number] - at) / 1e6 for number, at in zip(answered, looks, strict=True) if number < len(lists)]
    return Storm(percentile(delays, 0.5), len(looks) * flips / (ended - began) * 1e9, growth)


def _looks(journal: Path) -> Sequence[int]:
    return [int(line) for line in journal.read_text().splitlines()]
