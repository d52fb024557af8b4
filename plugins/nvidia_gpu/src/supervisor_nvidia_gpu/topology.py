"""How near the GPUs of a node are to each other, and to which NUMA node each belongs.

The scores are those that NVIDIA's allocator gives, so that the advice is comparable: 100 for each NVLink, and for the way over PCIe
60 on one board down to 10 through the CPUs' interconnect.
"""

import functools
from collections.abc import Mapping, Sequence

from msgspec import Struct

from supervisor import HostView
from supervisor_nvidia_gpu.report import Gpu, Report

LINK = 100
WAYS = {0: 60, 10: 50, 20: 40, 30: 30, 40: 20, 50: 10}
"""By ``nvmlGpuTopologyLevel_t``."""
SAME_NODE, ELSEWHERE = WAYS[40], WAYS[50]
MAX_NUMA_NODE = 63
"""As the kubelet counts."""

_Table = tuple[tuple[int, ...], ...]


class Topology(Struct, frozen=True):
    """Scores of pairs; symmetric. The same object as long as the facts are the same."""

    positions: Mapping[str, int]
    """Of GPUs, by their UUID."""
    scores: _Table
    """By two positions: the greater, the nearer. A GPU has none with itself."""
    nodes: Mapping[str, int]
    """The NUMA nodes of GPUs, by their UUID; without those that nobody knows."""

    def score(self, one: str, other: str) -> int:
        """Of two UUIDs; 0 for a GPU that is not known."""
        at, there = self.positions.get(one), self.positions.get(other)
        return 0 if at is None or there is None else self.scores[at][there]


def matrix(report: Report, numa: Mapping[str, int]) -> Topology:
    """The topology of a report, with the NUMA nodes of its GPUs by their UUID.

    A pair counts by what either end tells, by the better word where they differ: a lost GPU tells nothing, and a link that one end
    sees is there. Without any word of the driver the NUMA nodes decide.
    """
    uuids = tuple(gpu.uuid for gpu in report.gpus)
    return _topology(uuids, report.links, report.ancestors, tuple(numa.get(uuid) for uuid in uuids))


@functools.lru_cache(maxsize=4)
def _topology(uuids: tuple[str, ...], links: _Table, ancestors: _Table, numa: tuple[int | None, ...]) -> Topology:
    def score(at: int, there: int) -> int:
        ways = (WAYS.get(_cell(ancestors, *pair, -1), ELSEWHERE) for pair in ((at, there), (there, at)))
        of_nodes = SAME_NODE if numa[at] is not None and numa[at] == numa[there] else ELSEWHERE
        return LINK * max(_cell(links, at, there, 0), _cell(links, there, at, 0), 0) + max(*ways, of_nodes)

    at_all = range(len(uuids))
    scores = tuple(tuple(0 if at == there else score(at, there) for there in at_all) for at in at_all)
    positions: dict[str, int] = {}
    for at, uuid in enumerate(uuids):
        if uuid:
            positions.setdefault(uuid, at)
    nodes = {uuid: node for uuid, node in zip(uuids, numa, strict=True) if uuid and node is not None}
    return Topology(positions, scores, nodes)


def _cell(table: Sequence[Sequence[int]], row: int, column: int, missing: int) -> int:
    return table[row][column] if row < len(table) and column < len(table[row]) else missing


def numa_nodes(report: Report, view: HostView) -> Mapping[str, int]:
    """The NUMA nodes of the GPUs by their UUID: what sysfs says, else what NVML says.

    A GPU of which nobody says anything, or only -1, is left out. A simulated GPU has an address that may be another device's here.
    """
    known = {}
    for gpu in report.gpus:
        of_host = None if report.source == "simulated" else _by_sysfs(gpu, view)
        words = (of_host, gpu.numa_node)
        node = next((word for word in words if word is not None and 0 <= word <= MAX_NUMA_NODE), None)
        if node is not None and gpu.uuid:
            known[gpu.uuid] = node
    return known


def _by_sysfs(gpu: Gpu, view: HostView) -> int | None:
    device = view.device(f"/sys/bus/pci/devices/{gpu.pci}") if gpu.pci else None
    return None if device is None else device.numa_node
