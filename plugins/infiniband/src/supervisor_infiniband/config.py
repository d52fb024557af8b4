"""The section ``plugins.infiniband`` of the configuration file: what an operator may write, and what is refused with a reason."""

import re
from collections import Counter
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from supervisor import resource_name_problem
from supervisor_infiniband.simulate.script import mistake

MAX_REPLICAS = 10_000

Pattern = Annotated[str, Meta(min_length=1, max_length=256)]
"""A shell pattern for the whole text: ``*``, ``?``, ``[abc]``."""

HexId = Annotated[str, Meta(pattern=r"\A[0-9A-Fa-f]{4}\Z", description="four hexadecimal digits, quoted")]
Guid = Annotated[
    str,
    Meta(pattern=r"\A(0x)?[0-9A-Fa-f*?]{1,4}(:?[0-9A-Fa-f*?]{1,4}){0,3}\Z", max_length=19, description="a GUID or a pattern"),
]
Path = Annotated[str, Meta(pattern=r"\A/[^\0]*\Z", max_length=4095, description="an absolute path")]
ResourceName = Annotated[str, Meta(min_length=1, max_length=308)]
"""``rdma/hca``; a name without a domain gets ``rdma/``."""
Seconds = Annotated[float, Meta(ge=0, le=86_400)]

Kind = Literal["pf", "vf", "sf", "virtual"]
Mode = Literal["exclusive", "shared", "pool"]
CharDevice = Literal["umad", "issm", "rdma_cm"]

DOMAIN = "rdma"

_RANGED = re.compile(r"[^#]{1,255}(#[0-9]{1,5}(-[0-9]{1,5})?(,[0-9]{1,5}(-[0-9]{1,5})?)*)?")


def function_problem(text: str) -> str:
    """Why a text is no function with ranges of indices; empty where it is one."""
    if not _RANGED.fullmatch(text):
        return "is no function with ranges, like ens1f0#0-3,7"
    for low, high in re.findall(r"([0-9]+)-([0-9]+)", text.partition("#")[2]):
        if int(low) > int(high):
            return f"has the range {low}-{high}, which runs backwards"
    return ""


