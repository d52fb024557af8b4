"""The manifests say what the program means: its arguments, paths, ports and probes, its configuration, its updates."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from supervisor import __version__
from supervisor.border.programs import installed
from supervisor.cli import main
from supervisor.config import SupervisorConfig
from supervisor.config_file import DEFAULT_PATH, load
from supervisor.host import Host
from supervisor.profiles import node_name
from supervisor_fpga.operating.settings import settings
from supervisor_nvidia_gpu.cdi.libraries import find
from supervisor_nvidia_gpu.driver_root import MOUNT, DriverRoot
from tests.deploy import monitoring
from tests.deploy.admission import node_fits, update_problems
from tests.deploy.rendering import (
    BASE,
    COMPONENTS,
    FOLDER,
    NAME,
    OVERLAYS,
    Object,
    containers,
    kustomize,
    mounts,
    one,
    pod_spec,
    rendered,
)
from tests.plugins.nvidia_gpu.driver import DRIVER, Place

pytestmark = [pytest.mark.checkout, pytest.mark.requires("kustomize", "patience")]

OURS = f"devices.{NAME}.io"


def config_of(objects: list[Object], folder: Path) -> tuple[Path, SupervisorConfig]:
    """The configuration in the ConfigMap, as a file and as the program reads it."""
    (folder / "config.yaml").write_text(one(objects, "ConfigMap")["data"]["config.yaml"])
    return folder / "config.yaml", load(folder / "config.yaml").config


def paths(objects: list[Object], container: str = "supervisor") -> dict[str, str]:
    """Where a container sees which directory of the host."""
    return {
        mount["mountPath"]: volume["hostPath"]["path"] for mount, volume in mounts(objects, container) if "hostPath" in volume
    }


# --- configuration ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", [BASE, *OVERLAYS])
def test_the_configuration_has_no_mistake(base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the program's own word, the plugins' sections included."""
    path, config = config_of(rendered(base), tmp_path)
    assert main(["check-config", str(path)]) == 0
    assert "fine" in capsys.readouterr().out
    assert config.section("nvidia-gpu").options.enabled is (base == "overlays/nvidia-runtime")
    assert not config.section("infiniband").options.enabled
    assert not config.section("fpga").options.enabled


def test_a_new_user_sees_two_devices_and_takes_nothing_from_others(tmp_path: Path) -> None:
    """Harmless ones, under a name of our own; GPUs, RDMA devices and FPGAs are another's until somebody says otherwise."""
    _, config = config_of(rendered(), tmp_path)
    assert [each["name"] for each in config.section("generic").own["resources"]] == [f"{OURS}/fuse", f"{OURS}/tun"]


@pytest.mark.parametrize("base", [BASE, *OVERLAYS])
def test_the_configuration_finds_what_is_mounted(base: str, tmp_path: Path) -> None:
    """The host's trees, the kubelet's directories, the port that probes and scrapes ask for."""
    objects = rendered(base)
    _, config = config_of(objects, tmp_path)
    seen = paths(objects)
    assert seen[config.host.dev] == "/dev"
    assert seen[config.host.run_udev] == "/run/udev"
    assert config.host.proc == "/proc"
    below = {path.removeprefix(config.host.sysfs): host for path, host in seen.items() if path.startswith(config.host.sysfs)}
    assert {f"/sys{path}" for path in below} == set(below.values()) >= {"/sys/bus", "/sys/class", "/sys/dev", "/sys/devices"}
    assert seen[config.kubelet.device_plugins_dir] == config.kubelet.device_plugins_dir
    assert seen[directory := str(Path(config.kubelet.pod_resources_socket).parent)] == directory
    (port,) = containers(objects)["supervisor"]["ports"]
    assert (config.http.address, port["name"], port["containerPort"]) == (("", 9410), "http", 9410)


def test_the_configuration_is_mounted_where_it_is_looked_for() -> None:
    """As a directory, whose edits are followed; the argument says it, so that a missing file is an error."""
    objects = rendered()
    (mount,) = (mount for mount, volume in mounts(objects) if volume.get("configMap", {}).get("name") == NAME)
    assert mount["mountPath"] == str(Path(DEFAULT_PATH).parent)
    assert containers(objects)["supervisor"]["args"] == ["run", "--config", DEFAULT_PATH]


def test_the_pods_know_on_which_node_they_are(tmp_path: Path) -> None:
    """By the variable that profiles for nodes go by, and Events of their own name; the host name of a pod is no use."""
    objects = rendered()
    facts = {"spec.nodeName": "node-7", "metadata.name": "supervisor-x7"}
    given = {
        each["name"]: facts[each["valueFrom"]["fieldRef"]["fieldPath"]] for each in containers(objects)["supervisor"]["env"]
    }
    path, _ = config_of(objects, tmp_path)
    assert node_name(load(path), given | {"KUBERNETES_SERVICE_HOST": "192.0.2.1"}) == "node-7"
    assert given["POD_NAME"] == "supervisor-x7"


# --- programs ---------------------------------------------------------------------------------------------------------


