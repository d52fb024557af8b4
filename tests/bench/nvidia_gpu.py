"""The NVIDIA plugin's own figures: looks, XIDs, NVML in trouble, and how long it takes to say which GPUs to prefer.

NVML is a fake one, compiled here; it answers at once, which a real driver does not. It writes a file for each call.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from supervisor.kubelet.simulator import EventKind
from supervisor_nvidia_gpu.config import NvidiaGpuConfig, Shared, Sharing, TimeSlicing
from supervisor_nvidia_gpu.preferred import Policy, prefer
from supervisor_nvidia_gpu.report import Report
from supervisor_nvidia_gpu.simulate.layouts import layout
from supervisor_nvidia_gpu.topology import matrix
from supervisor_nvidia_gpu.units import offer, replica_ids
from tests.bed.program import Program
from tests.bench import answers
from tests.bench.figures import Row
from tests.bench.gpus import GPU, OTHER, SLICES, SMALL, Calls, GpuNode, Machine, eight_gpus, gpu_node, lists
from tests.bench.lab import PATIENCE, REFERENCE, Lab
from tests.machine import found
from tests.plugins.nvidia_gpu.fakenvml.layouts import l40s_pcie

TIME_SLICES = 10
REPEATS = 3
"""Of each question; the fastest counts, since the others measure who else wanted the CPU."""
CUT = 4
"""Of 8 GPUs, those in MIG mode."""
XID = 109
"""One that takes the GPU away."""
XIDS = 5
"""GPUs that are hit one after another in one round."""
APART = 0.3
"""Seconds between them: looks that come faster than four in a quarter of a second are held back."""
LOOKS = 20
"""In one round; their median counts."""
STORM = 1_000
"""XIDs within a second."""
AFTER_STORM = 7.0
"""Seconds after the storm for which lists are counted: the last look that it causes comes five seconds later."""
HANGS = (("in a look", "nvmlDeviceGetName", 4.0), ("in the wait for events", "nvmlEventSetWait_v2", 5.0))
"""Where, the call, and the seconds until its process is given up: the deadline of a look, the longest time without a beat."""
CALLS = 100
"""Of Allocate in one turn while NVML hangs."""
POLICIES: tuple[Policy, ...] = ("distributed", "packed", "spread")


def gpus(lab: Lab, rounds: int) -> Iterator[Row]:
    """What a look at 8 GPUs costs, 4 of them in MIG mode with 7 devices each; in a process of its own, without a supervisor."""
    if not _compiler("a look at 8 GPUs"):
        return
    measured: dict[str, list[tuple[float, float]]] = {"plugin": [], "probe": []}
    for turn in range(1 + rounds):
        machine = Machine(lab, eight_gpus(CUT))
        order = ("-m", "tests.bench.looker", json.dumps(machine.section(migStrategy="mixed")), json.dumps(machine.roots))
        with lab.program(*order, env=machine.nvml.control_env()) as looker:
            for what, values in measured.items():
                values += [(_looks(looker, what, 1), _looks(looker, what, LOOKS))][:turn]  # the first turn compiles the files
    names = {"plugin": f"a look at 8 GPUs, {CUT} in MIG", "probe": "asking NVML alone"}
    for what, name in names.items():
        first, later = zip(*measured[what], strict=True)
        yield Row(name, "ms", later, at_most=100)
        yield Row(f"{name}, first", "ms", first, note="starts NVML's process, and NVML")


def _looks(looker: Program, what: str, count: int) -> float:
    """The median of so many."""
    taken = []
    for _ in range(count):
        looker.write(what)
        taken.append(int(looker.line(PATIENCE)) / 1e6)
    return statistics.median(taken)


def xid(lab: Lab, rounds: int) -> Iterator[Row]:
    """From the datagram that is an XID for the fake NVML to the list in which its MIG device is Unhealthy."""
    if not _compiler("XID → list"):
        return
    taken, memory = [], []
    with gpu_node(lab, eight_gpus(CUT), GPU, SMALL, migStrategy="mixed"):
        pass  # compiles what the process with NVML imports, which would count as its memory
    for _ in range(rounds):
        with gpu_node(lab, eight_gpus(CUT), GPU, SMALL, migStrategy="mixed") as node:
            taken += [_xid(node, number) for number in range(XIDS)]
            memory.append(node.nvml_process().rss)
    yield Row(f"XID → list, 8 GPUs, {CUT} in MIG", "ms", taken, at_most=50)
    yield Row("RSS of the process with NVML", "MB", memory, at_most=20)


def _xid(node: GpuNode, number: int) -> float:
    time.sleep(APART)
    gpu = len(node.nvml.layout.gpus) - CUT + number % CUT
    position = node.kubelet.events.position
    began = time.monotonic_ns()
    node.nvml.xid(gpu, XID, gi=1 + number // CUT, ci=0)
    came = node.kubelet.wait_event(EventKind.LIST_RECEIVED, PATIENCE, position, resource=SMALL, unhealthy=number + 1)
    return (came.at_ns - began) / 1e6


def storm(lab: Lab, rounds: int) -> Iterator[Row]:
    """1 000 XIDs, evenly within a second, on 56 MIG devices one after the other: each of these would be worth a list of its own."""
    if not _compiler("a storm of XIDs"):
        return
    layout = eight_gpus(8)
    counted, cpu, sent = [], [], []
    for _ in range(rounds):
        with gpu_node(lab, layout, GPU, migStrategy="single") as node:
            time.sleep(1.0)
            position, before = node.kubelet.events.position, node.supervisor.usage().cpu
            sent.append(_storm(node))
            node.kubelet.wait_event(
                EventKind.LIST_RECEIVED, PATIENCE, position, resource=GPU, unhealthy=len(layout.gpus) * SLICES
            )
            time.sleep(AFTER_STORM)
            cpu.append((node.supervisor.usage().cpu - before) * 1000)
            counted.append(float(lists(node.kubelet, position, GPU)))
    yield Row(f"lists for {STORM} XIDs", "", counted, at_most=20, worst=True, note=f"sent within {max(sent):.2f} s")
    yield Row(f"CPU time of the supervisor for {STORM} XIDs", "ms", cpu, note=f"until {AFTER_STORM:g} s later")


def _storm(node: GpuNode) -> float:
    """Seconds that it took. The fake's event sets hold few events, so whoever sends them waits for the process with NVML."""
    gpus = len(node.nvml.layout.gpus)
    began = time.monotonic()
    for number in range(STORM):
        device = number * gpus * SLICES // STORM
        time.sleep(max(0.0, began + number / STORM - time.monotonic()))
        node.nvml.xid(device % gpus, XID, gi=1 + device // gpus, ci=0)
    return time.monotonic() - began


def hung(lab: Lab, rounds: int) -> Iterator[Row]:
    """A call into NVML that does not return: until another process asks NVML, and how the other resource fares meanwhile."""
    if not _compiler("NVML hangs"):
        return
    for where, function, deadline in HANGS:
        taken, pairs = [], []
        for _ in range(rounds):
            with gpu_node(lab, l40s_pcie(), GPU, lookInterval=1) as node, lab.reference(node.kubelet):
                seconds, pair = _beside(lab, node, partial(_hang, node, function))
                taken.append(seconds)
                pairs.append(pair)
        yield Row(f"NVML hangs {where} → another process", "s", taken, at_most=deadline + 1)
        mine, theirs = ([calls.microseconds(0.99) for calls in side] for side in zip(*pairs, strict=True))
        yield Row("Allocate p99 of another resource meanwhile", "µs", mine, theirs, ratio_at_most=1.5)


def _beside(lab: Lab, node: GpuNode, wait: Callable[[], tuple[int, int]]) -> tuple[float, tuple[answers.Calls, answers.Calls]]:
    """How many seconds it takes, and the calls meanwhile: of the other resource, and of the bare plugin in turn."""
    with lab.program("-m", "tests.bench.caller") as caller, ThreadPoolExecutor(1) as pool:
        waiting, turns = pool.submit(wait), []
        while not waiting.done():
            turns.append([answers.call(caller, node.kubelet, name, CALLS) for name in (OTHER, REFERENCE)])
    began, ended = waiting.result()
    ours, theirs = (
        answers.Calls([each for calls in side for each in calls.taken]).between(began, ended)
        for side in zip(*turns, strict=True)
    )
    return (ended - began) / 1e9, (ours, theirs)


def _hang(node: GpuNode, function: str) -> tuple[int, int]:
    """When the call began, and when the first call of another process did, in nanoseconds."""
    calls, before = Calls(node.nvml), set(node.nvml.pids())
    node.nvml.hang(function)
    began = _when(lambda: any(name == function for _, name in calls.new()))
    ended = _when(lambda: any(pid not in before for pid, _ in calls.new()))
    node.nvml.let_go()
    return began, ended


def _when(holds: Callable[[], bool]) -> int:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"it did not come true within {PATIENCE:g} s")
        time.sleep(0.02)
    return time.monotonic_ns()


def _compiler(what: str) -> bool:
    if not found("cc"):
        sys.stderr.write(f"{what}: left out, there is no C compiler\n")
    return found("cc")


def preferred(lab: Lab, rounds: int) -> Iterator[Row]:
    """The longest answer over all sizes, with and without an id that must be there; the facts are known, as in a running plugin.

    Behind switches many GPUs are alike, which the search makes use of; the second row is a machine where none is like another.
    """
    machine, whole = layout("gpus-16"), NvidiaGpuConfig()
    rule = Shared(name="nvidia.com/gpu", replicas=TIME_SLICES)
    sliced = NvidiaGpuConfig(sharing=Sharing(time_slicing=TimeSlicing(resources=(rule,))))
    questions: tuple[tuple[str, Report, NvidiaGpuConfig, tuple[Policy, ...]], ...] = (
        ("16 GPUs", machine, whole, POLICIES[:1]),
        ("16 GPUs, none alike", _none_alike(machine), whole, POLICIES[:1]),
        (f"8 GPUs of {TIME_SLICES} slices", layout("dgx-h100"), sliced, POLICIES),
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
