"""One supervisor through all kinds of life at once, for as long as wanted: what it uses in the end is what it used at first.

``python -m tests.system.soak --minutes 60`` prints memory, threads and descriptors with what has happened until then. It fails
when the supervisor was larger than it may be, has grown, or kept threads or descriptors once everything is over.
"""

import argparse
import itertools
import json
import os
import statistics
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

from supervisor.host import Host
from supervisor.kubelet.simulator import EventKind, Fault, KubeletSimulator
from tests.system.rig import RESOURCE, Process, Puppet, assert_sound, quietly, stage
from tests.system.siege import Siege

MOST_MEMORY = 64.0
"""MiB that are resident at any time, with the page under siege as well."""
MOST_GROWTH = 2.0
"""MiB between the beginning and the end of the line through all measures: what the allocator may keep, and no leak."""
WARM_UP = 30.0
"""Seconds of life before anything is measured: caches fill, and the history behind the page."""
REST = 12.0
"""Seconds of rest before threads and descriptors are counted: an idle worker thread ends after ten."""
TICK = 0.5
"""Seconds between two measures."""
LINES = 12
"""Of the table."""

HOSTILE = 20
"""Clients of the page that mean harm."""
PODS_PER_SECOND = 20.0
HEALTH, KUBELET, RELOAD, SCRAPE, PAGE = 0.25, 2.5, 3.0, 1.0, 1.0
"""Seconds between two deeds of each kind."""
PAGES = ("/", "/status", "/readyz", "/livez")
NULL = {"resources": [{"name": "example.com/null", "match": [{"path": "/dev/null"}], "replicas": 8}]}


class Usage(NamedTuple):
    """What a process uses. Threads may end while it is looked at."""

    rss: float
    """MiB that are resident."""
    threads: int
    descriptors: int

    @classmethod
    def of(cls, pid: int) -> Self:
        """At this moment. Raises ``FileNotFoundError`` when it has ended."""
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        return cls(int(status["VmRSS"].split()[0]) / 1024, int(status["Threads"]), len(os.listdir(f"/proc/{pid}/fd")))


@dataclass(frozen=True)
class Sample:
    """One measure."""

    at: float
    """Seconds of life before it."""
    usage: Usage


def growth(samples: Sequence[Sample]) -> float:
    """MiB by which the line through all measures rises from the first to the last."""
    slope = statistics.linear_regression([sample.at for sample in samples], [sample.usage.rss for sample in samples]).slope
    return slope * (samples[-1].at - samples[0].at)


def problems(samples: Sequence[Sample], before: Usage, after: Usage) -> list[str]:
    """What is wrong, with the supervisor at rest before and after all that."""
    largest, more = max(sample.usage.rss for sample in samples), growth(samples)
    checks = {
        f"{largest:.1f} MiB were resident, of at most {MOST_MEMORY:g}": largest > MOST_MEMORY,
        f"it has grown by {more:.2f} MiB, by at most {MOST_GROWTH:g}": more > MOST_GROWTH,
        f"{after.threads} threads are left, of {before.threads}": after.threads > before.threads,
        f"{after.descriptors} descriptors are left, of {before.descriptors}": after.descriptors > before.descriptors,
    }
    return [text for text, wrong in checks.items() if wrong]


