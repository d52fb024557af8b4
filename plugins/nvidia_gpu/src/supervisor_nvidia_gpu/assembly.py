"""The plugin object, made of its section of the configuration."""

import os
from collections.abc import Sequence
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
    files = _Files()
    folded = fold(config, os.environ, files.read)
    kind = CheckingPlugin if needs_checks(folded.config) else NvidiaGpuPlugin
    return kind(folded, host, memory, _source(folded.config, host), files.changed)


def _source(config: NvidiaGpuConfig, host: Host) -> Source:
    if config.simulate is not None:
        return SimulatedProbe(config.simulate.layout, config.simulate.script)
    mount = config.driver_root_mount or ""
    return Probe(host, mount=mount, root=config.driver_root, usage=config.usage_metrics)


class _Files:
    """Files of NVIDIA's, as they were when they were read."""

    def __init__(self) -> None:
        self._read: dict[str, bytes | None] = {}

    def read(self, path: str) -> bytes | None:
        """A file up to a sensible size; ``None`` where there is none. Raises ``OSError`` where it cannot be read."""
        self._read[path] = _content(path)
        return self._read[path]

    def changed(self) -> Sequence[str]:
        """What has changed since, in sentences: such a file is read when the plugin is made, and not again."""
        return [
            f"{path} has changed since it was read; change this plugin's section, or restart, to apply it"
            for path, before in self._read.items()
            if _content_or_none(path) != before
        ]


def _content(path: str) -> bytes | None:
    try:
        with Path(path).open("rb") as file:
            return file.read(_LARGEST + 1)
    except FileNotFoundError:
        return None


def _content_or_none(path: str) -> bytes | None:
    try:
        return _content(path)
    except OSError:
        return None
