"""The fake host shows of a layout what the kernel and the driver would show, and follows it when it changes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from supervisor import HostView
from tests.bed.fakesys import Tree
from tests.plugins.nvidia_gpu.fakenvml import Layout, layouts
from tests.plugins.nvidia_gpu.fakenvml.host import CONTROL_NODES, GpuHost, ci_minor, gi_minor, mig_minors

Names = set[str]


@pytest.fixture
def gpu_host(tmp_path: Path) -> GpuHost:
    """A host without GPUs and without their driver."""
    return GpuHost(Tree(tmp_path))


def nodes(host: GpuHost) -> Names:
    """The NVIDIA nodes that are there, by their names below /dev."""
    found = {str(path.relative_to(host.tree.dev)) for path in host.tree.dev.rglob("nvidia*") if not path.is_dir()}
    return found - {node.name for node in CONTROL_NODES}


@pytest.mark.parametrize("node", [layouts.dgx_a100, layouts.dgx_h100, layouts.l40s_pcie, layouts.dgx_2])
def test_every_gpu_has_its_place_in_sysfs_procfs_and_dev(gpu_host: GpuHost, node: Callable[[], Layout]) -> None:
    """The supervisor's own view of the host finds it there, with the node of its socket."""
    gpu_host.show(node())
    view = HostView(gpu_host.roots)
    by_address = {device.name: device for device in view.devices("pci")}
    assert set(by_address) == {gpu.sysfs for gpu in node().gpus}
    for gpu in node().gpus:
        device = by_address[gpu.sysfs]
        assert (device.attribute("numa_node"), device.driver) == (str(gpu.numa), "nvidia")
        lines = (gpu_host.proc / f"driver/nvidia/gpus/{gpu.sysfs}/information").read_text().splitlines()
        facts = {name: fact.strip() for name, fact in (line.split(":", 1) for line in lines)}
        assert (facts["GPU UUID"], facts["Device Minor"], facts["Model"]) == (gpu.uuid, str(gpu.minor), gpu.name)
    assert nodes(gpu_host) == {f"nvidia{gpu.minor}" for gpu in node().gpus}


def test_the_capabilities_are_numbered_as_the_driver_numbers_them() -> None:
    """Nine numbers a GPU instance, 15 GPU instances a GPU, after the two for administrators."""
    minors = dict(line.split() for line in mig_minors().splitlines())
    assert minors["config"] == "1"
    assert minors["gpu0/gi0/access"] == "3"
    assert minors["gpu0/gi1/ci0/access"] == "13" == str(ci_minor(0, 1, 0))
    assert minors["gpu1/gi0/access"] == "138" == str(gi_minor(1, 0))
    assert len(set(minors.values())) == len(minors) == 2 + 32 * 15 * 9


def test_a_new_mig_layout_changes_only_its_own_nodes(gpu_host: GpuHost) -> None:
    """Instances that stay keep their nodes, and so does the GPU."""
    before = layouts.two_a100_uniform_mig()
    gpu_host.show(before)
    all_of = {gpu.minor: {f"nvidia-caps/nvidia-cap{gi_minor(gpu.minor, gi) + part}" for gi in range(1, 8) for part in (0, 1)}
              for gpu in before.gpus}  # fmt: skip
    assert nodes(gpu_host) == {"nvidia0", "nvidia1"} | all_of[0] | all_of[1]
    kept = (gpu_host.tree.dev / "nvidia1").stat().st_ino
    gpu_host.show(Layout((layouts.partition(before.gpus[0], "7g.80gb"), before.gpus[1])))
    assert nodes(gpu_host) == {"nvidia0", "nvidia1", "nvidia-caps/nvidia-cap147", "nvidia-caps/nvidia-cap148"} | all_of[0]
    assert (gpu_host.tree.dev / "nvidia1").stat().st_ino == kept


def test_a_gpu_that_is_gone_leaves_nothing_behind(gpu_host: GpuHost) -> None:
    """It is neither on the bus nor in the driver's list, and its nodes are gone; when it comes back all is as before."""
    gpu_host.show(layouts.l40s_pcie())
    gone = layouts.l40s_pcie().gpus[2]
    gpu_host.show(layouts.l40s_pcie().without_gpu(2))
    assert nodes(gpu_host) == {"nvidia0", "nvidia1", "nvidia3"}
    assert gone.sysfs not in {device.name for device in HostView(gpu_host.roots).devices("pci")}
    assert len(list((gpu_host.proc / "driver/nvidia/gpus").iterdir())) == 3
    gpu_host.show(layouts.l40s_pcie())
    assert nodes(gpu_host) == {"nvidia0", "nvidia1", "nvidia2", "nvidia3"}


def test_an_unloaded_driver_leaves_the_gpus_on_the_bus(gpu_host: GpuHost) -> None:
    """It takes its nodes and its files with it, and brings them back."""
    gpu_host.show(layouts.one_a100_mixed_mig())
    gpu_host.unload()
    assert nodes(gpu_host) == set()
    assert not (gpu_host.proc / "driver").exists()
    assert len(list(HostView(gpu_host.roots).devices("pci"))) == 1
    gpu_host.show(layouts.one_a100_mixed_mig())
    assert "nvidia0" in nodes(gpu_host)
