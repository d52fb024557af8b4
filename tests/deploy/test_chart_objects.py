"""Whatever values are set, what the chart makes is what Kubernetes knows, in all versions that the chart is for."""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.deploy.admission import SCC_SCHEMA, constraint_problems, node_fits, update_problems
from tests.deploy.chart import hooks, is_hook, objects
from tests.jsonschema import violations as violations_of

pytestmark = [pytest.mark.checkout, pytest.mark.requires("helm", "kubernetes_validate", "patience")]

OTHERS = {"monitoring.coreos.com", "security.openshift.io"}
"""Groups of resources that Kubernetes itself does not know."""
CLUSTER_WIDE = {"Namespace", "ClusterRole", "ClusterRoleBinding", "SecurityContextConstraints"}

SWITCHES = (
    *("namespace.create", "events.enabled", "nodeLabels.enabled", "nvidia.enabled", "fpgaProgramming.enabled", "cdi.enabled"),
    *("helper.enabled", "hostNetwork.enabled", "selinux.enabled", "openshift.enabled", "monitoring.enabled", "cleanup.enabled"),
)
EVERY_FIELD: dict[str, Any] = {
    "image": {"repository": "registry.example.com:5000/a/b", "digest": f"sha256:{'0' * 64}", "pullPolicy": "Always"},
    "imagePullSecrets": [{"name": "registry"}],
    "fullnameOverride": "devices",
    "namespaceOverride": "hardware",
    "commonLabels": {"team": "nodes"},
    "kubelet": {"devicePluginsDir": "/data/device-plugins", "podResourcesDir": "/data/pod-resources"},
    "http": {"port": 9999, "tls": {"secretName": "certificate"}, "auth": {"secretName": "tokens", "clientCaKey": "ca.crt"}},
    "networkPolicy": {"from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]},
    "nodeCondition": "example.com/DevicesHealthy",
    "helper": {
        "programs": ["nvidia-nvml", "fpga-operate"],
        "resources": {"limits": {"memory": "1Gi"}},
        "env": [{"name": "FPGA_COMMAND", "value": "/mine/program"}],
        "extraVolumeMounts": [{"name": "mine", "mountPath": "/mine", "readOnly": True}],
    },
    "monitoring": {"labels": {"release": "prometheus"}, "tlsConfig": {"insecureSkipVerify": True}},
    "serviceAccount": {"name": "devices-account", "annotations": {"example.com/why": "because"}},
    "resources": {"requests": {"cpu": 0.5, "memory": "100Mi"}, "limits": {"memory": "1Gi", "cpu": 2}},
    "priorityClassName": "",
    "nodeSelector": {"example.com/pool": "hardware"},
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "example.com/virtual", "operator": "DoesNotExist"}]}]
            }
        }
    },
    "tolerations": [
        {"key": "nvidia.com/gpu", "operator": "Equal", "value": "true", "effect": "NoExecute", "tolerationSeconds": 5}
    ],
    "updateStrategy": {"type": "OnDelete"},
    "terminationGracePeriodSeconds": 60,
    "minReadySeconds": 0,
    "podAnnotations": {"example.com/note": "yes"},
    "podLabels": {"example.com/tier": "1"},
    "env": [{"name": "A", "value": "b"}],
    "extraVolumes": [{"name": "mine", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "mine", "mountPath": "/mine"}],
    "cleanup": {"seconds": 60},
}


