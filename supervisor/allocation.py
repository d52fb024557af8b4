"""Pure functions of an inventory: what a container gets, and which devices go well together."""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet

from supervisor.errors import DeviceOccupied, EditConflict, UnhealthyDevice, UnknownDevice
from supervisor.inventory import Inventory
from supervisor.model import ContainerEdits, Device, DeviceNode, Mount

_SHOWN = 40
"""Characters of a foreign id that an error repeats: its text lands in the pod's status."""


def select(inventory: Inventory, device_ids: Iterable[str]) -> tuple[Device, ...]:
    """The devices with these ids, each once, in the inventory's order (the kubelet's own order is random).

    Health is not looked at. Raises ``UnknownDevice``.
    """
    at = set()
    for device_id in device_ids:
        position = inventory.index.get(device_id)
        if position is None:
            raise UnknownDevice(f"{inventory.resource} has no device {device_id[:_SHOWN]!r}")
        at.add(position)
    return tuple(inventory.devices[position] for position in sorted(at))


def healthy(inventory: Inventory, device_ids: Iterable[str]) -> tuple[Device, ...]:
    """As ``select``; raises ``UnhealthyDevice`` or ``DeviceOccupied`` too, naming the first one that is not healthy and why."""
    devices = select(inventory, device_ids)
    for device in devices:
        if not device.healthy:
            if device.sound:
                raise DeviceOccupied(f"{inventory.resource} device {device.id[:_SHOWN]!r} cannot be had: {device.reason[:200]}")
            reason = f": {device.reason[:200]}" if device.reason else ""
            raise UnhealthyDevice(f"{inventory.resource} device {device.id[:_SHOWN]!r} is unhealthy{reason}")
    return devices


def merge(edits: Iterable[ContainerEdits]) -> ContainerEdits:
    """Everything that the container gets, each node, mount and name once.

    One environment name with several values: the values joined with commas, in order, as the vendors' runtimes expect. One
    path or annotation with two meanings raises ``EditConflict``, since the kubelet would silently keep an arbitrary one.
    """
    nodes: dict[str, DeviceNode] = {}
    mounts: dict[str, Mount] = {}
    envs: dict[str, dict[str, None]] = {}
    annotations: dict[str, str] = {}
    cdi_devices: dict[str, None] = {}
    for edit in edits:
        for node in edit.device_nodes:
            _add_node(nodes, node)
        for mount in edit.mounts:
            _add_mount(mounts, mount)
        for name, value in edit.envs.items():
            envs.setdefault(name, {})[value] = None
        for name, value in edit.annotations.items():
            if annotations.setdefault(name, value) != value:
                raise EditConflict(f"two devices want different values of annotation {name}")
        cdi_devices.update(dict.fromkeys(edit.cdi_devices))
    return ContainerEdits(
        device_nodes=tuple(nodes.values()),
        mounts=tuple(mounts.values()),
        envs={name: ",".join(values) for name, values in envs.items()},
        annotations=annotations,
        cdi_devices=tuple(cdi_devices),
    )


def _add_node(nodes: dict[str, DeviceNode], node: DeviceNode) -> None:
    path = node.container_path or node.host_path
    known = nodes.setdefault(path, node)
    if known.host_path != node.host_path:
        raise EditConflict(f"two devices want to be {path} in one container: {known.host_path} and {node.host_path}")
    if set(known.permissions) != set(node.permissions):
        union = "".join(letter for letter in "rwm" if letter in known.permissions + node.permissions)
        nodes[path] = DeviceNode(node.host_path, known.container_path, union)


def _add_mount(mounts: dict[str, Mount], mount: Mount) -> None:
    path = mount.container_path or mount.host_path
    known = mounts.setdefault(path, mount)
    if known.host_path != mount.host_path:
        raise EditConflict(f"two devices want to mount at {path}: {known.host_path} and {mount.host_path}")
    if known.read_only and not mount.read_only:
        mounts[path] = mount


def preferred(inventory: Inventory, available: Sequence[str], must_include: Sequence[str], size: int) -> list[str]:
    """The default advice: what must be there, then from as few NUMA nodes as possible, in the inventory's order.

    Unknown ids and impossible sizes are no error: the kubelet takes an answer as advice and fills up the rest itself.
    """
    chosen = dict.fromkeys(device_id for device_id in must_include if device_id in inventory.index)
    wanted = max(0, size - len(chosen))
    near = {node for device_id in chosen for node in _nodes(inventory, device_id)}
    free = sorted(
        (device_id for device_id in set(available) if device_id in inventory.index and device_id not in chosen),
        key=inventory.index.__getitem__,
    )
    while wanted and free:
        group = _best_group(inventory, free, near, wanted)
        taken = dict.fromkeys(group[:wanted])
        chosen.update(taken)
        wanted -= len(taken)
        near = near | {node for device_id in taken for node in _nodes(inventory, device_id)}
        free = [device_id for device_id in free if device_id not in taken]
    return list(chosen)[: max(size, 0)]


def _best_group(inventory: Inventory, free: Sequence[str], near: AbstractSet[int], wanted: int) -> Sequence[str]:
    """The free devices of one NUMA node: first one that is in use already, then the smallest that suffices, then the largest."""
    groups: dict[int, list[str]] = {}
    for device_id in free:
        for node in _nodes(inventory, device_id) or (-1,):
            groups.setdefault(node, []).append(device_id)

    def rank(node: int) -> tuple[bool, bool, int, int]:
        count = len(groups[node])
        enough = count >= wanted
        return (node not in near, not enough, count if enough else -count, node)

    return groups[min(groups, key=rank)]


def _nodes(inventory: Inventory, device_id: str) -> tuple[int, ...]:
    return inventory.devices[inventory.index[device_id]].topology.numa_nodes
