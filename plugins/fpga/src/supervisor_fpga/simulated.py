"""The probe of a machine that is not there: its tree is written to a directory, a script plays on it, and the real probe reads it."""

import weakref
from collections.abc import AsyncGenerator, Sequence
from functools import partial

from supervisor import BorderFailed, Host, ScriptStep, Stage
from supervisor_fpga.config import FpgaConfig
from supervisor_fpga.probe import Probe
from supervisor_fpga.report import Poll, Report
from supervisor_fpga.simulate.layouts import layout
from supervisor_fpga.simulate.machine import Machine
from supervisor_fpga.simulate.script import apply, parse
from supervisor_fpga.simulate.tree import Tree

_NOWHERE = "/nonexistent"


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
        self.host = Host(sysfs=_NOWHERE, dev=_NOWHERE, helper_socket=_NOWHERE)
        """Where its tree lies. There is no helper for it: that has the machine's own functions, perhaps by the same ids."""
        try:
            stage = Stage("fpga", lambda root: Tree(root, beginning), steps, partial(_after, beginning), places)
        except OSError as error:
            self._failed = f"the simulation needs a directory that can be written, and there is none: {error}"
            return
        self.host = Host(sysfs=str(stage.sys), dev=str(stage.dev), helper_socket=_NOWHERE)
        self._probe = Probe(self.host, config, simulated=name)
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


def _end(stage: Stage[Machine], probe: Probe) -> None:
    probe.close()
    stage.close()
