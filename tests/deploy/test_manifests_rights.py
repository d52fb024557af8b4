"""What the pods may do: no more than they need, and what a component adds is what its name says."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from supervisor.cluster.account import SERVICE_ACCOUNT
from tests.deploy.admission import SCC_SCHEMA, constraint_problems, host_ports
from tests.deploy.rendering import (
    COMPONENTS,
    FOLDER,
    NAME,
    OVERLAYS,
    Object,
    containers,
    mounts,
    one,
    pod_spec,
    rendered,
)
from tests.jsonschema import violations

pytestmark = [pytest.mark.checkout, pytest.mark.requires("kustomize", "patience")]

OPENSHIFT = "overlays/openshift"
EVERYTHING = {"base": [], "all": list(COMPONENTS)} | {each: [each] for each in COMPONENTS}
API_ACCESS = {"components/api-access", "components/events", "components/node-labels", "components/node-condition"}
HELPERS = {"components/helper", "components/nvidia", "components/fpga-programming"}
LABEL = FOLDER / "components/cdi/label.py"

with_components = pytest.mark.parametrize("components", EVERYTHING.values(), ids=EVERYTHING)


def rules(objects: list[Object]) -> set[tuple[str, str]]:
    """All that the service account may do, as verbs of resources."""
    return {
        (resource, verb)
        for each in objects
        if each["kind"] == "ClusterRole"
        for rule in each["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def token_mounts(objects: list[Object], container: str) -> list[tuple[Object, list[Object]]]:
    """The mounts by which a container gets a token of the API server, with all that is in them."""
    found = ((mount, volume.get("projected", {}).get("sources", [])) for mount, volume in mounts(objects, container))
    return [(mount, sources) for mount, sources in found if any("serviceAccountToken" in source for source in sources)]


# --- privileges -------------------------------------------------------------------------------------------------------


@with_components
def test_no_container_but_the_helper_has_a_privilege(components: list[str]) -> None:
    """No capability, no way to get one, a root that cannot be written, the runtime's seccomp profile."""
    objects = rendered(components=components)
    found = containers(objects)
    assert ("helper" in found) == bool(HELPERS & set(components))
    for name, container in found.items():
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        assert context["privileged"] is (name == "helper")
        if name != "helper":
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
    pod = pod_spec(objects)
    shared = {key: value for key, value in pod["securityContext"].items() if key != "seLinuxOptions"}
    assert shared == {"runAsUser": 0, "runAsGroup": 0, "seccompProfile": {"type": "RuntimeDefault"}}
    assert not {"hostPID", "hostIPC", "shareProcessNamespace"} & pod.keys()


@with_components
def test_only_one_component_takes_the_nodes_network(components: list[str]) -> None:
    """Nor does any other take a port of the node."""
    pod = pod_spec(rendered(components=components))
    wanted = "components/host-network" in components
    assert pod.get("hostNetwork", False) is wanted
    assert bool(list(host_ports(pod))) is wanted
    assert not any("hostPort" in port for each in pod["containers"] for port in each.get("ports", ()))


def test_the_namespace_asks_for_what_host_paths_need() -> None:
    """Pod Security's baseline forbids hostPath and nothing else of the base, so ``privileged`` is asked for."""
    objects = rendered()
    labels = one(objects, "Namespace")["metadata"]["labels"]
    assert {labels[f"pod-security.kubernetes.io/{mode}"] for mode in ("enforce", "audit", "warn")} == {"privileged"}
    assert any("hostPath" in volume for volume in pod_spec(objects)["volumes"])


# --- mounts -----------------------------------------------------------------------------------------------------------


@with_components
def test_the_supervisor_writes_only_where_its_work_is(components: list[str]) -> None:
    """The kubelet's directory for plugins; with ``cdi`` the directories for specs."""
    writable = {mount["mountPath"] for mount, _ in mounts(rendered(components=components)) if not mount.get("readOnly")}
    cdi = {"/var/run/cdi", "/var/run/k8s.cni.cncf.io/devinfo/dp"} if "components/cdi" in components else set()
    assert writable == {"/var/lib/kubelet/device-plugins"} | cdi


@with_components
def test_directories_of_the_host_are_mounted_and_never_sockets(components: list[str]) -> None:
    """A new kubelet or daemon makes a new socket, which a mounted one does not become. The type is always said."""
    objects = rendered(components=components)
    paths = [volume["hostPath"] for volume in pod_spec(objects)["volumes"] if "hostPath" in volume]
    assert {path["type"] for path in paths} <= {"Directory", "DirectoryOrCreate"}
    assert not any(path["path"].endswith((".sock", "/socket")) for path in paths)
    assert not any("subPath" in mount for name in containers(objects) for mount, _ in mounts(objects, name))


