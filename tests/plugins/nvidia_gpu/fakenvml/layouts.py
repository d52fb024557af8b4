"""What a node's GPUs are, as values: the fake NVML and the fake host say what these say, and tests compare with them."""

import math
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace

GPU, SWITCH = 0, 2
"""``nvmlIntNvLinkDeviceType_t``: what is at the other end of an NVLink."""

RECOVERY_ACTION = 230
"""The field value that tells what the GPU needs to work again."""

EVENTS_OF_OLD_DRIVERS = 0x1F
EVENTS_OF_NEW_DRIVERS = 0xFF9F


@dataclass(frozen=True)
class Profile:
    """A size of GPU instances that a model offers; numbers as ``nvidia-smi mig -lgip`` lists them."""

    name: str
    index: int
    """``NVML_GPU_INSTANCE_PROFILE_…``, by which NVML is asked."""
    id: int
    """What an instance says it has."""
    slices: int
    memory_mib: int
    multiprocessors: int
    instances: int
    engines: tuple[int, int, int, int, int] = (1, 0, 0, 0, 0)
    """Copy engines, decoders, encoders, JPEG decoders, optical flow accelerators."""


A100_PROFILES = (
    Profile("1g.10gb", 0, 19, 1, 9728, 14, 7),
    Profile("1g.10gb+me", 7, 20, 1, 9728, 14, 1, (1, 1, 0, 1, 1)),
    Profile("1g.20gb", 9, 15, 1, 19968, 14, 4, (1, 1, 0, 0, 0)),
    Profile("2g.20gb", 1, 14, 2, 19968, 28, 3, (2, 1, 0, 0, 0)),
    Profile("3g.40gb", 2, 9, 3, 40192, 42, 2, (3, 2, 0, 0, 0)),
    Profile("4g.40gb", 3, 5, 4, 40192, 56, 1, (4, 2, 0, 0, 0)),
    Profile("7g.80gb", 4, 0, 7, 80896, 98, 1, (7, 5, 0, 1, 1)),
)
H100_PROFILES = (
    Profile("1g.10gb", 0, 19, 1, 9984, 16, 7, (1, 1, 0, 1, 0)),
    Profile("1g.10gb+me", 7, 20, 1, 9984, 16, 1, (1, 1, 0, 1, 1)),
    Profile("1g.20gb", 9, 15, 1, 20096, 26, 4, (1, 1, 0, 1, 0)),
    Profile("2g.20gb", 1, 14, 2, 20096, 32, 3, (2, 2, 0, 2, 0)),
    Profile("3g.40gb", 2, 9, 3, 40448, 60, 2, (3, 3, 0, 3, 0)),
    Profile("4g.40gb", 3, 5, 4, 40448, 64, 1, (4, 4, 0, 4, 0)),
    Profile("7g.80gb", 4, 0, 7, 80896, 132, 1, (8, 7, 0, 7, 1)),
)
SLICES = {1: 0, 2: 1, 3: 2, 4: 3, 7: 4}
"""The number of a compute profile, which is its index too, by its slices."""


@dataclass(frozen=True)
class Mig:
    """A MIG device: compute instance `ci` with `slices` compute slices, in GPU instance `gi` of size `profile`."""

    index: int
    uuid: str
    gi: int
    ci: int
    profile: Profile
    slices: int
    start: int
    """The first memory slice of its GPU instance; a GPU has eight."""

    @property
    def size(self) -> int:
        """The memory slices of its GPU instance."""
        return math.ceil(self.profile.memory_mib / (80 * 1024 / 8))

    @property
    def whole(self) -> bool:
        return self.slices == self.profile.slices

    @property
    def name(self) -> str:
        """As nvidia-smi shows it."""
        return self.profile.name if self.whole else f"{self.slices}c.{self.profile.name}"


