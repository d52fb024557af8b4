"""CDI specs that outlive the supervisor: which are ours, and whose containers need them."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from supervisor import CdiDevice, CdiEdits, CdiNode, CdiSpec, Host, Leftover, cdi_spec
from supervisor.testing import FakeMemory
from supervisor_nvidia_gpu.cdi.keeping import FILES, PREFIX
from supervisor_nvidia_gpu.compat import Folded
from supervisor_nvidia_gpu.config import NvidiaGpuConfig
from supervisor_nvidia_gpu.leaving import leftovers
from supervisor_nvidia_gpu.plugin import CDI, NvidiaGpuPlugin
from supervisor_nvidia_gpu.simulate.probe import SimulatedProbe

GPU, GDS = "vendor.example/gpu", "vendor.example/gds"
ONE, TWO = "GPU-11111111-1111-4111-8111-111111111111", "GPU-22222222-2222-4222-8222-222222222222"
MIG = "MIG-33333333-3333-4333-8333-333333333333"
OLD_MIG = f"MIG-{ONE}/1/0"


def spec(kind: str, *names: str) -> CdiSpec:
    return cdi_spec(kind, tuple(CdiDevice(name, CdiEdits(device_nodes=(CdiNode("/dev/nvidia0"),))) for name in names))


def publish_all(folder: Path, *specs: CdiSpec) -> None:
    assert FILES.publish(str(folder), specs, lambda _: True).written == len(specs)


def needed(folder: Path, held: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """By the name of the file."""
    return {Path(each.path).name: each.needed_by for each in leftovers(str(folder), held)}


def test_a_spec_is_needed_by_the_gpus_that_it_defines(tmp_path: Path) -> None:
    """Whatever their resource is called, also as time slices, and MIG devices as old drivers named them."""
    publish_all(tmp_path, spec(GPU, ONE, MIG, OLD_MIG.replace("/", "-")))
    held = {"nvidia.com/gpu": (f"{ONE}::3", TWO), "nvidia.com/mig-1g.5gb": (MIG, OLD_MIG), "a.example/b": ("x",)}
    assert needed(tmp_path, held) == {FILES.file_name(GPU): (f"{ONE}::3", MIG, OLD_MIG)}
    assert needed(tmp_path, {"nvidia.com/gpu": (TWO,)}) == {FILES.file_name(GPU): ()}
    assert needed(tmp_path, {}) == {FILES.file_name(GPU): ()}


@pytest.mark.parametrize("kind", [GPU, GDS])
@pytest.mark.parametrize("name", ["0", "all", "0000:3b:00.0"])
def test_a_spec_that_names_no_uuids_is_needed_by_any_gpu(tmp_path: Path, kind: str, name: str) -> None:
    """Which container has what is not in the ids, but one that has no GPU has none of it."""
    publish_all(tmp_path, spec(kind, name))
    assert needed(tmp_path, {"nvidia.com/gpu": (ONE,), "a.example/b": ("x",)}) == {FILES.file_name(kind): (ONE,)}
    assert needed(tmp_path, {"a.example/b": ("x",)}) == {FILES.file_name(kind): ()}


@pytest.mark.parametrize("held", [ONE, TWO])
def test_a_spec_with_names_of_two_kinds_is_needed_by_any_gpu(tmp_path: Path, held: str) -> None:
    """By PCI address MIG devices still go by UUID; and a spec keeps the names of an earlier ``deviceIdStrategy``."""
    publish_all(tmp_path, spec(GPU, "0000:3b:00.0", ONE))
    assert needed(tmp_path, {"nvidia.com/gpu": (held,)}) == {FILES.file_name(GPU): (held,)}


def test_only_ours_are_named(tmp_path: Path) -> None:
    """By name and content; what a killed process left half-written is needed by nobody."""
    publish_all(tmp_path, spec(GPU, ONE))
    (tmp_path / f"{PREFIX}other.example-gpu.json").write_text(f'{{"kind": "{GPU}", "devices": []}}')
    (tmp_path / "nvidia.yaml").write_text(f"kind: {GPU}\n")
    (tmp_path / f".{FILES.file_name(GPU)}.0123abcd.tmp").write_text("{")
    (tmp_path / FILES.file_name(GDS)).write_text("torn")
    held = {"nvidia.com/gpu": (ONE,)}
    assert needed(tmp_path, held) == {
        FILES.file_name(GPU): (ONE,),
        f".{FILES.file_name(GPU)}.0123abcd.tmp": (),
        FILES.file_name(GDS): (),
    }


def test_a_directory_that_cannot_be_seen_is_told(tmp_path: Path) -> None:
    """In a pod without that mount it looks as if nothing were there."""
    with pytest.raises(FileNotFoundError, match="nowhere, where CDI specs were written, is not there; mount it"):
        needed(tmp_path / "nowhere", {})


def plugin(memory: FakeMemory) -> NvidiaGpuPlugin:
    """As the command makes it: by a configuration that says nothing, without a look."""
    return NvidiaGpuPlugin(Folded(NvidiaGpuConfig()), Host(), memory, SimulatedProbe("l40s-4", ()))


@pytest.mark.parametrize("kept", [{}, {CDI: []}, {CDI: None}, {CDI: 5}, {CDI: [None, ""]}])
def test_without_a_word_of_an_owner_nothing_is_left(kept: dict[str, object]) -> None:
    """The configured directory may hold what another supervisor looks after."""
    assert list(plugin(FakeMemory(kept)).leftovers({})) == []


def test_the_memory_says_where(tmp_path: Path) -> None:
    """The configuration may have gone with everything else."""
    publish_all(tmp_path, spec(GPU, ONE))
    other = tmp_path / "other"
    other.mkdir()
    publish_all(other, spec(GPU, TWO))
    left = set(plugin(FakeMemory({CDI: [str(tmp_path), str(other)]})).leftovers({"nvidia.com/gpu": (ONE,)}))
    assert left == {Leftover(str(tmp_path / FILES.file_name(GPU)), (ONE,)), Leftover(str(other / FILES.file_name(GPU)), ())}
