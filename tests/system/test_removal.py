"""What stays on a node that the supervisor leaves, and how it goes: a real supervisor, a kubelet, CDI specs."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.cleanup.files import take
from supervisor.cleanup.proof import Pace
from supervisor.cleanup.readings import Place
from supervisor.cleanup.work import Cleaned, clean
from supervisor.cli.cleanup import asker
from supervisor.config_file import load
from supervisor.kubelet.simulator import KubeletSimulator
from supervisor.ownership import HIDDEN_NAME
from tests.plugins.nvidia_gpu.fakenvml import FakeNvml
from tests.plugins.nvidia_gpu.fakenvml.layouts import l40s_pcie
from tests.plugins.nvidia_gpu.node import GPU, PATIENCE, GpuNode
from tests.plugins.nvidia_gpu.test_system import install_driver
from tests.system.rig import HEALTHY, RESOURCE, Process, Puppet, wait_for

QUICK = Pace(apart=0.2, quiet=0.2)
KUBELETS_OWN = {"kubelet.sock", "kubelet_internal_checkpoint"}


@pytest.fixture
def node(fake_nvml: FakeNvml, short_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GpuNode]:
    """GPUs, their driver, and a directory for CDI specs in which another vendor's lies."""
    for name, value in fake_nvml.control_env().items():
        monkeypatch.setenv(name, value)
    with KubeletSimulator(short_dir, "1.37", sources_delay=0.0) as kubelet, GpuNode(fake_nvml, tmp_path, kubelet) as made:
        made.show(l40s_pcie())
        made.cdi.mkdir()
        (made.cdi / "vendor.json").write_text('{"cdiVersion": "0.5.0", "kind": "vendor.example/net", "devices": []}')
        yield made


def group(node: GpuNode, uid: str) -> Path:
    """Where the control group of a pod is."""
    return Path(node.host.roots.sysfs, "fs/cgroup/kubepods.slice", f"kubepods-pod{uid.replace('-', '_')}.slice")


def serve(node: GpuNode, library: Path) -> Process:
    """A supervisor that has written its spec."""
    install_driver(node, library)
    process = node.start(deviceListStrategy=["cdi-cri"])
    node.wait()
    wait_for(lambda: len(specs(node)) == 1, PATIENCE, "the spec")
    wait_for(lambda: "containers get no GPU" not in node.status(process), PATIENCE, "verified specs")
    return process


def specs(node: GpuNode) -> list[Path]:
    """Those of ours."""
    return sorted(path for path in node.cdi.iterdir() if path.name != "vendor.json")


def cleanup(node: GpuNode, process: Process, *, pace: Pace = QUICK) -> Cleaned:
    """As the command does it, in less time."""
    document = load(str(process.config), required=True)
    config = document.config
    place = Place(
        Path(config.kubelet.device_plugins_dir), config.kubelet.pod_resources_socket, config.host.sysfs, config.host.proc
    )
    lock = take(place.directory, place.proc)
    assert lock is not None
    try:
        return clean(place, asker(document, place.directory), pace)
    finally:
        os.close(lock._descriptor)


def test_stopping_leaves_exactly_what_containers_may_need(node: GpuNode, nvml_library: Path) -> None:
    """Its sockets go. The spec, the notes and the names of the resources stay; a container starts again with its GPU."""
    process = serve(node, nvml_library)
    pod = node.kubelet.add_pod("training", {GPU: 1})
    (spec,) = specs(node)
    before = spec.stat()
    assert process.stop() == 0
    assert spec.stat() == before
    assert specs(node) == [spec]
    directory = node.kubelet.paths.device_plugins
    assert {path.name for path in directory.iterdir()} == {HIDDEN_NAME, *KUBELETS_OWN}
    hidden = directory / HIDDEN_NAME
    left = sorted(str(path.relative_to(hidden)) for path in hidden.rglob("*"))
    assert left == ["memory", "memory/nvidia-gpu.json", "owner.lock"]
    node.kubelet.wait_status(GPU, 0, len(node.nvml.layout.gpus))
    again = node.kubelet.restart_container("training")
    assert again.phase == "Running"
    assert again.containers["main"].options.cdi_devices == pod.containers["main"].options.cdi_devices


def test_the_spec_stays_until_its_pod_has_ended(node: GpuNode, nvml_library: Path) -> None:
    """Then it goes, with all else that is ours, and nothing of anybody else's."""
    process = serve(node, nvml_library)
    pod = node.kubelet.add_pod("training", {GPU: 1})
    group(node, pod.uid).mkdir(parents=True)
    process.kill()
    (spec,) = specs(node)
    cleaned = cleanup(node, process)
    (kept,) = cleaned.kept
    assert (kept.path, kept.reason) == (str(spec), "needed by pod default/training, container main")
    assert spec.exists()
    assert not list(node.kubelet.paths.device_plugins.glob("dps-*"))
    node.kubelet.delete_pod("training")
    group(node, pod.uid).rmdir()
    cleaned = cleanup(node, process)
    assert cleaned.complete, cleaned
    assert {path.name for path in node.kubelet.paths.device_plugins.iterdir()} == KUBELETS_OWN
    assert [path.name for path in node.cdi.iterdir()] == ["vendor.json"]
    status = node.kubelet.node_status()
    assert GPU in status
    assert status[GPU][0] == 0


def test_an_init_containers_gpu_counts(node: GpuNode, nvml_library: Path) -> None:
    """Podresources never lists it; the checkpoint does, for as long as its pod has control groups."""
    process = serve(node, nvml_library)
    pod = node.kubelet.add_pod("loading", init_containers={"load": {GPU: 1}})
    group(node, pod.uid).mkdir(parents=True)
    process.stop()
    (kept,) = cleanup(node, process).kept
    assert kept.reason == f"needed by the pod with UID {pod.uid}, container load (only the kubelet's checkpoint says so)"
    node.kubelet.delete_pod("loading")
    group(node, pod.uid).rmdir()
    assert cleanup(node, process).complete
    assert not specs(node)


def test_a_kubelet_that_has_just_started_is_given_time(node: GpuNode, nvml_library: Path) -> None:
    """Its pods are not known to it at once."""
    process = serve(node, nvml_library)
    process.stop()
    node.kubelet.restart()
    started = node.kubelet.paths.socket.stat().st_ctime
    assert cleanup(node, process, pace=Pace(apart=0.1, quiet=1.0)).complete
    assert not specs(node)
    assert time.time() >= started + 1.0


@pytest.mark.parametrize("options", [(), ("--force",), ("--dry-run",)])
def test_a_running_supervisor_is_left_alone(
    kubelet: KubeletSimulator, served: Process, puppet: Puppet, options: tuple[str, ...]
) -> None:
    """Whatever is asked for; it is named, and goes on as if nothing had happened."""
    directory = kubelet.paths.device_plugins
    before = sorted(directory.rglob("*"))
    command = [sys.executable, "-m", "supervisor", "cleanup", "--json", "--config", str(served.config), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    said = json.loads(done.stdout)["problems"][0] if options == ("--dry-run",) else done.stderr
    assert f"a supervisor runs (process {served.pid}) in {directory}: delete its DaemonSet" in said
    assert sorted(directory.rglob("*")) == before
    kubelet.wait_devices(RESOURCE, HEALTHY)
    puppet.show({"w0": ""})
    kubelet.wait_devices(RESOURCE, {"w0": "Healthy", "w1": "Unhealthy"})
