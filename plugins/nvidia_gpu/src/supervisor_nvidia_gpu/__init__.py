"""NVIDIA GPUs: whole, MIG and time-sliced, with health that recovers.

``report`` (what is known) comes from ``probe`` (a process with NVML, ``nvml/``), from ``procfs`` without it, or from ``simulate``.
``selection`` and ``units`` make of it what is offered, ``health`` judges, ``nodes``, ``edits`` and ``cdi`` say what containers get,
``topology`` and ``preferred`` what goes well together. ``picture`` holds one look together, and ``plugin`` answers from it.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from supervisor import DevicePlugin, Host, Memory, hookimpl
from supervisor_nvidia_gpu.compat import fold
from supervisor_nvidia_gpu.config import NvidiaGpuConfig
from supervisor_nvidia_gpu.plugin import CheckingPlugin, NvidiaGpuPlugin, Source, needs_checks
from supervisor_nvidia_gpu.probe import Probe
from supervisor_nvidia_gpu.section import NvidiaGpuSection
from supervisor_nvidia_gpu.simulate.probe import SimulatedProbe

CONTRACT_VERSION = 1

__all__ = ["CONTRACT_VERSION", "CheckingPlugin", "NvidiaGpuConfig", "NvidiaGpuPlugin", "config_type", "device_plugins"]

_LARGEST = 1 << 20


@hookimpl
def config_type() -> type[Struct]:
    """The section ``plugins.nvidia-gpu`` of the configuration file."""
    return NvidiaGpuSection


@hookimpl
def device_plugins(config: Struct, host: Host, memory: Memory) -> Iterable[DevicePlugin]:
    """One plugin for all GPUs of the node."""
    folded = fold(config, os.environ, _read)
    kind = CheckingPlugin if needs_checks(folded.config) else NvidiaGpuPlugin
    return [kind(folded, host, memory, _source(folded.config, host))]


def _source(config: NvidiaGpuConfig, host: Host) -> Source:
    if config.simulate is not None:
        return SimulatedProbe(config.simulate.layout, config.simulate.script)
    mount = config.driver_root_mount or ""
    return Probe(host, mount=mount, root=config.driver_root, usage=config.usage_metrics)


def _read(path: str) -> bytes | None:
    """A file of sensible size; ``None`` where there is none that can be read."""
    try:
        with Path(path).open("rb") as file:
            return file.read(_LARGEST + 1)
    except OSError:
        return None
