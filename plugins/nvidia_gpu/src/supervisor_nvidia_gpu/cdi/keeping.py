"""The files of our CDI specs, and what they must not go on saying, though containers may hold it. Pure but for the files' rules, the core's."""

from supervisor import CdiDevice, CdiFiles, CdiSpec
from supervisor_nvidia_gpu.cdi.names import UUIDS

PREFIX = "device-plugin-supervisor-nvidia_"
"""Of our files' names."""


def stale(spec: CdiSpec, device: CdiDevice) -> bool:
    """Whether a GPU or MIG device of before has nodes that are another's now.

    It is gone for good then, and a container that asks for it must not get what belongs to somebody else. All other devices are kept.
    """
    if not device.name.startswith(UUIDS):
        return False
    others = (other for other in spec.devices if other.name.startswith(UUIDS) and other.name != device.name)
    return _nodes(device) in map(_nodes, others)


def _nodes(device: CdiDevice) -> frozenset[str]:
    """What a GPU or MIG device is to the driver; the numbers of nodes for graphics move from boot to boot."""
    return frozenset(node.path for node in device.container_edits.device_nodes if not node.path.startswith("/dev/dri/"))


FILES = CdiFiles(PREFIX, stale)
