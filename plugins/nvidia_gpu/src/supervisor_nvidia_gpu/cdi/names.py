"""What things are called towards container runtimes: the value that is injected for a unit, and names of CDI devices."""

from supervisor_nvidia_gpu.config import Extras, NvidiaGpuConfig
from supervisor_nvidia_gpu.units import Unit

GPU, GDS, MOFED, GDRCOPY, IMEX = "gpu", "gds", "mofed", "gdrcopy", "imex-channel"
UUIDS = ("GPU-", "MIG-")
"""How the ids of all GPUs and MIG devices begin, whatever their resource is called."""
CLASSES = (GPU, GDS, MOFED, GDRCOPY, IMEX)
"""Class names of ours: two characters at least, no dots, since those need a newer specification."""
ALL = "all"
"""The one device of a class that knows no single ones."""


def value(unit: Unit, config: NvidiaGpuConfig) -> str:
    """What names a unit, by the configured strategy; its UUID where the wanted value is not known.

    A MIG device has no PCI address of its own, and no runtime knows one for it: by ``pci`` it goes by its UUID.
    """
    if config.device_id_strategy == "index":
        return f"{unit.gpu.index}" if unit.mig is None else f"{unit.gpu.index}:{unit.mig.index}"
    if config.device_id_strategy == "pci" and unit.mig is None:
        return unit.gpu.pci or unit.id
    return unit.id


def device(unit: Unit, config: NvidiaGpuConfig) -> str:
    """The name of a unit's CDI device: its value, without the slashes of MIG UUIDs as drivers before 470 made them."""
    return value(unit, config).replace("/", "-")


def kind(config: NvidiaGpuConfig, class_name: str) -> str:
    return f"{config.cdi.vendor}/{class_name}"


def qualified(config: NvidiaGpuConfig, class_name: str, name: str) -> str:
    """The full name of a CDI device."""
    return f"{kind(config, class_name)}={name}"


def extra_devices(extras: Extras) -> tuple[tuple[str, str], ...]:
    """Class and name of the CDI devices that stand for the extras."""
    wanted = ((extras.gds, GDS), (extras.mofed, MOFED), (extras.gdrcopy, GDRCOPY))
    switches = tuple((class_name, ALL) for on, class_name in wanted if on)
    return switches + tuple((IMEX, str(channel)) for channel in extras.imex_channels)
