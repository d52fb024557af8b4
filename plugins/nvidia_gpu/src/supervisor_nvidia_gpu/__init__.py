"""NVIDIA GPUs: whole, MIG and time-sliced, with health that recovers.

``report`` (what is known) comes from ``probe`` (a process with NVML, ``nvml/``), from ``procfs`` without it, or from ``simulate``.
``selection`` and ``units`` make of it what is offered, ``health`` judges, ``nodes``, ``edits`` and ``cdi`` say what containers get,
``topology`` and ``preferred`` what goes well together. ``picture`` holds one look together, and ``plugin`` answers from it.

The hooks import late: the process that asks NVML imports this package, too, and has to stay small.
"""

from collections.abc import Iterable

from msgspec import Struct

from supervisor import DevicePlugin, Host, Memory, hookimpl

CONTRACT_VERSION = 1

__all__ = ["CONTRACT_VERSION", "config_type", "device_plugins"]


@hookimpl
def config_type() -> type[Struct]:
    """The section ``plugins.nvidia-gpu`` of the configuration file."""
    from supervisor_nvidia_gpu.section import NvidiaGpuSection

    return NvidiaGpuSection


@hookimpl
def device_plugins(config: Struct, host: Host, memory: Memory) -> Iterable[DevicePlugin]:
    """One plugin for all GPUs of the node."""
    from supervisor_nvidia_gpu.assembly import plugin

    return [plugin(config, host, memory)]
