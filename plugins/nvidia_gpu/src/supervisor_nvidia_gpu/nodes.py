"""Which device nodes exist now: the driver makes some of them late, so they are looked for again and again, never assumed.

Nodes go by the path that containers see, ``/dev/...``. That is the host's path too, unless only the root of a driver container
has the nodes.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec import Struct, structs

from supervisor import Host, HostView
from supervisor_nvidia_gpu.driver_root import DriverRoot
from supervisor_nvidia_gpu.report import Gpu, MigDevice, Report
from supervisor_nvidia_gpu.units import Unit

CONTROL = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset")
"""Every container with a GPU gets those of them that exist. ``nvidia-uvm`` may not, until it is first used."""

MIG_MINORS = "/proc/driver/nvidia-caps/mig-minors"
IMEX_CHANNELS = "/dev/nvidia-caps-imex-channels"

_MAX_MINORS_BYTES = 1 << 20
"""One line of some 25 bytes for each GPU, GPU instance and compute instance that there could be: 130 kB for 32 GPUs."""
_MINOR = re.compile(r"^(gpu\d+/gi\d+(?:/ci\d+)?/access) (\d+)$", re.MULTILINE)
"""Only the right to use one instance; ``config`` and ``monitor`` are for administrators and given to no container."""
_DRI = re.compile(r"(card|renderD)\d+")
_CHANNEL = re.compile(r"channel(\d+)")
_OWN = DriverRoot()


class Nodes(Struct, frozen=True):
    """What there is."""

    control: tuple[str, ...] = ()
    gpus: Mapping[int, str] = {}
    """By minor number."""
    caps: Mapping[str, str] = {}
    """By the driver's name for the right: ``gpu0/gi1/ci0/access``."""
    dri: Mapping[str, tuple[str, ...]] = {}
    """For graphics, by PCI address."""
    gds: tuple[str, ...] = ()
    """GPUDirect Storage."""
    mofed: tuple[str, ...] = ()
    """InfiniBand verbs."""
    gdrcopy: tuple[str, ...] = ()
    imex: Mapping[int, str] = {}
    """By channel."""
    elsewhere: Mapping[str, str] = {}
    """The host's path of those nodes that it has somewhere else."""

    def of(self, unit: Unit) -> tuple[str, ...]:
        """The nodes of this very unit, as far as they exist, without the control nodes."""
        return tuple(path for _, path in self._wanted(unit) if path is not None)

    def lacking(self, unit: Unit) -> str:
        """What is not there of a unit, in one sentence; empty if all is."""
        missing = [name for name, path in self._wanted(unit) if path is None]
        return f"{' and '.join(missing)} of {unit.id} is not there" if missing else ""

    def host_path(self, path: str) -> str:
        return self.elsewhere.get(path, path)

    def _wanted(self, unit: Unit) -> Iterator[tuple[str, str | None]]:
        minor = unit.gpu.minor
        if minor is None:
            yield "the device node (its minor number is not known)", None
        else:
            yield f"/dev/nvidia{minor}", self.gpus.get(minor)
        if unit.mig is not None:
            for right in rights(unit.gpu, unit.mig):
                yield f"the node for {right}", self.caps.get(right)


def rights(gpu: Gpu, mig: MigDevice) -> tuple[str, str]:
    """The driver's names for the right to use a GPU instance and its compute instance."""
    instance = f"gpu{gpu.minor}/gi{mig.gpu_instance}"
    return f"{instance}/access", f"{instance}/ci{mig.compute_instance}/access"


def root_of(host: Host, configured: str | None, driver: DriverRoot) -> DriverRoot:
    """Below which root the GPUs' nodes are: the configured one, else the host's own, else the driver's where only that has any."""
    if configured is not None:
        return DriverRoot(configured, driver.mount)
    own = DriverRoot("/", driver.mount)
    return own if driver.host == "/" or _exists(HostView(host), CONTROL[0]) else driver


def look(host: Host, report: Report, root: DriverRoot = _OWN) -> Nodes:
    """Look for the nodes of the GPUs in a report, and for those that GPUs share, below a root. No node is opened."""
    seen = HostView(host)
    view = seen if root.host == "/" else HostView(structs.replace(host, dev=f"{root.place}/dev"))
    minors = {gpu.minor for gpu in report.gpus if gpu.minor is not None}
    found = Nodes(
        control=tuple(path for path in CONTROL if _exists(view, path)),
        gpus={minor: path for minor in sorted(minors) if _exists(view, path := f"/dev/nvidia{minor}")},
        caps={right: path for right, path in _caps(host, report) if _exists(view, path)},
        dri={gpu.pci: paths for gpu in report.gpus if gpu.pci and (paths := tuple(_dri(view, gpu)))},
        # The modules of these three are the host's own, whoever brings the driver.
        gds=_matching(seen, "/dev/nvidia-fs*"),
        mofed=(*_matching(seen, "/dev/infiniband/uverbs*"), *_matching(seen, "/dev/infiniband/rdma_cm")),
        gdrcopy=_matching(seen, "/dev/gdrdrv"),
        imex=dict(_imex(view)),
    )
    return found if root.host == "/" else structs.replace(found, elsewhere=dict(_elsewhere(found, root)))


def _elsewhere(found: Nodes, root: DriverRoot) -> Iterator[tuple[str, str]]:
    graphics = (path for paths in found.dri.values() for path in paths)
    for path in (*found.control, *found.gpus.values(), *found.caps.values(), *found.imex.values(), *graphics):
        yield path, root.on_host(path)


def _exists(view: HostView, path: str) -> bool:
    """A directory is none: container tools make one where they are told to mount a node that is not there."""
    node = view.node(path)
    return node is not None and node.kind != "directory"


def _matching(view: HostView, pattern: str) -> tuple[str, ...]:
    return tuple(path for path in view.glob(pattern) if _exists(view, path))


def _dri(view: HostView, gpu: Gpu) -> Iterator[str]:
    for name in view.names(f"/sys/bus/pci/devices/{gpu.pci}/drm"):
        if _DRI.fullmatch(name) and _exists(view, path := f"/dev/dri/{name}"):
            yield path


def _imex(view: HostView) -> Iterator[tuple[int, str]]:
    for name in view.names(IMEX_CHANNELS):
        if (match := _CHANNEL.fullmatch(name)) and _exists(view, path := f"{IMEX_CHANNELS}/{name}"):
            yield int(match[1]), path


def _caps(host: Host, report: Report) -> Iterator[tuple[str, str]]:
    wanted = [right for gpu in report.gpus for mig in gpu.mig if gpu.minor is not None for right in rights(gpu, mig)]
    if not wanted:
        return
    minors = dict(_MINOR.findall(_text(host.local(MIG_MINORS))))
    for right in wanted:
        if right in minors:
            yield right, f"/dev/nvidia-caps/nvidia-cap{minors[right]}"


def _text(path: str | None) -> str:
    """A file of procfs, in as many reads as it takes: the kernel may answer in pages. Empty where it cannot be read."""
    text = b""
    if path is None:
        return ""
    try:
        with Path(path).open("rb", buffering=0) as file:
            while len(text) < _MAX_MINORS_BYTES and (page := file.read(65_536)):
                text += page
    except OSError:
        return ""
    return text.decode(errors="replace")
