"""A whole node with GPUs: the fake NVML, what the kernel shows of it, a kubelet, and supervisors that offer the GPUs."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from supervisor.host import Host
from supervisor.kubelet.simulator import KubeletSimulator
from tests.bed.fakesys import Tree
from tests.plugins.nvidia_gpu.fakenvml import FakeNvml, Layout
from tests.plugins.nvidia_gpu.fakenvml.host import GpuHost
from tests.system.rig import Process

GPU = "nvidia.com/gpu"
PATIENCE = 20.0
"""Seconds for anything to come true; it takes far less."""


class GpuNode:
    """A context manager. Supervisors look every second, since the bed sends no events of the kernel, and judge health quickly."""

    def __init__(self, nvml: FakeNvml, folder: Path, kubelet: KubeletSimulator) -> None:
        self.nvml = nvml
        self.folder = folder
        self.kubelet = kubelet
        self.host = GpuHost(Tree(folder / "node"))
        self.cdi = folder / "cdi"
        boot = self.host.proc / "sys/kernel/random/boot_id"
        boot.parent.mkdir(parents=True)
        boot.write_text("11111111-2222-4333-8444-555555555555\n")
        self._running = ExitStack()

    def show(self, layout: Layout) -> None:
        """The driver is loaded and holds these GPUs."""
        self.nvml.show(layout)
        self.host.show(layout)

    def start(self, options: Mapping[str, Any] | None = None, **section: Any) -> Process:
        """A supervisor; ``section`` is the plugin's, without what only tells where this node is, ``options`` the process's."""
        health = {"quiet": 0, "probation": 0.2, "monitorGrace": 30, **section.pop("health", {})}
        whole = {
            "driverRootMount": str(self.nvml.root),
            "lookInterval": 1,
            "environment": False,
            "health": health,
            "cdi": {"directory": str(self.cdi)},
            **section,
        }
        roots = self.host.roots
        host = Host(roots.sysfs, roots.dev, roots.proc, roots.run_udev, str(self.folder / "no-helper"))
        return self._running.enter_context(
            Process(self.kubelet.paths, self.folder, {"nvidia-gpu": whole}, host, **(options or {}))
        )

    # --- what the kubelet has -----------------------------------------------------------------------------------------

    def wait(self, unhealthy: Mapping[int, str] | None = None, resource: str = GPU) -> None:
        """Wait until the kubelet has all GPUs of the layout, these of them Unhealthy."""
        bad = {self.uuid(number) for number in unhealthy or {}}
        expected = {gpu.uuid: "Unhealthy" if gpu.uuid in bad else "Healthy" for gpu in self.nvml.layout.gpus}
        self.kubelet.wait_devices(resource, expected, timeout=PATIENCE)

    def uuid(self, number: int) -> str:
        return self.nvml.layout.gpus[number].uuid

    def status(self, process: Process) -> str:
        """The whole of ``/status``, as text."""
        return process.get("/status")[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._running.__exit__(kind, error, trace)
