"""What the host has for containers besides the GPUs themselves: device nodes, the driver's files, and CDI specs that name them."""

from pathlib import Path

from supervisor import Host
from supervisor_nvidia_gpu import nodes
from supervisor_nvidia_gpu.cdi import files, libraries
from supervisor_nvidia_gpu.cdi.files import CdiState
from supervisor_nvidia_gpu.cdi.root import Sight, mount_of
from supervisor_nvidia_gpu.cdi.schema import Spec
from supervisor_nvidia_gpu.cdi.spec import specs
from supervisor_nvidia_gpu.config import NvidiaGpuConfig
from supervisor_nvidia_gpu.nodes import Nodes
from supervisor_nvidia_gpu.report import Report
from supervisor_nvidia_gpu.units import Offer


class Equipment:
    """Looked at with every look. Specs are written only once this process owns the node; before, they are read."""

    def __init__(self, host: Host, config: NvidiaGpuConfig) -> None:
        self._host = host
        self._config = config
        self._mount = mount_of(config.driver_root_mount)
        self._specs: tuple[Spec, ...] = ()
        self._lacking = ""
        self.owner = False

    @property
    def wants_cdi(self) -> bool:
        wanted = self._config.device_list_strategy
        return self._config.runtime_cdi if wanted == "auto" else any(name.startswith("cdi") for name in wanted)

    def look(self, report: Report, offer: Offer) -> tuple[Nodes, CdiState]:
        """Look at the nodes, and see that the CDI directory says what it should."""
        driver, of_driver = libraries.locate(report.driver, self._config.driver_root, self._mount)
        found = nodes.look(self._host, report, nodes.root_of(self._host, self._config.dev_root, driver))
        if self.wants_cdi:
            self._specs = specs(offer.units, found, of_driver, self._config)
            self._lacking = of_driver.problem if offer.units else ""
        return found, self.cdi(write=self.owner)

    def cdi(self, *, write: bool = False) -> CdiState:
        """What the CDI directory says now of the specs of the last look. May be called by several threads unless it writes."""
        directory, sight = self._config.cdi.directory, Sight(self._host, self._mount)
        if write and (self.wants_cdi or Path(directory).is_dir()):
            state = files.publish(directory, self._specs, sight, self._lacking)
        elif self.wants_cdi:
            state = files.check(directory, self._specs, sight, self._lacking)
        else:
            return CdiState()
        return state if self.wants_cdi else CdiState()
