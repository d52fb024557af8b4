"""Looks at GPUs and tells how long each look took: `python -m tests.bench.looker SECTION ROOTS`, both of them as JSON.

Each line of its input is one look: `plugin` for the whole of it, as the supervisor has it done, `probe` for asking NVML alone.
The answer is a number of nanoseconds. Each of the two has a process with NVML of its own, which its first look starts.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import Any

import msgspec

import supervisor_nvidia_gpu
from supervisor import Host
from supervisor_nvidia_gpu.probe import Probe


class Kept:
    """A memory for as long as this process lives."""

    def __init__(self) -> None:
        self._value: Mapping[str, Any] = {}

    def recall(self) -> Mapping[str, Any]:
        return self._value

    def keep(self, value: Mapping[str, Any]) -> None:
        self._value = value


def main(section: dict[str, Any], roots: dict[str, Any]) -> None:
    """Look until the input ends."""
    host = Host(roots["sysfs"], roots["dev"], roots["proc"], roots["runUdev"], roots["helper"]["socket"])
    config = msgspec.convert(section, supervisor_nvidia_gpu.config_type())
    (plugin,) = supervisor_nvidia_gpu.device_plugins(config, host, Kept())
    probe = Probe(host, mount=section["driverRootMount"])
    looks = {"plugin": plugin.discover, "probe": probe.look}
    for line in sys.stdin:
        began = time.monotonic_ns()
        looks[line.strip()]()
        print(time.monotonic_ns() - began, flush=True)


if __name__ == "__main__":
    main(*map(json.loads, sys.argv[1:]))
