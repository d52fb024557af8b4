"""The NVIDIA plugin's own figures: how long it takes to say which GPUs to prefer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

from supervisor_nvidia_gpu.config import NvidiaGpuConfig, Shared, Sharing, TimeSlicing
from supervisor_nvidia_gpu.preferred import Policy, prefer
from supervisor_nvidia_gpu.report import Report
from supervisor_nvidia_gpu.simulate.layouts import layout
from supervisor_nvidia_gpu.topology import matrix
from supervisor_nvidia_gpu.units import offer, replica_ids
from tests.bench.figures import Row
from tests.bench.lab import Lab

SLICES = 10
REPEATS = 3
"""Of each question; the fastest counts, since the others measure who else wanted the CPU."""
POLICIES: tuple[Policy, ...] = ("distributed", "packed", "spread")


def preferred(lab: Lab, rounds: int) -> Iterator[Row]:
    """The longest answer over all sizes, with and without an id that must be there; the facts are known, as in a running plugin.

    Behind switches many GPUs are alike, which the search makes use of; the second row is a machine where none is like another.
    """
    machine, whole = layout("gpus-16"), NvidiaGpuConfig()
    rule = Shared(name="nvidia.com/gpu", replicas=SLICES)
    sliced = NvidiaGpuConfig(sharing=Sharing(time_slicing=TimeSlicing(resources=(rule,))))
    questions: tuple[tuple[str, Report, NvidiaGpuConfig, tuple[Policy, ...]], ...] = (
        ("16 GPUs", machine, whole, POLICIES[:1]),
        ("16 GPUs, none alike", _none_alike(machine), whole, POLICIES[:1]),
        (f"8 GPUs of {SLICES} slices", layout("dgx-h100"), sliced, POLICIES),
    )
    for name, report, config, policies in questions:
        slowest = [max(_longest(report, config, policy) for policy in policies) for _ in range(rounds)]
        yield Row(f"preferred allocation max, {name}", "ms", slowest, at_most=10)


def _longest(report: Report, config: NvidiaGpuConfig, policy: Policy) -> float:
    units = offer(report, config).units
    topology = matrix(report, {})
    ids = [name for unit in units for name in replica_ids(unit)]
    taken = []
    for size in range(1, len(ids) + 1):
        for must in ([], ids[-1:]):
            answer = partial(prefer, units, topology, ids, must, size, policy)
            taken.append(min(_seconds(answer) for _ in range(REPEATS)))
    return max(taken) * 1000


def _seconds(answer: Callable[[], object]) -> float:
    begin = time.perf_counter()
    answer()
    return time.perf_counter() - begin


def _none_alike(report: Report) -> Report:
    """The same GPUs, linked without any order."""
    every = range(len(report.gpus))
    links = tuple(tuple((min(a, b) * 7919 + max(a, b) * 104_729) % 19 for b in every) for a in every)
    return Report(report.gpus, links=links, ancestors=report.ancestors, source=report.source)
