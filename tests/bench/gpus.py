"""A node with GPUs for the bench: the fake NVML, what its kernel shows of the same GPUs, and the supervisor that offers them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from supervisor.kubelet.simulator import EventKind, KubeletSimulator
from tests.bed.fakesys import Tree
from tests.bed.hardware import misc
from tests.bench import procfs
from tests.bench.lab import PATIENCE, Lab, Supervisor
from tests.plugins.nvidia_gpu.fakenvml import FakeNvml, Layout
from tests.plugins.nvidia_gpu.fakenvml.build import build
from tests.plugins.nvidia_gpu.fakenvml.host import GpuHost
from tests.plugins.nvidia_gpu.fakenvml.layouts import dgx_h100, partition

GPU, SMALL = "nvidia.com/gpu", "nvidia.com/mig-1g.10gb"
OTHER = "bench.example/other"
"""A resource of the generic plugin, in the same supervisor."""
SLICES = 7
"""MIG devices of a GPU that is cut as small as it can be."""


def eight_gpus(cut: int) -> Layout:
    """8 GPUs behind switches, so many of them cut into MIG devices of the smallest size."""
    layout = dgx_h100()
    whole = len(layout.gpus) - cut
    small = (partition(gpu, *["1g.10gb"] * SLICES) for gpu in layout.gpus[whole:])
    return replace(layout, gpus=(*layout.gpus[:whole], *small))


class Machine:
    """The GPUs themselves, before anything offers them."""

    def __init__(self, lab: Lab, layout: Layout) -> None:
        folder = lab.new_folder()
        self.nvml = FakeNvml(folder, _library(lab))
        self.host = GpuHost(Tree(folder / "node"))
        boot = self.host.proc / "sys/kernel/random/boot_id"
        boot.parent.mkdir(parents=True)
        boot.write_text("11111111-2222-4333-8444-555555555555\n")
        self._folder = folder
        self.nvml.show(layout)
        self.host.show(layout)
        misc(self.host.tree, "other")

    @property
    def roots(self) -> dict[str, Any]:
        """The section ``host``."""
        tree = self.host.tree
        roots = {"dev": tree.dev, "sysfs": tree.sys, "proc": self.host.proc, "runUdev": tree.udev}
        return {name: str(path) for name, path in roots.items()} | {"helper": {"socket": str(self._folder / "no-helper")}}

    def section(self, **more: Any) -> dict[str, Any]:
        """The plugin's section."""
        where = {"driverRootMount": str(self.nvml.root), "cdi": {"directory": str(self._folder / "cdi")}}
        return {**where, "environment": False, **more}


@dataclass(frozen=True)
class GpuNode:
    """A machine whose GPUs are offered."""

    machine: Machine
    kubelet: KubeletSimulator
    supervisor: Supervisor

    @property
    def nvml(self) -> FakeNvml:
        return self.machine.nvml

    def nvml_process(self) -> procfs.Usage:
        """The process that asks NVML now."""
        return procfs.usage(self.nvml.pids()[-1])


@contextlib.contextmanager
def gpu_node(lab: Lab, layout: Layout, *resources: str, **section: Any) -> Iterator[GpuNode]:
    """Offer the GPUs as these resources, and one other device; the kubelet has the lists, and the events of NVML are waited for."""
    machine = Machine(lab, layout)
    generic = {"resources": [{"name": OTHER, "match": [{"path": "/dev/other"}], "replicas": 8}]}
    plugins = {"nvidia-gpu": machine.section(**section), "generic": generic}
    with lab.kubelet() as kubelet:
        names = [*resources, OTHER]
        supervisor = Supervisor(lab, kubelet, names, plugins, machine.roots, machine.nvml.control_env())
        try:
            with supervisor:
                supervisor.lists()
                machine.nvml.wait_for(lambda fake: len(fake.event_sets()) > 0, PATIENCE)
                yield GpuNode(machine, kubelet, supervisor)
        finally:
            machine.nvml.let_go()


def lists(kubelet: KubeletSimulator, since: int, *resources: str) -> int:
    """How many lists of these resources the kubelet has had since a position of its events."""
    came = (event for event in kubelet.events.since(since) if event.kind is EventKind.LIST_RECEIVED)
    return sum(event["resource"] in resources for event in came)


class Calls:
    """The calls that NVML gets from now on. The whole of their log would be long to read again and again."""

    def __init__(self, nvml: FakeNvml) -> None:
        self._log = Path(nvml.control_env()["FAKE_NVML_DIR"]) / "calls"
        self._read = os.stat(self._log).st_size

    def new(self) -> list[tuple[int, str]]:
        """Those since this was asked last: the process and the function."""
        with self._log.open("rb") as log:
            log.seek(self._read)
            text = log.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        return [(int(pid), name.decode()) for pid, name in (line.split() for line in whole.splitlines())]


def _library(lab: Lab) -> Path:
    """Compiled once for each lab."""
    folder = lab.folder / "nvml"
    if not folder.exists():
        folder.mkdir()
        build(folder)
    return next(folder.glob("libnvidia-ml.so*"))
