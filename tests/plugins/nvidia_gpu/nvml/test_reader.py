from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor_nvidia_gpu.nvml.asking import Asking
from supervisor_nvidia_gpu.nvml.fabric import count_links
from supervisor_nvidia_gpu.nvml.mig import profile_name
from supervisor_nvidia_gpu.report import Evidence, Gpu, RemappedRows, Usage
from tests.plugins.nvidia_gpu.fakenvml import Gpu as FakeGpu
from tests.plugins.nvidia_gpu.fakenvml import Layout, layouts
from tests.plugins.nvidia_gpu.fakenvml.handle import (
    DRIVER_NOT_LOADED,
    FUNCTION_NOT_FOUND,
    GPU_IS_LOST,
    NO_PERMISSION,
    NOT_SUPPORTED,
    UNKNOWN,
)
from tests.plugins.nvidia_gpu.nvml.rig import Node

LAYOUTS = (
    layouts.dgx_a100,
    layouts.dgx_h100,
    layouts.l40s_pcie,
    layouts.hgx_a100_4,
    layouts.one_a100_mixed_mig,
    layouts.one_a100_split_mig,
    layouts.two_a100_uniform_mig,
    layouts.dgx_2,
    layouts.workstation,
)
LINKS = {"dgx_a100": 12, "dgx_h100": 18, "hgx_a100_4": 4, "dgx_2": 6}
OPTIONAL = (
    "nvmlDeviceGetName",
    "nvmlDeviceGetMinorNumber",
    "nvmlDeviceGetCudaComputeCapability",
    "nvmlDeviceGetMemoryInfo",
    "nvmlDeviceGetMemoryInfo_v2",
    "nvmlDeviceGetMigMode",
    "nvmlDeviceGetMemoryAffinity",
    "nvmlDeviceGetSupportedEventTypes",
    "nvmlDeviceGetRemappedRows",
    "nvmlDeviceGetRetiredPagesPendingStatus",
    "nvmlDeviceGetTotalEccErrors",
    "nvmlDeviceGetFieldValues",
    "nvmlDeviceGetNvLinkState",
    "nvmlDeviceGetNvLinkRemotePciInfo_v2",
    "nvmlDeviceGetNvLinkRemoteDeviceType",
    "nvmlDeviceGetTopologyCommonAncestor",
    "nvmlDeviceGetTemperature",
    "nvmlDeviceGetPowerUsage",
    "nvmlDeviceGetUtilizationRates",
)


def facts(gpu: Gpu) -> dict[str, object]:
    """What a layout decides about a GPU, as it was read."""
    evidence = gpu.evidence
    return {
        "index": gpu.index,
        "uuid": gpu.uuid,
        "pci": gpu.pci,
        "minor": gpu.minor,
        "model": gpu.model,
        "capability": gpu.compute_capability,
        "memory": gpu.memory_mib,
        "mig": (gpu.mig_enabled, gpu.mig_pending),
        "numa": gpu.numa_node,
        "events": gpu.events,
        "evidence": (evidence.uncorrected_ecc, evidence.retirement_pending, evidence.recovery_action),
        "devices": [
            (mig.uuid, mig.gpu_instance, mig.compute_instance, mig.index, mig.profile, mig.whole, mig.memory_mib)
            for mig in gpu.mig
        ],
        "problem": gpu.problem,
    }


def decided(gpu: FakeGpu) -> dict[str, object]:
    """The same as the layout has it."""
    pending = gpu.mig_enabled if gpu.mig_pending is None else gpu.mig_pending
    return {
        "index": gpu.index,
        "uuid": gpu.uuid,
        "pci": gpu.sysfs,
        "minor": gpu.minor,
        "model": gpu.name,
        "capability": gpu.capability,
        "memory": gpu.memory_mib,
        "mig": (gpu.mig_enabled, pending),
        "numa": gpu.numa,
        "events": gpu.events is not None,
        "evidence": (gpu.uncorrected_ecc, gpu.retirement_pending, gpu.recovery_action),
        "devices": [(mig.uuid, mig.gi, mig.ci, mig.index, mig.name, mig.whole, mig.profile.memory_mib) for mig in gpu.mig],
        "problem": "",
    }


