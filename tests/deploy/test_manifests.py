"""What kustomize makes of ``deploy`` is valid for every API server, whatever a user combines."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.deploy import rendering
from tests.deploy.admission import update_problems
from tests.deploy.rendering import BASE, COMPONENTS, FOLDER, NAME, OVERLAYS, Object, canonical, one, pod_spec, rendered

pytestmark = [pytest.mark.checkout, pytest.mark.requires("kustomize", "patience")]

CUSTOM = {"PodMonitor", "PrometheusRule", "SecurityContextConstraints"}
"""Kinds that a cluster has only with somebody's CRDs."""
KUSTOMIZATIONS = tuple(
    str(path.parent.relative_to(FOLDER))
    for path in sorted(FOLDER.rglob("kustomization.yaml"))
    if str(path.parent.relative_to(FOLDER)) not in COMPONENTS
)
"""All that can be applied as they are."""


def assert_valid(objects: list[Object], *versions: str) -> None:
    """Every object, against the strict schemas of Kubernetes' versions (all that are known if none is named), CRDs excepted."""
    import kubernetes_validate  # a hundred megabytes, so it is not everywhere
    from kubernetes_validate.utils import all_versions, major_minor

    known = {major_minor(version) for version in all_versions()}
    assert {"1.25", "1.37"} <= known
    for version in versions or known:
        for each in objects:
            if each["kind"] not in CUSTOM:
                kubernetes_validate.validate(each, version, strict=True)


def of(objects: list[Object]) -> set[tuple[str, str]]:
    return {(each["kind"], each["metadata"]["name"]) for each in objects}


# --- validity ---------------------------------------------------------------------------------------------------------


@pytest.mark.requires("kubernetes_validate")
@pytest.mark.parametrize("folder", KUSTOMIZATIONS)
def test_each_kustomization_is_valid_for_every_version(folder: str) -> None:
    """From 1.25 on, strictly: a misspelt field is a mistake, and a later version's is one, too. Updates are possible ones."""
    objects = rendering.kustomize(FOLDER / folder)
    assert objects
    assert_valid(objects)
    assert [problem for each in objects if each["kind"] == "DaemonSet" for problem in update_problems(each)] == []


@pytest.mark.requires("kubernetes_validate")
@pytest.mark.parametrize("base", [BASE, *OVERLAYS])
def test_everything_at_once_is_valid_for_every_version(base: str) -> None:
    """All components on the base, and on each overlay."""
    assert_valid(rendered(base, COMPONENTS))


@pytest.mark.requires("kubernetes_validate")
@pytest.mark.parametrize("component", COMPONENTS)
def test_each_component_is_valid_and_does_something(component: str) -> None:
    """Alone on the base, for the oldest and the newest version."""
    objects = rendered(components=[component])
    assert_valid(objects, "1.25", "1.37")
    assert canonical(objects) != canonical(rendered())


def test_the_base_needs_nothing_that_a_cluster_may_lack() -> None:
    """Five objects, none of which needs a CRD, all with our name."""
    assert of(rendered()) == {
        (kind, NAME) for kind in ("Namespace", "ServiceAccount", "ConfigMap", "DaemonSet", "NetworkPolicy")
    }


@pytest.mark.requires("yamllint")
def test_the_files_are_tidy() -> None:
    """Yamllint finds nothing in all of ``deploy``, the chart's templates aside, with the rules of the repository."""
    rules = ".yamllint.yaml"  # whose exceptions are paths from the root
    done = subprocess.run(
        [sys.executable, "-m", "yamllint", "--strict", "-c", rules, FOLDER.name, rules],
        cwd=FOLDER.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_the_validator_finds_a_mistake() -> None:
    """The check above is one: a misspelt field of a container is refused."""
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="make test-full installs it")
    objects = rendered()
    pod_spec(objects)["containers"][0]["imagePullPolice"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError):
        assert_valid(objects, "1.37")


# --- combinations -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.requires("kubernetes_validate")
@given(chosen=st.lists(st.sampled_from(COMPONENTS), unique=True), base=st.sampled_from([BASE, *OVERLAYS]))
@settings(max_examples=12)
def test_any_components_can_be_combined(chosen: list[str], base: str) -> None:
    """In any order; valid for the oldest and the newest version; fit to be rolled out; and their mounts do not collide."""
    objects = rendered(base, chosen)
    assert canonical(objects) == canonical(rendered(base, chosen[::-1]))
    assert_valid(objects, "1.25", "1.37")
    assert list(update_problems(one(objects, "DaemonSet"))) == []
    pod = pod_spec(objects)
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        paths = [mount["mountPath"] for mount in container["volumeMounts"]]
        assert len(set(paths)) == len(paths)
    named = {mount["name"] for each in (*pod.get("initContainers", ()), *pod["containers"]) for mount in each["volumeMounts"]}
    assert sorted(named) == sorted(volume["name"] for volume in pod["volumes"])


def test_components_do_not_ask_for_an_order() -> None:
    """All of them, and the other way round, where each pair of them has changed its order."""
    assert canonical(rendered(components=COMPONENTS)) == canonical(rendered(components=COMPONENTS[::-1]))


def test_a_component_may_come_twice() -> None:
    """Components that need the same part bring it each, and nothing is doubled."""
    both = rendered(
        components=["components/nvidia", "components/fpga-programming", "components/events", "components/node-labels"]
    )
    assert [each["name"] for each in pod_spec(both)["containers"]].count("helper") == 1
    assert len(one(both, "NetworkPolicy")["spec"]["egress"]) == 1


# --- what a user changes ----------------------------------------------------------------------------------------------


def test_an_image_is_set_once_for_all_containers() -> None:
    """With ``images`` of kustomize, by the name that all of them have."""
    images = [{"name": NAME, "newName": "registry.example.com/team/dps", "newTag": "1.2.3"}]
    objects = rendered(components=COMPONENTS, images=images)
    found = {each["image"] for each in rendering.containers(objects).values()}
    assert found == {"registry.example.com/team/dps:1.2.3"}


def test_a_users_configuration_takes_the_place_of_ours(tmp_path: Path) -> None:
    """As the head of base/config.yaml says; the name stays, so that pods follow the edit and are not replaced."""
    generator: dict[str, Any] = {"name": NAME, "namespace": NAME, "behavior": "merge", "files": ["config.yaml"]}
    (tmp_path / "config.yaml").write_text("mine: true\n")
    rendering.write(tmp_path, BASE, [], configMapGenerator=[generator])
    config = one(rendering.kustomize(tmp_path), "ConfigMap")
    assert config["data"] == {"config.yaml": "mine: true\n"}
    assert config["metadata"]["name"] == NAME


def test_the_programs_of_the_helper_can_be_named() -> None:
    """By the patch in the head of its component."""
    head = (FOLDER / "components/helper/kustomization.yaml").read_text().partition("apiVersion: kustomize")[0]
    lines = [line.removeprefix("#")[1:] for line in head.splitlines()]
    patches = "\n".join(lines[lines.index("  patches:") :])
    fields = yaml.safe_load(patches)
    objects = rendered(components=["components/nvidia"], **fields)
    assert rendering.containers(objects)["helper"]["args"] == ["helper", "--program=nvidia-nvml"]
