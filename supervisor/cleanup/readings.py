"""Who holds what, for a supervisor that is gone: nobody of ours has a stream any more, so the kubelet's notes may be old."""

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from supervisor.kubelet.questions import ask_holders
from supervisor.kubelet.sockets import KUBELET_SOCKET, accepts
from supervisor.ledger import Holding, Reading

_POD_GROUP = re.compile(r".*pod([0-9a-f]{8}(?:[-_]?[0-9a-f]{4}){3}[-_]?[0-9a-f]{12})(?:\.slice)?")
_CLASS = re.compile(r".*kubepods.*|burstable|besteffort")
_HIERARCHIES = (".", "memory", "systemd")
"""Below ``fs/cgroup``: that of version 2, else one of version 1 that every kubelet uses."""
_DEEPEST_ROOT, _DEEPEST = 1, 2


class Place(Struct, frozen=True):
    """Where the node is seen from here."""

    directory: Path
    """The kubelet's device-plugins directory."""
    pod_resources_socket: str
    sysfs: str = "/sys"
    proc: str = "/proc"


def read(place: Place) -> Reading:
    """Ask now. Its ``unlisted`` holdings count as held, too.

    The kubelet writes its checkpoint when a plugin tells it something, and on a node that the supervisor has left nobody does. So
    what stands there for a pod counts only while the pod has control groups, wherever these can be seen.
    """
    reading = ask_holders(place.pod_resources_socket, place.directory)
    if reading.source == "podresources" and not accepts(place.directory / KUBELET_SOCKET):
        # A kubelet that starts answers there, with an empty list, before it serves this socket.
        reason = f"the kubelet is starting: its pod resources are there, {KUBELET_SOCKET} is not"
        return Reading(reading.at, "none", complete=False, reason=reason)
    pods = living_pods(place.sysfs)
    if pods is None:
        return reading
    if reading.source == "checkpoint":
        return msgspec.structs.replace(reading, holdings=tuple(_alive(reading.holdings, pods)))
    return msgspec.structs.replace(reading, unlisted=tuple(_alive(reading.unlisted, pods)))


def held(reading: Reading) -> Mapping[str, frozenset[str]]:
    """The ids of each resource that containers have, or may have."""
    ids: dict[str, set[str]] = {}
    for each in (*reading.holdings, *reading.unlisted):
        ids.setdefault(each.resource, set()).add(each.device_id)
    return {resource: frozenset(found) for resource, found in ids.items()}


def _alive(holdings: Collection[Holding], pods: frozenset[str]) -> Iterator[Holding]:
    return (each for each in holdings if each.pod.replace("-", "") in pods)


def living_pods(sysfs: str) -> frozenset[str] | None:
    """The UIDs, without dashes, of all pods that have control groups; ``None`` where those of the kubelet cannot all be seen."""
    try:
        for hierarchy in _HIERARCHIES:
            roots = list(_roots(Path(sysfs, "fs/cgroup", hierarchy), _DEEPEST_ROOT))
            if roots:
                return frozenset(uid for root in roots for uid in _pods(root, _DEEPEST))
    except OSError:
        pass
    return None


def _roots(group: Path, depth: int) -> Iterator[Path]:
    """Below which all pods of a kubelet are; its own group, and another cluster's that runs in a pod, may look alike."""
    for each in _folders(group):
        if "kubepods" in each.name:
            yield each
        elif depth and "kube" in each.name:
            yield from _roots(each, depth - 1)


def _pods(group: Path, depth: int) -> Iterator[str]:
    for each in _folders(group):
        if pod := _POD_GROUP.fullmatch(each.name):
            yield pod[1].replace("-", "").replace("_", "")
        elif depth and _CLASS.fullmatch(each.name):
            yield from _pods(each, depth - 1)


def _folders(path: Path) -> list[Path]:
    """None where it has just gone. Raises ``OSError`` where it cannot be read."""
    try:
        return [each for each in path.iterdir() if each.is_dir()]
    except FileNotFoundError:
        return []
