"""The chart and the kustomizations make the same objects: the base, every component and every overlay against its values."""

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from supervisor.config_file import parse
from tests.deploy.chart import hooks, objects
from tests.deploy.rendering import BASE, COMPONENTS, FOLDER, OVERLAYS, canonical, kustomize, rendered

pytestmark = [pytest.mark.checkout, pytest.mark.requires("helm", "kustomize", "patience")]

HELMS = {
    # Labels whose values only a release has.
    *("helm.sh/chart", "app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "app.kubernetes.io/version"),
    # What Helm does with an object when the release goes.
    *("helm.sh/resource-policy", "helm.sh/hook", "helm.sh/hook-weight", "helm.sh/hook-delete-policy"),
    # The chart starts pods anew for a new configuration where that is needed; with kustomize people do.
    "checksum/restart-sections",
}
"""Labels and annotations of the chart alone."""

Objects = dict[tuple[str, str], Any]


def comparable(found: Iterable[Mapping[str, Any]]) -> Objects:
    """By kind and name, without what may differ and without orders that mean nothing."""
    keyed: Objects = {(each["kind"], each["metadata"]["name"]): canonical(without_helms(each)) for each in found}
    for data in (each["data"] for (kind, _), each in keyed.items() if kind == "ConfigMap"):
        if "config.yaml" in data:
            data["config.yaml"] = parse(data["config.yaml"].encode()).config
    return keyed


def without_helms(value: Any) -> Any:
    """The same without what only a chart has."""
    if isinstance(value, Mapping):
        kept = {key: without_helms(each) for key, each in value.items() if key not in HELMS}
        return {key: each for key, each in kept.items() if key != "annotations" or each}
    return [without_helms(each) for each in value] if isinstance(value, list) else value


def charted(values: Mapping[str, Any]) -> Objects:
    """What the chart makes, with its namespace."""
    return comparable(objects({**values, "namespace": {"create": True}}))


SAME: dict[str, tuple[str, list[str], dict[str, Any]]] = {
    "base": ("base", [], {}),
    "monitoring": ("base", ["monitoring"], {"monitoring": {"enabled": True}}),
    "host-network": ("base", ["components/host-network"], {"hostNetwork": {"enabled": True}}),
    "selinux": ("base", ["components/selinux"], {"selinux": {"enabled": True}}),
    "cdi": ("base", ["components/cdi"], {"cdi": {"enabled": True}}),
    "helper": ("base", ["components/helper"], {"helper": {"enabled": True}}),
    "fpga-programming": ("base", ["components/fpga-programming"], {"fpgaProgramming": {"enabled": True}}),
    "openshift": ("overlays/openshift", [], {"openshift": {"enabled": True}}),
    "openshift with a helper": (
        "overlays/openshift",
        ["components/helper", "components/cdi", "components/host-network"],
        {
            "openshift": {"enabled": True},
            "helper": {"enabled": True},
            "cdi": {"enabled": True},
            "hostNetwork": {"enabled": True},
        },
    ),
    "openshift with cdi": (
        "overlays/openshift",
        ["components/cdi"],
        {"openshift": {"enabled": True}, "cdi": {"enabled": True}},
    ),
    "nvidia-runtime": (
        "overlays/nvidia-runtime",
        [],
        {
            "nvidia": {"enabled": True, "runtimeClassName": "nvidia"},
            "config": {"plugins": {"generic": None}},
            "nodeSelector": {"nvidia.com/gpu.present": "true"},
            "resources": {"limits": {"memory": "768Mi"}},
        },
    ),
}
"""A kustomization's resource and components, and the values for the same."""

SWITCHED: dict[str, tuple[list[str], dict[str, Any]]] = {
    "events": (["components/events"], {"events": {"enabled": True}}),
    "node-labels": (["components/node-labels"], {"nodeLabels": {"enabled": True}}),
    "node-condition": (["components/node-condition"], {"nodeCondition": "example.com/DevicesHealthy"}),
    "nvidia": (["components/nvidia"], {"nvidia": {"enabled": True}}),
    "nvidia-driver-container": (
        ["components/nvidia", "components/nvidia-driver-container"],
        {"nvidia": {"enabled": True, "driverContainer": True}},
    ),
    "everything": (
        [
            "components/events",
            "components/node-labels",
            "components/nvidia",
            "components/fpga-programming",
            "components/cdi",
            "components/host-network",
            "components/selinux",
            "monitoring",
        ],
        {
            name: {"enabled": True}
            for name in ("events", "nodeLabels", "nvidia", "fpgaProgramming", "cdi", "hostNetwork", "selinux", "monitoring")
        },
    ),
}
"""Components that leave it to people to switch on in the configuration what they permit; the chart does it for them."""


@pytest.mark.parametrize("name", SAME)
def test_the_chart_makes_what_kustomize_makes(name: str) -> None:
    """Object by object, field by field, the configuration as the supervisor understands it."""
    resource, components, values = SAME[name]
    theirs, ours = comparable(rendered(resource, components)), charted(values)
    assert ours.keys() == theirs.keys()
    for key, expected in theirs.items():
        assert ours[key] == expected, key


@pytest.mark.parametrize("name", SWITCHED)
def test_the_chart_makes_what_kustomize_makes_and_switches_it_on(name: str) -> None:
    """All but the configuration is the same, and that differs."""
    components, values = SWITCHED[name]
    theirs, ours = comparable(rendered(BASE, components)), charted(values)
    assert ours.keys() == theirs.keys()
    key = ("ConfigMap", "device-plugin-supervisor")
    assert ours.pop(key)["data"]["config.yaml"] != theirs.pop(key)["data"]["config.yaml"]
    for other, expected in theirs.items():
        assert ours[other] == expected, other


def test_what_cleans_up_after_the_chart_is_what_cleans_up_after_kustomize() -> None:
    """The hooks have a Job besides, and what it needs; and their configuration is the one that the supervisor had."""
    theirs = comparable(kustomize(FOLDER / "cleanup"))
    ours = comparable(hooks({"cleanup": {"enabled": True, "seconds": 600}, "priorityClassName": ""}))
    assert {kind for kind, _ in ours.keys() - theirs.keys()} == {"Role", "RoleBinding", "Job", "NetworkPolicy"}
    assert {kind for kind, _ in theirs.keys() - ours.keys()} == {"Namespace"}
    for key in theirs.keys() & ours.keys():
        if key[0] != "ConfigMap":
            assert ours[key] == theirs[key], key


def test_every_component_and_overlay_has_its_values() -> None:
    """One that is added to the kustomizations cannot be forgotten here."""
    there = {*COMPONENTS, *OVERLAYS}
    compared = {name for resource, components, _ in SAME.values() for name in (resource, *components)}
    compared |= {name for components, _ in SWITCHED.values() for name in components}
    # What the pods get with each component that asks the API.
    assert there - compared == {"components/api-access"}


def test_a_difference_is_seen() -> None:
    """What is compared is neither empty nor the same for other values."""
    assert charted({}) != charted({"resources": {"limits": {"memory": "1Gi"}}})
    assert charted({}) != charted({"tolerations": []})
    assert ("DaemonSet", "device-plugin-supervisor") in charted({})