@pytest.mark.parametrize("make", LAYOUTS, ids=lambda make: make.__name__)
def test_a_node_as_it_is(node: Node, make: Callable[[], Layout]) -> None:
    """Every fact of every GPU is read, and what a model or its driver cannot tell is unknown."""
    layout = make()
    node.show(layout)
    report = node.probe().look()
    assert (report.source, report.driver, report.waiting_for, report.notices) == ("nvml", layout.driver, "", ())
    assert [facts(gpu) for gpu in report.gpus] == [decided(gpu) for gpu in layout.gpus]
    count, links = len(layout.gpus), LINKS.get(make.__name__, 0)
    assert report.links == (
        tuple(tuple(0 if one == other else links for other in range(count)) for one in range(count)) if links else ()
    )
    if count > 1:
        assert report.ancestors == tuple(tuple(level or 0 for level in gpu.ancestors) for gpu in layout.gpus)


def test_evidence(node: Node) -> None:
    """What speaks against a GPU is read as numbers and facts."""
    node.show(
        layouts.dgx_h100().with_gpu(2, remapped=(3, 1, 1, 0), uncorrected_ecc=5, recovery_action=1, retirement_pending=True)
    )
    assert node.probe().look().gpus[2].evidence == Evidence(5, RemappedRows(3, 1, pending=True, failed=False), True, 1)


def test_usage_is_read_only_when_asked_for(node: Node) -> None:
    """Readings for metrics cost calls, so without the wish none of them is made."""
    node.show(layouts.l40s_pcie().with_gpu(0, utilization_percent=63, memory_used_mib=1234))
    assert node.probe().look().gpus[0].usage is None
    assert not node.nvml.calls().keys() & {"nvmlDeviceGetTemperature", "nvmlDeviceGetPowerUsage"}
    assert node.probe(usage=True).look().gpus[0].usage == Usage(34, 62.5, 63, 1234)


@pytest.mark.parametrize("code", [NOT_SUPPORTED, NO_PERMISSION, UNKNOWN])
def test_what_cannot_be_told_is_unknown(node: Node, code: int) -> None:
    """Whichever optional calls fail, the GPU is there, without a problem and without those facts."""
    layout = layouts.l40s_pcie()
    node.show(layout)
    for call in OPTIONAL:
        node.nvml.fail(call, code)
    report = node.probe(usage=True).look()
    assert report.gpus == tuple(
        Gpu(index=gpu.index, uuid=gpu.uuid, pci=gpu.sysfs, events=False, usage=Usage()) for gpu in layout.gpus
    )
    assert (report.links, report.ancestors) == ((), ())


@pytest.mark.parametrize("call", ["*", "nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetUUID", "nvmlDeviceGetMigMode"])
def test_a_lost_gpu_hides_no_other(node: Node, call: str) -> None:
    """Wherever the loss comes up: all others are as before, and the lost one keeps its name, with a problem."""
    layout = layouts.dgx_h100()
    node.show(layout)
    node.nvml.fail(call, GPU_IS_LOST, gpu=5)
    report = node.probe().look()
    lost = report.gpus[5]
    assert (lost.uuid, lost.pci, lost.minor) == (layout.gpus[5].uuid, layout.gpus[5].sysfs, layout.gpus[5].minor)
    assert "lost" in lost.problem
    assert not any(gpu.problem for gpu in report.gpus if gpu.index != 5)


@pytest.mark.parametrize("call", ["nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetUUID"])
def test_a_gpu_without_a_name_has_a_problem(node: Node, call: str) -> None:
    """Any error where the GPU has to answer is its problem; where nothing else knows its name, it has none."""
    node.nvml.show(layouts.l40s_pcie())
    node.nvml.fail(call, UNKNOWN, gpu=1)
    report = node.probe().look()
    assert (report.gpus[1].uuid, report.gpus[1].problem) == ("", "the driver reports an unknown error")
    assert [bool(gpu.problem) for gpu in report.gpus] == [False, True, False, False]


def test_a_name_that_is_no_text() -> None:
    """Bytes that mean nothing are no answer, and no error of the look."""
    ask = Asking()
    assert ask(b"\xff\xfe".decode) is None
    assert (ask.code, ask.problem) == (UNKNOWN, "")


def test_a_lost_gpu_keeps_its_mig_devices(node: Node) -> None:
    """They may be allocated, so they stay known while their GPU does not answer."""
    node.show(layouts.two_a100_uniform_mig())
    probe = node.probe()
    before = probe.look().gpus[0]
    node.nvml.lose(0)
    lost = probe.look().gpus[0]
    assert lost.problem
    assert (lost.mig_enabled, lost.mig) == (True, before.mig)
    node.nvml.recover(0)
    assert probe.look().gpus[0] == before


def test_mig_devices_have_sparse_indices(node: Node) -> None:
    """A gap that a removed device left hides none behind it."""
    layout = layouts.two_a100_uniform_mig()
    first = layout.gpus[0]
    left = tuple(mig for mig in first.mig if mig.index not in {0, 3})
    node.show(layout.with_gpu(0, mig=left))
    assert [mig.index for mig in node.probe().look().gpus[0].mig] == [1, 2, 4, 5, 6]


