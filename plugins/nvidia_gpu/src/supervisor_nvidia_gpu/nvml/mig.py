"""The MIG devices of one GPU, and what their profiles are called."""

from typing import Any

from supervisor_nvidia_gpu.nvml.asking import Asking
from supervisor_nvidia_gpu.nvml.binding import pynvml
from supervisor_nvidia_gpu.report import MigDevice

_PREFIX = "MIG "
"""Before a profile's name, in profiles and in the names of devices: ``NVIDIA A100-SXM4-40GB MIG 1c.2g.10gb``."""


def mig_devices(parent: Any, ask: Asking, memory_mib: int | None) -> tuple[MigDevice, ...]:
    """Those that exist now. Their indices have gaps, and one may go while it is asked. Raises ``Unusable``."""
    most = ask(pynvml.nvmlDeviceGetMaxMigDeviceCount, parent) or 0
    found = (_at(parent, index, ask, memory_mib) for index in range(most))
    return tuple(device for device in found if device is not None)


def mig_uuids(parent: Any, ask: Asking) -> tuple[str, ...]:
    """Of the MIG devices that exist now, with little work. Raises ``Unusable``."""
    mode = ask(pynvml.nvmlDeviceGetMigMode, parent)
    most = (ask(pynvml.nvmlDeviceGetMaxMigDeviceCount, parent) or 0) if mode is not None and mode[0] else 0
    handles = (ask(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, parent, index) for index in range(most))
    uuids = (ask(pynvml.nvmlDeviceGetUUID, handle) for handle in handles if handle is not None)
    return tuple(str(uuid) for uuid in uuids if uuid is not None)


def _at(parent: Any, index: int, ask: Asking, memory_mib: int | None) -> MigDevice | None:
    handle = ask(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, parent, index)
    uuid = ask(pynvml.nvmlDeviceGetUUID, handle) if handle is not None else None
    if uuid is None:
        return None
    instances = _instances(handle, str(uuid), ask)
    if instances is None:
        return None
    slices = ask(pynvml.nvmlDeviceGetAttributes, handle)
    name = (
        _told(handle, ask)
        or _by_profile(parent, instances[0], slices, ask)
        or (
            profile_name(slices.computeInstanceSliceCount, slices.gpuInstanceSliceCount, slices.memorySizeMB, memory_mib)
            if slices
            else ""
        )
    )
    whole = slices.computeInstanceSliceCount == slices.gpuInstanceSliceCount if slices else _is_whole(name)
    return MigDevice(str(uuid), *instances, index, name, whole, int(slices.memorySizeMB) if slices else None)


def _instances(handle: Any, uuid: str, ask: Asking) -> tuple[int, int] | None:
    """The ids of its GPU instance and compute instance; drivers before 470 had them in the UUID: ``MIG-GPU-…/1/0``."""
    gpu, compute = ask(pynvml.nvmlDeviceGetGpuInstanceId, handle), ask(pynvml.nvmlDeviceGetComputeInstanceId, handle)
    if gpu is not None and compute is not None:
        return gpu, compute
    _, *old = uuid.split("/")
    return (int(old[0]), int(old[1])) if len(old) == 2 and all(each.isdecimal() for each in old) else None


def _told(handle: Any, ask: Asking) -> str:
    """The profile out of the device's own name, which anybody may ask for."""
    return str(ask(pynvml.nvmlDeviceGetName, handle) or "").rpartition(_PREFIX)[2] if handle is not None else ""


def _by_profile(parent: Any, instance: int, slices: Any, ask: Asking) -> str:
    """The name of its GPU instance's profile, which only the privileged may ask for, and its part of the compute slices."""
    handle = ask(pynvml.nvmlDeviceGetGpuInstanceById, parent, instance)
    info = ask(pynvml.nvmlGpuInstanceGetInfo, handle) if handle is not None else None
    if info is None:
        return ""
    profile = ask(pynvml.nvmlDeviceGetGpuInstanceProfileInfoByIdV, parent, info.profileId)
    for number in range(pynvml.NVML_GPU_INSTANCE_PROFILE_COUNT) if profile is None else ():
        candidate = ask(pynvml.nvmlDeviceGetGpuInstanceProfileInfoV, parent, number)
        if candidate is not None and candidate.id == info.profileId:
            profile = candidate
            break
    name = str(profile.name).removeprefix(_PREFIX) if profile is not None else ""
    partial = name and slices and slices.computeInstanceSliceCount < slices.gpuInstanceSliceCount
    return f"{slices.computeInstanceSliceCount}c.{name}" if partial else name


def profile_name(compute_slices: int, gpu_slices: int, mib: int, of_mib: int | None) -> str:
    """What ``nvidia-smi`` would call it, by arithmetic: memory is told as so many eighths of the GPU's, in GB.

    Empty where the GPU's memory is not known. Marks like ``+me`` cannot be computed.
    """
    if not (gpu_slices and of_mib):
        return ""
    eighths = -(-mib * 8 // of_mib)
    gigabytes = round(eighths * -(-of_mib // 1024) / 8)
    part = f"{compute_slices}c." if compute_slices < gpu_slices else ""
    return f"{part}{gpu_slices}g.{gigabytes}gb"


def _is_whole(name: str) -> bool:
    return not name.partition(".")[0].endswith("c")
