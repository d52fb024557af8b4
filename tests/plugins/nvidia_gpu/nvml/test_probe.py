import contextlib
import gc
import os
import subprocess
import sys
import time
from pathlib import Path

from supervisor_nvidia_gpu.probe import Probe
from supervisor_nvidia_gpu.report import Evidence, Report
from tests.border.conftest import HelperProcess
from tests.plugins.nvidia_gpu.fakenvml import Layout, layouts
from tests.plugins.nvidia_gpu.fakenvml.handle import INIT, LIB_RM_VERSION_MISMATCH
from tests.plugins.nvidia_gpu.nvml.rig import Node, kernel

HEAVY = {
    "trio",
    "grpc",
    "pyudev",
    "pathlib",
    "subprocess",
    "asyncio",
    "yaml",
    "prometheus_client",
    "supervisor_nvidia_gpu.plugin",
    "supervisor_nvidia_gpu.probe",
}
"""What would make a process that asks NVML larger than it may be."""


def uuids(report: Report) -> list[str]:
    """In the report's order."""
    return [gpu.uuid for gpu in report.gpus]


def wait_until_gone(pid: int) -> None:
    """Until no such process runs. Raises TimeoutError."""
    deadline = time.monotonic() + 20
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        while " Z " not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]:
            if time.monotonic() > deadline:
                raise TimeoutError
            time.sleep(0.01)


def look_until_nvml(probe: Probe) -> Report:
    """Looks as the supervisor makes them, until NVML tells again. Raises TimeoutError."""
    deadline = time.monotonic() + 30
    while (report := probe.look()).source != "nvml":
        if time.monotonic() > deadline:
            raise TimeoutError(str(report))
        time.sleep(0.1)
    return report


def test_one_process_for_all_looks(node: Node) -> None:
    """It is started once, by the first look, as a child of ours."""
    node.show(layouts.l40s_pcie())
    probe = node.probe()
    assert node.nvml.pids() == []
    assert probe.look() is probe.look()
    assert len(node.nvml.pids()) == 1
    assert (probe.where, probe.restarts) == ("child of this process", 0)


def test_through_the_helper(node: Node) -> None:
    """Where a helper listens, the process is its child: looks, events and the cure of a crash are the same."""
    node.show(layouts.dgx_h100())
    helper = HelperProcess(node.host.helper_socket)
    try:
        probe = node.probe()
        assert len(look_until_nvml(probe).gpus) == 8
        assert probe.where == f"helper at {node.host.helper_socket}"
        node.nvml.crash("nvmlDeviceGetUUID", once=True)
        assert probe.look().source == "procfs"
        assert len(look_until_nvml(probe).gpus) == 8
        assert probe.restarts == 1
    finally:
        helper.end()
    assert look_until_nvml(probe).source == "nvml"
    assert probe.where == "child of this process"


def test_a_hung_call_costs_one_look(node: Node) -> None:
    """Within the deadline the process is given up: the GPUs stay, without health, and the next look has a new process."""
    layout = layouts.dgx_h100()
    node.show(layout)
    probe = node.probe(deadline=1.0)
    before = look_until_nvml(probe)
    node.nvml.hang("nvmlDeviceGetRemappedRows", gpu=3)
    during = probe.look()
    assert (during.source, uuids(during)) == ("procfs", uuids(before))
    assert "took longer than 1 s" in during.notices[0]
    assert all(gpu.evidence == Evidence() and not gpu.events and not gpu.problem for gpu in during.gpus)
    assert during.links == before.links
    wait_until_gone(node.nvml.pids()[0])
    node.nvml.let_go()
    assert look_until_nvml(probe) == before
    assert probe.restarts == 1


def test_mig_devices_outlive_a_hung_call(node: Node) -> None:
    """The kernel cannot name them, so what NVML had said stays while it says nothing."""
    node.show(layouts.one_a100_mixed_mig())
    probe = node.probe(deadline=1.0)
    before = look_until_nvml(probe)
    node.nvml.hang("nvmlDeviceGetMigMode", gpu=0)
    during = probe.look()
    assert during.source == "procfs"
    assert during.gpus[0].mig == before.gpus[0].mig


