"""CDI specs on the node, for container runtimes, seen to with every look: written once this process owns the node; before, read.

They stay as long as a container may need them, and are removed by the command ``cleanup``.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct, structs

from supervisor import CdiState
from supervisor_fpga import cdi
from supervisor_fpga.config import FpgaConfig
from supervisor_fpga.report import Report
from supervisor_fpga.units import Unit

CDI = "cdi"
"""What the memory holds of this: a list of directories."""


class Published(Struct, frozen=True):
    """What lies on the node for the units of one look. Empty where nothing is published, as of simulated functions."""

    vendor: str = ""
    """Of our CDI devices."""
    cdi: CdiState = CdiState()
    notices: tuple[str, ...] = ()
    """What is not as it was asked for, in sentences."""


class Publisher:
    """Used by the looking thread alone."""

    def __init__(self, config: FpgaConfig) -> None:
        self._vendor = config.cdi.vendor
        self._wanted = config.cdi.directory if any(rule.cdi for rule in config.resources) else ""
        self._owner = False
        self._noted: tuple[str, ...] = ()

    def take_over(self, recalled: Mapping[str, object]) -> None:
        """See to the files from now on, also to those that the owner before has written, by its word.

        What is to be remembered then names the directory in which files will be written, before any is: who is killed leaves none
        that nobody knows of.
        """
        self._owner = True
        self._noted = tuple(each for each in directories(recalled) if _holds(each))
        self._note()

    def remember(self) -> Mapping[str, list[str]]:
        """Where files of ours lie, as far as an owner of the node has said so. For the memory, beside what else is kept there."""
        return {CDI: [*self._noted]}

    def look(self, units: Sequence[Unit], report: Report) -> Published:
        """See that the files say what they should. Raises nothing; of simulated functions nothing is written."""
        if report.simulated or not (self._wanted or self._noted):
            return Published()
        if self._owner:
            self._note()
        state = self._state(units, report)
        problem = f"containers get device nodes in place of CDI devices: {state.problem}" if state.problem else ""
        return Published(self._vendor, state, (*filter(None, (problem,)), *state.conflicts))

    def _state(self, units: Sequence[Unit], report: Report) -> CdiState:
        files = cdi.files(report.functions)
        present = {node.path for function in report.functions for node in function.nodes if node.present}
        do = files.publish if self._owner else files.check
        wanted = cdi.specs([unit for unit in units if unit.rule.cdi], self._vendor)
        state = do(self._wanted, wanted, present.__contains__) if self._wanted else CdiState()
        # Containers may hold what was written before an edit of the configuration, too.
        every = cdi.specs(units, self._vendor)
        stale = tuple(problem for each in self._noted if self._owner and (problem := files.renew(each, every)))
        return structs.replace(state, conflicts=(*state.conflicts, *stale))

    def _note(self) -> None:
        if self._wanted and Path(self._wanted).is_dir():
            self._noted = tuple(dict.fromkeys((*self._noted, self._wanted)))


def directories(recalled: Mapping[str, object]) -> tuple[str, ...]:
    """Those with files of ours, as the owners of the node have noted in the plugin's memory."""
    noted = recalled.get(CDI)
    return tuple(each for each in noted if isinstance(each, str) and each) if isinstance(noted, list) else ()


def _holds(directory: str) -> bool:
    """Whether files of ours lie in a directory; also where that cannot be seen from here."""
    try:
        return bool(cdi.files(()).left(directory))
    except OSError:
        return True
