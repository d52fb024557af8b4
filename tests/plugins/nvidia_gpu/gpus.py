"""GPUs and MIG devices as a look may find them, made in one line, and Hypothesis strategies for whole nodes of them."""

from collections.abc import Sequence
from typing import Any

import msgspec
import yaml
from hypothesis import strategies as st

from supervisor_nvidia_gpu.config import NvidiaGpuConfig
from supervisor_nvidia_gpu.report import Gpu, MigDevice, Report
from supervisor_nvidia_gpu.units import Offer, offer

H100 = "NVIDIA H100 80GB HBM3"
L40S = "NVIDIA L40S"
PROFILES = ("1g.10gb", "1g.10gb+me", "2g.20gb", "3g.40gb", "7g.80gb")


def config_of(text: str = "{}") -> NvidiaGpuConfig:
    """The section in YAML, with its defaults."""
    return msgspec.convert(yaml.safe_load(text), NvidiaGpuConfig)


def uuid_of(number: int, kind: str = "GPU") -> str:
    """As long as the real ones."""
    return f"{kind}-{number:08x}-0000-4000-8000-{number:012x}"


def gpu(index: int, *mig: str, model: str = H100, **facts: Any) -> Gpu:
    """GPU ``index``, and if profiles are given, in MIG mode with such devices."""
    devices = tuple(
        MigDevice(
            uuid=uuid_of(index * 100 + number, "MIG"),
            gpu_instance=number + 1,
            compute_instance=0,
            index=number,
            profile=profile,
            whole=not profile.startswith("1c."),
        )
        for number, profile in enumerate(mig)
    )
    given: dict[str, Any] = {
        "uuid": uuid_of(index),
        "pci": f"0000:{0x10 + index:02x}:00.0",
        "minor": index,
        "model": model,
        "mig": devices,
        "mig_enabled": bool(mig),
    }
    return Gpu(index=index, **(given | facts))


def offered(text: str, *gpus: Gpu) -> Offer:
    """What a section in YAML makes of some GPUs."""
    return offer(Report(gpus=gpus), config_of(text))


def ids(found: Offer, resource: str) -> list[str]:
    """The units' ids of one resource."""
    return [unit.id for unit in found.units if unit.resource == resource]


@st.composite
def nodes(draw: st.DrawFn, most: int = 8) -> Sequence[Gpu]:
    """The GPUs of one node: whole or in MIG mode, some with a problem, some without a UUID."""
    found = []
    for index in range(draw(st.integers(0, most))):
        profiles = draw(st.lists(st.sampled_from((*PROFILES, "1c.2g.20gb")), max_size=4))
        facts: dict[str, Any] = {}
        if draw(st.integers(0, 5)) == 0:
            facts = {"problem": "GPU is lost", "uuid": draw(st.sampled_from(("", uuid_of(index))))}
        if draw(st.integers(0, 5)) == 0:
            facts["mig_enabled"] = draw(st.sampled_from((True, False, None)))
        found.append(gpu(index, *profiles, model=draw(st.sampled_from((H100, L40S))), **facts))
    return found


@st.composite
def configs(draw: st.DrawFn) -> NvidiaGpuConfig:
    """Sections that are valid; rules of sharing that exclude each other are left away."""
    section = {
        "migStrategy": draw(st.sampled_from(("none", "single", "mixed"))),
        "selection": draw(_selections),
        "naming": draw(st.lists(st.sampled_from(_NAMINGS), max_size=2)),
        "sharing": {
            "policy": draw(st.sampled_from(("distributed", "packed", "spread"))),
            "timeSlicing": {"renameByDefault": draw(st.booleans()), "resources": draw(st.lists(_shared, max_size=3))},
        },
    }
    try:
        return msgspec.convert(section, NvidiaGpuConfig)
    except msgspec.ValidationError:
        return msgspec.convert(section | {"sharing": {}}, NvidiaGpuConfig)


_NAMINGS = (
    {"model": "*L40S*", "name": "l40s"},
    {"model": "*h100*", "name": "example.com/big"},
    {"profile": "1g.*", "name": "small"},
    {"profile": "1g.*", "model": "*L40S*", "name": "nvidia.com/smaller"},
)
_matches = st.lists(
    st.sampled_from(({"index": 0}, {"model": "*l40s*"}, {"pci": "00000000:11:00.0"}, {"uuid": "GPU-00000002-*"})), max_size=2
)
_selections = st.fixed_dictionaries({}, optional={"include": _matches, "exclude": _matches, "cordon": _matches})
_shared = st.fixed_dictionaries(
    {
        "name": st.sampled_from(("gpu", "nvidia.com/gpu", "mig-1g.10gb", "mig-2g.20gb", "l40s", "example.com/big", "small")),
        "replicas": st.integers(2, 12),
    },
    optional={
        "rename": st.sampled_from(("gpu", "slices", "mig-3g.40gb", "l40s")),
        "devices": st.one_of(
            st.just("all"), st.integers(1, 4), st.lists(st.sampled_from((0, 1, "2", "0:0", "1:2", uuid_of(3))), min_size=1)
        ),
    },
)
