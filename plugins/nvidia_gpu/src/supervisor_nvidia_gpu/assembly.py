"""The plugin object, made of its section of the configuration."""

import os
from pathlib import Path

from msgspec import Struct

from supervisor import DevicePlugin, Host, Memory
from supervisor_nvidia_gpu.compat import fold
from supervisor_nvidia_gpu.config import NvidiaGpuConfig
from supervisor_nvidia_gpu.plugin import CheckingPlugin, NvidiaGpuPlugin, Source, needs_checks
from supervisor_nvidia_gpu.probe import Probe
from supervisor_nvidia_gpu.simulate.probe import SimulatedProbe

_LARGEST = 1 << 20


def plugin(config: Struct, host: Host, memory: Memory) -> DevicePlugin:
    """One plugin for all GPUs of the node."""
    folded = fold(config, os.environ, _read)
    kind = CheckingPlugin if needs_checks(folded.config) else NvidiaGpuPlugin
    return kind(folded, host, memory, _source(folded.config, host))


def _source(config: NvidiaGpuConfig, host: Host) -> Source:
    if config.simulate is not None:
        return SimulatedProbe(config.simulate.layout, config.simulate.script)
    mount = config.driver_root_mount or ""
    return Probe(host, mount=mount, root=config.driver_root, usage=config.usage_metrics)


def _read(path: str) -> bytes | None:
    """A file up to a sensible size; ``None`` where there is none. Raises ``OSError`` where it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return file.read(_LARGEST + 1)
    except FileNotFoundError:
        return None
