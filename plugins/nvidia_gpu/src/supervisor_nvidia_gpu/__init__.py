"""NVIDIA GPUs: whole, MIG and time-sliced, with health that recovers."""

from collections.abc import Iterable

from supervisor import DevicePlugin, hookimpl
from supervisor_nvidia_gpu.config import NvidiaGpuConfig

CONTRACT_VERSION = 1

__all__ = ["CONTRACT_VERSION", "NvidiaGpuConfig", "config_type", "device_plugins"]


@hookimpl
def config_type() -> type[NvidiaGpuConfig]:
    """The section ``plugins.nvidia-gpu`` of the configuration file."""
    return NvidiaGpuConfig


@hookimpl
def device_plugins(config: NvidiaGpuConfig) -> Iterable[DevicePlugin]:
    """One plugin for all GPUs of the node."""
    return []