class Soak:
    """A node, its supervisor, and what they live through."""

    def __init__(self, kubelet: KubeletSimulator, process: Process, puppet: Puppet) -> None:
        self.kubelet = kubelet
        self.process = process
        self.puppet = puppet
        self.deeds: Counter[str] = Counter()
        self._address = json.loads(process.wait_log('"HttpListening"'))["address"]
        self._plugins = json.loads(process.config.read_text())["plugins"]
        self._healths = itertools.cycle(
            [{"w0": "", "w1": reason, name: ""} for name in ("w2", "w3") for reason in ("", "worn out")]
        )
        self._kubelets = itertools.cycle([self._another_kubelet, self._another_stream])

    def rest(self) -> Usage:
        """What it uses when nothing has happened for a while. Raises ``TimeoutError`` unless all is well then."""
        self.puppet.show({"w0": "", "w1": ""})
        time.sleep(REST)
        usage = Usage.of(self.process.pid)  # before we ask it anything: the connection for that would count, too, now and then
        self.process.wait_ready("active")
        assert_sound(self.kubelet)
        return usage

    def live(self, seconds: float) -> Iterator[Sample]:
        """All kinds of life for so long; a measure every now and then."""
        began = time.monotonic()
        with self._deeds() as running:
            while (at := time.monotonic() - began) < seconds and not any(deed.done() for deed in running):
                yield Sample(at, Usage.of(self.process.pid))
                time.sleep(TICK)

    @contextmanager
    def _deeds(self) -> Iterator[list[Future[None]]]:
        """All of them at the same time, each again and again; one that fails ends."""
        over = threading.Event()
        kinds = (
            (HEALTH, self._another_health),
            (KUBELET, self._another_turn),
            (RELOAD, self._another_edition),
            (SCRAPE, self._scrape),
            (PAGE, self._refresh),
        )
        siege = Siege(int(self._address.rpartition(":")[2]), HOSTILE)
        with ThreadPoolExecutor(len(kinds)) as pool, siege(), self.kubelet.admission_load(RESOURCE, PODS_PER_SECOND) as finish:
            running = [pool.submit(_repeat, over, seconds, deed) for seconds, deed in kinds]
            try:
                yield running
            finally:
                over.set()
                for each in running:
                    each.result()
                self.deeds["pods"] += finish().admitted
        self.deeds["hostile"] += siege.tried

    def _another_health(self) -> None:
        self.puppet.show(next(self._healths))
        self.deeds["health"] += 1

    def _another_turn(self) -> None:
        next(self._kubelets)()

    def _another_kubelet(self) -> None:
        self.kubelet.restart()
        self.kubelet.wait_registered(RESOURCE, 30)
        self.deeds["kubelets"] += 1

    def _another_stream(self) -> None:
        position = self.kubelet.events.position
        self.kubelet.inject(Fault.RESET_CONNECTION, resource=RESOURCE)
        self.kubelet.wait_event(EventKind.LIST_RECEIVED, 30, position, resource=RESOURCE)
        self.deeds["streams"] += 1

    def _another_edition(self) -> None:
        self.deeds["reloads"] += 1
        section = self.puppet.section(edition=self.deeds["reloads"])
        self.process.edit(plugins=self._plugins | {self.puppet.name: section})

    def _scrape(self) -> None:
        for accept in ("application/openmetrics-text;version=1.0.0", "text/plain"):
            self._get("/metrics", accept)
            self.deeds["scrapes"] += 1

    def _refresh(self) -> None:
        for page in PAGES:
            self._get(page, "*/*")
            self.deeds["pages"] += 1

    def _get(self, path: str, accept: str) -> None:
        headers = {"Accept": accept, "Accept-Encoding": "gzip"}
        with urllib.request.urlopen(
            urllib.request.Request(f"http://{self._address}{path}", headers=headers), timeout=30
        ) as answer:
            answer.read()


def _repeat(over: threading.Event, seconds: float, deed: Callable[[], None]) -> None:
    while not over.wait(seconds):
        deed()


@contextmanager
def soaking(folder: Path) -> Iterator[Soak]:
    """A supervisor that serves, run from compiled files as an installed one is. The puppet is installed already."""
    compiled = folder / "compiled"

    def wrap(command: list[str]) -> list[str]:
        return ["env", "-u", "PYTHONDONTWRITEBYTECODE", f"PYTHONPYCACHEPREFIX={compiled}", *command]

    puppet = Puppet(folder)
    plugins = {"puppet": puppet.section(), "generic": NULL}
    with quietly(), KubeletSimulator(folder / "k", sources_delay=0.0) as kubelet:
        with Process(kubelet.paths, folder, plugins, Host(), wrap=wrap) as compiling:
            compiling.wait_ready("active")
        with Process(kubelet.paths, folder, plugins, Host(), wrap=wrap) as process:
            process.wait_ready("active")
            yield Soak(kubelet, process, puppet)


def soak(folder: Path, minutes: float, tell: Callable[[str], object]) -> list[str]:
    """Live for so long and tell the table; what is wrong in the end."""
    seconds, samples, told = 60 * minutes, [], 0
    with soaking(folder) as run:
        busiest = max(sample.usage.threads for sample in run.live(WARM_UP))
        # Threads of a pool that grows with its work need not be the same number at every rest.
        before = run.rest()._replace(threads=busiest)
        tell(_line("minutes", "RSS MiB", "threads", "descriptors"))
        for sample in run.live(seconds):
            if sample.at >= told * seconds / LINES:
                tell(_line(f"{sample.at / 60:.1f}", *_cells(sample.usage)))
                told += 1
            samples.append(sample)
        after = run.rest()
    tell(_line("at rest", *_cells(after)))
    tell(_line("before", *_cells(before)))
    tell(
        f"largest {max(sample.usage.rss for sample in samples):.1f} MiB, growth {growth(samples):+.2f} MiB; lived through "
        + ", ".join(f"{count} {name}" for name, count in sorted(run.deeds.items()))
    )
    return problems(samples, before, after)


def _cells(usage: Usage) -> tuple[str, str, str]:
    return f"{usage.rss:.1f}", str(usage.threads), str(usage.descriptors)


def _line(*cells: str) -> str:
    return "  ".join(cell.rjust(11) for cell in cells)


def main() -> int:
    """Run the soak of the command line; 1 when something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.system.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    options = parser.parse_args()
    with stage() as folder:
        wrong = soak(folder, options.minutes, lambda text: print(text, flush=True))
    for text in wrong:
        print(f"WRONG: {text}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
