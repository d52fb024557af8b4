"""Upgrades as a DaemonSet makes them: the new pod's container is ready before the old one's is told to end, under a load of pods.

``python -m tests.system.rollout --times 20 [--write FILE]`` prints, for everything that may happen to a supervisor, how long none was
registered and how many pods were rejected; it fails when a gap is longer than it may be, or when a pod was rejected at another time.
"""

import argparse
import json
import signal
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from supervisor.kubelet.simulator import Event, EventKind, KubeletSimulator
from tests.bench.blocks import filled
from tests.system.container import Container, System
from tests.system.handover_campaign import PODS_PER_SECOND, RESOURCES, Relay, distribution
from tests.system.rig import RESOURCE, Process, Puppet, endpoints, quietly, stage

MEDIAN, LONGEST = 0.050, 0.500
"""Seconds for the gaps of a campaign."""
BLOCK = "rollout"
"""Of a page that shows the table."""


class Rollout(Relay):
    """Hand-overs between containers. The first one runs from the start."""

    def system(self) -> System:
        """What the containers are made of."""
        return System.of_machine(self.folder / "root")

    def join(self) -> Container:
        """Start another container."""
        plugins = {"puppet": self.puppet.section()}
        container = Container(self.kubelet.paths, self.folder, plugins, self.system(), self.puppet.script.parent)
        self.stack.enter_context(container)
        self.runners.append(container)
        return container

    @property
    def serving(self) -> Process:
        return self.runners[-1]

    def crash(self) -> float:
        """Kill a container for which nobody stands by, and start it again as a kubelet does; the seconds without a supervisor."""
        self.ended, position = endpoints(self.kubelet), self.kubelet.events.position
        self.serving.signal(signal.SIGKILL)
        self.serving.wait()
        self.join().wait_ready("active")
        return self._gap(position)

    def edit(self, edition: int) -> None:
        """Change the section of the plugin that serves; returns when that is in force. ``edition`` counts from 1."""
        plugins = json.loads(self.serving.config.read_text())["plugins"]
        self.serving.edit(plugins=plugins | {self.puppet.name: self.puppet.section(edition=edition)})
        self.serving.wait_generation(edition + 1)

    def restart_kubelet(self) -> float:
        """The seconds from the new kubelet's first accept until it has all lists."""
        position = self.kubelet.events.position
        self.kubelet.restart()
        accepting = self.kubelet.wait_event(EventKind.SOCKET_ACCEPTING, since=position)
        lists = [self.kubelet.wait_event(EventKind.LIST_RECEIVED, since=position, resource=resource) for resource in RESOURCES]
        return (max(each.at_ns for each in lists) - accepting.at_ns) / 1e9


@dataclass(frozen=True)
class Outage:
    """A time in which the kubelet had no stream of a resource."""

    began_ns: int
    ended_ns: int

    @property
    def seconds(self) -> float:
        return (self.ended_ns - self.began_ns) / 1e9

    def holds(self, event: Event) -> bool:
        """Whether it happened in this time."""
        return self.began_ns <= event.at_ns <= self.ended_ns


def outages(events: Iterable[Event], resource: str) -> list[Outage]:
    """From the end of a resource's last stream, or of its kubelet, to the next list; those that have ended.

    A call that fails because the connection breaks may be told just before the stream that ends with it: then it is the beginning.
    """
    found: list[Outage] = []
    streams, broken, began = 0, None, None
    for event in events:
        if event.kind is not EventKind.KUBELET_ENDED and event.fields.get("resource") != resource:
            continue
        match event.kind:
            case EventKind.CALL:
                broken = (broken or event.at_ns) if event["code"] == "Unavailable" else None
            case EventKind.STREAM_OPENED:
                streams += 1
            case EventKind.STREAM_ENDED | EventKind.KUBELET_ENDED:
                streams = 0 if event.kind is EventKind.KUBELET_ENDED else max(0, streams - 1)
                began = began or (None if streams else broken or event.at_ns)
            case EventKind.LIST_RECEIVED if began is not None:
                found.append(Outage(began, event.at_ns))
                began = broken = None
            case _:
                pass
    return found


@dataclass
class Judgement:
    """What became of the pods of a load; complete when the load has ended."""

    outages: list[Outage] = field(default_factory=list)
    admitted: int = 0
    rejected: int = 0
    skipped: int = 0
    """Pods that came while no kubelet was there."""
    unexcused: list[Event] = field(default_factory=list)
    """Rejections while a supervisor was registered."""

    def __str__(self) -> str:
        """One line for a table."""
        gaps = ", ".join(f"{1000 * outage.seconds:.1f}" for outage in self.outages) or "none"
        return f"gaps in ms: {gaps}; pods admitted {self.admitted}, rejected {self.rejected}, skipped {self.skipped}"