class _Section(Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """A mapping of the configuration file."""


class Match(_Section, frozen=True):
    """RDMA devices for which every given field fits; within one list any entry fits. ``not`` turns a whole match around."""

    id: tuple[Pattern, ...] = ()
    """The id at the kubelet: PCI address, or auxiliary name."""
    name: tuple[Pattern, ...] = ()
    """The kernel's name of the RDMA device: ``mlx5_*``."""
    kind: tuple[Kind, ...] = ()
    vendor: tuple[HexId, ...] = ()
    device: tuple[HexId, ...] = ()
    driver: tuple[Pattern, ...] = ()
    interface: tuple[Pattern, ...] = ()
    """A network interface on one of its ports."""
    link_type: tuple[Literal["ether", "infiniband"], ...] = ()
    """Of such an interface."""
    link_layer: tuple[Literal["InfiniBand", "Ethernet"], ...] = ()
    """Of one of its ports."""
    rate: Annotated[float, Meta(gt=0)] | None = None
    """Gb/s at least, on one of its active ports."""
    pkey: tuple[Annotated[str, Meta(pattern=r"\A0[xX][0-9A-Fa-f]{1,4}\Z", description="a P_Key, like 0x8001")], ...] = ()
    """At any index of one of its ports; the membership bit (0x8000) does not count."""
    guid: tuple[Guid, ...] = ()
    """Node GUID or port GUID, with or without colons."""
    firmware: tuple[Pattern, ...] = ()
    pf: tuple[Annotated[str, Meta(max_length=300)], ...] = ()
    """VFs and SFs of these physical functions, by interface, kernel name or PCI address, with ranges of indices: ``ens1f0#0-3,7``."""
    numa_node: tuple[Annotated[int, Meta(ge=0, le=63)], ...] = ()
    has_vfs: bool | None = None
    """Whether it has virtual functions now."""
    not_: tuple["Match", ...] = field(default=(), name="not")
    """None of these may fit."""

    def __post_init__(self) -> None:
        if all(value in ((), None) for value in (getattr(self, name) for name in self.__struct_fields__)):
            raise ValueError("give at least one field; a rule for all devices has no match")
        for guid in self.guid:
            digits = guid.removeprefix("0x").replace(":", "")
            if len(digits) != 16 and not {*digits} & {*"*?"}:
                raise ValueError(f"guid: {guid!r} has {len(digits)} digits of 16; {guid}* means all that begin so")
        for entry in self.pf:
            if problem := function_problem(entry):
                raise ValueError(f"pf: {entry!r} {problem}")


class Hints(_Section, frozen=True):
    """Variables that libraries read, on request: they are advice and may be wrong for some pods."""

    nccl: bool = False
    """``NCCL_IB_HCA``, and ``NCCL_IB_GID_INDEX`` where it is the same for all."""
    ucx: bool = False
    """``UCX_NET_DEVICES``"""


class ErrorRates(_Section, frozen=True):
    """How many errors in a minute are too many, for each counter; 0: never."""

    action: Literal["degraded", "unhealthy"] = "degraded"
    link_downed: Annotated[float, Meta(ge=0)] = 3
    link_error_recovery: Annotated[float, Meta(ge=0)] = 10
    symbol_error: Annotated[float, Meta(ge=0)] = 100
    port_rcv_errors: Annotated[float, Meta(ge=0)] = 100
    local_link_integrity_errors: Annotated[float, Meta(ge=0)] = 10
    excessive_buffer_overrun_errors: Annotated[float, Meta(ge=0)] = 10
    aer_dev_fatal: Annotated[float, Meta(ge=0)] = 1
    """Of PCI Express, by Advanced Error Reporting, as the next."""
    aer_dev_nonfatal: Annotated[float, Meta(ge=0)] = 3


class Judgement(_Section, frozen=True):
    """What makes a device Unhealthy. What does so for one pool only is said there."""

    enabled: bool = True
    ports: Literal["any", "all"] = "any"
    """How many of a device's end-point ports must be active."""
    hold_down: Seconds = 5.0
    """For so long a port must be down until its device is Unhealthy, and as long up until it is Healthy again."""
    subnet_manager_grace: Seconds = 60.0
    """For so long a port may wait for a subnet manager (INIT, ARMED)."""
    vf_require_guid: bool = False
    vf_require_active: bool = False
    pcie_degraded: Literal["degraded", "unhealthy"] = "degraded"
    """``degraded``: shown and counted, no more."""
    error_rates: ErrorRates = ErrorRates()


class Pool(_Section, frozen=True):
    """One resource: which devices, and what a unit of it is. A device belongs to the first resource that takes it."""

    name: ResourceName
    mode: Mode = "exclusive"
    """``exclusive``: each device is one unit; ``shared``: each device is ``replicas`` units; ``pool``: ``replicas`` units, each of which
    is all devices (as ``rdmaHcaMax``)."""
    replicas: Annotated[int, Meta(ge=1, le=MAX_REPLICAS)] | None = None
    prefer: Literal["spread", "pack"] = "spread"
    """Of shared devices: another device for each unit of a container, or the same."""
    match: tuple[Match, ...] = ()
    """Any of these; none: all."""
    char_devices: tuple[CharDevice, ...] = ("rdma_cm",)
    """Besides ``uverbs``: what containers get where the host has it. ``umad`` lets them send management datagrams, and ``issm`` lets
    them be the subnet manager."""
    require: tuple[CharDevice, ...] = ()
    """Without these a device is Unhealthy."""
    pcidevice_info: bool = False
    """``PCIDEVICE_<RESOURCE>_INFO``, too."""
    hints: Hints = Hints()
    device_info: bool = False
    """NPWG device-info files for Multus and the CNI plugins behind it."""
    cdi: bool = False
    """CDI devices in place of device nodes."""
    judgement: Judgement | None = field(default=None, name="health")
    """In place of the section's."""

    def __post_init__(self) -> None:
        if problem := resource_name_problem(self.resource):
            raise ValueError(f"name: {self.name!r} is no resource name: {problem}")
        if self.mode == "exclusive" and self.replicas is not None:
            raise ValueError("replicas: an exclusive device is one unit; say mode: shared or mode: pool")
        if self.mode != "exclusive" and self.replicas is None:
            raise ValueError(f"mode {self.mode} needs replicas")
        if missing := set(self.require) - set(self.char_devices):
            raise ValueError(f"require: {', '.join(sorted(missing))} must be among charDevices, too")
        if self.device_info and self.mode != "exclusive":
            raise ValueError("deviceInfo: a CNI plugin moves a whole device; that needs mode: exclusive")

    @property
    def resource(self) -> str:
        """The name with its domain."""
        return self.name if "/" in self.name else f"{DOMAIN}/{self.name}"


DEFAULT_POOLS = (
    Pool(name="vf", match=(Match(kind=("vf",)),)),
    Pool(name="sf", match=(Match(kind=("sf",)),)),
    Pool(name="hca"),
)
"""Without any resource in the section: VFs, SFs and all others, each to one container."""


class Cdi(_Section, frozen=True):
    directory: Path = "/var/run/cdi"
    vendor: Annotated[
        str, Meta(pattern=r"\A[A-Za-z][-._A-Za-z0-9]*[A-Za-z0-9]\Z", description="a CDI vendor, like vendor.example")
    ] = "k8s.device-plugin-supervisor.io"


class Simulate(_Section, frozen=True):
    """RDMA devices that are not there, for trying things out."""

    layout: str
    """``dual-port-infiniband``, ``roce-16-vfs``, ``rails-8``."""
    script: tuple[str, ...] = ()
    """What happens to them: ``after 10s down mlx5_0/1``, ``after 20s up mlx5_0/1``."""

    def __post_init__(self) -> None:
        if problem := mistake(self.layout, self.script):
            raise ValueError(problem)


class InfinibandConfig(_Section, frozen=True):
    """The whole section."""

    resources: Annotated[tuple[Pool, ...], Meta(max_length=256)] = ()
    """The first that takes a device has it. None: ``rdma/vf``, ``rdma/sf`` and ``rdma/hca``."""
    judgement: Judgement = field(default=Judgement(), name="health")
    poll: Annotated[float, Meta(ge=0.1, le=2)] = 1.0
    """Seconds between two looks at the ports, whose changes the kernel does not tell."""
    counters: Annotated[float, Meta(ge=1, le=3600)] = 30.0
    """Seconds between two readings of the counters."""
    hw_counters: tuple[Pattern, ...] = (
        "out_of_sequence",
        "out_of_buffer",
        "packet_seq_err",
        "local_ack_timeout_err",
        "np_cnp_sent",
        "rp_cnp_handled",
        "roce_adp_retrans",
        "rx_icrc_encapsulated",
    )
    """Which of the drivers' ``hw_counters`` become metrics."""
    rtnetlink: bool = False
    """Hear of carrier changes at once; needs the host's network namespace."""
    cdi: Cdi = Cdi()
    device_info_directory: Path = "/var/run/k8s.cni.cncf.io/devinfo/dp"
    simulate: Simulate | None = None

    def __post_init__(self) -> None:
        for name, count in Counter(pool.resource for pool in self.resources).items():
            if count > 1:
                raise ValueError(f"resources: {name} is there {count} times; one resource may have several matches")

    @property
    def pools(self) -> tuple[Pool, ...]:
        return self.resources or DEFAULT_POOLS

    def judgement_of(self, pool: Pool) -> Judgement:
        return pool.judgement or self.judgement
