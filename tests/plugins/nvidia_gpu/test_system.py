"""GPUs through the whole supervisor: a real kubelet's view of what the real NVML binding says about a fake driver."""

import json
import math
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from supervisor.kubelet.simulator import EventKind, KubeletSimulator
from tests.cluster.apiserver import NODE, StoredCluster, serving
from tests.cluster.pod import in_pod, service_account
from tests.plugins.nvidia_gpu.fakenvml import FakeNvml
from tests.plugins.nvidia_gpu.fakenvml.layouts import (
    Layout,
    dgx_h100,
    l40s_pcie,
    one_a100_mixed_mig,
    one_a100_split_mig,
    partition,
)
from tests.plugins.nvidia_gpu.node import GPU, PATIENCE, GpuNode
from tests.system.rig import Process, assert_sound, wait_for


@pytest.fixture
def node(fake_nvml: FakeNvml, short_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GpuNode]:
    """A node whose driver is not loaded yet."""
    for name, value in fake_nvml.control_env().items():
        monkeypatch.setenv(name, value)
    with KubeletSimulator(short_dir, "1.37", sources_delay=0.0) as kubelet, GpuNode(fake_nvml, tmp_path, kubelet) as made:
        yield made
        assert_sound(kubelet)


def test_whole_gpus_and_what_a_container_gets(node: GpuNode) -> None:
    """Eight GPUs with their NUMA nodes; two that are near to each other, by UUID and by device node."""
    node.show(dgx_h100())
    process = node.start()
    node.wait()
    assert {numa for nodes in node.kubelet.topology(GPU).values() for numa in nodes} == {0, 1}
    pod = node.kubelet.add_pod("training", {GPU: 2})
    (container,) = pod.containers.values()
    ids = container.devices[GPU]
    gpus = {gpu.uuid: gpu for gpu in node.nvml.layout.gpus}
    assert sorted(container.options.envs["NVIDIA_VISIBLE_DEVICES"].split(",")) == sorted(ids)
    nodes = {device.host_path for device in container.options.devices}
    assert nodes == {
        "/dev/nvidiactl",
        "/dev/nvidia-uvm",
        "/dev/nvidia-uvm-tools",
        "/dev/nvidia-modeset",
        *(f"/dev/nvidia{gpus[each].minor}" for each in ids),
    }
    assert len({gpus[each].numa for each in ids}) == 1
    assert "auto: envvar and device specs" in node.status(process)


def test_an_xid_and_the_way_back(node: GpuNode) -> None:
    """One GPU is Unhealthy with its reason, the others are not; quiet and probation bring it back."""
    node.show(l40s_pcie())
    process = node.start(health={"probation": 3})
    node.wait()
    node.nvml.wait_for(lambda fake: len(fake.event_sets()) > 0)
    node.nvml.xid(1, 13)  # the application's own fault
    assert node.uuid(1) in process.wait_log("XID 13")
    node.nvml.xid(2, 109)
    node.wait(unhealthy={2: "XID"})
    assert "XID 109" in process.wait_log('"Unhealthy"')
    node.wait()


def _cut(layout: Layout) -> Layout:
    """All GPUs in MIG mode, in 7 devices each."""
    return replace(layout, gpus=tuple(partition(gpu, *["1g.10gb"] * 7) for gpu in layout.gpus))