def test_a_crash_costs_one_look(node: Node) -> None:
    """A library that aborts takes its process with it and nothing else; the last words are the reason."""
    node.show(layouts.l40s_pcie())
    probe = node.probe()
    before = probe.look()
    node.nvml.crash("nvmlDeviceGetMemoryInfo_v2", gpu=1, once=True)
    during = probe.look()
    assert (during.source, uuids(during)) == ("procfs", uuids(before))
    assert "SIGABRT" in during.notices[0]
    assert look_until_nvml(probe) == before


def test_a_new_driver_is_met_by_a_new_process(node: Node) -> None:
    """A process keeps the library that it loaded, so after an upgrade only another one fits; the same look has it."""
    node.show(layouts.dgx_h100())
    probe = node.probe()
    probe.look()
    node.nvml.driver("590.10")
    report = probe.look()
    assert (report.source, report.driver, len(report.gpus)) == ("nvml", "590.10", 8)
    assert (len(node.nvml.pids()), probe.restarts) == (2, 1)


def test_a_library_of_another_version_is_said(node: Node) -> None:
    """The sentence has the file and the driver's version; the kernel's list has to do."""
    node.show(layouts.dgx_h100())
    node.nvml.init_error(LIB_RM_VERSION_MISMATCH)
    report = node.probe().look()
    assert (report.source, len(report.gpus)) == ("procfs", 8)
    assert "of different versions: " in report.notices[0]
    assert f"{node.nvml.path.resolve()}, driver 580.65.06" in report.notices[0]


def test_no_driver_is_a_state(node: Node) -> None:
    """Without a driver there is a reason and no error; when it comes, a look finds it."""
    probe = node.probe()
    report = probe.look()
    assert (report.gpus, report.source) == ((), "procfs")
    assert "driver is not loaded" in report.waiting_for
    node.show(layouts.l40s_pcie())
    assert len(look_until_nvml(probe).gpus) == 4
    assert probe.restarts == 0


def test_a_reason_stays_the_same(node: Node) -> None:
    """While nothing changes, each look says the same, so that it is told once."""
    node.show(layouts.l40s_pcie())
    node.nvml.crash("nvmlSystemGetDriverVersion")
    probe = node.probe()
    reports = [probe.look() for _ in range(4)]
    assert reports.count(reports[0]) == 4


def test_an_unloaded_driver_has_no_gpus(node: Node) -> None:
    """What is remembered does not outlive the driver itself."""
    node.show(layouts.l40s_pcie())
    probe = node.probe()
    probe.look()
    node.unload()
    for _ in range(3):
        report = probe.look()
        assert (report.gpus, report.source) == ((), "procfs")
        assert report.waiting_for


def test_without_the_kernel_s_list_nvml_decides(node: Node) -> None:
    """Where procfs is not that of the host it never shows a GPU: then its silence is no evidence, NVML's word is."""
    node.nvml.show(layouts.l40s_pcie())
    probe = node.probe(deadline=1.0)
    before = look_until_nvml(probe)
    node.nvml.hang("nvmlDeviceGetUUID", gpu=0)
    assert uuids(probe.look()) == uuids(before)
    node.nvml.let_go()
    look_until_nvml(probe)
    node.nvml.unload()
    deadline = time.monotonic() + 30
    while (report := probe.look()).gpus:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert "driver is not loaded" in report.waiting_for


def test_no_library_is_said(node: Node) -> None:
    """The sentence says where was looked; the kernel's list has to do until the library comes."""
    layout = layouts.l40s_pcie()
    node.show(layout)
    node.nvml.remove()
    probe = node.probe()
    report = probe.look()
    assert (report.source, uuids(report)) == ("procfs", [gpu.uuid for gpu in layout.gpus])
    assert f"no libnvidia-ml.so.1 under {node.nvml.root}" in report.notices[0]
    node.nvml.appear()
    assert len(look_until_nvml(probe).gpus) == 4


