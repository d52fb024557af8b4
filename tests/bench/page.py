"""How long the status page of a large node takes to draw, and what a reader who looks on costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from statistics import median

from msgspec.structs import replace

from supervisor.ages import Since
from supervisor.attribution import Attribution
from supervisor.inventory import Inventory
from supervisor.ledger import Holding
from supervisor.model import Device, Health, Topology
from supervisor.observe.page import draw, tag
from supervisor.observe.reporting import View, report
from supervisor.status import Liveness, Phase, ResourceStatus, Status
from tests.bench.figures import Row
from tests.bench.lab import Lab

DEVICES = 5000
RESOURCE = "bench.example/lane"
REPEATS = 5
"""Drawings in a round, whose median is its value."""


def page(lab: Lab, rounds: int) -> Iterator[Row]:
    """From the process's values to HTML: every row, what is shown at first, and the answer that nothing has changed."""
    view = _node()
    every: Mapping[str, str] = {"all": "1", "resource": RESOURCE}
    rows = draw(report(view), every).count(b'<tr><th scope="row">')
    assert rows == DEVICES + 1, f"{rows} rows, of which one is the resource"
    measures: Mapping[str, Callable[[], object]] = {
        "page, every row drawn": lambda: draw(report(view), every),
        "page, as it is at first": lambda: draw(report(view), {}),
        "page, nothing has changed": lambda: tag(report(view), {}),
    }
    for name, measured in measures.items():
        times = [median(_milliseconds(measured) for _ in range(REPEATS)) for _ in range(rounds)]
        yield Row(name, "ms", times, at_most=150, note=f"{DEVICES} devices")


def _milliseconds(work: Callable[[], object]) -> float:
    begin = time.monotonic_ns()
    work()
    return (time.monotonic_ns() - begin) / 1e6


def _node() -> View:
    """Every third device is held, every hundredth is broken, each came at a moment of its own."""
    names = [f"lane-{number:05d}" for number in range(DEVICES)]
    healthy, broken = Device("any"), Device("any", Health.UNHEALTHY, "no light")
    devices = tuple(
        replace(broken if number % 100 == 0 else healthy, id=name, topology=Topology((number % 4,)))
        for number, name in enumerate(names)
    )
    holders = {
        (RESOURCE, name): (Holding(RESOURCE, name, "batch", f"job-{name}", "main"),)
        for number, name in enumerate(names)
        if number % 3 == 0
    }
    now = float(DEVICES)
    resource = ResourceStatus(
        RESOURCE, "bench", now - 60, Phase.CONNECTED, has_inventory=True, healthy=DEVICES - 50, unhealthy=50
    )
    return View(
        status=Status(active=True, started=True, resources=(resource,)),
        liveness=Liveness(0.1, 0.1),
        now=now,
        wall=1_800_000_000.0,
        started=0.0,
        inventories=(Inventory.of(RESOURCE, devices),),
        ages={RESOURCE: Since(0.0, {name: float(number) for number, name in enumerate(names)})},
        attribution=Attribution(known=True, reason="", source="podresources", read_at=now - 4, holders=holders),
    )