@dataclass(frozen=True)
class Gpu:
    """A GPU. What is ``None`` its model, or its driver, does not tell: NVML answers that this is not supported."""

    index: int
    uuid: str
    minor: int
    pci: str
    """As NVML writes it: ``00000000:3B:00.0``."""
    name: str
    capability: tuple[int, int]
    memory_mib: int | None
    pci_ids: tuple[int, int]
    """Device and subsystem, vendors in the lower halves."""
    numa: int | None = 0
    mig_enabled: bool | None = None
    mig_pending: bool | None = None
    """``None``: as `mig_enabled`."""
    mig: tuple[Mig, ...] = ()
    profiles: tuple[Profile, ...] = ()
    links: int | None = None
    """How many NVLinks the model has."""
    remote: tuple[tuple[int, str], ...] = ()
    """What is at the other ends of those that are up, from link 0 on: its type and its PCI id."""
    ancestors: tuple[int | None, ...] = ()
    """``nvmlGpuTopologyLevel_t`` with each GPU; ``None`` with itself."""
    events: int | None = EVENTS_OF_NEW_DRIVERS
    uncorrected_ecc: int | None = 0
    remapped: tuple[int, int, int, int] | None = (0, 0, 0, 0)
    retirement_pending: bool | None = None
    recovery_action: int | None = 0
    temperature_celsius: int | None = 34
    power_milliwatts: int | None = 62500
    utilization_percent: int | None = 0
    memory_used_mib: int = 0

    @property
    def sysfs(self) -> str:
        """Its PCI id as sysfs writes it: ``0000:3b:00.0``."""
        return self.pci[4:].lower()


@dataclass(frozen=True)
class Layout:
    """All of a node."""

    gpus: tuple[Gpu, ...] = ()
    driver: str = "580.65.06"
    cuda: int = 13000

    def with_gpu(self, index: int, **changes: object) -> "Layout":
        """The same node with other facts of one GPU."""
        gpus = list(self.gpus)
        gpus[index] = replace(gpus[index], **changes)  # type: ignore[arg-type]  # names and values are those of the fields
        return replace(self, gpus=tuple(gpus))

    def without_gpu(self, index: int) -> "Layout":
        """The same node after one GPU fell off the bus and out of the driver's list: the indices behind it move up."""
        left = [gpu for gpu in self.gpus if gpu.index != index]
        return replace(
            self,
            gpus=tuple(
                replace(gpu, index=position, ancestors=gpu.ancestors[:index] + gpu.ancestors[index + 1 :])
                for position, gpu in enumerate(left)
            ),
        )


def made_up_uuid(kind: str, *names: object) -> str:
    """The same UUID for the same names, so that a test that fails can be repeated."""
    return f"{kind}-{uuid.uuid5(uuid.NAMESPACE_OID, repr(names))}"


def partition(gpu: Gpu, *sizes: str) -> Gpu:
    """The GPU in MIG mode, cut into the given sizes; ``1c.2g.20gb+1c.2g.20gb`` are two devices in one GPU instance.

    GPU instances are numbered from 1 and MIG devices from 0, in the order of the sizes.
    """
    profiles = {profile.name: profile for profile in gpu.profiles}
    devices: list[Mig] = []
    start = 0
    for gi, size in enumerate(sizes, 1):
        parts = [size] if size in profiles else size.split("+")
        for ci, part in enumerate(parts):
            slices, _, name = part.partition("c.") if "c." in part else ("", "", part)
            profile = profiles[name]
            identity = made_up_uuid("MIG", gpu.uuid, gi, ci, part)
            devices.append(Mig(len(devices), identity, gi, ci, profile, int(slices or profile.slices), start))
        start += devices[-1].size
    return replace(gpu, mig_enabled=True, mig=tuple(devices), utilization_percent=None)


# ---- sample nodes ----------------------------------------------------------------------------------------------------------


def _named(family: str, buses: Iterator[int], minors: tuple[int, ...], model: Gpu) -> tuple[Gpu, ...]:
    return tuple(
        replace(model, index=index, uuid=made_up_uuid("GPU", family, index), minor=minor, pci=f"00000000:{bus:02X}:00.0")
        for index, (minor, bus) in enumerate(zip(minors, buses, strict=True))
    )


