"""How the GPUs are connected: NVLinks, and what two of them have in common on the PCI bus."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from supervisor_nvidia_gpu.nvml.asking import Asking
from supervisor_nvidia_gpu.nvml.binding import pynvml
from supervisor_nvidia_gpu.pci import normal

Matrix = tuple[tuple[int, ...], ...]

_UNKNOWN_SWITCH = "switch"
"""Newer switches have no address on this node; they are one fabric."""


class Fabric:
    """Asks each pair of GPUs once in the life of the process, and each link for its other end once it is up.

    Whether links are up is asked at every look: they come up late where a fabric manager has to train them first.
    """

    def __init__(self) -> None:
        self._ancestors: dict[tuple[str, str], int] = {}
        self._ends: dict[tuple[str, int], str] = {}

    def read(self, uuids: Sequence[str], addresses: Sequence[str], handles: Sequence[Any]) -> tuple[Matrix, Matrix]:
        """Two matrices, as ``Report.links`` and ``Report.ancestors``; without a handle (``None``) a GPU is connected to nothing.
        Raises ``Unusable``.
        """
        ends = [self._links(uuid, handle) for uuid, handle in zip(uuids, handles, strict=True)]
        return count_links(addresses, ends), self._common(uuids, handles)

    def _links(self, uuid: str, handle: Any) -> Counter[str]:
        """How many links that are up end at each GPU or switch, by address."""
        ask, ends = Asking(), Counter[str]()
        for link in range(pynvml.NVML_NVLINK_MAX_LINKS if handle is not None else 0):
            up = ask(pynvml.nvmlDeviceGetNvLinkState, handle, link)
            if ask.code == pynvml.NVML_ERROR_INVALID_ARGUMENT:
                break  # beyond the last link
            if up:
                end = self._ends.get((uuid, link)) or _end(handle, link, ask)
                if end is not None:
                    self._ends[uuid, link] = end
                    ends[end] += 1
        return ends

    def _common(self, uuids: Sequence[str], handles: Sequence[Any]) -> Matrix:
        known = [[0] * len(uuids) for _ in uuids]
        told = False
        for one, handle in enumerate(handles):
            for other in range(one):
                level = self._ancestor((uuids[other], uuids[one]), handles[other], handle)
                told = told or level is not None
                known[one][other] = known[other][one] = pynvml.NVML_TOPOLOGY_SYSTEM if level is None else level
        return tuple(tuple(row) for row in known) if told else ()

    def _ancestor(self, pair: tuple[str, str], one: Any, other: Any) -> int | None:
        if pair not in self._ancestors and one is not None and other is not None:
            level = Asking()(pynvml.nvmlDeviceGetTopologyCommonAncestor, one, other)
            if level is None:
                return None
            self._ancestors[pair] = level
        return self._ancestors.get(pair)


def count_links(addresses: Sequence[str], ends: Sequence[Counter[str]]) -> Matrix:
    """Links between each two GPUs: the direct ones, and through each switch as many as both have to it. Empty: no links."""
    matrix = [[0] * len(addresses) for _ in addresses]
    switches = set().union(*ends) - set(addresses) if ends else set()
    for one, of_one in enumerate(ends):
        for other in range(one):
            of_other = ends[other]
            direct = max(of_one[addresses[other]], of_other[addresses[one]])
            through = sum(min(of_one[switch], of_other[switch]) for switch in switches)
            matrix[one][other] = matrix[other][one] = direct + through
    return tuple(tuple(row) for row in matrix) if any(map(any, matrix)) else ()


def _end(handle: Any, link: int, ask: Asking) -> str | None:
    """Where the link ends; ``None``: at a processor, or not known."""
    kind = ask(pynvml.nvmlDeviceGetNvLinkRemoteDeviceType, handle, link)
    if kind == pynvml.NVML_NVLINK_DEVICE_TYPE_IBMNPU:
        return None
    facts = ask(pynvml.nvmlDeviceGetNvLinkRemotePciInfo, handle, link)
    address = normal(facts.busId or facts.busIdLegacy) if facts is not None else ""
    if address and address != "0000:00:00.0":
        return address
    return _UNKNOWN_SWITCH if kind == pynvml.NVML_NVLINK_DEVICE_TYPE_SWITCH else None
