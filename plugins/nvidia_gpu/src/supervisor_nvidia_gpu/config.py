"""The section ``plugins.nvidia-gpu`` of the configuration file: what an operator may write, and what is refused with a reason.

NVIDIA's own file (``version: v1``) and its environment variables are folded into this by ``compat``; keys that mean the same are
spelt as there.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from supervisor import resource_name_problem
from supervisor_nvidia_gpu import pci
from supervisor_nvidia_gpu.naming import GPU, Leads, clashes, qualified
from supervisor_nvidia_gpu.simulate.probe import mistake

Pattern = Annotated[str, Meta(min_length=1, max_length=256)]
"""A shell pattern for the whole text, case ignored: ``*``, ``?``, ``[abc]``."""

Path = Annotated[str, Meta(pattern=r"\A/[^\0]*\Z", max_length=4095, description="an absolute path")]
ResourceName = Annotated[str, Meta(min_length=1, max_length=308)]
"""``nvidia.com/gpu``; a name without a domain gets ``nvidia.com/``."""

DeviceList = Literal["envvar", "volume-mounts", "cdi-annotations", "cdi-cri"]
XidAction = Literal["ignore", "event", "unhealthy", "until-reset"]
"""``event``: told and counted, no more. ``unhealthy``: heals by evidence and probation. ``until-reset``: only a reset or a reboot heals."""


_WILD = re.compile(r"[*?\[]")
_DEVICE = re.compile(r"[0-9]{1,4}(:[0-9]{1,4})?|(GPU|MIG)-[-/0-9A-Za-z]{4,55}", re.IGNORECASE)


class _Section(Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """A mapping of the configuration file."""


def _check_name(name: str, key: str) -> None:
    if problem := resource_name_problem(qualified(name)):
        raise ValueError(f"{key}: {name!r} is no resource name: {problem}")


def _overlap(one: "Shared", other: "Shared") -> bool:
    """Whether two rules for one resource surely mean one device twice."""
    if "all" in {one.devices, other.devices} or (isinstance(one.devices, int) and isinstance(other.devices, int)):
        return True
    return not {*one.listed}.isdisjoint(other.listed)


class GpuMatch(_Section, frozen=True):
    """GPUs for which all given fields fit."""

    uuid: Pattern | None = None
    pci: Pattern | None = None
    """``0000:3b:00.0``, in any of the usual spellings."""
    index: Annotated[int, Meta(ge=0)] | None = None
    model: Pattern | None = None

    def __post_init__(self) -> None:
        if self.uuid is None and self.pci is None and self.index is None and self.model is None:
            raise ValueError("give at least one of uuid, pci, index, model")
        if self.uuid is not None and self.uuid.lower().startswith("mig-"):
            raise ValueError(f"uuid: {self.uuid} names a MIG device; write the UUID of its GPU")
        if self.pci is not None and not pci.normal(self.pci) and not _WILD.search(self.pci):
            raise ValueError(f"pci: {self.pci!r} is no PCI address, like 0000:3b:00.0")


class Selection(_Section, frozen=True):
    """Which GPUs are offered. A cordoned one stays listed, Unhealthy, so that its pods go on and no new one comes."""

    include: tuple[GpuMatch, ...] = ()
    """Empty: all."""
    exclude: tuple[GpuMatch, ...] = ()
    cordon: tuple[GpuMatch, ...] = ()


class Naming(_Section, frozen=True):
    """Another resource name for some GPUs or MIG devices; the first rule that fits counts."""

    name: ResourceName
    model: Pattern | None = None
    profile: Pattern | None = None
    """Of MIG devices; without it the rule is for whole GPUs."""

    def __post_init__(self) -> None:
        if self.model is None and self.profile is None:
            raise ValueError("give at least one of model, profile")
        _check_name(self.name, "name")

    @property
    def resource(self) -> str:
        """The name with its domain."""
        return qualified(self.name)


class Shared(_Section, frozen=True):
    """Time slices of one resource. Several rules for one resource must mean different devices."""

    name: ResourceName
    replicas: Annotated[int, Meta(ge=2, le=1000)]
    rename: ResourceName | None = None
    devices: (
        Literal["all"]
        | Annotated[int, Meta(ge=1)]
        | Annotated[tuple[Annotated[int, Meta(ge=0)] | str, ...], Meta(min_length=1)]
    ) = "all"
    """``all``, the first so many, or a list of indices, ``parent:index`` of MIG devices, and UUIDs."""

    def __post_init__(self) -> None:
        _check_name(self.name, "name")
        if self.rename is not None:
            _check_name(self.rename, "rename")
        for device in self.listed:
            if not _DEVICE.fullmatch(device):
                raise ValueError(f"devices: {device!r} is no index, no parent:index of a MIG device and no UUID")

    @property
    def resource(self) -> str:
        """The name with its domain."""
        return qualified(self.name)

    @property
    def listed(self) -> tuple[str, ...]:
        """The devices of a list in lower case; empty for ``all`` and for a number."""
        return tuple(str(device).lower() for device in self.devices) if isinstance(self.devices, tuple) else ()


class TimeSlicing(_Section, frozen=True):
    rename_by_default: bool = False
    """``<name>.shared``"""
    fail_requests_greater_than_one: bool = False
    resources: Annotated[tuple[Shared, ...], Meta(max_length=256)] = ()

    def __post_init__(self) -> None:
        for number, rule in enumerate(self.resources):
            if problem := resource_name_problem(self.lands_on(rule)):
                raise ValueError(f"resources[{number}]: {self.lands_on(rule)!r} is no resource name: {problem}")
            for earlier, other in enumerate(self.resources[:number]):
                if rule.resource == other.resource and _overlap(rule, other):
                    raise ValueError(
                        f"resources[{number}]: shares devices of {rule.resource} that resources[{earlier}] shares already"
                    )
        for problem in clashes(self.leads()).values():
            raise ValueError(f"resources: {problem}")

    def lands_on(self, rule: Shared) -> str:
        """The resource under which the slices are offered."""
        if rule.rename is not None:
            return qualified(rule.rename)
        return f"{rule.resource}.shared" if self.rename_by_default else rule.resource

    def leads(self) -> tuple[Leads, ...]:
        """From where each rule leads to where."""
        return tuple(Leads(rule.resource, self.lands_on(rule), rule.replicas) for rule in self.resources)


class Sharing(_Section, frozen=True):
    time_slicing: TimeSlicing = TimeSlicing()
    policy: Literal["distributed", "packed", "spread"] = "distributed"
    """``spread``: as distributed, and two slices of one GPU in one container are refused."""


class XidRule(_Section, frozen=True):
    """What an XID means. Later rules win over earlier ones, and all over the defaults."""

    xid: Annotated[int, Meta(ge=1, le=100_000)] | Literal["all"]
    action: XidAction
    model: Pattern | None = None
    count: Annotated[int, Meta(ge=1, le=1000)] = 1
    """So many within ``window`` seconds before it counts."""
    window: Annotated[float, Meta(gt=0)] = 60.0


class Health(_Section, frozen=True):
    xids: tuple[XidRule, ...] = ()
    enabled: bool = True
    quiet: Annotated[float, Meta(ge=0)] = 60.0
    """Seconds without evidence against a GPU until an unhealthy one goes on probation."""
    probation: Annotated[float, Meta(ge=0)] = 300.0
    """Seconds on probation, listed Unhealthy still, until it is healthy again. Doubles with each relapse within a day, up to 8 times."""
    suspicion: Annotated[float, Meta(ge=0)] = 0.0
    """Seconds for which weak evidence (no answer, a look that failed) must last; strong evidence counts at once."""
    monitor_grace: Annotated[float, Meta(ge=0)] = 60.0
    """Seconds without a living NVML child until no GPU is vouched for."""
    unhealthy_on: tuple[
        Literal["uncorrected-ecc", "remap-failure", "remap-pending", "retirement-pending", "recovery-action"], ...
    ] = (
        "remap-failure",
        "recovery-action",
    )


class Cdi(_Section, frozen=True):
    """Specs of our own, for the CDI strategies."""

    directory: Path = "/var/run/cdi"
    vendor: Annotated[
        str, Meta(pattern=r"\A[A-Za-z][-._A-Za-z0-9]*[A-Za-z0-9]\Z", description="a CDI vendor, like vendor.example")
    ] = "k8s.device-plugin-supervisor.io"
    """Two characters at least: containerd panics on shorter ones. Not a vendor for which somebody else writes specs."""
    hook: Path | None = None
    """``nvidia-cdi-hook`` or ``nvidia-ctk`` on the host, where the runtime can start it; without it libraries are mounted under their SONAMEs."""
    annotation_prefix: str = "cdi.k8s.io/"


class Extras(_Section, frozen=True):
    """What containers get besides GPUs."""

    gds: bool = False
    mofed: bool = False
    gdrcopy: bool = False
    imex_channels: tuple[int, ...] = ()
    imex_required: bool = False


class Simulate(_Section, frozen=True):
    """GPUs that are not there, for trying things out."""

    layout: str
    """``dgx-h100``, ``dgx-a100``, ``l40s-4``, ``mig-mixed``, ``gpus-16``."""
    script: tuple[str, ...] = ()
    """What happens to them: ``after 10s xid 79 on 0``, ``after 20s lose 1``, ``after 30s recover 1``."""

    def __post_init__(self) -> None:
        if problem := mistake(self.layout, self.script):
            raise ValueError(problem)


class NvidiaGpuConfig(_Section, frozen=True):
    """The whole section."""

    nvidia_config: Path | None = None
    """NVIDIA's own configuration file, ``version: v1``, as it is. Keys of this section win over it."""
    environment: bool = True
    """Whether NVIDIA's environment variables (``MIG_STRATEGY``, …) are read."""
    driver_root: Path | None = None
    """The driver's root as the *host* sees it. Left out: the first of ``/`` and ``/run/nvidia/driver`` that has the library."""
    dev_root: Path | None = None
    """Below which the host has the GPUs' device nodes. Left out: ``/`` where it has any, else the driver's root."""
    driver_root_mount: Path | None = None
    """Where this process sees the host's root; left out: ``/driver-root`` if it exists, else ``/``."""
    device_list_strategy: Literal["auto"] | tuple[DeviceList, ...] = "auto"
    pass_device_specs: bool | None = None
    """Left out: with ``auto``, and not otherwise."""
    device_id_strategy: Literal["uuid", "index", "pci"] = field(default="uuid", name="deviceIDStrategy")
    """The value that is injected. The kubelet's ids are always made of UUIDs."""
    runtime_cdi: bool = False
    """Evidence for ``auto`` that the container runtime understands CDI."""
    mig_strategy: Literal["none", "single", "mixed"] = "none"
    selection: Selection = Selection()
    naming: tuple[Naming, ...] = ()
    sharing: Sharing = Sharing()
    health: Health = Health()
    cdi: Cdi = Cdi()
    extras: Mapping[ResourceName, Extras] = {}
    """By resource name; ``*`` stands for all others."""
    usage_metrics: bool = False
    """Temperature, power, utilisation and memory as metrics; each look then asks more of the driver."""
    simulate: Simulate | None = None

    def __post_init__(self) -> None:
        for name in self.extras:
            if name != "*":
                _check_name(name, "extras")
            if qualified(name) != name and qualified(name) in self.extras:
                raise ValueError(f"extras: {name} and {qualified(name)} are one resource")
        slicing = self.sharing.time_slicing
        wholly = {rule.resource for rule in slicing.resources if rule.devices == "all"}
        named = {rule.resource for rule in self.naming} | {rule.resource for rule in slicing.resources}
        if not any(rule.model == "*" and rule.profile is None for rule in self.naming):
            named.add(GPU)
        unshared = (Leads(name, name, 1) for name in sorted(named - wholly))
        for problem in clashes((*slicing.leads(), *unshared)).values():
            raise ValueError(f"sharing.timeSlicing.resources: {problem}")

    def extras_of(self, resource: str) -> Extras:
        """What containers with this resource get besides."""
        named = (extras for name, extras in self.extras.items() if name != "*" and qualified(name) == resource)
        return next(named, self.extras.get("*", Extras()))
