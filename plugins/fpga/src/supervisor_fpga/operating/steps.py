"""What is done for a function before a container gets it, step by step."""

import errno
import os
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Literal

from msgspec import Struct

from supervisor_fpga.operating import devices
from supervisor_fpga.operating.bitstreams import Bitstreams, Checked
from supervisor_fpga.operating.devices import Target, Tree
from supervisor_fpga.operating.kernel import Kernel
from supervisor_fpga.operating.messages import Prepare, Prepared
from supervisor_fpga.operating.outcome import Clock, Stopped
from supervisor_fpga.operating.regions import Claim, Regions
from supervisor_fpga.operating.ways import dfl, xrt
from supervisor_fpga.operating.ways.protocol import Job, Way

_FINE = frozenset({"", "unknown", "operating"})
"""States of a manager in which what a region says of itself can be believed; ``unknown``: never programmed since it was started."""

_NO_FILE = "firmware request error"
"""The state of a manager whose kernel has not found the bitstream; nothing else has happened."""

_PROGRAMMED = frozenset({"operating"})


class Tools(Struct, frozen=True):
    """What is worked with."""

    tree: Tree
    kernel: Kernel
    bitstreams: Bitstreams
    regions: Regions
    ways: Mapping[str, Way]


def prepare(tools: Tools, request: Prepare, clock: Clock) -> Prepared:
    """Make a function ready. May hang. Raises ``Stopped`` where it is not ready."""
    clock.begin(f"looking for {request.function[:60]}")
    if not tools.tree.sysfs:
        raise Stopped("refused", "the kernel's /sys is not to be seen where FPGAs are operated")
    target = devices.find(tools.tree, request.function, request.backend)
    with tools.regions.held(target.region, clock) as claim, ExitStack() as stack:
        port = _open(stack, tools.kernel, target, clock)
        work = _Work(tools, request, target, claim, port, clock)
        file = work.checked()
        way = None if file is None or work.holds(file) else work.way()
        was_reset = work.reset(programs=way is not None)
        if file is not None and way is not None:
            work.program(file, way)
        if request.clear_errors:
            work.clear_errors()
        return Prepared("ready", programmed=way is not None, was_reset=was_reset, afu_id=work.verified(file))


def _open(stack: ExitStack, kernel: Kernel, target: Target, clock: Clock) -> int:
    """The device, which nobody else has until we are done; -1 where opening it would tell nothing."""
    if target.node is None:
        if target.backend in {"dfl", "opae"}:
            raise Stopped("failed", f"{target.id} has no device node")
        return -1
    with clock.doing(f"opening {target.id}"):
        return stack.enter_context(kernel.opened(target.node, exclusive=True))