@with_components
def test_nothing_writable_of_the_host_comes_with_a_read_only_mount(components: list[str]) -> None:
    """``readOnly`` spares what is mounted below: so never /, /sys, /run or /proc, but for what one component says it does."""
    paths = {volume.get("hostPath", {}).get("path") for _, volume in mounts(rendered(components=components))}
    assert not paths & {"/", "/sys", "/run", "/var", "/var/run", "/proc", "/var/lib/kubelet", "/etc"}
    assert ("/run/nvidia" in paths) == ("components/nvidia-driver-container" in components)


@with_components
def test_the_helper_has_nothing_of_the_kubelets(components: list[str]) -> None:
    """It shares a directory with the supervisor for its socket, and no port, token or configuration."""
    objects = rendered(components=components)
    if "helper" not in containers(objects):
        return
    seen = {mount["mountPath"]: volume for mount, volume in mounts(objects, "helper")}
    ours = {mount["mountPath"]: mount for mount, _ in mounts(objects)}
    assert ours["/run/device-plugin-supervisor"]["readOnly"]
    assert "emptyDir" in seen["/run/device-plugin-supervisor"]
    assert not any("configMap" in volume for volume in seen.values())
    assert not any("kubelet" in path for path in seen)
    assert "ports" not in containers(objects)["helper"]


# --- the cluster's API ------------------------------------------------------------------------------------------------


@with_components
def test_a_token_and_a_way_out_come_with_components_that_need_them(components: list[str]) -> None:
    """Else there is neither, whatever the service account would allow; and the token is for the supervisor, not for its helper."""
    objects = rendered(components=components)
    wanted = bool(API_ACCESS & set(components))
    assert pod_spec(objects)["automountServiceAccountToken"] is False  # it would be mounted in every container
    assert one(objects, "ServiceAccount")["automountServiceAccountToken"] is False
    assert {name for name in containers(objects) if token_mounts(objects, name)} == ({"supervisor"} if wanted else set())
    policy = one(objects, "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert bool(policy["egress"]) is wanted


def test_the_account_is_where_it_is_looked_for() -> None:
    """The three files that the kubelet puts there by itself; the token ends within the hour, and is renewed by then."""
    ((mount, sources),) = token_mounts(rendered(components=["components/events"]), "supervisor")
    assert (mount["mountPath"], mount["readOnly"]) == (str(SERVICE_ACCOUNT), True)
    by_kind = {kind: source for each in sources for kind, source in each.items()}
    assert by_kind.keys() == {"serviceAccountToken", "configMap", "downwardAPI"}
    # API servers take the 3607 that the kubelet asks for as leave to prolong it to a year, for clients that never look again.
    assert by_kind["serviceAccountToken"] == {"path": "token", "expirationSeconds": 3600}
    assert by_kind["configMap"] == {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    (item,) = by_kind["downwardAPI"]["items"]
    assert (item["path"], item["fieldRef"]["fieldPath"]) == ("namespace", "metadata.namespace")


@pytest.mark.parametrize(
    ("component", "allowed"),
    [
        ("events", {("events", "create"), ("events", "patch"), ("pods", "get")}),
        ("node-labels", {("nodes", "get")}),
        ("node-condition", {("nodes", "get"), ("nodes/status", "patch")}),
    ],
)
def test_each_right_is_given_by_name(component: str, allowed: set[tuple[str, str]]) -> None:
    """To our service account and nobody else; no list, no watch, no secrets."""
    objects = rendered(components=[f"components/{component}"])
    assert rules(objects) == allowed
    binding = one(objects, "ClusterRoleBinding", f"{NAME}-{component}")
    assert binding["roleRef"]["name"] == one(objects, "ClusterRole", f"{NAME}-{component}")["metadata"]["name"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": NAME, "namespace": NAME}]


def test_nothing_else_gives_rights() -> None:
    """All other components together bring no role."""
    others = [each for each in COMPONENTS if each not in API_ACCESS]
    assert rules(rendered(components=others)) == set()


# --- OpenShift --------------------------------------------------------------------------------------------------------


@with_components
def test_openshift_admits_the_pods(components: list[str]) -> None:
    """Under our constraints, which have only fields that there are, with every component."""
    objects = rendered(OPENSHIFT, components)
    scc = one(objects, "SecurityContextConstraints")
    assert list(violations(scc, SCC_SCHEMA)) == []
    assert list(constraint_problems(scc, pod_spec(objects))) == []


def test_openshift_admits_nothing_that_nobody_asked_for() -> None:
    """The constraints of the overlay refuse each component that needs more, which brings that along by itself."""
    scc = one(rendered(OPENSHIFT), "SecurityContextConstraints")
    refused = {
        component for component in COMPONENTS if list(constraint_problems(scc, pod_spec(rendered(OPENSHIFT, [component]))))
    }
    assert refused == HELPERS | {"components/cdi", "components/host-network"}


def test_openshift_gives_the_constraints_to_our_account_alone() -> None:
    """By name; the pods say that they want these, and the namespace that its labels stay."""
    objects = rendered(OPENSHIFT)
    scc = one(objects, "SecurityContextConstraints")
    assert (scc["users"], scc["groups"]) == ([f"system:serviceaccount:{NAME}:{NAME}"], [])
    annotations = one(objects, "DaemonSet")["spec"]["template"]["metadata"]["annotations"]
    assert annotations["openshift.io/required-scc"] == scc["metadata"]["name"]
    namespace = one(objects, "Namespace")["metadata"]
    assert namespace["labels"]["security.openshift.io/scc.podSecurityLabelSync"] == "false"
    assert namespace["annotations"]["openshift.io/node-selector"] == ""


def test_the_type_of_selinux_is_that_of_device_plugins() -> None:
    """With level s0, so that the two pods of a hand-over share the directory; the privileged one has its own type."""
    objects = rendered(OPENSHIFT, ["components/nvidia"])
    assert pod_spec(objects)["securityContext"]["seLinuxOptions"] == {"type": "container_device_plugin_t", "level": "s0"}
    assert "seLinuxOptions" not in containers(objects)["supervisor"]["securityContext"]
    assert containers(objects)["helper"]["securityContext"]["seLinuxOptions"] == {"type": "spc_t", "level": "s0"}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"hostNetwork": True}, "hostNetwork is not allowed"),
        ({"hostPID": True}, "hostPID is not allowed"),
        ({"volumes": [{"name": "x", "nfs": {}}]}, "volumes of the type nfs are not allowed"),
        ({"securityContext": {"runAsUser": 1, "seccompProfile": {"type": "RuntimeDefault"}}}, "supervisor: runs as 1"),
    ],
)
def test_the_constraints_are_held_to(change: dict[str, Any], problem: str) -> None:
    """What admits our pods refuses others: the check above is one."""
    objects = rendered(OPENSHIFT)
    assert problem in constraint_problems(one(objects, "SecurityContextConstraints"), pod_spec(objects) | change)


