"""The clean-up of all nodes: what it may do, and that what it runs is what is tested."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from supervisor.cli import main
from supervisor.config_file import load
from tests.deploy.admission import SCC_SCHEMA, constraint_problems
from tests.deploy.rendering import BASE, FOLDER, NAME, Object, kustomize, one, rendered
from tests.jsonschema import violations

pytestmark = [pytest.mark.checkout, pytest.mark.requires("kustomize", "patience")]

CLEANUP = f"{NAME}-cleanup"
PLAIN, OPENSHIFT = "cleanup", "overlays/openshift-cleanup"
WRITABLE = {"/var/lib/kubelet/device-plugins", "/var/run/cdi", "/var/run/k8s.cni.cncf.io/devinfo/dp"}


def pod(objects: list[Object]) -> dict[str, Any]:
    """What the DaemonSet says of its pods."""
    spec: dict[str, Any] = one(objects, "DaemonSet", CLEANUP)["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize("folder", [PLAIN, OPENSHIFT])
def test_no_container_has_a_privilege(folder: str) -> None:
    """No capability, no token, no network, a root that cannot be written."""
    objects = kustomize(FOLDER / folder)
    spec = pod(objects)
    for container in (*spec["initContainers"], *spec["containers"]):
        assert container["securityContext"] == {
            "privileged": False,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
    assert spec["automountServiceAccountToken"] is False
    assert not {"hostPID", "hostIPC", "hostNetwork", "shareProcessNamespace"} & spec.keys()
    assert {each["kind"] for each in objects} & {"Role", "ClusterRole"} == set()
    policy = one(objects, "NetworkPolicy", CLEANUP)["spec"]
    assert (policy["ingress"], policy["egress"]) == ([], [])


def test_it_writes_only_where_something_of_ours_may_lie() -> None:
    """Directories of the host at the paths that they have in the supervisor's pods; never a socket."""
    spec = pod(kustomize(FOLDER / PLAIN))
    volumes = {each["name"]: each for each in spec["volumes"]}
    mounts = spec["initContainers"][0]["volumeMounts"]
    assert {each["mountPath"] for each in mounts if not each.get("readOnly")} == WRITABLE
    for each in mounts:
        path = volumes[each["name"]].get("hostPath", {}).get("path")
        assert path in {None, each["mountPath"], each["mountPath"].removeprefix("/host")}
    ours = rendered(BASE, ["components/cdi"])
    supervisor = one(ours, "DaemonSet")["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
    assert {each["mountPath"] for each in supervisor if not each.get("readOnly")} == WRITABLE


def test_a_pod_is_ready_when_its_node_is_clean() -> None:
    """The command comes first, in the supervisor's own image, on each node where the supervisor may have been."""
    spec = pod(kustomize(FOLDER / PLAIN))
    supervisor = one(rendered(), "DaemonSet")["spec"]["template"]["spec"]
    (first,), (then,) = spec["initContainers"], spec["containers"]
    assert first["args"][0] == "cleanup"
    assert first["image"] == then["image"] == supervisor["containers"][0]["image"]
    assert spec["tolerations"] == supervisor["tolerations"]
    assert spec["nodeSelector"] == supervisor["nodeSelector"]


def test_the_arguments_and_the_configuration_are_understood(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The very ones, in a directory where there is nothing to do."""
    objects = kustomize(FOLDER / PLAIN)
    data = one(objects, "ConfigMap", CLEANUP)["data"]["config.yaml"]
    config = tmp_path / "config.yaml"
    config.write_text(data)
    assert load(str(config), required=True).config.host.sysfs == "/host/sys"
    arguments = [str(config) if each.endswith("/config.yaml") else each for each in pod(objects)["initContainers"][0]["args"]]
    assert main([*arguments, "--device-plugins-dir", str(tmp_path)]) == 0
    assert "Nothing of the supervisor is left" in capsys.readouterr().out


def test_it_ends_at_once_when_it_is_deleted() -> None:
    """The container that only waits hears the signal, although it is the first process there."""
    command = pod(kustomize(FOLDER / PLAIN))["containers"][0]["command"]
    with subprocess.Popen([sys.executable, *command[1:]]) as process:
        process.terminate()
        assert process.wait(30) in {0, -15}  # by its own handler, or before that was there


def test_it_takes_nothing_of_a_supervisor_along() -> None:
    """Both can be deleted, one without the other, but for the namespace; no selector takes the other's pods."""
    mine = {(each["kind"], each["metadata"]["name"]) for each in kustomize(FOLDER / PLAIN)}
    theirs = {(each["kind"], each["metadata"]["name"]) for each in rendered()}
    assert mine & theirs == {("Namespace", NAME)}
    selector = one(rendered(), "DaemonSet")["spec"]["selector"]["matchLabels"]
    labels = one(kustomize(FOLDER / PLAIN), "DaemonSet", CLEANUP)["spec"]["template"]["metadata"]["labels"]
    assert not selector.items() <= labels.items()


def test_openshift_admits_it() -> None:
    """Under constraints of its own, for its account alone."""
    objects = kustomize(FOLDER / OPENSHIFT)
    scc = one(objects, "SecurityContextConstraints", CLEANUP)
    assert list(violations(scc, SCC_SCHEMA)) == []
    assert list(constraint_problems(scc, pod(objects))) == []
    assert scc["users"] == [f"system:serviceaccount:{NAME}:{CLEANUP}"]
    annotations = one(objects, "DaemonSet", CLEANUP)["spec"]["template"]["metadata"]["annotations"]
    assert annotations["openshift.io/required-scc"] == CLEANUP


def test_all_files_are_yaml_of_one_object() -> None:
    """Each file says in its name what it holds."""
    for path in sorted((FOLDER / PLAIN).glob("*.yaml")):
        kind = yaml.safe_load(path.read_text())["kind"].lower()
        assert kind in {path.stem, "supervisorconfig"}