class _Work:
    """On one region, while it is ours."""

    def __init__(self, tools: Tools, request: Prepare, target: Target, claim: Claim, port: int, clock: Clock) -> None:
        self._tools = tools
        self._request = request
        self._target = target
        self._claim = claim
        self._port = port
        self._clock = clock

    def checked(self) -> Checked | None:
        """The wanted bitstream, which may be used here; ``None`` where none is wanted."""
        if self._request.bitstream is None:
            return None
        file = self._tools.bitstreams.check(self._request.bitstream, self._clock)
        own = self._target.interface_id()
        if own != file.interface_id and (own or file.interface_id):
            said = file.interface_id or "does not say which"
            raise Stopped("refused", f"the bitstream {file.wanted.name} fits another interface ({said}) than {own or 'none'}")
        return file

    def holds(self, file: Checked) -> bool:
        """Whether it holds that already, as far as it can be believed. Where a reset would take it away, it never counts as there."""
        self._clock.begin(f"asking {self._target.id} what it holds")
        if self._claim.half_done or self._target.state() not in _FINE:
            return False
        return bool(file.afu_id) and self._target.always_says and self._target.said() == file.afu_id

    def program(self, file: Checked, way: Way) -> None:
        """A tool that fails may have met a bitstream that is none for this hardware, as well as hardware that is broken."""
        self._clock.check()
        before = self._claim.half_done
        self._claim.begin()
        try:
            way.program(Job(self._tools.kernel, self._target, self._tools.bitstreams, file, self._clock, self._claim.lock))
        except Stopped as stopped:
            if stopped.outcome == "refused" and not before:
                self._claim.succeed()  # nothing was done
            if stopped.outcome == "failed" and way.is_tool and self._target.state() in {*_FINE, _NO_FILE}:
                raise Stopped("refused", stopped.text) from stopped
            raise

    def reset(self, *, programs: bool) -> bool:
        """What the one before has left behind goes; whether there is a reset. ``programs``: it is programmed next, which does the same.

        Not with XRT, whose driver leaves a card as it is when that has the wanted bitstream already.
        """
        if programs and self._target.backend != "xrt":
            return False
        if self._port >= 0:
            dfl.reset(self._tools.kernel, self._target, self._port, self._clock)
            return True
        if self._target.backend == "xrt" and self._request.reset:
            xrt.reset(self._tools.kernel, self._target, self._clock, self._claim.lock)
            return True
        if self._request.reset:
            raise Stopped("refused", f"the driver of {self._target.id} has no reset")
        return False

    def clear_errors(self) -> None:
        """Registers keep what they once saw until the value that they have is written back."""
        for path in self._target.registers:
            name = path.rpartition("/")[2]
            if _value(devices.text(path)):
                self._clear(path, f"clearing {name} of {self._target.id}")
                if left := _value(devices.text(path)):
                    raise Stopped("failed", f"{name} of {self._target.id} is {left:#x} again after it was cleared")

    def _clear(self, path: str, step: str) -> None:
        with self._clock.doing(step):
            try:
                self._tools.kernel.write(path, devices.text(path))
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
                raise Stopped("failed", f"{step}: its driver cannot, as while the card has shut the port off (AP6)") from error

    def verified(self, file: Checked | None) -> str:
        """What it holds in the end. Raises ``Stopped`` when that is not what is wanted, or cannot be believed."""
        target = self._target
        self._clock.begin(f"checking {target.id}")
        if file is None and self._claim.half_done:
            raise Stopped("failed", f"programming {target.id} once began and did not end well; only programming helps")
        if target.path and not os.path.lexists(target.path):
            raise Stopped("failed", f"{target.id} has gone meanwhile")
        fine = _PROGRAMMED if file is not None and target.backend == "manager" else _FINE
        if (state := target.state()) not in fine:
            errors = f" ({status})" if (status := target.status()) else ""
            outcome: Literal["refused", "failed"] = "refused" if state == _NO_FILE else "failed"
            raise Stopped(outcome, f"the FPGA manager of {target.id} is in the state {state!a}{errors}")
        afu_id = target.afu_id()
        if file is not None and file.afu_id and os.path.lexists(target.content) and afu_id != file.afu_id:
            raise Stopped("failed", f"after programming, {target.id} says {afu_id or 'nothing'}, and not {file.afu_id}")
        if target.always_says and not afu_id and os.path.lexists(target.content):
            raise Stopped("failed", f"{target.id} does not say what it holds, as a port that is disabled")
        if file is not None:
            self._claim.succeed()
        return afu_id

    def way(self) -> Way:
        """How it is programmed. Raises ``Stopped`` where it must not be."""
        named = [self._tools.ways[name] for name in self._request.ways if name in self._tools.ways]
        way = next((way for way in named if way.takes(self._target)), None)
        if way is None:
            names = ", ".join(self._request.ways)[:100] or "none"
            raise Stopped("refused", f"no enabled way of programming fits {self._target.id} (enabled: {names})")
        return way


def _value(text: str) -> int:
    """Of a register; what cannot be read is none to clear."""
    try:
        return int(text, 0)
    except ValueError:
        return 0
