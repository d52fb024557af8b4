"""The InfiniBand plugin's own figures: looks, polls, and what a device costs the others that does not answer.

The machine is a tree of files. That of the kernel asks the card's firmware for the state of a port, which these times lack.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import trio

from supervisor import Host
from supervisor_infiniband.config import InfinibandConfig
from supervisor_infiniband.probe import Probe
from supervisor_infiniband.report import Poll
from supervisor_infiniband.simulate.cards import CX7, roce
from supervisor_infiniband.simulate.changes import hanging, numbered, with_vfs
from supervisor_infiniband.simulate.machine import Machine
from supervisor_infiniband.simulate.tree import Tree
from tests.bench import procfs
from tests.bench.figures import Row
from tests.bench.lab import PATIENCE, Lab

BUSES = ("18", "2a", "3b", "4d", "5e", "9b", "af", "d8")
VFS = 16
DEVICES = len(BUSES) * (1 + VFS)
LOOKS = 5
"""In one round; their median counts."""
QUICK = 0.1
"""Seconds between two polls where a change is waited for: the least that can be configured."""
CHANGES = 5
"""In one round; the slowest counts."""
IDLE = 30.0
NEVER = 3600.0
"""Seconds."""
_TICK = os.sysconf("SC_CLK_TCK")


def looks(lab: Lab, rounds: int) -> Iterator[Row]:
    """A look at 8 HCAs with 16 VFs each: by a new process that listens already, again, and with all that it takes to start one."""
    first, later, started = [], [], []
    for _ in range(rounds):
        with _probe(lab) as (probe, _):
            probe._border.open(time.monotonic() + PATIENCE)
            first.append(_milliseconds(probe.look))
            later.append(statistics.median(_milliseconds(probe.look) for _ in range(LOOKS)))
        with _probe(lab) as (probe, _):
            started.append(_milliseconds(probe.look))
    yield Row(f"a look at {DEVICES} RDMA devices, first", "ms", first, at_most=150)
    yield Row(f"a look at {DEVICES} RDMA devices", "ms", later, at_most=150)
    yield Row("the same, and the process is started", "ms", started)


def polls(lab: Lab, rounds: int) -> Iterator[Row]:
    """From the port's new state to what the plugin hears of it; while another card hangs with all its VFs, and the look at it."""
    free, beside, looking = [], [], []
    for _ in range(rounds):
        with _probe(lab, poll=QUICK) as (probe, tree):
            probe.look()
            free.append(trio.run(_changes, probe, tree))
            tree.become(hung(tree.machine))
            beside.append(trio.run(_changes, probe, tree))
            looking.append(_milliseconds(probe.look))
            tree.become(eight_hcas())
    at_most = 1000 * QUICK + 50
    yield Row(f"a port's state → heard, polls each {1000 * QUICK:g} ms", "ms", free, at_most=at_most)
    yield Row(f"the same while a card with {VFS} VFs hangs", "ms", beside, at_most=at_most)
    yield Row("a look meanwhile", "ms", looking, at_most=150)


def idle(lab: Lab, rounds: int) -> Iterator[Row]:
    """What the process costs where nothing happens: polls each second, alone and with the counters of all every 30 seconds."""
    cpu: dict[float, list[float]] = {NEVER: [], InfinibandConfig().counters: []}
    memory = []
    for _ in range(rounds):
        for counters, used in cpu.items():
            with _probe(lab, counters=counters) as (probe, _):
                probe.look()
                used.append(trio.run(_idle, probe))
                memory.append(procfs.usage(_pid(probe)).rss)
    polling, all_of_it = cpu.values()
    yield Row(f"CPU time of polling {DEVICES} idle devices", "%", polling, at_most=0.3, note=f"over {IDLE:g} s")
    yield Row("the same, and their counters", "%", all_of_it, at_most=0.3)
    yield Row("RSS of the process that reads sysfs", "MB", memory)


def eight_hcas() -> Machine:
    """With their VFs, all of them well."""
    pfs = Machine(tuple(roce(f"0000:{bus}:00.0", f"mlx5_{at}", f"ens{at}np0", CX7) for at, bus in enumerate(BUSES)))
    machine = numbered(pfs)
    for at in range(len(BUSES)):
        machine = with_vfs(machine, f"mlx5_{at}", VFS)
    return machine


def hung(machine: Machine) -> Machine:
    """The last card, with all that is on it."""
    card = f"0000:{BUSES[-1]}:"
    for name in [hca.name for function, hca in machine.hcas() if function.id.startswith(card)]:
        machine = hanging(machine, name, hangs=True)
    return machine


@contextmanager
def _probe(lab: Lab, poll: float = 1.0, counters: float = 30.0) -> Iterator[tuple[Probe, Tree]]:
    tree = Tree(lab.new_folder() / "machine", eight_hcas())
    probe = Probe(
        Host(sysfs=str(tree.sys), dev=str(tree.dev)), InfinibandConfig(poll=poll, counters=counters), deadline=PATIENCE
    )
    try:
        yield probe, tree
    finally:
        probe.close()
        tree.close()


def _milliseconds(action: Callable[[], object]) -> float:
    began = time.monotonic_ns()
    action()
    return (time.monotonic_ns() - began) / 1e6


async def _changes(probe: Probe, tree: Tree) -> float:
    """The slowest of some, of the first card's port."""
    function = tree.machine.functions[0]
    state = tree.root / "sys" / function.path / "infiniband" / function.hcas[0].name / "ports/1/state"
    slowest = 0.0
    async with trio.open_nursery() as nursery:
        send, receive = trio.open_memory_channel[tuple[int, Poll]](1000)

        async def listen() -> None:
            async for poll in probe.events():
                await send.send((time.monotonic_ns(), poll))

        nursery.start_soon(listen)
        with trio.fail_after(PATIENCE):
            while not (await receive.receive())[1].counters:
                pass  # with the first poll of a stream they come
            for number in range(CHANGES):
                began = time.monotonic_ns()
                say(state, "1: DOWN" if number % 2 == 0 else "4: ACTIVE")
                slowest = max(slowest, (await _heard(receive, function.id) - began) / 1e6)
        say(state, "4: ACTIVE")
        nursery.cancel_scope.cancel()
    return slowest


async def _heard(polls: trio.MemoryReceiveChannel[tuple[int, Poll]], device: str) -> int:
    while True:
        at, poll = await polls.receive()
        if any(change.device == device for change in poll.changes):
            return at


def say(attribute: Path, text: str) -> None:
    """Give an attribute another text; nobody reads half of it."""
    new = attribute.with_name("new")
    new.write_text(f"{text}\n")
    new.replace(attribute)


async def _idle(probe: Probe) -> float:
    """Per cent of one CPU."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(_drain, probe))
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
