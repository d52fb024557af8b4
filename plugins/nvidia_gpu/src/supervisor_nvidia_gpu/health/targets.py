"""Whom an event hits: a GPU with all that lies on it, or exactly the MIG devices of one instance.

Replicas of a device share its key, so they follow it by themselves.
"""

from collections.abc import Iterable

from supervisor_nvidia_gpu.report import Gpu, GpuEvent, MigDevice, Report

Key = str
"""The UUID of a GPU or of a MIG device."""


def targets(event: GpuEvent, report: Report) -> tuple[Key, ...]:
    """The keys that an event hits, by the layout of the last report; no key twice.

    * Without an instance: the GPU and every MIG device on it.
    * With one: its MIG devices. None known has it: the GPU, from which a MIG device that a look finds later takes over its state.
    * A GPU that is not in the report is hit alone, under the UUID that the event names.
    * Without a GPU: all that cannot be excluded.
    """
    if not event.uuid:
        return _unnamed(event, report)
    for gpu in report.gpus:
        if gpu.uuid == event.uuid:
            return _on(gpu, event)
        if any(device.uuid == event.uuid for device in gpu.mig):
            return (event.uuid,)
    return (event.uuid,)


def _on(gpu: Gpu, event: GpuEvent) -> tuple[Key, ...]:
    if event.gpu_instance is None:
        return keys(gpu)
    return tuple(device.uuid for device in _instance(gpu.mig, event)) or (gpu.uuid,)


def keys(gpu: Gpu) -> tuple[Key, ...]:
    """The GPU and the MIG devices on it, as far as they have names."""
    return tuple(each for each in (gpu.uuid, *(device.uuid for device in gpu.mig)) if each)


def _instance(devices: Iterable[MigDevice], event: GpuEvent) -> list[MigDevice]:
    """The devices of the event's GPU instance; of its compute instance alone where it names one."""
    return [
        device
        for device in devices
        if device.gpu_instance == event.gpu_instance and event.compute_instance in {None, device.compute_instance}
    ]


def _unnamed(event: GpuEvent, report: Report) -> tuple[Key, ...]:
    """All but the GPUs that tell no XIDs, where it is one, and those without the instance, where others have it."""
    possible = [gpu for gpu in report.gpus if gpu.uuid and (gpu.events or event.kind != "xid")]
    if event.gpu_instance is not None:
        divided = [gpu for gpu in possible if gpu.mig_enabled]
        possible = [gpu for gpu in divided if _instance(gpu.mig, event)] or divided or possible
    return tuple(dict.fromkeys(key for gpu in possible for key in _on(gpu, event)))