def merged(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings in mappings together, the last one's values over the others'."""
    whole: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            both = isinstance(value, Mapping) and isinstance(whole.get(key), Mapping)
            whole[key] = merged(whole[key], value) if both else value
    return whole


def on(*switches: str) -> dict[str, Any]:
    """The values that set these."""
    return merged(*({name: {key: True}} for name, _, key in (switch.partition(".") for switch in switches)))


@cache
def versions() -> tuple[str, ...]:
    """Of Kubernetes, oldest first, whose schemas are here."""
    from kubernetes_validate.utils import all_versions  # only where the tests are not skipped

    return tuple(dict.fromkeys(".".join(each.split(".")[:2]) for each in all_versions()))


@cache
def _violation(text: str, version: str) -> str:
    import kubernetes_validate

    try:
        kubernetes_validate.validate(json.loads(text), version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return f"{version}: {error.message} at {'/'.join(map(str, error.path))}"
    return ""


def violations(found: list[dict[str, Any]], among: tuple[str, ...]) -> Iterator[str]:
    """What these versions would refuse."""
    for each in found:
        if each["apiVersion"].partition("/")[0] not in OTHERS:
            yield from filter(None, (_violation(json.dumps(each, sort_keys=True), version) for version in among))


def the_daemonset(found: list[dict[str, Any]]) -> dict[str, Any]:
    """The supervisor's."""
    (daemonset,) = (each for each in found if each["kind"] == "DaemonSet" and not is_hook(each))
    return daemonset


def everything(values: dict[str, Any]) -> list[dict[str, Any]]:
    """Hooks, too."""
    return objects(values) + hooks(values)


@pytest.mark.parametrize(
    "values", [{}, on(*SWITCHES), merged(on(*SWITCHES), EVERY_FIELD)], ids=["default", "all", "every field"]
)
def test_every_version_takes_the_objects(values: dict[str, Any]) -> None:
    """Strictly: an unknown field is an error, too; and updates are possible ones."""
    assert versions()[0] == "1.25"
    found = everything(values)
    assert list(violations(found, versions())) == []
    updated = [each for each in found if each["kind"] == "DaemonSet" and "rollingUpdate" in each["spec"]["updateStrategy"]]
    assert updated
    assert [problem for each in updated for problem in update_problems(each)] == []


@given(st.sets(st.sampled_from(SWITCHES)))
@settings(max_examples=20, deadline=None)
def test_any_switches_make_good_objects_together(switches: set[str]) -> None:
    """For the oldest and the newest version, with no object twice, and an update that the API server takes."""
    found = everything(on(*switches))
    assert list(violations(found, (versions()[0], versions()[-1]))) == []
    assert list(update_problems(the_daemonset(found))) == []
    keys = [(each["kind"], each["metadata"]["name"]) for each in found]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("switch", [None, "nvidia.enabled", "cdi.enabled", "hostNetwork.enabled", "events.enabled"])
def test_openshifts_constraints_let_the_pods_in(switch: str | None) -> None:
    """Those of the chart, whatever else is switched on; and those without it do not, where it asks for more."""
    switches = ("openshift.enabled", *filter(None, [switch]))
    found = objects(on(*switches))
    (scc,) = (each for each in found if each["kind"] == "SecurityContextConstraints")
    assert not list(violations_of(scc, SCC_SCHEMA))
    assert list(constraint_problems(scc, the_daemonset(found)["spec"]["template"]["spec"])) == []
    (least,) = (each for each in objects(on("openshift.enabled")) if each["kind"] == "SecurityContextConstraints")
    wider = {"nvidia.enabled", "cdi.enabled", "hostNetwork.enabled"}
    assert (scc != least) == (switch in wider)


def test_a_field_that_is_not_known_is_seen() -> None:
    """The check of the schemas does check."""
    pods = the_daemonset(objects())
    pods["spec"]["template"]["spec"]["hostNetwrk"] = True
    assert list(violations([pods], versions()[-1:])) != []


def test_values_reach_their_fields() -> None:
    """Those that are handed on as they are."""
    daemonset = the_daemonset(objects(EVERY_FIELD))
    template = daemonset["spec"]["template"]
    pod = template["spec"]
    (container,) = pod["containers"]
    assert container["image"] == f"registry.example.com:5000/a/b@sha256:{'0' * 64}"
    assert container["imagePullPolicy"] == "Always"
    assert container["resources"] == EVERY_FIELD["resources"]
    assert container["ports"] == [{"name": "http", "containerPort": 9999, "protocol": "TCP"}]
    assert EVERY_FIELD["env"][0] in container["env"]
    assert EVERY_FIELD["extraVolumeMounts"][0] in container["volumeMounts"]
    assert EVERY_FIELD["extraVolumes"][0] in pod["volumes"]
    for name in ("imagePullSecrets", "affinity", "tolerations", "terminationGracePeriodSeconds"):
        assert pod[name] == EVERY_FIELD[name]
    assert pod["nodeSelector"] == {"kubernetes.io/os": "linux", **EVERY_FIELD["nodeSelector"]}
    assert "priorityClassName" not in pod
    assert daemonset["spec"]["updateStrategy"] == EVERY_FIELD["updateStrategy"]
    assert daemonset["spec"]["minReadySeconds"] == 0
    assert EVERY_FIELD["podAnnotations"].items() <= template["metadata"]["annotations"].items()
    labels = EVERY_FIELD["podLabels"] | EVERY_FIELD["commonLabels"]
    assert labels.items() <= template["metadata"]["labels"].items()
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounted = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
    for path in EVERY_FIELD["kubelet"].values():
        assert mounted[path]["hostPath"]["path"] == path


def test_names_and_namespaces_follow_the_release() -> None:
    """Every object is in one namespace, and its name begins with the release's."""
    for values, release, name, namespace in (
        ({}, "device-plugin-supervisor", "device-plugin-supervisor", "devices"),
        ({}, "gpus", "gpus-device-plugin-supervisor", "devices"),
        ({"fullnameOverride": "short", "namespaceOverride": "elsewhere"}, "gpus", "short", "elsewhere"),
    ):
        found = objects(merged(on(*SWITCHES), values), name=release, namespace="devices")
        found += hooks(merged(on(*SWITCHES), values), name=release, namespace="devices")
        for each in found:
            if each["kind"] == "Namespace":
                assert each["metadata"]["name"] == namespace
                continue
            assert each["metadata"]["name"].startswith(name)
            assert each["metadata"].get("namespace") == (None if each["kind"] in CLUSTER_WIDE else namespace)


def test_pods_are_selected_and_described_by_their_labels() -> None:
    """The DaemonSet, the network policy and the PodMonitor mean the same pods, and only this release's."""
    found = {each["kind"]: each for each in objects(on(*SWITCHES))}
    labels = found["DaemonSet"]["spec"]["template"]["metadata"]["labels"]
    for selector in (
        found["DaemonSet"]["spec"]["selector"],
        found["NetworkPolicy"]["spec"]["podSelector"],
        found["PodMonitor"]["spec"]["selector"],
    ):
        assert selector["matchLabels"].items() <= labels.items()
        assert selector["matchLabels"]["app.kubernetes.io/instance"] == "device-plugin-supervisor"


def test_no_pod_is_placed_where_there_is_no_node() -> None:
    """Those that clean up and wait for it included; an affinity of the user's takes the place of ours."""
    virtual = {"kubernetes.io/os": "linux", "type": "virtual-kubelet"}
    placed = [each for each in everything(on("cleanup.enabled")) if each["kind"] in {"DaemonSet", "Job"}]
    assert len(placed) == 3
    for each in placed:
        pod = each["spec"]["template"]["spec"]
        assert node_fits(pod, virtual | {"type": "machine"})
        assert not node_fits(pod, virtual)
    term = {"matchExpressions": [{"key": "type", "operator": "In", "values": ["virtual-kubelet"]}]}
    wanted = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}
    assert node_fits(the_daemonset(objects({"affinity": wanted}))["spec"]["template"]["spec"], virtual)