def test_the_runtime_overlay_has_no_privileged_container() -> None:
    """NVIDIA's runtime gives the devices: the helper is not needed."""
    assert "overlays/nvidia-runtime" in OVERLAYS
    objects = rendered("overlays/nvidia-runtime")
    assert containers(objects).keys() == {"supervisor"}
    assert pod_spec(objects)["runtimeClassName"] == "nvidia"
    # The runtime ends a container that asks for MIG's monitor, or its configuration, without CAP_SYS_ADMIN.
    asked = {each["name"] for each in containers(objects)["supervisor"]["env"]}
    assert {name for name in asked if name.startswith("NVIDIA_")} == {"NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES"}


# --- labels of directories --------------------------------------------------------------------------------------------


def labelled(*paths: Path) -> str:
    """Run the script as its container does, and return what it says."""
    done = subprocess.run([sys.executable, LABEL, *paths], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def may_label(folder: Path) -> bool:
    """Whether this process may write SELinux's attribute, be SELinux on or not."""
    try:
        os.setxattr(folder, "security.selinux", b"system_u:object_r:var_run_t:s0\0")
    except OSError:
        return False
    return True


@pytest.mark.root
def test_directories_get_the_label_that_containers_may_write_to(tmp_path: Path) -> None:
    """Those with another label; a second run has nothing to do."""
    if not may_label(tmp_path):
        pytest.skip("needs leave to write the attribute security.selinux")
    assert labelled(tmp_path) == f"{tmp_path}: labelled system_u:object_r:container_file_t:s0\n"
    assert os.getxattr(tmp_path, "security.selinux") == b"system_u:object_r:container_file_t:s0\0"
    assert labelled(tmp_path) == ""


def test_without_labels_nothing_is_done(tmp_path: Path) -> None:
    """SELinux is off: no directory has a label, and none gets one."""
    (folder := tmp_path / "plain").mkdir()
    if "security.selinux" in os.listxattr(folder):
        pytest.skip("needs a machine without SELinux")
    assert labelled(folder) == ""
    assert "security.selinux" not in os.listxattr(folder)


def test_a_label_that_cannot_be_written_keeps_nothing_from_starting(tmp_path: Path) -> None:
    """It is told, and the other directories get theirs."""
    assert (
        labelled(tmp_path / "absent", tmp_path).splitlines()[0] == f"{tmp_path}/absent: not labelled: No such file or directory"
    )


def test_the_script_in_the_config_map_is_the_one_that_is_tested() -> None:
    """And the container runs it, with the directories that it mounts."""
    objects = rendered(components=["components/cdi"])
    assert one(objects, "ConfigMap", f"{NAME}-cdi")["data"] == {"label.py": LABEL.read_text()}
    command = containers(objects)["label-directories"]["command"]
    mounted = {mount["mountPath"] for mount, _ in mounts(objects, "label-directories")}
    assert command[0] == "python3"
    assert {str(Path(command[1]).parent), *command[2:]} == mounted
