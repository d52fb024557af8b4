"""What the host has for containers besides the GPUs themselves: device nodes, the driver's files, and CDI specs that name them."""

import contextlib
import posixpath
from pathlib import Path

from msgspec import Struct

from supervisor import Host
from supervisor_nvidia_gpu import nodes
from supervisor_nvidia_gpu.cdi import files, libraries
from supervisor_nvidia_gpu.cdi.files import CdiState
from supervisor_nvidia_gpu.cdi.schema import Spec
from supervisor_nvidia_gpu.cdi.spec import specs
from supervisor_nvidia_gpu.config import NvidiaGpuConfig
from supervisor_nvidia_gpu.driver_root import inside, mount_of
from supervisor_nvidia_gpu.nodes import Nodes
from supervisor_nvidia_gpu.report import Report
from supervisor_nvidia_gpu.units import Offer


class Sight(Struct, frozen=True):
    """Whether something is there that the host calls so: by the roots of the host, else below the mount of its own root."""

    host: Host
    mount: str = "/"

    def __call__(self, name: str) -> bool:
        local = self.host.local(posixpath.normpath(name))
        return Path(local).exists() if local is not None else inside(self.mount, name) is not None


class Equipment:
    """Looked at with every look. Specs are written only once this process owns the node; before, they are read."""

    def __init__(self, host: Host, config: NvidiaGpuConfig) -> None:
        self._host = host
        self._config = config
        self._mount = mount_of(config.driver_root_mount)
        self._specs: tuple[Spec, ...] = ()
        self._lacking = ""
        self.owner = False
        self.evidence = ""
        """What the node says of itself that lets CDI devices work; empty while that is not known."""

    @property
    def wants_cdi(self) -> bool:
        wanted = self._config.device_list_strategy
        if wanted == "auto":
            return self._config.runtime_cdi or bool(self.evidence)
        return any(name.startswith("cdi") for name in wanted)

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
        if not self.wants_cdi:
            return CdiState()
        do = files.publish if write else files.check
        return do(self._config.cdi.directory, self._specs, Sight(self._host, self._mount), self._lacking)

    @property
    def directory(self) -> str:
        """Where this process writes CDI specs; empty where it writes none. For the memory."""
        return self._config.cdi.directory if self.owner and self.wants_cdi else ""

    def tidy(self, directory: str) -> None:
        """Remove specs from where the owner before wrote them, if this one will not look after them.

        Only by its word: on a node there may be another supervisor for another kubelet, or one that somebody tries out.
        """
        if directory and directory != self.directory:
            with contextlib.suppress(OSError):  # they name devices that may be gone, which a runtime says as well
                files.withdraw(directory)
