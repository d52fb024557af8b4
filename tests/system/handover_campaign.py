"""Hand-overs, one after the other, as on a node: each process in its own pid and mount namespace, on a bind-mounted directory.

``python -m tests.system.handover_campaign --times 200`` prints, for each signal, how long no supervisor was registered.
"""

import argparse
import math
import random
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from supervisor.host import Host
from supervisor.kubelet.simulator import Event, EventKind, KubeletSimulator
from tests.system.rig import RESOURCE, Process, Puppet, assert_sound, endpoints, quietly, stage

SIGNALS = {"SIGTERM": signal.SIGTERM, "SIGKILL": signal.SIGKILL}
RESOURCES = (RESOURCE, "example.com/second", "example.com/third")
QUIET = 2.0
"""Seconds in which no stream of a successor may end."""
PODS_PER_SECOND = 20.0

MOUNT = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'
SHUFFLE = """
import os, random, sys
null = os.open("/dev/null", os.O_RDONLY)
for number in random.Random(int(sys.argv[1])).sample(range(3, 64), 40):
    if number != null:
        os.dup2(null, number)
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Descriptors that are taken at random before the program starts, so that its own come to lie anywhere."""


class HandOverFailed(Exception):
    """What went wrong, with the events around it."""


@dataclass
class Relay:
    """A kubelet, and the supervisors that hand over to each other in front of it."""

    kubelet: KubeletSimulator
    puppet: Puppet
    folder: Path
    stack: ExitStack
    seed: int = 0
    runners: list[Process] = field(default_factory=list)
    ended: frozenset[str] = frozenset()
    """Endpoints of runners that have ended."""

    @classmethod
    @contextmanager
    def open(cls, kubelet: KubeletSimulator, puppet: Puppet, folder: Path, seed: int = 0) -> Iterator[Self]:
        """Start the first runner."""
        for number, resource in enumerate(RESOURCES[1:]):
            puppet.show({f"d{number}-{each}": "" for each in range(4)}, resource)
        with ExitStack() as stack:
            relay = cls(kubelet, puppet, folder, stack, seed)
            relay.join()
            for resource in RESOURCES:
                kubelet.wait_registered(resource)
            yield relay

    def join(self) -> Process:
        """Start another process, in namespaces of its own and with its descriptors shuffled."""
        self.seed += 1
        seen_at = self.folder / "node"
        seen_at.mkdir(exist_ok=True)

        def wrap(command: list[str]) -> list[str]:
            shuffled = [sys.executable, "-c", SHUFFLE, str(self.seed), *command]
            mounted = ["sh", "-c", MOUNT, "sh", str(self.kubelet.paths.device_plugins), str(seen_at), *shuffled]
            return ["unshare", "--mount", "--pid", "--fork", "--kill-child", *mounted]

        process = Process(
            self.kubelet.paths,
            self.folder,
            {"puppet": self.puppet.section()},
            Host(),
            options=("--device-plugins-dir", str(seen_at)),
            wrap=wrap,
        )
        self.runners.append(self.stack.enter_context(process))
        return process

    def hand_over(self, number: int, quiet: float) -> float:
        """Have the next process ready, end the present owner, and see all resources with the next one.

        Returns the seconds from the end of the first stream to the last of the new lists. Raises ``HandOverFailed``.
        """
        owner, successor = self.runners[-1], self.join()
        successor.wait_ready("standing by")
        assert_sound(self.kubelet, self.ended)
        self.ended = endpoints(self.kubelet)
        position = self.kubelet.events.position
        owner.signal(number)
        owner.wait()
        gap = self._gap(position)
        self.watch_quietly(quiet)
        return gap

    def _gap(self, position: int) -> float:
        firsts = [
            self.kubelet.wait_event(kind, since=position, resource=resource).at_ns
            for resource in RESOURCES
            for kind in (EventKind.STREAM_ENDED, EventKind.STREAM_OPENED, EventKind.LIST_RECEIVED)
        ]
        return (max(firsts[2::3]) - min(firsts[0::3])) / 1e9

    def watch_quietly(self, seconds: float) -> None:
        """No stream of the new owner may end."""
        position = self.kubelet.events.position
        opened = {event["endpoint"] for event in self._current(EventKind.STREAM_OPENED, 0)[-len(RESOURCES) :]}
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.kubelet.events.wait_beyond(self.kubelet.events.position, left)
            ended = [event for event in self._current(EventKind.STREAM_ENDED, position) if event["endpoint"] in opened]
            if ended:
                raise HandOverFailed(f"a stream of the successor ended: {ended[0]}")

    def _current(self, kind: EventKind, since: int) -> list[Event]:
        return self.kubelet.log(kind, since=since)


def campaign(relay: Relay, times: int, number: int, quiet: float) -> list[float]:
    """Hand over so many times under admission load; returns the gaps in seconds. Raises ``HandOverFailed``."""
    with relay.kubelet.admission_load(RESOURCE, PODS_PER_SECOND) as finish:
        gaps = [relay.hand_over(number, quiet) for _ in range(times)]
        result = finish()
    if not result.admitted:
        raise HandOverFailed("no pod was admitted meanwhile")
    assert_sound(relay.kubelet, relay.ended)
    return gaps


def distribution(gaps: Sequence[float]) -> str:
    """The gaps in one line."""
    ordered = sorted(gaps)

    def at(share: float) -> str:
        return f"{1000 * ordered[math.ceil(share * len(ordered)) - 1]:.1f}"

    return f"{len(ordered)} times, gap in ms: p50 {at(0.5)}, p90 {at(0.9)}, p99 {at(0.99)}, max {at(1.0)}"


def main() -> None:
    """Run the campaign of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--era", default="1.37")
    parser.add_argument("--quiet", type=float, default=QUIET)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    args = parser.parse_args()
    print(f"seed {args.seed}", flush=True)
    with stage() as folder:
        for name, number in SIGNALS.items():
            root = folder / name
            root.mkdir()
            with (
                quietly(),
                KubeletSimulator(root / "k", args.era, sources_delay=0.0) as kubelet,
                Relay.open(kubelet, Puppet(root), root, args.seed) as relay,
            ):
                print(f"{name}: {distribution(campaign(relay, args.times, number, args.quiet))}", flush=True)


if __name__ == "__main__":
    main()
