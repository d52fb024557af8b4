"""What a spec goes on saying of devices that are not wanted any more, since containers may hold them. Pure.

The kubelet makes containers again from its own notes, without asking: a name that its runtime cannot resolve then keeps a container
down that had its GPU a moment ago, be it that NVML fails, that a GPU is hidden by an edit, or that it is called otherwise now.
"""

from supervisor_nvidia_gpu.cdi.names import UUIDS
from supervisor_nvidia_gpu.cdi.schema import CdiDevice, Spec, versioned


def keeping(spec: Spec, before: Spec | None) -> Spec:
    """What is wanted, and behind it what its file has said before of other devices.

    All but GPUs and MIG devices whose nodes are another's now: those are gone for good, and a container that asks for one must not
    get what belongs to somebody else.
    """
    if before is None or before.kind != spec.kind:
        return spec
    names = {device.name for device in spec.devices}
    taken = {_nodes(device) for device in spec.devices if device.name.startswith(UUIDS)}
    kept = tuple(
        device
        for device in before.devices
        if device.name not in names and not (device.name.startswith(UUIDS) and _nodes(device) in taken)
    )
    return versioned(spec.kind, (*spec.devices, *kept), spec.container_edits) if kept else spec


def says(found: Spec, spec: Spec) -> bool:
    """Whether a file says all that is wanted, whatever else it says."""
    devices = {device.name: device for device in found.devices}
    common = found.kind == spec.kind and found.container_edits == spec.container_edits
    return common and all(devices.get(device.name) == device for device in spec.devices)


def _nodes(device: CdiDevice) -> frozenset[str]:
    """What a GPU or MIG device is to the driver; the numbers of nodes for graphics move from boot to boot."""
    return frozenset(node.path for node in device.container_edits.device_nodes if not node.path.startswith("/dev/dri/"))
