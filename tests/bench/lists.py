"""How fast a changed device is known to the kubelet."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from supervisor.discovery import COALESCE
from supervisor.kubelet.simulator import EventKind, KubeletSimulator
from tests.bed.fakesys import Tree
from tests.bed.hardware import disk, misc
from tests.bed.nsbed import Bed
from tests.bed.program import Program
from tests.bench import answers, pulse
from tests.bench.figures import Row
from tests.bench.lab import PATIENCE, REFERENCE, Lab, Supervisor
from tests.machine import found

PUBLISHED = "bench.example/published"
HOT = "bench.example/hot"
SIZES = ((8, 1.2), (5_000, 4.0), (50_000, 25.0))
"""Devices, and the target in milliseconds."""
MANY = 50_000
FIXTURE = 500
"""Devices of the tree in which a node comes and goes."""
FLIPS = 5
"""Flips of each side in one round; their median counts."""
PAUSE = 0.02
"""Seconds before a flip in which the kubelet comes to rest."""
REST = 0.2
"""Seconds between two hotplug events, so that each opens a coalescing window of its own."""


def publish(lab: Lab, rounds: int) -> Iterator[Row]:
    """One changed device, all others the same objects, from `feed.publish` to the kubelet."""
    for devices, bound in SIZES:
        with lab.kubelet() as kubelet:
            folder = str(kubelet.paths.device_plugins)
            with (
                lab.program("-m", "tests.bench.publisher", folder, PUBLISHED, str(devices)) as ours,
                lab.reference(kubelet, REFERENCE, devices) as theirs,
            ):
                kubelet.wait_registered(PUBLISHED, PATIENCE)
                pairs = [
                    (_flips(kubelet, ours, PUBLISHED, devices, turn), _flips(kubelet, theirs, REFERENCE, devices, turn))
                    for turn in range(rounds)
                ]
        mine, reference = zip(*pairs, strict=True)
        yield Row(f"one changed device → list, {devices} devices", "ms", mine, reference, at_most=bound, ratio_at_most=1.5)


def _flips(kubelet: KubeletSimulator, program: Program, resource: str, devices: int, turn: int) -> float:
    taken = sorted(_flip(kubelet, program, resource, (turn * FLIPS + flip) * 7919 % devices) for flip in range(FLIPS))
    return taken[FLIPS // 2]


def _flip(kubelet: KubeletSimulator, program: Program, resource: str, number: int) -> float:
    time.sleep(PAUSE)
    position = kubelet.events.position
    program.write(str(number))
    began = int(program.line())
    came = kubelet.wait_event(EventKind.LIST_RECEIVED, PATIENCE, position, resource=resource)
    return (came.at_ns - began) / 1e6


def look(lab: Lab, rounds: int) -> Iterator[Row]:
    """A look at nothing but new objects, while another resource is allocated.

    Such a look keeps one CPU busy. So does a neighbour of the reference, for the same circumstances: on a small machine that alone
    makes the slowest Allocates several times slower.
    """
    folder = lab.new_folder()
    orders, journal = folder / "orders", folder / "journal"
    os.mkfifo(orders)
    section = {"devices": MANY, "orders": str(orders), "journal": str(journal)}
    taken: list[float] = []
    busy: list[float] = []
    beside: list[float] = []
    with (
        lab.kubelet() as kubelet,
        lab.supervisor(kubelet, pulse=section) as ours,
        lab.reference(kubelet),
        lab.program("-m", "tests.bench.caller") as caller,
    ):
        ours.lists(resources=[*ours.resources, pulse.RESOURCE])
        for _ in range(rounds):
            with lab.program("-c", "while True: pass"):
                (calls,) = answers.in_turn(caller, kubelet, REFERENCE)
            beside.append(calls.microseconds(0.99))
            answers.begin(caller, kubelet, ours.resources[0])
            began, came = _look(kubelet, orders, journal)
            taken.append((came - began) / 1e6)
            busy.append(answers.end(caller).between(began, came).microseconds(0.99))
    yield Row(f"a look at {MANY} new objects → list", "ms", taken, at_most=400)
    yield Row("Allocate p99 meanwhile", "µs", busy, beside, ratio_at_most=3, note="reference beside a busy process")


def _look(kubelet: KubeletSimulator, orders: Path, journal: Path) -> tuple[int, int]:
    position = kubelet.events.position
    with orders.open("w") as fifo:
        fifo.write("look\n")
    came = kubelet.wait_event(EventKind.LIST_RECEIVED, PATIENCE, position, resource=pulse.RESOURCE)
    return int(journal.read_text().splitlines()[-1]), came.at_ns


def uevent(lab: Lab, rounds: int) -> Iterator[Row]:
    """A node comes or goes in a tree of many; its event is sent on a real netlink socket, in a namespace of its own."""
    if not found("namespaces"):
        sys.stderr.write("uevent → list: left out, no namespaces can be made here\n")
        return
    tree = Tree(lab.new_folder() / "tree")
    names = [misc(tree, f"hot{number}", number)[0] for number in range(8)]
    for number in range(FIXTURE - len(names)):
        disk(tree, number)
    plugins = {"generic": {"resources": [{"name": HOT, "match": [{"udev": {"subsystem": "misc"}}]}]}}
    with lab.kubelet() as kubelet, Bed(tree) as bed:
        ours = Supervisor(lab, kubelet, [HOT], plugins, host={})
        bed.spawn("sh", "-c", 'exec "$@" 2> "$0"', str(ours.log_path), *ours.command, **lab.env)
        ours.lists()
        sender = bed.spawn(sys.executable, "-m", "tests.bench.sender", **lab.env)
        turns = range(2 * rounds)
        taken = [_hotplug(kubelet, tree, sender, turn // 2 % 8, gone=turn % 2 == 0) for turn in turns]
    yield Row(f"uevent → list, 8 devices in a tree of {FIXTURE}", "ms", taken, at_most=5, note="without the coalescing window")


def _hotplug(kubelet: KubeletSimulator, tree: Tree, sender: Program, number: int, *, gone: bool) -> float:
    """Let one node come or go; milliseconds from its event to the list, less the time in which further events are awaited."""
    time.sleep(REST)
    name = f"/devices/virtual/misc/hot{number}"
    if gone:
        tree.remove(name)
    else:
        misc(tree, f"hot{number}", number)
    position = kubelet.events.position
    sender.write(json.dumps({"action": "remove" if gone else "add", "devpath": name, "subsystem": "misc"}))
    began = int(sender.line())
    came = kubelet.wait_event(EventKind.LIST_RECEIVED, PATIENCE, position, resource=HOT)
    return (came.at_ns - began) / 1e6 - COALESCE * 1000
