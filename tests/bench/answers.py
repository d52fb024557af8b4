"""How fast Allocate is answered: quiet, and beside a plugin that does what it should not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from supervisor.kubelet.simulator import KubeletSimulator
from tests.bed.program import Program
from tests.bench.figures import Row, percentile
from tests.bench.lab import PATIENCE, REFERENCE, Lab, first_id, socket_of

CALLS = 300
TURNS = 10
"""Times in a round that either side is called so often: short turns, so that both have the same share of any disturbance."""
SLEEP = 0.1
"""Seconds for which the misbehaving plugin blocks, again and again."""


@dataclass(frozen=True)
class Calls:
    """Calls of one kind, each with its begin and duration in nanoseconds."""

    taken: Sequence[tuple[int, int]]

    def between(self, begin: int, end: int) -> Calls:
        """Those that ran at any time between two moments."""
        return Calls([(at, took) for at, took in self.taken if at + took > begin and at < end])

    def microseconds(self, share: float) -> float:
        return percentile([took / 1000 for _, took in self.taken], share)


def call(caller: Program, kubelet: KubeletSimulator, resource: str, count: int, name: str = "Allocate") -> Calls:
    """So many calls, one after the other, on a connection of the caller's own."""
    begin(caller, kubelet, resource, count, name)
    return Calls(caller.json(PATIENCE))


def in_turn(caller: Program, kubelet: KubeletSimulator, *resources: str) -> list[Calls]:
    """One round: the calls of each resource."""
    turns = [[call(caller, kubelet, resource, CALLS) for resource in resources] for _ in range(TURNS)]
    return [Calls([each for calls in side for each in calls.taken]) for side in zip(*turns, strict=True)]


def begin(caller: Program, kubelet: KubeletSimulator, resource: str, count: int | None = None, name: str = "Allocate") -> None:
    """Start calling; without a count until `end`."""
    ids = [first_id(kubelet, resource)]
    order = {"socket": socket_of(kubelet, resource), "ids": ids, "count": count, "call": name}
    caller.write(json.dumps(order))
    assert caller.line() == "warm"


def end(caller: Program) -> Calls:
    """Stop calling, and what was called."""
    caller.write("")
    return Calls(caller.json(PATIENCE))


def allocate(lab: Lab, rounds: int) -> Iterator[Row]:
    """Quiet calls, interleaved with those of the bare plugin."""
    with (
        lab.kubelet() as kubelet,
        lab.supervisor(kubelet) as ours,
        lab.reference(kubelet),
        lab.program("-m", "tests.bench.caller") as caller,
    ):
        ours.lists()
        pairs = [in_turn(caller, kubelet, ours.resources[0], REFERENCE) for _ in range(rounds)]
    for name, share, bound in (("p50", 0.5, 1.15), ("p99", 0.99, 1.5)):
        mine, theirs = ([calls.microseconds(share) for calls in side] for side in zip(*pairs, strict=True))
        yield Row(f"Allocate {name}", "µs", mine, theirs, ratio_at_most=bound)


def asleep(lab: Lab, rounds: int) -> Iterator[Row]:
    """The longest call beside a plugin that blocks in its look and in its watch."""
    with (
        lab.kubelet() as kubelet,
        lab.supervisor(kubelet, pulse={"sleep": SLEEP}) as ours,
        lab.reference(kubelet),
        lab.program("-m", "tests.bench.caller") as caller,
    ):
        ours.lists()
        pairs = [in_turn(caller, kubelet, ours.resources[0], REFERENCE) for _ in range(rounds)]
    mine, theirs = ([calls.microseconds(1.0) / 1000 for calls in side] for side in zip(*pairs, strict=True))
    yield Row("Allocate max, a plugin sleeps 100 ms in a loop", "ms", mine, theirs, at_most=15, worst=True)