def test_a_slow_start_is_waited_for(node: Node) -> None:
    """GPUs that wake up slowly are no hang: looks go on without them, and the same process answers in the end."""
    node.show(layouts.l40s_pcie())
    node.nvml.hang(INIT)
    probe = node.probe(deadline=4.0)
    for _ in range(2):
        report = probe.look()
        assert report.source == "procfs"
        assert "NVML is starting" in report.notices[0]
    node.nvml.let_go()
    look_until_nvml(probe)
    assert len(node.nvml.pids()) == 1


def test_a_gpu_that_nvml_does_not_count_gets_a_new_process(node: Node) -> None:
    """NVML counts when it starts. What the kernel holds beyond that is looked for by a new process, once."""
    layout = layouts.l40s_pcie()
    node.nvml.show(layout)
    kernel(node.proc, layout.gpus[:3])
    probe = node.probe()
    probe.look()
    assert len(node.nvml.pids()) == 1
    kernel(node.proc, [*layout.gpus, layouts.workstation().gpus[0]])
    assert len(probe.look().gpus) == 4
    assert len(probe.look().gpus) == 4
    assert len(node.nvml.pids()) == 2


def test_a_gpu_that_the_kernel_gave_up_has_a_problem(node: Node) -> None:
    """While NVML says nothing, the kernel's list is the newer one: a GPU that left it is known and cannot be used."""
    layout = layouts.l40s_pcie()
    node.show(layout)
    probe = node.probe(deadline=1.0)
    look_until_nvml(probe)
    node.nvml.hang("nvmlDeviceGetUUID", gpu=0)
    kernel(node.proc, layout.gpus[:3])
    report = probe.look()
    assert [bool(gpu.problem) for gpu in report.gpus] == [False, False, False, True]


def test_equal_matrices_are_the_same_objects(node: Node) -> None:
    """What is computed from them is computed once."""
    layout = layouts.dgx_h100()
    node.show(layout)
    probe = node.probe()
    before = probe.look()
    node.show(layout.with_gpu(0, uncorrected_ecc=7))
    after = probe.look()
    assert after != before
    assert after.links is before.links
    assert after.ancestors is before.ancestors


def test_the_load_of_the_driver_is_told(node: Node) -> None:
    """A reload of the kernel module shows in the next report."""
    module = Path(node.host.sysfs) / "module/nvidia"
    module.mkdir(parents=True)
    node.show(layouts.l40s_pcie())
    assert node.probe().look().driver_load == module.stat().st_ino


def test_a_probe_that_nobody_needs_leaves_no_process(node: Node) -> None:
    """After a change of the configuration the old plugin is dropped without a word, and its process ends with it."""
    node.show(layouts.l40s_pcie())
    probe = Probe(node.host, mount=os.fspath(node.nvml.root), deadline=20)
    probe.look()
    (pid,) = node.nvml.pids()
    del probe
    gc.collect()
    wait_until_gone(pid)


def test_a_closed_probe_still_answers(node: Node) -> None:
    """A look that comes after the end has a reason and no error."""
    node.show(layouts.l40s_pcie())
    probe = node.probe()
    probe.look()
    probe.close()
    assert probe.look().source == "procfs"


def test_gpus_without_nvml_and_without_a_driver(node: Node) -> None:
    """An empty layout, an unloaded driver and a missing library together are one sentence, not an error."""
    node.show(Layout())
    node.unload()
    node.nvml.remove()
    report = node.probe().look()
    assert report.gpus == ()
    assert "libnvidia-ml.so.1" in report.waiting_for


def test_the_process_stays_small() -> None:
    """It imports nothing that belongs to the supervisor's side."""
    code = "import sys, supervisor_nvidia_gpu.nvml.program; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert HEAVY & set(done.stdout.split()) == set()