def _placed(gpus: tuple[Gpu, ...], board: int, near: int = 20) -> tuple[Gpu, ...]:
    """Two sockets with half of the GPUs each, which have neighbours in groups of `board` at the level `near`."""
    half = (len(gpus) + 1) // 2

    def level(a: int, b: int) -> int | None:
        if a == b:
            return None
        if a // board == b // board:
            return near
        return 40 if a // half == b // half else 50

    return tuple(
        replace(gpu, numa=gpu.index // half, ancestors=tuple(level(gpu.index, other) for other in range(len(gpus))))
        for gpu in gpus
    )


def _switched(gpus: tuple[Gpu, ...], first_bus: int, shares: tuple[int, ...]) -> tuple[Gpu, ...]:
    """Each GPU has the given number of links to each of the NVSwitches."""
    remote = tuple((SWITCH, f"00000000:{first_bus + n:02X}:00.0") for n, share in enumerate(shares) for _ in range(share))
    return tuple(replace(gpu, links=len(remote), remote=remote) for gpu in gpus)


A100 = Gpu(
    0, "", 0, "", "NVIDIA A100-SXM4-80GB", (8, 0), 81920, (0x20B210DE, 0x147F10DE), mig_enabled=False, profiles=A100_PROFILES
)
H100 = Gpu(
    0, "", 0, "", "NVIDIA H100 80GB HBM3", (9, 0), 81559, (0x233010DE, 0x16C110DE), mig_enabled=False, profiles=H100_PROFILES
)
OLD_A100 = replace(A100, events=EVENTS_OF_OLD_DRIVERS, recovery_action=None)
L40S = Gpu(0, "", 0, "", "NVIDIA L40S", (8, 9), 46068, (0x26B910DE, 0x185110DE))
V100 = Gpu(
    0,
    "",
    0,
    "",
    "Tesla V100-SXM3-32GB",
    (7, 0),
    32768,
    (0x1DB810DE, 0x12AB10DE),
    events=EVENTS_OF_OLD_DRIVERS,
    remapped=None,
    retirement_pending=False,
    recovery_action=None,
)


def dgx_a100() -> Layout:
    """8 GPUs behind 6 NVSwitches, with a driver older than recovery actions.

    The numbers of the device nodes follow another order than the indices.
    """
    buses = iter((0x07, 0x0F, 0x47, 0x4E, 0x87, 0x90, 0xB7, 0xBD))
    gpus = _named("dgx-a100", buses, (2, 3, 0, 1, 6, 7, 4, 5), OLD_A100)
    return Layout(_switched(_placed(gpus, 2), 0xC4, (2,) * 6), "535.216.03", 12020)


def dgx_h100() -> Layout:
    """8 GPUs behind 4 NVSwitches, each below a root port of its own."""
    buses = iter((0x1B, 0x43, 0x52, 0x61, 0x9D, 0xC3, 0xD1, 0xDF))
    gpus = _named("dgx-h100", buses, tuple(range(8)), H100)
    return Layout(_switched(_placed(gpus, 1), 0x07, (5, 4, 4, 5)))


def l40s_pcie() -> Layout:
    """4 GPUs on PCIe alone, two at each socket."""
    return Layout(_placed(_named("l40s", iter((0x16, 0x38, 0x98, 0xC8)), (0, 1, 2, 3), L40S), 2, 30))


def hgx_a100_4() -> Layout:
    """4 GPUs that are wired to each other without a switch: 4 links between any two."""
    gpus = _placed(_named("hgx-a100", iter((0x01, 0x41, 0x81, 0xC1)), (0, 1, 2, 3), A100), 1)
    return Layout(
        tuple(
            replace(gpu, links=12, remote=tuple((GPU, other.pci) for other in gpus if other is not gpu for _ in range(4)))
            for gpu in gpus
        )
    )


def one_a100_mixed_mig() -> Layout:
    """One GPU cut into whole GPU instances of different sizes, which leaves none of it unused."""
    return _one_a100("1g.10gb", "2g.20gb", "3g.40gb", "1g.10gb+me")


def one_a100_split_mig() -> Layout:
    """One GPU with a GPU instance that is divided further and one of which half lies idle; there is no room for more."""
    return _one_a100("3g.40gb", "1c.2g.20gb+1c.2g.20gb", "1c.2g.20gb")


def _one_a100(*sizes: str) -> Layout:
    gpu = replace(*_named("mixed", iter((0x3B,)), (0,), A100), ancestors=(None,), links=12)
    return Layout((partition(gpu, *sizes),))


def two_a100_uniform_mig() -> Layout:
    """2 GPUs that are cut into 7 of the smallest size each."""
    gpus = _placed(_named("uniform", iter((0x3B, 0xAF)), (1, 0), A100), 1)
    return Layout(tuple(partition(replace(gpu, links=12), *["1g.10gb"] * 7) for gpu in gpus))


def dgx_2() -> Layout:
    """16 GPUs, older than MIG, row remapping and the newer events; their nodes count backwards."""
    gpus = _named("dgx-2", iter(range(0x34, 0xD4, 10)), tuple(reversed(range(16))), V100)
    return Layout(_switched(_placed(gpus, 2, 10), 0xE0, (1,) * 6), "470.256.02", 11040)


def workstation() -> Layout:
    """One GPU that shares the host's memory and tells little of itself."""
    quiet = replace(
        L40S,
        name="NVIDIA GB10",
        capability=(12, 1),
        memory_mib=None,
        numa=None,
        events=None,
        uncorrected_ecc=None,
        remapped=None,
        recovery_action=None,
        power_milliwatts=None,
    )
    return Layout((replace(*_named("workstation", iter((0x01,)), (0,), quiet), ancestors=(None,)),))
