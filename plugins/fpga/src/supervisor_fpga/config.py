"""The section ``plugins.fpga`` of the configuration file: what an operator may write, and what is refused with a reason."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from supervisor_fpga.naming import CHANGING, bare_id, fields_of, id_problem, template_problem
from supervisor_fpga.report import Backend, Role

Pattern = Annotated[str, Meta(min_length=1, max_length=256)]
"""A shell pattern for the whole text, case ignored: ``*``, ``?``, ``[abc]``."""
HexId = Annotated[str, Meta(pattern=r"\A[0-9A-Fa-f]{4}\Z", description="four hexadecimal digits, quoted")]
Path = Annotated[str, Meta(pattern=r"\A/[^\0]*\Z", max_length=4095, description="an absolute path")]
Seconds = Annotated[float, Meta(ge=0, le=86_400)]
Sha256 = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z", description="a SHA-256 in lower-case hexadecimal")]
FileName = Annotated[
    str,
    Meta(
        pattern=r"\A[A-Za-z0-9_][-+._A-Za-z0-9]*(/[A-Za-z0-9_][-+._A-Za-z0-9]*){0,15}\Z",
        max_length=255,
        description="a file below the directory of bitstreams",
    ),
]
UnitKind = Literal["function", "region", "card", "group"]
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
    """None of these may fit."""

    def __post_init__(self) -> None:
        if all(getattr(self, name) == () for name in self.__struct_fields__):
            raise ValueError("give at least one field; a rule for all functions has no match")
        for name, patterns in (("interfaceId", self.interface_id), ("afuId", self.afu_id)):
            for pattern in patterns:
                if problem := _id_pattern_problem(pattern):
                    raise ValueError(f"{name}: {pattern!r} {problem}")

    @property
    def by_afu(self) -> bool:
        """Whether programming can change what fits."""
        return bool(self.afu_id) or any(each.by_afu for each in self.not_)


def _id_pattern_problem(pattern: str) -> str:
    bare = bare_id(pattern)
    if not re.fullmatch(r"[0-9a-f*?\[\]!]+", bare):
        return "is neither 32 hexadecimal digits nor a pattern of them"
    if not {*bare} & {*"*?["} and len(bare) != 32:
        return f"has {len(bare)} digits of 32; {pattern}* means all that begin so"
    return ""


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

    def __post_init__(self) -> None:
        for name, text in (("afuId", self.afu_id), ("interfaceId", self.interface_id)):
            if text and (problem := id_problem(text)):
                raise ValueError(f"{name}: {text!r} can be no id of an FPGA: it {problem}")


class Resource(_Section, frozen=True):
    """One resource. A function belongs to the first that takes it; a region that is ``program``med may back several."""

    name: Annotated[str, Meta(min_length=1, max_length=512)]
    """A template: ``fpga.example.com/{interface_id}``; ``{vendor}``, ``{device}``, ``{driver}``, ``{shell}``, ``{shell_id}``, ``{timestamp}``,
    ``{interface_id}``, ``{afu_id}``, ``{backend}``, and ``{intel_af}``, which is what Intel's plugin has behind ``af-``."""
    unit: UnitKind = "function"
    """What a container gets: one function, or all of a region, of a card, or of the cards with one serial number."""
    match: tuple[Match, ...] = ()
    """Any of these; none: all. Where a unit is more than one function, it must fit each."""
    nodes: Annotated[tuple[Role, ...], Meta(min_length=1)] = ("user", "port", "dma", "group", "iommu")
    """``fme`` and ``management`` let a container change what others use."""
    program: Program | None = None
    reset: bool = False
    """Before each container starts."""
    clear_errors: bool = True
    """With ``program`` or ``reset``: sticky error registers, too."""
    cdi: bool = False

    def __post_init__(self) -> None:
        if problem := template_problem(self.name):
            raise ValueError(f"name: {self.name!r} is no resource name: {problem}")
        if self.program is not None and self.unit not in {"function", "region"}:
            raise ValueError(
                f"unit: {self.unit} may be several regions, and program is for one: say unit: function or unit: region"
            )
        if self.by_afu and self.takes_any_content:
            what = "what is programmed" if self.program is not None else "a region"
            raise ValueError(f"{what} changes its AFU id, so neither name nor match may depend on it")

    @property
    def takes_any_content(self) -> bool:
        """Whether it does not matter what a function holds: that is replaced, by us or by the container."""
        return self.program is not None or self.unit == "region"

    @property
    def by_afu(self) -> bool:
        """Whether programming can move a function in or out, or to another name."""
        return bool(fields_of(self.name) & CHANGING) or any(match.by_afu for match in self.match)

    @property
    def literal(self) -> bool:
        """Whether the name is the same for all."""
        return not fields_of(self.name)


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
    """In matches and in names of resources it is the shell of what it describes."""
    subsystem: Annotated[str, Meta(pattern=r"\A[-_.:A-Za-z0-9]{1,64}\Z", description="a class or bus of /sys")]
    kernel_name: Pattern | None = None
    vendor: HexId | None = None
    device: HexId | None = None
    attributes: Mapping[str, Pattern] = {}
    nodes: Annotated[tuple[Pattern, ...], Meta(min_length=1, max_length=16)] = ("{node}",)
    """Paths on the host: ``{node}`` is the device's own, ``{name}`` its kernel name, ``{minor}`` its minor number; patterns are allowed."""

    def __post_init__(self) -> None:
        for node in self.nodes:
            if not re.fullmatch(r"\{node\}|/dev/([^{}\0]|\{name\}|\{minor\})+", node) or ".." in node.split("/"):
                raise ValueError(
                    f"nodes: {node!r} is neither {{node}} nor a path below /dev, with {{name}} and {{minor}} as it may be"
                )
        for attribute in self.attributes:
            if not attribute or attribute.startswith("/") or ".." in attribute.split("/"):
                raise ValueError(f"attributes: {attribute!r} is no file below a device of /sys")


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

    def __post_init__(self) -> None:
        from supervisor_fpga.simulate.script import mistake  # the processes that read and operate import this module, too

        if problem := mistake(self.layout, self.script):
            raise ValueError(problem)


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

    def __post_init__(self) -> None:
        if self.preset and self.resources:
            raise ValueError("preset: it stands in place of resources; give one of them")
        for word, names in (
            ("resources", (rule.name for rule in self.resources)),
            ("declared", (each.name for each in self.declared)),
            ("vfio", (f"{each.vendor}:{each.device}".lower() for each in self.vfio)),
            ("programming", self.programming),
        ):
            if double := _double(names):
                more = "; one resource may have several matches" if word == "resources" else ""
                raise ValueError(f"{word}: {double} is there more than once{more}")
        for rule in self.resources:
            if rule.program is not None and (problem := self._way_problem(rule.program)):
                raise ValueError(f"resources: {rule.name} is to be programmed, and {problem}")

    def _way_problem(self, program: Program) -> str:
        if not self.programming:
            return "programming names no way that may be used"
        if program.way not in {"auto", *self.programming}:
            return f"its way {program.way} is not among programming, which names {', '.join(self.programming)}"
        return ""


def _double(names: Iterable[str]) -> str:
    return next((name for name, count in Counter(names).items() if count > 1), "")
