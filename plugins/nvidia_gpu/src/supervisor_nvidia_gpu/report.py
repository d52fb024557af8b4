"""What is known of the GPUs at one moment: frozen values, made at the NVML border, read everywhere else.

A fact that a GPU, or its driver, cannot tell is ``None``: unknown is never bad. One unreadable GPU is a ``Gpu`` with a ``problem``.
Names and numbers are NVML's (``nvml.h``) unless a sentence says otherwise.
"""

from msgspec import Struct


class MigDevice(Struct, frozen=True):
    """One MIG device: a compute instance inside a GPU instance."""

    uuid: str
    """``MIG-…``"""
    gpu_instance: int
    compute_instance: int
    index: int
    """Among the MIG devices of its GPU; ``0:1`` is device 1 of GPU 0."""
    profile: str
    """As ``nvidia-smi`` shows it: ``1g.10gb``, ``1c.2g.20gb``, ``1g.10gb+me``."""
    whole: bool = True
    """Whether it has all compute slices of its GPU instance; only such devices are offered."""
    memory_mib: int | None = None


class RemappedRows(Struct, frozen=True):
    """``nvmlDeviceGetRemappedRows``."""

    correctable: int
    uncorrectable: int
    pending: bool
    failed: bool


class Evidence(Struct, frozen=True):
    """What speaks for or against a GPU, besides its XIDs."""

    uncorrected_ecc: int | None = None
    """Volatile, since the driver was loaded."""
    remapped: RemappedRows | None = None
    retirement_pending: bool | None = None
    """Pages of older GPUs that wait for a reset."""
    recovery_action: int | None = None
    """Field 230: 0 none, 1 GPU reset, 2 reboot, 3 drain P2P, 4 drain and reset, and newer ones."""


class Usage(Struct, frozen=True):
    """Readings for metrics, taken only when asked for."""

    temperature_celsius: int | None = None
    power_watts: float | None = None
    utilization_percent: int | None = None
    memory_used_mib: int | None = None


class Gpu(Struct, frozen=True):
    """One physical GPU."""

    index: int
    """NVML's, which may change over reboots; for people and for ``deviceIDStrategy: index`` alone."""
    uuid: str = ""
    """``GPU-…``; empty where even that cannot be read."""
    pci: str = ""
    """As sysfs names it: ``0000:3b:00.0``, lower case, four digits of domain."""
    minor: int | None = None
    """Of ``/dev/nvidia<minor>``; neither the index nor the PCI order."""
    model: str = ""
    compute_capability: tuple[int, int] | None = None
    memory_mib: int | None = None
    mig_enabled: bool | None = None
    """``None``: this model has no MIG."""
    mig_pending: bool | None = None
    """The mode after the next reset."""
    mig: tuple[MigDevice, ...] = ()
    numa_node: int | None = None
    """By NVML's memory affinity, for hosts whose sysfs does not know."""
    events: bool = True
    """Whether it reports XIDs; without them its health is watched by evidence alone."""
    evidence: Evidence = Evidence()
    usage: Usage | None = None
    problem: str = ""
    """Why it cannot be used, in one sentence; empty for a GPU that answers."""


class Report(Struct, frozen=True):
    """One look."""

    gpus: tuple[Gpu, ...] = ()
    driver: str = ""
    """Version, ``580.65.06``."""
    source: str = "nvml"
    """``nvml``, ``procfs`` (inventory without health) or ``simulated``."""
    links: tuple[tuple[int, ...], ...] = ()
    """NVLinks between the GPUs at two positions of ``gpus``, counted through switches. Empty: none, or not known."""
    ancestors: tuple[tuple[int, ...], ...] = ()
    """``nvmlGpuTopologyLevel_t`` of two positions: 0 one board, 10 one switch, 20 several, 30 host bridge, 40 node, 50 system."""
    waiting_for: str = ""
    """Why there are no GPUs, for people: no driver, a library that does not fit it. Empty otherwise."""
    driver_load: int | None = None
    """Which load of the kernel module this is: the inode number of ``/sys/module/nvidia``, of which the kernel gives every new
    directory another. A second one within a boot means that the driver was loaded anew, and with it every GPU reset."""
    notices: tuple[str, ...] = ()
    """What else people should know, in sentences: why this comes from ``procfs``, though NVML could tell more."""


class GpuEvent(Struct, frozen=True):
    """Something happened: an XID, or a sign that a look is due."""

    kind: str
    """``xid``, ``recovery-action``, ``mig-changed``, ``unavailable``, ``lost`` (the wait itself failed for one or for all), ``changed``
    (GPUs came or went, or NVML can be asked at last)."""
    uuid: str = ""
    """The GPU; empty: any of them."""
    at: float = 0.0
    """``time.monotonic()`` seconds, which all processes of one boot share."""
    xid: int = 0
    gpu_instance: int | None = None
    compute_instance: int | None = None
    detail: str = ""
