"""The probe of a machine that is not there: its tree is written to a directory, a script plays on it, and the real probe reads it."""

import time
import weakref
from collections.abc import AsyncGenerator, Sequence
from functools import partial

from supervisor import BorderFailed, Host, ScriptStep, Stage
from supervisor_fpga.config import FpgaConfig
from supervisor_fpga.operating.messages import Prepare, Prepared
from supervisor_fpga.probe import Probe
from supervisor_fpga.report import Poll, Report
from supervisor_fpga.simulate import changes
from supervisor_fpga.simulate.layouts import layout
from supervisor_fpga.simulate.machine import Machine
from supervisor_fpga.simulate.script import apply, parse
from supervisor_fpga.simulate.tree import Tree


class SimulatedProbe:
    """Looks and polls of a simulation, which begins when it is made; used as the probe that reads the host's sysfs is.

    Containers get nothing of its tree: what stands for the device nodes is said where the edits are made.
    """

    def __init__(
        self, name: str, script: Sequence[str], config: FpgaConfig, places: Sequence[str | None] | None = None
    ) -> None:
        """Raises ``ValueError`` for a layout or a script that cannot be played. ``places``: as of ``Stage``."""
        beginning = layout(name)
        steps = parse(script, beginning)
        self._probe: Probe | None = None
        self._failed = ""
        try:
            stage = Stage("fpga", lambda root: Tree(root, beginning), steps, partial(_after, beginning), places)
        except OSError as error:
            self._failed = f"the simulation needs a directory that can be written, and there is none: {error}"
            return
        self._stage = stage
        self._probe = Probe(Host(sysfs=str(stage.sys), dev=str(stage.dev)), config, simulated=name)
        self._end = weakref.finalize(self, _end, stage, self._probe)

    @property
    def restarts(self) -> int:
        """As of the probe that reads the tree."""
        return 0 if self._probe is None else self._probe.restarts

    def look(self) -> Report:
        """The functions as they are now. Raises ``BorderFailed`` where the tree could not be written."""
        if self._probe is None:
            raise BorderFailed(self._failed)
        return self._probe.look()

    def events(self) -> AsyncGenerator[Poll, None]:
        """What the polls of the tree find, for ever."""
        return _silence() if self._probe is None else self._probe.events()

    def prepare(self, request: Prepare) -> Prepared:
        """Make a simulated function ready, as the process that operates FPGAs does with real ones: what is programmed changes, errors go.

        No bitstream is read: there is none for hardware that is not there. Raises ``BorderFailed`` where the tree could not be written.
        """
        if self._probe is None:
            raise BorderFailed(self._failed)
        began = time.monotonic()
        try:
            self._stage.change(partial(_prepared, request))
        except KeyError:
            return Prepared("failed", f"{request.function} is not there")
        except OSError as error:
            return Prepared("failed", f"the simulation cannot write its tree: {error.strerror}")
        wanted = request.bitstream
        return Prepared(
            "ready",
            programmed=wanted is not None,
            was_reset=request.reset or wanted is None,
            afu_id="" if wanted is None else wanted.afu_id,
            seconds=time.monotonic() - began,
        )

    def close(self) -> None:
        """End the script and the process that reads, and remove the tree."""
        if self._probe is not None:
            self._end()


async def _silence() -> AsyncGenerator[Poll, None]:
    import trio  # here, since looks need none

    await trio.sleep_forever()
    yield Poll()


def _after(beginning: Machine, step: ScriptStep, machine: Machine) -> Machine:
    return apply(step, machine, beginning)


def _prepared(request: Prepare, machine: Machine) -> Machine:
    if (wanted := request.bitstream) is not None:
        machine = changes.programmed(machine, request.function, wanted.afu_id or wanted.sha256[:32])
    return changes.without_errors(machine, request.function) if request.clear_errors else machine


def _end(stage: Stage[Machine], probe: Probe) -> None:
    probe.close()
    stage.close()
