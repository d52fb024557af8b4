"""The FPGA plugin's own figures: looks at many cards, and what it costs to ask them every few seconds.

The machine is a tree of files. That of the kernel asks the card's registers and controller, which these times lack.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import trio

from supervisor import Host
from supervisor_fpga.config import FpgaConfig
from supervisor_fpga.probe import Probe
from supervisor_fpga.simulate.changes import hanging
from supervisor_fpga.simulate.tree import Tree
from tests.bench import procfs
from tests.bench.figures import Row
from tests.bench.fpgas import CARDS, sixteen_cards
from tests.bench.lab import PATIENCE, Lab

LOOKS = 5
"""In one round; their median counts."""
IDLE = 30.0
"""Seconds."""
_TICK = os.sysconf("SC_CLK_TCK")


def looks(lab: Lab, rounds: int) -> Iterator[Row]:
    """A look by a new process that listens already, again, while one card hangs, and with all that it takes to start a process."""
    first, later, beside, started = [], [], [], []
    for _ in range(rounds):
        with _probe(lab) as (probe, tree):
            probe._border.open(time.monotonic() + PATIENCE)
            first.append(_milliseconds(probe.look))
            later.append(statistics.median(_milliseconds(probe.look) for _ in range(LOOKS)))
            tree.become(hanging(tree.machine, tree.machine.functions[-1].id, hangs=True))
            beside.append(statistics.median(_milliseconds(probe.look) for _ in range(LOOKS)))
            tree.become(sixteen_cards())
        with _probe(lab) as (probe, _):
            started.append(_milliseconds(probe.look))
    yield Row(f"a look at {CARDS} FPGA cards, first", "ms", first, at_most=100)
    yield Row(f"a look at {CARDS} FPGA cards", "ms", later, at_most=100)
    yield Row("the same while one of them hangs", "ms", beside, at_most=150, note="after the first, which waits for it")
    yield Row("the same, and the process is started", "ms", started)


def idle(lab: Lab, rounds: int) -> Iterator[Row]:
    """What the process costs where nothing happens."""
    cpu, memory = [], []
    for _ in range(rounds):
        with _probe(lab) as (probe, _):
            probe.look()
            cpu.append(trio.run(_idle, probe))
            memory.append(procfs.usage(_pid(probe)).rss)
    poll = FpgaConfig().poll
    yield Row(f"CPU time of polling {CARDS} FPGA cards each {poll:g} s", "%", cpu, at_most=0.5, note=f"over {IDLE:g} s")
    yield Row("RSS of the process that reads FPGAs", "MB", memory)


@contextmanager
def _probe(lab: Lab) -> Iterator[tuple[Probe, Tree]]:
    tree = Tree(lab.new_folder() / "machine", sixteen_cards())
    probe = Probe(Host(sysfs=str(tree.sys), dev=str(tree.dev)), FpgaConfig(), deadline=PATIENCE)
    try:
        yield probe, tree
    finally:
        probe.close()
        tree.close()


def _milliseconds(action: Callable[[], object]) -> float:
    began = time.monotonic_ns()
    action()
    return (time.monotonic_ns() - began) / 1e6


async def _idle(probe: Probe) -> float:
    """Per cent of one CPU."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_drain, probe)
        await trio.sleep(2.0)
        began, before = time.monotonic(), _cpu(_pid(probe))
        await trio.sleep(IDLE)
        used = 100 * (_cpu(_pid(probe)) - before) / (time.monotonic() - began)
        nursery.cancel_scope.cancel()
    return used


async def _drain(probe: Probe) -> None:
    async for _ in probe.events():
        pass


def _cpu(pid: int) -> float:
    """Seconds, those of ended threads too, in steps of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def _pid(probe: Probe) -> int:
    pid = probe._border.pid
    assert pid is not None
    return pid
