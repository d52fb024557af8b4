"""What a spec goes on saying of devices that are not wanted any more, since containers may hold them. Pure.

The kubelet makes containers again from its own notes, without asking: a name that its runtime cannot resolve then keeps a container
down that had its device a moment ago, be it that it does not answer, that it is hidden by an edit, or that it is called otherwise now.
"""

from collections.abc import Callable

from supervisor.cdi.schema import CdiDevice, CdiSpec, cdi_spec

Stale = Callable[[CdiSpec, CdiDevice], bool]
"""Whether a device must not be kept beside those of this spec, which may be the one that has it: what it names is another's now."""


def keeping(spec: CdiSpec, before: CdiSpec | None, stale: Stale) -> CdiSpec:
    """What is wanted, and behind it what its file has said before of other devices, but for those that are stale."""
    if before is None or before.kind != spec.kind:
        return spec
    names = {device.name for device in spec.devices}
    kept = tuple(device for device in before.devices if device.name not in names and not stale(spec, device))
    return cdi_spec(spec.kind, (*spec.devices, *kept), spec.container_edits) if kept else spec


def says(found: CdiSpec, spec: CdiSpec) -> bool:
    """Whether a file says all that is wanted, whatever else it says."""
    devices = {device.name: device for device in found.devices}
    common = found.kind == spec.kind and found.container_edits == spec.container_edits
    return common and all(devices.get(device.name) == device for device in spec.devices)