def test_a_thousand_xids_are_few_lists(node: GpuNode) -> None:
    """MIG devices that fail one after another do not make a list each, and no XID is lost."""
    node.show(_cut(dgx_h100()))
    process = node.start(migStrategy="single", health={"quiet": 3600}, lookInterval=3600)
    ids = [mig.uuid for gpu in node.nvml.layout.gpus for mig in gpu.mig]
    node.kubelet.wait_devices(GPU, dict.fromkeys(ids, "Healthy"), timeout=PATIENCE)
    node.nvml.wait_for(lambda fake: len(fake.event_sets()) > 0)
    position, began = node.kubelet.events.position, time.monotonic()
    for number in range(1_000):
        device = number * len(ids) // 1_000
        node.nvml.xid(device % 8, 109, gi=1 + device // 8, ci=0)
    node.kubelet.wait_devices(GPU, dict.fromkeys(ids, "Unhealthy"), timeout=PATIENCE)
    seconds = math.ceil(time.monotonic() - began)
    wait_for(lambda: sum(_xids(process)) == 1_000, PATIENCE, "the count of XIDs")
    lists = [event for event in node.kubelet.events.since(position) if event.kind is EventKind.LIST_RECEIVED]
    assert len(lists) <= 20 * seconds


def _xids(process: Process) -> list[float]:
    """The XIDs that are counted, by GPU and code."""
    text = process.get("/metrics")[1]
    return [float(value) for value in re.findall(r"^device_plugin_nvidia_gpu_xids_total\{.*\} (.*)$", text, re.MULTILINE)]


def test_what_only_a_reset_heals_survives_restarts_of_the_supervisor(node: GpuNode) -> None:
    """A restart launders nothing: the memory is of this boot."""
    node.show(l40s_pcie())
    process = node.start()
    node.wait()
    node.nvml.wait_for(lambda fake: len(fake.event_sets()) > 0)
    node.nvml.xid(0, 79)
    node.wait(unhealthy={0: "XID"})
    memory = node.kubelet.paths.device_plugins / ".device-plugin-supervisor/memory/nvidia-gpu.json"
    wait_for(lambda: memory.exists() and "XID 79" in memory.read_text(), what="the memory")
    process.kill()
    position = node.kubelet.events.position
    node.start()
    node.kubelet.wait_event(EventKind.LIST_RECEIVED, PATIENCE, position, resource=GPU)
    lists = [event for event in node.kubelet.events.since(position) if event.kind is EventKind.LIST_RECEIVED]
    assert {event["unhealthy"] for event in lists} == {1}
    node.wait(unhealthy={0: "XID"})


def test_a_lost_gpu_hides_no_other(node: GpuNode) -> None:
    """It stays listed, Unhealthy, and pods get the others; when it answers again it comes back."""
    node.show(l40s_pcie())
    node.start()
    node.wait()
    node.nvml.lose(3)
    node.wait(unhealthy={3: "lost"})
    assert node.kubelet.add_pod("others", {GPU: 3}).admitted
    node.nvml.recover(3)
    node.wait()


@pytest.mark.parametrize("trouble", ["hang", "crash"])
def test_nvml_in_trouble(node: GpuNode, trouble: str) -> None:
    """A call that hangs or crashes costs the process that made it; what was offered stays, and another process takes its place."""
    node.show(l40s_pcie())
    process = node.start()
    node.wait()
    before = set(node.nvml.pids())
    if trouble == "hang":
        node.nvml.hang("nvmlDeviceGetName")
    else:
        node.nvml.crash("nvmlDeviceGetName", once=True)
    node.nvml.wait_for(lambda fake: len(set(fake.pids()) - before) > 0, PATIENCE)
    assert node.kubelet.add_pod("meanwhile", {GPU: 1}).admitted
    node.nvml.let_go()
    node.wait()
    wait_for(lambda: "nvml_restarts_total 0" not in process.get("/metrics")[1], PATIENCE, "a restart in the metrics")


def test_the_driver_comes_late(node: GpuNode) -> None:
    """Until then it waits, ready, and says what for; nothing has to be restarted."""
    node.nvml.remove()
    process = node.start()
    process.wait_ready("")
    wait_for(lambda: "libnvidia-ml" in node.status(process), what="the reason")
    node.nvml.appear()
    node.show(l40s_pcie())
    node.wait()


def test_a_driver_upgrade(node: GpuNode) -> None:
    """The old library does not fit the new driver; a fresh process heals that."""
    node.show(l40s_pcie())
    node.start()
    node.wait()
    before = set(node.nvml.pids())
    node.nvml.driver("590.10.01")
    node.host.show(node.nvml.layout)
    node.nvml.wait_for(lambda fake: len(set(fake.pids()) - before) > 0, PATIENCE)
    node.wait()


def test_mig_layouts_change_while_it_runs(node: GpuNode) -> None:
    """Resources come and go; a device that a pod holds stays listed, and is Unhealthy."""
    node.show(one_a100_mixed_mig())
    node.start(migStrategy="mixed")

    def offered() -> dict[str, tuple[int, int]]:
        return {name: counts for name, counts in node.kubelet.node_status().items() if counts[1]}

    small = "nvidia.com/mig-1g.10gb"
    wait_for(lambda: small in offered(), PATIENCE, "MIG resources")
    assert all(name.startswith("nvidia.com/mig-") for name in offered())
    pod = node.kubelet.add_pod("holder", {small: 1})
    assert pod.admitted
    (held,) = pod.containers["main"].devices[small]
    assert pod.containers["main"].options.envs["NVIDIA_VISIBLE_DEVICES"] == held
    assert any("nvidia-caps/" in device.host_path for device in pod.containers["main"].options.devices)
    node.show(one_a100_split_mig())
    wait_for(
        lambda: node.kubelet.devices(small).get(held) == "Unhealthy" or held in _mig_uuids(node), PATIENCE, "the tombstone"
    )
    wait_for(lambda: set(_mig_uuids(node)) <= _all_ids(node), PATIENCE, "the new layout")


def _mig_uuids(node: GpuNode) -> list[str]:
    return [mig.uuid for gpu in node.nvml.layout.gpus for mig in gpu.mig if mig.uuid in _offerable(node)]


def _offerable(node: GpuNode) -> set[str]:
    """All but those that have not all compute slices of their GPU instance."""
    return {mig.uuid for gpu in node.nvml.layout.gpus for mig in gpu.mig if "c." not in getattr(mig, "name", "")}


def _all_ids(node: GpuNode) -> set[str]:
    return {each for name in node.kubelet.node_status() for each in node.kubelet.devices(name)}


def test_time_slices(node: GpuNode) -> None:
    """Ids and names are NVIDIA's; two slices of one container may be refused."""
    node.show(l40s_pcie())
    node.start(
        sharing={
            "timeSlicing": {
                "renameByDefault": True,
                "failRequestsGreaterThanOne": True,
                "resources": [{"name": GPU, "replicas": 3}],
            }
        }
    )
    shared = f"{GPU}.shared"
    expected = {f"{gpu.uuid}::{number}": "Healthy" for gpu in node.nvml.layout.gpus for number in range(3)}
    node.kubelet.wait_devices(shared, expected, timeout=PATIENCE)
    pod = node.kubelet.add_pod("one", {shared: 1})
    (slice_,) = pod.containers["main"].devices[shared]
    assert pod.containers["main"].options.envs["NVIDIA_VISIBLE_DEVICES"] == slice_.partition("::")[0]
    refused = node.kubelet.add_pod("two", {shared: 2})
    assert not refused.admitted
    assert "failRequestsGreaterThanOne" in refused.message
    node.nvml.wait_for(lambda fake: len(fake.event_sets()) > 0)
    node.nvml.xid(1, 79)
    bad = {each: "Unhealthy" for each in expected if each.startswith(node.uuid(1))}
    node.kubelet.wait_devices(shared, expected | bad, timeout=PATIENCE)


def test_cdi_specs_are_the_owners(node: GpuNode, nvml_library: Path) -> None:
    """A standby writes none; a container is named its GPU; a spec that is gone makes Allocate fail, and is written again."""
    node.show(l40s_pcie())
    install_driver(node, nvml_library)
    node.cdi.mkdir()
    settings: dict[str, Any] = {"deviceListStrategy": ["cdi-cri"]}
    owner = node.start(**settings)
    node.wait()
    wait_for(lambda: len(list(node.cdi.glob("*.json"))) == 1, PATIENCE, "the spec")
    (spec,) = node.cdi.glob("*.json")
    wait_for(lambda: "containers get no GPU" not in node.status(owner), PATIENCE, "verified specs")
    pod = node.kubelet.add_pod("one", {GPU: 1})
    (uuid,) = pod.containers["main"].devices[GPU]
    assert pod.containers["main"].options.cdi_devices == (f"k8s.device-plugin-supervisor.io/gpu={uuid}",)
    assert not pod.containers["main"].options.devices
    written = spec.stat().st_mtime_ns
    standby = node.start(**settings)
    standby.wait_ready("standing by")
    assert spec.stat().st_mtime_ns == written
    owner.kill()
    node.wait()
    spec.unlink()
    wait_for(spec.exists, PATIENCE, "the spec, written by the new owner")


def test_a_spec_that_a_pod_needs_outlives_the_driver_and_an_edit(node: GpuNode, nvml_library: Path) -> None:
    """While the driver is loaded anew, and when CDI is switched off; its container starts again with what it has been given."""
    node.show(l40s_pcie())
    install_driver(node, nvml_library)
    node.cdi.mkdir()
    process = node.start(deviceListStrategy=["cdi-cri"])
    node.wait()
    wait_for(lambda: "containers get no GPU" not in node.status(process), PATIENCE, "verified specs")
    pod = node.kubelet.add_pod("one", {GPU: 1})
    (spec,) = node.cdi.glob("*.json")
    written = spec.read_bytes()
    layout = node.nvml.layout
    node.nvml.unload()
    node.host.unload()
    wait_for(lambda: node.kubelet.node_status()[GPU][0] == 0, PATIENCE, "no GPU for new pods")
    assert spec.read_bytes() == written
    node.show(layout)
    node.wait()
    section = json.loads(process.config.read_text())["plugins"]["nvidia-gpu"]
    process.edit(plugins={"nvidia-gpu": section | {"deviceListStrategy": ["envvar"]}})
    process.wait_generation(2)
    assert "NVIDIA_VISIBLE_DEVICES" in node.kubelet.add_pod("two", {GPU: 1}).containers["main"].options.envs
    assert spec.read_bytes() == written
    again = node.kubelet.restart_container("one")
    assert again.containers["main"].options.cdi_devices == pod.containers["main"].options.cdi_devices


@pytest.mark.requires("namespaces")
def test_the_clusters_word_switches_cdi_on(
    node: GpuNode, nvml_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ``auto`` nothing is risked, until the node says that its runtime and its kubelet know CDI."""
    node.show(l40s_pcie())
    install_driver(node, nvml_library)
    node.cdi.mkdir()
    cluster = StoredCluster()
    information = {"containerRuntimeVersion": "containerd://2.1.4", "kubeletVersion": "v1.34.1"}
    cluster.nodes[NODE]["status"]["nodeInfo"] = information
    with serving(cluster) as server:
        secrets = service_account(tmp_path / "account")
        process = node.start({"wrap": in_pod(server, secrets, monkeypatch), "kubernetes": {"nodeInfo": True}})
        node.wait()
        wait_for(lambda: "the node runs containerd 2.1.4" in node.status(process), PATIENCE, "the evidence")
        pod = node.kubelet.add_pod("one", {GPU: 1})
    (uuid,) = pod.containers["main"].devices[GPU]
    assert pod.containers["main"].options.cdi_devices == (f"k8s.device-plugin-supervisor.io/gpu={uuid}",)
    assert pod.containers["main"].options.envs["NVIDIA_VISIBLE_DEVICES"] == uuid


def install_driver(node: GpuNode, library: Path) -> None:
    """The least that a CDI spec names: a CUDA library of the driver's version beside NVML's."""
    directory = node.nvml.path.parent
    version = node.nvml.layout.driver
    cuda = directory / f"libcuda.so.{version}"
    data = library.read_bytes().replace(b"libnvidia-ml.so.1\0", b"libcuda.so.1\0\0\0\0\0\0")
    cuda.write_bytes(data)
    (directory / "libcuda.so.1").symlink_to(cuda.name)


def test_metrics_tell_each_gpu(node: GpuNode) -> None:
    """State, reason, XIDs by code, replicas and NVML's restarts, also those that are zero."""
    node.show(l40s_pcie())
    process = node.start(usageMetrics=True)
    node.wait()
    node.nvml.wait_for(lambda fake: len(fake.event_sets()) > 0)
    node.nvml.xid(2, 79)
    node.wait(unhealthy={2: "XID"})

    def told(pattern: str) -> Callable[[], bool]:
        return lambda: re.search(pattern, process.get("/metrics")[1]) is not None

    gpu = f'gpu="{node.uuid(2)}"'
    for pattern in (
        rf'device_plugin_nvidia_gpu_xids_total{{{gpu},xid="79"}} 1',
        rf'device_plugin_nvidia_gpu_health{{{gpu},state="unhealthy"}} 1',
        rf"device_plugin_nvidia_gpu_health_reason_info{{{gpu},reason=\".*XID 79.*\"}} 1",
        r"device_plugin_nvidia_gpu_nvml_restarts_total 0",
        rf"device_plugin_nvidia_gpu_temperature_celsius{{{gpu}}} \d",
        rf'device_plugin_nvidia_gpu_replicas{{{gpu},resource="{GPU}"}} 1',
    ):
        wait_for(told(pattern), PATIENCE, pattern)
    shutil.rmtree(node.cdi, ignore_errors=True)
