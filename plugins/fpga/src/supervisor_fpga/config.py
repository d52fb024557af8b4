"""The section ``plugins.fpga`` of the configuration file: what an operator may write, and what is refused with a reason."""

from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from supervisor_fpga.report import Backend, Role

Pattern = Annotated[str, Meta(min_length=1, max_length=256)]
"""A shell pattern for the whole text, case ignored: ``*``, ``?``, ``[abc]``."""
HexId = Annotated[str, Meta(pattern=r"\A[0-9A-Fa-f]{4}\Z", description="four hexadecimal digits, quoted")]
Path = Annotated[str, Meta(pattern=r"\A/[^\0]*\Z", max_length=4095, description="an absolute path")]
Seconds = Annotated[float, Meta(ge=0, le=86_400)]
Sha256 = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z", description="a SHA-256 in lower-case hexadecimal")]
FileName = Annotated[
    str,
    Meta(pattern=r"\A(?!.*\.\.)[A-Za-z0-9_][-+._A-Za-z0-9/]{0,254}\Z", description="a file below the directory of bitstreams"),
]
Way = Literal["dfl-ioctl", "fpga-manager", "fpgad", "xrt", "command"]


class _Section(Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """A mapping of the configuration file."""


class Match(_Section, frozen=True):
    """Functions for which every given field fits; within one list any entry fits."""

    id: tuple[Pattern, ...] = ()
    backend: tuple[Backend, ...] = ()
    vendor: tuple[HexId, ...] = ()
    device: tuple[HexId, ...] = ()
    driver: tuple[Pattern, ...] = ()
    shell: tuple[Pattern, ...] = ()
    interface_id: tuple[Pattern, ...] = ()
    """Dashes do not count."""
    afu_id: tuple[Pattern, ...] = ()
    group: tuple[Pattern, ...] = ()
    """The card's serial number."""
    kind: tuple[Literal["pf", "vf", "platform"], ...] = ()
    numa_node: tuple[Annotated[int, Meta(ge=0, le=63)], ...] = ()
    not_: tuple["Match", ...] = field(default=(), name="not")


class Program(_Section, frozen=True):
    """What a region must hold when a container starts; the helper does it (``components/fpga-programming``)."""

    bitstream: FileName
    """Below the directory of bitstreams, which the helper alone decides."""
    sha256: Sha256
    afu_id: str = ""
    """What the region says when it is programmed; empty where its driver cannot tell, and then it is programmed at each start."""
    interface_id: str = ""
    """What the bitstream fits; empty: as its header says."""
    signature: FileName | None = None
    """A detached Ed25519 signature by the key that the helper has."""
    way: Way | Literal["auto"] = "auto"


class Resource(_Section, frozen=True):
    """One resource. A function belongs to the first that takes it; a region that is ``program``med may back several."""

    name: Annotated[str, Meta(min_length=1, max_length=512)]
    """A template: ``fpga.example.com/{interface_id}``; ``{vendor}``, ``{device}``, ``{driver}``, ``{shell}``, ``{timestamp}``, ``{interface_id}``,
    ``{afu_id}``, ``{backend}``."""
    unit: Literal["function", "region", "card", "group"] = "function"
    match: tuple[Match, ...] = ()
    nodes: tuple[Role, ...] = ("user", "port", "dma", "group", "iommu")
    """``fme`` and ``management`` let a container change what others use."""
    program: Program | None = None
    reset: bool = False
    """Before each container starts."""
    clear_errors: bool = True
    """With ``program`` or ``reset``: sticky error registers, too."""
    cdi: bool = False


class Limits(_Section, frozen=True):
    """What makes a function Unhealthy."""

    enabled: bool = True
    hold_down: Seconds = 5.0
    """For so long evidence must last, and for as long its absence."""
    temperature: Annotated[float, Meta(gt=0)] | None = None
    """°C; left out: the card's own limits."""
    power: Annotated[float, Meta(gt=0)] | None = None
    """W; left out: the card's own limits."""
    nonfatal_errors: Literal["ignore", "degraded", "unhealthy"] = "degraded"
    pcie_degraded: Literal["ignore", "degraded", "unhealthy"] = "degraded"


class Vfio(_Section, frozen=True):
    """Functions that are passed on by VFIO: only what is named here."""

    vendor: HexId
    device: HexId


class Declared(_Section, frozen=True):
    """Hardware that no back end knows: devices of a subsystem, and the nodes that belong to them."""

    name: Annotated[str, Meta(pattern=r"\A[a-z0-9][-a-z0-9]{0,31}\Z")]
    subsystem: Annotated[str, Meta(pattern=r"\A[-_.:A-Za-z0-9]{1,64}\Z", description="a class or bus of /sys")]
    kernel_name: Pattern | None = None
    vendor: HexId | None = None
    device: HexId | None = None
    attributes: Mapping[str, Pattern] = {}
    nodes: Annotated[tuple[Pattern, ...], Meta(min_length=1, max_length=16)] = ("{node}",)
    """Paths on the host: ``{node}`` is the device's own, ``{name}`` its kernel name, ``{minor}`` its minor number; patterns are allowed."""


class Cdi(_Section, frozen=True):
    directory: Path = "/var/run/cdi"
    vendor: Annotated[
        str, Meta(pattern=r"\A[A-Za-z][-._A-Za-z0-9]*[A-Za-z0-9]\Z", description="a CDI vendor, like vendor.example")
    ] = "k8s.device-plugin-supervisor.io"


class Simulate(_Section, frozen=True):
    """FPGAs that are not there, for trying things out."""

    layout: str
    """``dfl-card``, ``alveo``, ``zynq``."""
    script: tuple[str, ...] = ()


class FpgaConfig(_Section, frozen=True):
    """The whole section."""

    preset: Literal["", "intel-af", "intel-region", "amd"] = ""
    """Names as another plugin gives them, in place of ``resources``."""
    resources: Annotated[tuple[Resource, ...], Meta(max_length=256)] = ()
    """The first that takes a function has it. None, and no preset: ``fpga.device-plugin-supervisor.io/{backend}``."""
    health: Limits = Limits()
    poll: Annotated[float, Meta(ge=1, le=3600)] = 5.0
    """Seconds between two looks at what changes without an event: states, errors, sensors."""
    vfio: tuple[Vfio, ...] = ()
    declared: tuple[Declared, ...] = ()
    cdi: Cdi = Cdi()
    programming: tuple[Way, ...] = ()
    """Ways of programming that may be used; none by default. Reset needs no entry."""
    start_deadline: Annotated[float, Meta(gt=0, le=25)] = 25.0
    """Seconds for everything before a container starts, the wait for others included."""
    simulate: Simulate | None = None