def test_the_arguments_are_those_of_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """With ``--help`` behind them the program explains them and does no more; a wrong one would be named."""
    found = containers(rendered(components=COMPONENTS))
    told = {name: each["args"] for name, each in found.items() if "args" in each}
    assert told.keys() == {"supervisor", "helper"}
    for arguments in told.values():
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--help"])
        assert ended.value.code == 0
        assert f"usage: {NAME} {arguments[0]}" in capsys.readouterr().out


def test_all_containers_are_of_this_version() -> None:
    """One image for all, with no registry in its name."""
    images = {each["image"] for each in containers(rendered(components=COMPONENTS)).values()}
    assert images == {f"{NAME}:{__version__}"}


@pytest.mark.parametrize("component", ["helper", "nvidia", "fpga-programming"])
def test_the_helper_listens_where_it_is_looked_for(component: str) -> None:
    """Both containers mount the directory of the socket, at the path that is the default of both."""
    objects = rendered(components=[f"components/{component}"])
    directory = str(Path(Host().helper_socket).parent)
    for container in ("supervisor", "helper"):
        (volume,) = (volume for mount, volume in mounts(objects, container) if mount["mountPath"] == directory)
        assert (volume["name"], "emptyDir" in volume) == ("helper-socket", True)


def test_the_helper_can_open_what_the_supervisor_sees() -> None:
    """The host's own device nodes, where drivers' libraries look for them; and the driver wherever it is, or comes to be."""
    objects = rendered(components=["components/nvidia"])
    assert paths(objects, "helper") == {"/dev": "/dev", "/driver-root": "/"}
    propagation = {mount["mountPath"]: mount.get("mountPropagation") for mount, _ in mounts(objects, "helper")}
    assert propagation["/driver-root"] == "HostToContainer"
    assert containers(objects)["helper"]["terminationMessagePath"].startswith("/run/")


def test_fpgas_are_operated_with_the_host_s_own_locks_and_bitstreams() -> None:
    """Where the program looks by itself. Locks are the helper's alone: two pods share them, and the supervisor may not write there."""
    objects = rendered(components=["components/fpga-programming"])
    own = settings({})
    helper, supervisor = paths(objects, "helper"), paths(objects)
    assert helper == {"/dev": "/dev", own.bitstreams: own.bitstreams, own.locks: own.locks}
    assert supervisor.items() >= {(own.bitstreams, own.bitstreams)}
    assert own.locks not in supervisor.values()
    writable = {mount["mountPath"] for mount, _ in mounts(objects, "helper") if not mount.get("readOnly")}
    assert writable == {str(Path(Host().helper_socket).parent), own.locks}
    assert "env" not in containers(objects)["helper"]


def test_programs_that_manifests_name_are_installed() -> None:
    """The helper ends with an error when it is told of one that is not."""
    texts = [path.read_text() for path in sorted(FOLDER.rglob("*")) if path.suffix in {".yaml", ".md"}]
    named = {name for text in texts for name in re.findall(r"--program=([a-z][a-z-]*)", text)}
    assert {"nvidia-nvml", "fpga-operate"} <= named <= installed().keys()


@pytest.mark.parametrize("merged", [True, False], ids=["lib is a link", "lib is a directory"])
def test_the_supervisor_finds_a_driver_in_what_it_sees_of_the_host(tmp_path: Path, merged: bool) -> None:
    """Libraries, programs and firmware for CDI specs: the same as in the whole root, which it does not get."""
    node = Place(tmp_path / "node")
    (node.root / "usr/lib").mkdir(parents=True)
    if merged:
        (node.root / "lib").symlink_to("usr/lib")
    node.install()
    seen = {path: host for path, host in paths(rendered(components=["components/nvidia"])).items() if path.startswith(MOUNT)}
    assert seen
    for path, host in seen.items():
        shutil.copytree(node.root / host[1:], tmp_path / "pod" / path[1:])
    whole, part = (find(root, DRIVER) for root in (node.driver, DriverRoot("/", f"{tmp_path}/pod{MOUNT}")))
    assert (whole.problem, part.problem) == ("", "")
    assert part.libraries == whole.libraries
    assert {each.container_path for each in part.files} == {each.container_path for each in whole.files}


# --- probes and updates -----------------------------------------------------------------------------------------------


def test_probes_ask_what_anybody_may_ask() -> None:
    """Liveness later than the process itself would end, which is after 30 seconds, and within a minute of it."""
    container = containers(rendered())["supervisor"]
    asked = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert asked == {
        "startup": {"path": "/livez", "port": "http"},
        "liveness": {"path": "/livez", "port": "http"},
        "readiness": {"path": "/readyz", "port": "http"},
    }
    liveness = container["livenessProbe"]
    assert 30 < liveness["periodSeconds"] * liveness["failureThreshold"] <= 60


@pytest.mark.parametrize(
    ("components", "rolling"),
    [
        ([], {"maxSurge": 1, "maxUnavailable": 0}),
        (["components/host-network"], {"maxSurge": 0, "maxUnavailable": 1}),
        (list(COMPONENTS), {"maxSurge": 0, "maxUnavailable": 1}),
    ],
)
def test_an_update_is_one_that_api_server_and_scheduler_take(components: list[str], rolling: Mapping[str, int]) -> None:
    """A second pod on the node before the first one goes, except where they would ask for the same port."""
    daemonset = one(rendered(components=components), "DaemonSet")
    assert daemonset["spec"]["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": rolling}
    assert list(update_problems(daemonset)) == []


