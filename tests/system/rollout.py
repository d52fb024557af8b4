"""Upgrades as a DaemonSet makes them: the new pod's container is ready before the old one's is told to end, under a load of pods.

``python -m tests.system.rollout --times 20`` prints, for the end in good order and for a crash, how long no supervisor was
registered and how many pods were rejected meanwhile; it fails when a gap is longer than it may be, or when any other pod was.
"""

import argparse
import statistics
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from supervisor.kubelet.simulator import Event, EventKind, KubeletSimulator
from tests.system.container import Container, System
from tests.system.handover_campaign import PODS_PER_SECOND, SIGNALS, Relay, distribution
from tests.system.rig import RESOURCE, Puppet, quietly, stage

MEDIAN, LONGEST = 0.050, 0.500
"""Seconds for the gaps of a campaign."""


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


def upgrade(rollout: Rollout, times: int, number: int) -> tuple[Judgement, list[float]]:
    """Replace the container so many times; what became of the pods, and the gaps over all resources in seconds."""
    with judged(rollout.kubelet) as judgement:
        gaps = [rollout.hand_over(number, quiet=0.0) for _ in range(times)]
    return judgement, gaps


def measured(folder: Path, times: int, number: int, era: str = "1.37") -> tuple[Judgement, list[float]]:
    """The same with a node of its own in a new folder, on a stage."""
    folder.mkdir()
    with (
        quietly(),
        KubeletSimulator(folder / "k", era, sources_delay=0.0) as kubelet,
        Rollout.open(kubelet, Puppet(folder), folder) as rollout,
    ):
        return upgrade(rollout, times, number)


def _good(judgement: Judgement, gaps: Sequence[float]) -> bool:
    return not judgement.unexcused and statistics.median(gaps) <= MEDIAN and max(gaps) <= LONGEST


def main() -> int:
    """Run the campaign of the command line; 1 when it misses its aim."""
    parser = argparse.ArgumentParser(prog="python -m tests.system.rollout", description=__doc__)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--era", default="1.37")
    options = parser.parse_args()
    good = True
    with stage() as folder:
        for name, number in SIGNALS.items():
            judgement, gaps = measured(folder / name, options.times, number, options.era)
            good &= _good(judgement, gaps)
            print(f"{name}: {distribution(gaps)}\n    {judgement}", flush=True)
            for event in judgement.unexcused:
                print(f"    rejected while a supervisor was registered: {event}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
