"""The files of this plugin on the node, seen to with every look: written once this process owns the node; before, read."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import structs

from supervisor import CdiState
from supervisor_infiniband.config import InfinibandConfig
from supervisor_infiniband.publishing import cdi, device_info
from supervisor_infiniband.publishing.device_info import DeviceInfoState
from supervisor_infiniband.publishing.noted import CDI, DEVICE_INFO, directories, left
from supervisor_infiniband.publishing.published import Published
from supervisor_infiniband.report import Report
from supervisor_infiniband.units import Unit


class Publisher:
    """Used by the looking thread alone."""

    def __init__(self, config: InfinibandConfig) -> None:
        self._config = config
        self._owner = False
        self._noted: dict[str, tuple[str, ...]] = {CDI: (), DEVICE_INFO: ()}
        self._wanted = {
            CDI: config.cdi.directory if any(pool.cdi for pool in config.pools) else "",
            DEVICE_INFO: config.device_info_directory if any(pool.device_info for pool in config.pools) else "",
        }

    def take_over(self, recalled: Mapping[str, object]) -> None:
        """See to the files from now on, also to those that the owner before has written, by its word.

        What is to be remembered then names the directories in which files will be written, before any is: who is killed leaves none
        that nobody knows of.
        """
        self._owner = True
        for key in self._noted:
            self._noted[key] = tuple(each for each in directories(recalled, key) if _holds(key, each))
        self._note()

    def remember(self) -> Mapping[str, list[str]]:
        """Where files of ours lie, as far as an owner of the node has said so. For the memory, beside what else is kept there."""
        return {key: list(noted) for key, noted in self._noted.items()}

    def look(self, units: Sequence[Unit], report: Report) -> Published:
        """See that the files say what they should. Raises nothing; of simulated devices nothing is written."""
        if report.simulated:
            return Published()
        if self._owner:
            self._note()
        specs, info = self._cdi(units, report), self._device_info(units)
        problems = (
            f"containers get device nodes in place of CDI devices: {specs.problem}" if specs.problem else "",
            info.problem,
        )
        return Published(
            self._config.cdi.vendor, specs, info, (*filter(None, problems), *specs.conflicts, *device_info.undescribed(units))
        )

    def _cdi(self, units: Sequence[Unit], report: Report) -> CdiState:
        if not (self._wanted[CDI] or self._noted[CDI]):
            return CdiState()
        files, vendor = cdi.files(units, report), self._config.cdi.vendor
        wanted = cdi.specs([unit for unit in units if unit.pool.cdi], report, vendor)

        def present(path: str) -> bool:
            return path.rpartition("/")[2] in report.nodes

        do = files.publish if self._owner else files.check
        state = do(self._wanted[CDI], wanted, present) if self._wanted[CDI] else CdiState()
        # Containers may hold what was written before an edit of the configuration, too.
        every = cdi.specs(units, report, vendor)
        stale = tuple(problem for each in self._noted[CDI] if (problem := files.renew(each, every)))
        return structs.replace(state, conflicts=(*state.conflicts, *stale))

    def _device_info(self, units: Sequence[Unit]) -> DeviceInfoState:
        do = device_info.publish if self._owner else device_info.check
        return do(self._wanted[DEVICE_INFO], units) if self._wanted[DEVICE_INFO] else DeviceInfoState()

    def _note(self) -> None:
        for key, directory in self._wanted.items():
            if directory and Path(directory).is_dir():
                self._noted[key] = tuple(dict.fromkeys((*self._noted[key], directory)))


def _holds(key: str, directory: str) -> bool:
    """Whether files of ours lie in a directory; also where that cannot be seen from here."""
    try:
        return bool(left(key, directory))
    except OSError:
        return True
