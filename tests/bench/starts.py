"""Starts of containers with FPGAs (PreStartContainer): where there is hardly anything to do, and where something hangs.

Drivers are played by the process that operates FPGAs; what a real card takes to be reset or programmed, these times lack.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

from supervisor.kubelet.protos import deviceplugin_pb2 as pb
from supervisor.kubelet.simulator import PluginCallError
from supervisor_fpga.operating.outcome import Clock
from supervisor_fpga.operating.regions import Regions
from supervisor_fpga.simulate.changes import hanging
from tests.bench import answers, procfs
from tests.bench.figures import Row
from tests.bench.fpgas import FILE, OTHER, READY, RESET, Cards, FpgaNode, fpga_node
from tests.bench.lab import PATIENCE, Lab, first_id

OPERATE = "supervisor_fpga.operating.program"
CALLS = 50
TURNS = 10
"""Times in a round that containers of each resource are started so often."""
DEADLINE = 2.0
"""Seconds that a start may take where something hangs."""
LATE = "was not ready in time"
"""What a start says then: one that ends for another reason says nothing of deadlines."""
HELPER = "silent-helper"

Trouble = Callable[[FpgaNode], AbstractContextManager[str]]
"""Makes something hang while it is entered; gives the resource whose containers are to be started."""


def starts(lab: Lab, rounds: int) -> Iterator[Row]:
    """Nothing has to be programmed: what it costs to see that, beside a reset alone; and the first time, and one that programs."""
    first, programming, memory = [], [], []
    ready: list[answers.Calls] = []
    reset: list[answers.Calls] = []
    for _ in range(rounds):
        with fpga_node(lab, Cards(lab)) as node, lab.program("-m", "tests.bench.caller") as caller:
            first.append(_start(node, READY))
            programming.append(_start(node, OTHER))
            turns = [
                [answers.call(caller, node.kubelet, each, CALLS, "PreStartContainer") for each in (READY, RESET)]
                for _ in range(TURNS)
            ]
            for side, calls in zip((ready, reset), zip(*turns, strict=True), strict=True):
                side.append(answers.Calls([each for turn in calls for each in turn.taken]))
            memory.append(procfs.usage(node.process(OPERATE)).rss)
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        taken = [calls.microseconds(share) / 1000 for calls in ready]
        yield Row(f"PreStartContainer {name}, nothing to program", "ms", taken, at_most=5)
    yield Row("the same without a bitstream", "ms", [calls.microseconds(0.5) / 1000 for calls in reset], note="p50")
    yield Row("the first one", "ms", [1000 * each for each in first], note=f"starts the process, reads {FILE} MiB")
    yield Row("one that programs", "ms", [1000 * each for each in programming], note=f"{FILE} MiB")
    yield Row("RSS of the process that operates FPGAs", "MB", memory)


def late(lab: Lab, rounds: int) -> Iterator[Row]:
    """The longest that the kubelet waits for an answer, whatever hangs."""
    for what, trouble in TROUBLES.items():
        taken = []
        for _ in range(rounds):
            with fpga_node(lab, Cards(lab, HELPER), DEADLINE) as node, trouble(node) as resource:
                taken.append(_start(node, resource, fails=True))
        yield Row(f"a start that has {DEADLINE:g} s, {what}", "s", taken, at_most=DEADLINE + 1, worst=True)


def _start(node: FpgaNode, resource: str, *, fails: bool = False) -> float:
    """Seconds until the answer."""
    request = pb.PreStartContainerRequest(devices_ids=[first_id(node.kubelet, resource)]).SerializeToString()
    began = time.monotonic()
    try:
        node.kubelet.call(resource, "PreStartContainer", request, PATIENCE)
    except PluginCallError as error:
        if not fails or LATE not in str(error):
            raise
    else:
        assert not fails, "it was made ready all the same"
    return time.monotonic() - began


def _function(node: FpgaNode, resource: str) -> str:
    """The one that ``_start`` is about."""
    return first_id(node.kubelet, resource).partition("@")[0]


# --- what may hang --------------------------------------------------------------------------------------------------------


@contextmanager
def _registers(node: FpgaNode) -> Iterator[str]:
    """A card that answers no read."""
    _start(node, READY)
    tree = node.cards.tree
    tree.become(hanging(tree.machine, _function(node, READY), hangs=True))
    yield READY


@contextmanager
def _programming(node: FpgaNode) -> Iterator[str]:
    """The ioctl that programs: what plays the driver writes a new file and renames it, and nobody reads this one."""
    _start(node, READY)
    os.mkfifo(node.cards.path(_function(node, OTHER), "dfl-port.") / "afu_id.new")
    yield OTHER


@contextmanager
def _lock(node: FpgaNode) -> Iterator[str]:
    """Another process's operation, for as long as it likes."""
    _start(node, READY)
    region = f"{_function(node, READY)}/region0"
    with Regions(node.cards.locks).held(region, Clock(time.monotonic() + PATIENCE)):
        yield READY


@contextmanager
def _process(node: FpgaNode) -> Iterator[str]:
    """All of the process."""
    _start(node, READY)
    pid = node.process(OPERATE)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield READY
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@contextmanager
def _helper(node: FpgaNode) -> Iterator[str]:
    """One that takes connections and says nothing; the process that runs already is given up for it."""
    _start(node, READY)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(node.cards.folder / HELPER))
        silent.listen()
        yield READY


TROUBLES: dict[str, Trouble] = {
    "the card answers no read": _registers,
    "the ioctl that programs hangs": _programming,
    "another process has the region's lock": _lock,
    "its process stands still": _process,
    "the helper says nothing": _helper,
}
