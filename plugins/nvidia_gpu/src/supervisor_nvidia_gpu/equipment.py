"""What the host has for containers besides the GPUs themselves: device nodes, the driver's files, and CDI specs that name them."""

import posixpath
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from supervisor import CdiSpec, CdiState, Host
from supervisor_nvidia_gpu import nodes
from supervisor_nvidia_gpu.cdi import libraries
from supervisor_nvidia_gpu.cdi.keeping import FILES
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
        self._specs: tuple[CdiSpec, ...] = ()
        self._lacking = ""
        self.directories: tuple[str, ...] = ()
        """Where specs of ours lie, as far as an owner of the node has said so. For the memory."""
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
        return found, self._publish() if self.owner else self.cdi()

    def cdi(self) -> CdiState:
        """What the CDI directory says now of the specs of the last look. May be called by several threads."""
        return self._see_to(FILES.check) if self.wants_cdi else CdiState()

    def _publish(self) -> CdiState:
        """As the owner: write what is wanted, note where, and keep true what lies elsewhere."""
        if not self.wants_cdi:
            return CdiState()
        self._note()
        state = self._see_to(FILES.publish)
        former = (directory for directory in self.directories if directory != state.directory)
        stale = tuple(problem for directory in former if (problem := FILES.renew(directory, self._specs)))
        return replace(state, conflicts=(*state.conflicts, *stale))

    def _see_to(self, do: Callable[[str, Sequence[CdiSpec], Callable[[str], bool], str], CdiState]) -> CdiState:
        return do(self._config.cdi.directory, self._specs, Sight(self._host, self._mount), self._lacking)

    def take_over(self, directories: Iterable[str]) -> None:
        """See to the specs from now on, also to those that the owner before has written.

        Only by its word: on a node there may be another supervisor for another kubelet, or one that somebody tries out.
        """
        self.owner = True
        self.directories = tuple(directory for directory in directories if _holds_ours(directory))
        self._note()

    def _note(self) -> None:
        """Before anything is written: who is killed then leaves specs that somebody knows of."""
        if self.wants_cdi and Path(self._config.cdi.directory).is_dir():
            self.directories = tuple(dict.fromkeys((*self.directories, self._config.cdi.directory)))


def _holds_ours(directory: str) -> bool:
    """Also where that cannot be seen from here."""
    try:
        return bool(FILES.left(directory))
    except OSError:
        return True
