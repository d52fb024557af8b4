"""Named layouts: machines as NVML would report them."""

import functools
import uuid

from msgspec import Struct, structs

from supervisor_nvidia_gpu.report import Evidence, Gpu, RemappedRows, Report
from supervisor_nvidia_gpu.simulate.mig import partition

DRIVER = "580.65.06"
NODE = "/dev/null"
"""What stands for all device nodes; why, says ``edits``."""
_SYSTEM = 50


class _Model(Struct, frozen=True):
    name: str
    memory_mib: int
    compute_capability: tuple[int, int]
    has_mig: bool = False
    remaps_rows: bool = True
    """Since Ampere; older ones retire pages."""


_H100_SXM = _Model("NVIDIA H100 80GB HBM3", 81_559, (9, 0), has_mig=True)
_H100_PCIE = _Model("NVIDIA H100 PCIe", 81_559, (9, 0), has_mig=True)
_A100 = _Model("NVIDIA A100-SXM4-40GB", 40_960, (8, 0), has_mig=True)
_L40S = _Model("NVIDIA L40S", 46_068, (8, 9))
_V100 = _Model("Tesla V100-SXM3-32GB", 32_768, (7, 0), remaps_rows=False)


class _Layout(Struct, frozen=True):
    model: _Model
    buses: str
    """PCI buses in the order of the indices."""
    nodes: str
    """NUMA nodes."""
    ways: tuple[tuple[int, int], ...] = ()
    """So many neighbours have a common ancestor of this ``nvmlGpuTopologyLevel_t``; the first that fits counts."""
    links: int = 0
    """NVLinks between each two, through switches."""
    minors: str = ""
    """Left out: as the indices."""
    mig: str = ""
    """The profiles of the first GPU; the others are whole."""


_LAYOUTS = {
    "dgx-h100": _Layout(_H100_SXM, "1b 43 52 61 9d c3 d1 df", "0 0 0 0 1 1 1 1", ((4, 40),), 18),
    "dgx-a100": _Layout(_A100, "07 0f 47 4e 87 90 b7 bd", "3 3 1 1 7 7 5 5", ((2, 20),), 12, minors="2 3 0 1 6 7 4 5"),
    "l40s-4": _Layout(_L40S, "16 38 98 b8", "0 0 1 1", ((2, 40),), minors="1 0 3 2"),
    "mig-mixed": _Layout(_H100_PCIE, "4a 61", "0 0", ((2, 40),), mig="3g.40gb,2g.20gb,1g.10gb,1g.10gb+me"),
    "gpus-16": _Layout(
        _V100,
        "34 36 39 3b 57 59 5c 5e b7 b9 bc be e0 e2 e5 e7",
        "0 0 0 0 0 0 0 0 1 1 1 1 1 1 1 1",
        ((2, 10), (4, 20), (8, 40)),
        6,
    ),
}

NAMES = tuple(sorted(_LAYOUTS))


@functools.cache
def layout(name: str) -> Report:
    """The machine of this name. Raises ``ValueError`` where there is none."""
    if name not in _LAYOUTS:
        raise ValueError(f"there is no layout {name!r}; there are {', '.join(NAMES)}")
    plan = _LAYOUTS[name]
    gpus = [_gpu(name, plan, at) for at in range(len(plan.buses.split()))]
    if plan.mig:
        gpus[0] = structs.replace(gpus[0], mig_enabled=True, mig_pending=True, mig=partition(gpus[0], plan.mig))
    every = range(len(gpus))
    return Report(
        gpus=tuple(gpus),
        driver=DRIVER,
        source="simulated",
        links=tuple(tuple(0 if a == b else plan.links for b in every) for a in every),
        ancestors=tuple(tuple(_way(plan, a, b) for b in every) for a in every),
        notices=(f"the GPUs are simulated ({name}): containers get {NODE} under the names of their nodes, and no libraries",),
    )


def _gpu(name: str, plan: _Layout, at: int) -> Gpu:
    model = plan.model
    return Gpu(
        index=at,
        uuid=f"GPU-{uuid.uuid5(uuid.NAMESPACE_OID, f'device-plugin-supervisor/{name}/{at}')}",
        pci=f"0000:{plan.buses.split()[at]}:00.0",
        minor=int(plan.minors.split()[at]) if plan.minors else at,
        model=model.name,
        compute_capability=model.compute_capability,
        memory_mib=model.memory_mib,
        mig_enabled=False if model.has_mig else None,
        mig_pending=False if model.has_mig else None,
        numa_node=int(plan.nodes.split()[at]),
        evidence=Evidence(
            uncorrected_ecc=0,
            remapped=RemappedRows(0, 0, pending=False, failed=False) if model.remaps_rows else None,
            retirement_pending=None if model.remaps_rows else False,
            recovery_action=0,
        ),
    )


def _way(plan: _Layout, one: int, other: int) -> int:
    if one == other:
        return 0
    return next((level for size, level in plan.ways if one // size == other // size), _SYSTEM)