def test_no_container_but_the_supervisor_has_a_token() -> None:
    """Whatever is switched on; the Job that waits for the clean-up is a pod of its own with one container."""
    for each in everything(on(*SWITCHES)):
        if each["kind"] not in {"DaemonSet", "Job"}:
            continue
        pod = each["spec"]["template"]["spec"]
        tokens = {
            volume["name"]
            for volume in pod["volumes"]
            if any("serviceAccountToken" in source for source in volume.get("projected", {}).get("sources", ()))
        }
        holders = {
            container["name"]
            for container in (*pod["containers"], *pod.get("initContainers", ()))
            if pod["automountServiceAccountToken"] or tokens & {mount["name"] for mount in container.get("volumeMounts", ())}
        }
        assert holders == {"device-plugin-supervisor": {"supervisor"}, "device-plugin-supervisor-cleanup": set()}[
            each["metadata"]["name"]
        ] | ({"wait"} if each["kind"] == "Job" else set())


def test_only_the_helper_is_privileged() -> None:
    """Whatever is switched on: all other containers are without capabilities, and none writes to its image."""
    for each in everything(on(*SWITCHES)):
        template = each["spec"].get("template") if each["kind"] in {"DaemonSet", "Job"} else None
        for container in (*template["spec"]["containers"], *template["spec"].get("initContainers", ())) if template else ():
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] is True
            if container["name"] == "helper":
                assert security["privileged"] is True
            else:
                assert (security["privileged"], security["allowPrivilegeEscalation"]) == (False, False)
                assert security["capabilities"] == {"drop": ["ALL"]}


def test_the_monitor_speaks_as_the_port_is_protected() -> None:
    """With TLS, and the token that lets it see more than probes do."""
    plain, protected = (
        next(each for each in objects(merged(on("monitoring.enabled"), values)) if each["kind"] == "PodMonitor")
        for values in ({}, EVERY_FIELD)
    )
    (endpoint,) = plain["spec"]["podMetricsEndpoints"]
    assert "scheme" not in endpoint
    (endpoint,) = protected["spec"]["podMetricsEndpoints"]
    assert endpoint["scheme"] == "https"
    assert endpoint["tlsConfig"] == {"insecureSkipVerify": True}
    assert endpoint["authorization"] == {"credentials": {"name": "tokens", "key": "token"}}
    assert protected["metadata"]["labels"]["release"] == "prometheus"