def test_a_changed_mig_layout_is_read_anew(node: Node) -> None:
    """The next look has the devices that are there then."""
    layout = layouts.one_a100_mixed_mig()
    node.show(layout)
    probe = node.probe()
    probe.look()
    node.show(Layout((layouts.partition(layout.gpus[0], "7g.80gb"),), layout.driver))
    assert [mig.profile for mig in probe.look().gpus[0].mig] == ["7g.80gb"]


@pytest.mark.parametrize(
    "missing",
    [
        ("nvmlDeviceGetName",),
        ("nvmlDeviceGetName", "nvmlDeviceGetGpuInstanceProfileInfoByIdV"),
        ("nvmlDeviceGetName", "nvmlDeviceGetGpuInstanceById"),
    ],
    ids=("by-id", "by-number", "computed"),
)
def test_a_profile_s_name_is_found_in_other_ways(node: Node, missing: tuple[str, ...]) -> None:
    """Old drivers and missing privileges leave other ways to the same name."""
    layout = layouts.one_a100_split_mig()
    node.show(layout)
    for call in missing:
        node.nvml.fail(call, FUNCTION_NOT_FOUND if "ByIdV" in call else NO_PERMISSION)
    assert [mig.profile for mig in node.probe().look().gpus[0].mig] == [mig.name for mig in layout.gpus[0].mig]


def test_pairs_are_asked_once(node: Node) -> None:
    """What two GPUs have in common on the bus does not change while a process lives, and to ask takes time."""
    node.show(layouts.dgx_h100())
    probe = node.probe()
    first = probe.look()
    asked = node.nvml.calls()["nvmlDeviceGetTopologyCommonAncestor"]
    assert asked == 8 * 7 / 2
    second = probe.look()
    assert node.nvml.calls()["nvmlDeviceGetTopologyCommonAncestor"] == asked
    assert second is first


def test_links_that_come_up_late_are_seen(node: Node) -> None:
    """A fabric manager trains them some time after the driver is there."""
    layout = layouts.dgx_h100()
    node.show(Layout(tuple(replace(gpu, remote=()) for gpu in layout.gpus), layout.driver))
    probe = node.probe()
    assert probe.look().links == ()
    node.show(layout)
    assert probe.look().links[0][1] == 18


def test_a_driver_without_gpus(node: Node) -> None:
    """It is no error, and there is a reason why there is nothing."""
    node.show(Layout())
    report = node.probe().look()
    assert (report.gpus, report.source, report.waiting_for) == ((), "nvml", "the NVIDIA driver holds no GPU")


def test_a_driver_that_may_not_be_opened(node: Node) -> None:
    """Where the kernel has the driver and NVML does not find it, the nodes cannot be opened here: the kernel's list has to do."""
    layout = layouts.dgx_h100()
    node.show(layout)
    node.nvml.init_error(DRIVER_NOT_LOADED)
    report = node.probe().look()
    assert report.source == "procfs"
    assert [gpu.uuid for gpu in report.gpus] == [gpu.uuid for gpu in layout.gpus]
    assert "is loaded, but /dev/nvidiactl cannot be opened here" in report.notices[0]


@given(st.integers(1, 7), st.integers(1, 8), st.integers(8_000, 200_000))
def test_computed_names_are_well_formed(slices: int, eighths: int, of_mib: int) -> None:
    """Any share of the memory rounds to whole gigabytes, and a part of the compute slices is said first."""
    mib = of_mib * eighths // 8 - 300
    name = profile_name(slices, 7, mib, of_mib)
    assert name.startswith("7g." if slices == 7 else f"{slices}c.7g.")
    assert name.endswith("gb")
    assert not profile_name(slices, 7, mib, None)


addresses = [f"0000:{bus:02x}:00.0" for bus in range(5)]
ends = st.lists(
    st.dictionaries(st.sampled_from([*addresses, "0000:c0:00.0", "0000:c1:00.0"]), st.integers(1, 6)).map(Counter),
    min_size=5,
    max_size=5,
)


@given(ends)
def test_links_are_counted_both_ways(found: list[Counter[str]]) -> None:
    """The matrix is symmetric with nothing on its diagonal, and no pair has more links than either GPU."""
    matrix = count_links(addresses, found) or tuple((0,) * 5 for _ in addresses)
    for one, row in enumerate(matrix):
        assert row[one] == 0
        for other, links in enumerate(row):
            assert links == matrix[other][one]
            assert links <= max(found[one].total(), found[other].total()) + min(found[one].total(), found[other].total())
