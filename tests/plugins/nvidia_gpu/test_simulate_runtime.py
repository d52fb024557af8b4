"""A container with simulated GPUs, started by a real runtime and looked at from inside."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor_nvidia_gpu.config import NvidiaGpuConfig
from supervisor_nvidia_gpu.simulate.edits import GIVEN, edits
from supervisor_nvidia_gpu.simulate.layouts import layout
from supervisor_nvidia_gpu.units import offer
from tests.plugins.nvidia_gpu.cdi.podman import Podman

pytestmark = pytest.mark.requires("root", "namespaces", "podman")


@pytest.fixture
def podman() -> Iterator[Podman]:
    folder = Path(tempfile.mkdtemp(prefix="sim-"))  # short: the runtime makes sockets in it
    (folder / "cdi").mkdir()
    yield Podman(folder, folder / "cdi")
    shutil.rmtree(folder)


def test_a_container_starts_with_a_simulated_gpu_and_sees_which(podman: Podman) -> None:
    """A MIG device: its GPU's node and its two rights are there and can be opened, other GPUs' are not."""
    unit = offer(layout("mig-mixed"), NvidiaGpuConfig(mig_strategy="mixed")).units[0]
    edit = edits(unit.gpu, unit.mig)
    devices = [f"{node.host_path}:{node.container_path}:{node.permissions}" for node in edit.device_nodes]
    podman.import_image()
    done = podman.run(
        f"""
        cd /dev; busybox ls -d nvidia* nvidia-caps/*
        echo words > nvidia0 && echo written
        busybox cat nvidia0 nvidia-caps/*
        echo $NVIDIA_VISIBLE_DEVICES ${GIVEN}
        """,
        *devices,
        env=tuple(f"{name}={value}" for name, value in edit.envs.items()),
    )
    assert done.returncode == 0, done.stderr
    *nodes, written, words = done.stdout.splitlines()
    rights = ["nvidia-caps/nvidia-cap12", "nvidia-caps/nvidia-cap13"]
    assert sorted(nodes) == sorted(["nvidia-caps", "nvidia-uvm", "nvidia-uvm-tools", "nvidia0", "nvidiactl", *rights])
    assert written == "written"
    assert words == f"void {unit.id}"