@pytest.mark.parametrize(
    ("rolling", "problem"),
    [
        ({"maxSurge": 0, "maxUnavailable": 0}, "maxUnavailable cannot be 0"),
        ({"maxSurge": 1, "maxUnavailable": 1}, "maxSurge may not be set"),
        ({"maxSurge": "10%"}, "maxSurge may not be set"),  # since maxUnavailable is 1 if it is not given
        ({"maxSurge": 1, "maxUnavailable": 0}, "never scheduled: no free port [9410]"),
    ],
)
def test_other_pairs_are_refused(rolling: dict[str, Any], problem: str) -> None:
    """The rule that the test above holds the manifests to is one: on the node's network, each of these fails."""
    daemonset = one(rendered(components=["components/host-network"]), "DaemonSet")
    daemonset["spec"]["updateStrategy"]["rollingUpdate"] = rolling
    assert problem in next(update_problems(daemonset))


def test_the_pod_is_where_the_hardware_is_and_stays_there() -> None:
    """Whatever taints a node has; pods that need devices come after it, and memory does not end it."""
    pod = pod_spec(rendered())
    assert pod["tolerations"] == [{"operator": "Exists"}]
    assert pod["priorityClassName"] == "system-node-critical"
    resources = containers(rendered())["supervisor"]["resources"]
    assert resources == {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}}


LINUX = {"kubernetes.io/os": "linux", "kubernetes.io/hostname": "a"}
NODES: dict[str, tuple[dict[str, str], bool]] = {
    "a machine": (LINUX, True),
    "a machine in another data centre": (LINUX | {"eks.amazonaws.com/compute-type": "hybrid"}, True),
    "a machine of another kind": (LINUX | {"type": "gpu"}, True),
    "Windows": ({"kubernetes.io/os": "windows"}, False),
    "no machine": (LINUX | {"type": "virtual-kubelet"}, False),
    "a machine for one pod": (LINUX | {"eks.amazonaws.com/compute-type": "fargate"}, False),
    "no labels": ({}, False),
}
"""Labels of nodes, and whether there is hardware to offer and a kubelet to offer it to."""


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("folder", ["base", "cleanup", *OVERLAYS])
def test_pods_are_placed_where_a_kubelet_has_hardware(folder: str, node: str) -> None:
    """They tolerate every taint, so that what keeps others from nodes which are none would not keep them."""
    labels, expected = NODES[node]
    (daemonset,) = (each for each in kustomize(FOLDER / folder) if each["kind"] == "DaemonSet")
    assert node_fits(daemonset["spec"]["template"]["spec"], labels | {"nvidia.com/gpu.present": "true"}) is expected


@pytest.mark.parametrize("components", [[], list(COMPONENTS)], ids=["base", "all"])
def test_every_container_says_what_it_takes(components: list[str]) -> None:
    """Requests for both, a limit for memory, and none for CPU."""
    for container in containers(rendered(components=components)).values():
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert container["resources"]["limits"].keys() == {"memory"}


# --- labels -----------------------------------------------------------------------------------------------------------


def test_selectors_find_our_pods() -> None:
    """Those of the DaemonSet, of the network policy and of the monitor; the alerts need the job that follows from a label."""
    objects = rendered(components=["monitoring"])
    template = one(objects, "DaemonSet")["spec"]["template"]["metadata"]
    monitor = one(objects, "PodMonitor")
    for selector in (
        one(objects, "DaemonSet")["spec"]["selector"],
        one(objects, "NetworkPolicy")["spec"]["podSelector"],
        monitor["spec"]["selector"],
    ):
        assert selector["matchLabels"].items() <= template["labels"].items()
    assert monitor["metadata"]["namespace"] == one(objects, "DaemonSet")["metadata"]["namespace"] == NAME
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert [endpoint["port"]] == [port["name"] for port in containers(objects)["supervisor"]["ports"]]
    job = template["labels"][monitor["spec"]["jobLabel"]]
    assert f'job="{job}"' in monitoring.RULES.read_text()


def test_scrapes_and_probes_may_come_in() -> None:
    """To the one port, by its name, from anywhere."""
    (rule,) = one(rendered(), "NetworkPolicy")["spec"]["ingress"]
    assert rule == {"ports": [{"protocol": "TCP", "port": "http"}]}


def test_objects_have_the_labels_that_people_look_for() -> None:
    """Name and part-of on all of them; whoever applies them may add its own."""
    for each in rendered(components=[name for name in COMPONENTS if name != "monitoring"]):
        labels = each["metadata"]["labels"]
        assert {labels[f"app.kubernetes.io/{key}"] for key in ("name", "part-of")} == {NAME}


def test_each_part_says_what_it_is_for() -> None:
    """In the first lines of its kustomization, for want of a better place."""
    for path in sorted(FOLDER.rglob("kustomization.yaml")):
        assert path.read_text().startswith("# "), path