@contextmanager
def judged(kubelet: KubeletSimulator) -> Iterator[Judgement]:
    """Twenty pods a second come and go while the block runs."""
    judgement, position = Judgement(), kubelet.events.position
    with kubelet.admission_load(RESOURCE, PODS_PER_SECOND) as finish:
        kubelet.wait_event(EventKind.POD_ADMITTED, since=position)
        yield judgement
        last = kubelet.events.position
        kubelet.wait_event(EventKind.POD_ADMITTED, since=last)
        result = finish()
    events = kubelet.events.since(position)
    # Who serves when the load begins has opened its stream before.
    judgement.outages = [each for each in outages(kubelet.events.since(), RESOURCE) if each.ended_ns >= events[0].at_ns]
    rejections = [event for event in events if event.kind is EventKind.POD_FAILED]
    judgement.admitted, judgement.rejected, judgement.skipped = result.admitted, len(rejections), result.skipped
    judgement.unexcused = [event for event in rejections if not any(outage.holds(event) for outage in judgement.outages)]
    bare = [failed for failed in result.failed if not any(failed.message == event["message"] for event in rejections)]
    assert not bare, f"pods ran without their devices: {bare}"


Happening = Callable[[Rollout, int], list[float]]
"""Does something so many times; the gaps in seconds, none where there must be none."""


def replaced(number: int) -> Happening:
    """The next container is ready, and the present one gets this signal."""
    return lambda rollout, times: [rollout.hand_over(number, quiet=0.0) for _ in range(times)]


def crashed(rollout: Rollout, times: int) -> list[float]:
    return [rollout.crash() for _ in range(times)]


def edited(rollout: Rollout, times: int) -> list[float]:
    for edition in range(1, times + 1):
        rollout.edit(edition)
    return []


def restarted(rollout: Rollout, times: int) -> list[float]:
    return [rollout.restart_kubelet() for _ in range(times)]


HAPPENINGS: Mapping[str, Happening] = {
    "the DaemonSet is upgraded": replaced(signal.SIGTERM),
    "the old container is killed while the new one stands by": replaced(signal.SIGKILL),
    "a container crashes, nobody stands by, and it is started again at once": crashed,
    "the configuration changes": edited,
    "the kubelet restarts, from its first accept": restarted,
}
HANDED_OVER = frozenset(list(HAPPENINGS)[:2])
"""Those whose gaps are bounded; a crash takes as long as a start, which is a runtime's work."""


def trial(rollout: Rollout, times: int, happening: Happening) -> tuple[Judgement, list[float]]:
    """Under a load of pods: what became of them, and the gaps over all resources in seconds."""
    with judged(rollout.kubelet) as judgement:
        gaps = happening(rollout, times)
    return judgement, gaps


def upgrade(rollout: Rollout, times: int, number: int) -> tuple[Judgement, list[float]]:
    """Replace the container so many times."""
    return trial(rollout, times, replaced(number))


def measured(folder: Path, times: int, happening: Happening, era: str = "1.37") -> tuple[Judgement, list[float]]:
    """The same with a node of its own in a new folder, on a stage."""
    folder.mkdir()
    with (
        quietly(),
        KubeletSimulator(folder / "k", era, sources_delay=0.0) as kubelet,
        Rollout.open(kubelet, Puppet(folder), folder) as rollout,
    ):
        return trial(rollout, times, happening)


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    what: str
    judgement: Judgement
    gaps: Sequence[float]

    @property
    def good(self) -> bool:
        """Whether no pod was rejected without an excuse, and no gap is longer than it may be."""
        if self.judgement.unexcused or bool(self.gaps) != bool(self.judgement.outages):
            return False
        return self.what not in HANDED_OVER or (statistics.median(self.gaps) <= MEDIAN and max(self.gaps) <= LONGEST)

    def __str__(self) -> str:
        """As Markdown."""
        how_long = "not at all"
        if self.gaps:
            median, longest = (round(1000 * seconds) for seconds in (statistics.median(self.gaps), max(self.gaps)))
            how_long = f"{median} ms (median of {len(self.gaps)}; longest {longest} ms)"
        return f"| {self.what} | {how_long} | {len(self.judgement.unexcused) or 'none'} |"


def table(lines: Iterable[Line]) -> str:
    """All lines below their titles, as Markdown."""
    head = "| what happens | how long the kubelet has no plugin | pods rejected at any other time |\n| --- | --- | --- |"
    return "\n".join((head, *map(str, lines), ""))


def main() -> int:
    """Run the campaign of the command line; 1 when it misses its aim."""
    parser = argparse.ArgumentParser(prog="python -m tests.system.rollout", description=__doc__)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--era", default="1.37")
    parser.add_argument("--write", type=Path, metavar="FILE", help="replace the marked block of this file")
    options = parser.parse_args()
    lines = []
    with stage() as folder:
        for number, (what, happening) in enumerate(HAPPENINGS.items()):
            judgement, gaps = measured(folder / str(number), options.times, happening, options.era)
            lines.append(Line(what, judgement, gaps))
            print(f"{what}: {distribution(gaps) if gaps else 'no gap'}\n    {judgement}", flush=True)
            for event in judgement.unexcused:
                print(f"    rejected while a supervisor was registered: {event}")
    print(f"\n{table(lines)}", end="")
    if options.write:
        options.write.write_text(filled(options.write.read_text(), BLOCK, table(lines)))
    return 0 if all(line.good for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
