"""The client of the end-to-end tests, against a stand-in for kubectl: those tests themselves need a cluster, and are not run here."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.cluster import KUBELETS, NAMESPACE, Cluster, KubectlError, device_pod, kubectl, kustomization, reachable

pytestmark = pytest.mark.checkout

STAND_IN = """\
#!{python}
import json, pathlib, sys, time
folder = pathlib.Path(__file__).parent
with (folder / "calls").open("a") as calls:
    calls.write(json.dumps(sys.argv[1:] + ([sys.stdin.read()] if "--filename=-" in sys.argv else [])) + "\\n")
answers = json.loads((folder / "answers.json").read_text())
for words, answer in answers.items():
    if " ".join(sys.argv[1:]).startswith(words):
        if answer is None:
            time.sleep(60)
        sys.stdout.write(answer)
        sys.exit(0)
sys.exit("Error from server (Forbidden): not for you")
"""


class Stage:
    """A folder with the stand-in, what it answers by the beginning of a command, and what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.program = folder / "kubectl"
        self.program.write_text(STAND_IN.format(python=sys.executable))
        self.program.chmod(0o755)
        self.answer({})

    def answer(self, answers: dict[str, Any]) -> None:
        """From now on; what is no text is written as JSON, and None never answers."""
        texts = {words: text if isinstance(text, str | None) else json.dumps(text) for words, text in answers.items()}
        self.program.with_name("answers.json").write_text(json.dumps(texts))

    def asked(self) -> list[list[str]]:
        """The arguments of each call, with what it was given on its standard input."""
        return [json.loads(line) for line in self.program.with_name("calls").read_text().splitlines()]

    def cluster(self, timeout: float = 30.0) -> Cluster:
        """The client, with this stand-in for its program."""
        return Cluster(str(self.program), timeout, pause=0.01)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """A stand-in that knows no answer yet."""
    return Stage(tmp_path)


def pod(name: str, node: str, *, ready: bool = True, ending: bool = False) -> dict[str, Any]:
    """A supervisor's pod as the API server tells it."""
    metadata = {"name": name} | ({"deletionTimestamp": "2026-01-01T00:00:00Z"} if ending else {})
    conditions = [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": str(ready)}]
    return {"metadata": metadata, "spec": {"nodeName": node}, "status": {"conditions": conditions}}


def test_a_refusal_says_what_was_asked_and_why(stage: Stage) -> None:
    """Whoever reads the failed test sees kubectl's own words."""
    with pytest.raises(KubectlError, match=r"delete node a: Error from server \(Forbidden\)"):
        stage.cluster().run("delete", "node", "a")


def test_a_command_that_hangs_is_given_up(stage: Stage) -> None:
    """A cluster that does not answer fails the test instead of stopping all."""
    stage.answer({"get": None})
    with pytest.raises(KubectlError, match=r"get node: no answer in 0\.5 s"):
        stage.cluster(timeout=0.5).run("get", "node")


def test_what_is_not_there_is_none(stage: Stage) -> None:
    """An absent object is an answer, and no error."""
    stage.answer({"get": ""})
    cluster = stage.cluster()
    assert cluster.get("node", "a") is None
    assert cluster.amount("a", "acme.example/widget") is None
    assert cluster.phase("default", "a") == ""


def test_amounts_are_numbers(stage: Stage) -> None:
    """The API server writes quantities as texts; zero is not the same as an unknown name."""
    stage.answer({"get node a": {"status": {"allocatable": {"x": "7", "y": "0"}, "capacity": {"x": "8"}}}})
    cluster = stage.cluster()
    assert [cluster.amount("a", name) for name in "xyz"] == [7, 0, None]
    assert cluster.amount("a", "x", of="capacity") == 8


def test_supervisors_are_those_that_serve(stage: Stage) -> None:
    """A pod that is not ready or about to end does not count for its node."""
    items = [pod("new", "a"), pod("old", "a", ending=True), pod("slow", "b", ready=False), pod("c", "c")]
    stage.answer({f"get pods --namespace {NAMESPACE}": {"items": items}})
    assert stage.cluster().supervisors() == {"a": "new", "c": "c"}


def test_a_metric_is_found_by_name_and_labels(stage: Stage) -> None:
    """Comments and other samples are passed over."""
    text = '# HELP x y\nx{resource="a b"} 1.0\nx{resource="c"} 2.0\ny_total 3e+00\n'
    stage.answer({f"get --raw /api/v1/namespaces/{NAMESPACE}/pods/p:9410/proxy/metrics": text})
    cluster = stage.cluster()
    assert [cluster.metric("p", name) for name in ('x{resource="a b"}', "y_total")] == [1, 3]
    with pytest.raises(KeyError):
        cluster.metric("p", "z")


def test_waiting_ends_with_an_answer_or_a_word(stage: Stage) -> None:
    """It looks until something is seen, and says what was not."""
    answers = iter([None, 0, "seen"])
    assert stage.cluster().wait("a thing", lambda: next(answers)) == "seen"
    with pytest.raises(TimeoutError, match="a unicorn"):
        stage.cluster().wait("a unicorn", lambda: None, patience=0.05)


def test_the_configuration_is_patched_whole(stage: Stage) -> None:
    """The ConfigMap gets the text as it is."""
    stage.answer({"patch": "configmap patched"})
    stage.cluster().edit_config("a: 1\n")
    ((*_, patch),) = stage.asked()
    assert json.loads(patch) == {"data": {"config.yaml": "a: 1\n"}}


def test_a_pod_asks_for_one_unit_or_none() -> None:
    """The scheduler places it, and where no resource is named none is asked for."""
    main = device_pod("p", "n", "image", "true", "acme.example/widget")["spec"]["containers"][0]
    assert main["resources"] == {"limits": {"acme.example/widget": "1"}}
    spec = device_pod("p", "n", "image", "true", None)["spec"]
    assert "resources" not in spec["containers"][0]
    assert "nodeName" not in spec


def test_an_image_has_a_tag(tmp_path: Path) -> None:
    """The port of a registry is not taken for one."""
    kustomization(tmp_path, "registry.example.com:5000/team/image:1.2")
    (image,) = yaml.safe_load((tmp_path / "kustomization.yaml").read_text())["images"]
    assert (image["newName"], image["newTag"]) == ("registry.example.com:5000/team/image", "1.2")
    for wrong in ("image", "registry.example.com:5000/image"):
        with pytest.raises(ValueError, match="no tag"):
            kustomization(tmp_path, wrong)


@pytest.mark.requires("kubectl")
@pytest.mark.parametrize("source", ["deploy/base", "deploy/overlays/openshift"])
def test_what_is_applied_can_be_rendered(source: str, tmp_path: Path) -> None:
    """A real kubectl makes the objects, with the image, from a folder elsewhere."""
    kustomization(tmp_path, "registry.example.com:5000/team/image:1.2", source)
    done = subprocess.run([kubectl(), "kustomize", str(tmp_path)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    objects = list(yaml.safe_load_all(done.stdout))
    (daemonset,) = (each for each in objects if each["kind"] == "DaemonSet")
    images = {container["image"] for container in daemonset["spec"]["template"]["spec"]["containers"]}
    assert images == {"registry.example.com:5000/team/image:1.2"}
    assert NAMESPACE in {each["metadata"]["name"] for each in objects if each["kind"] == "Namespace"}


def test_the_nodes_are_those_of_the_daemonset() -> None:
    """The tests wait for a supervisor on each node that the DaemonSet may reach, and for no other."""
    spec = yaml.safe_load((Path(__file__).parents[2] / "deploy/base/daemonset.yaml").read_text())["spec"]["template"]["spec"]
    ((term,),) = (spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"],)
    refused = [f"{each['key']} notin ({', '.join(each['values'])})" for each in term["matchExpressions"]]
    assert {each["operator"] for each in term["matchExpressions"]} == {"NotIn"}
    assert ",".join([*(f"{key}={value}" for key, value in spec["nodeSelector"].items()), *refused]) == KUBELETS


def test_no_cluster_is_used_that_nobody_offered(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without KUBECONFIG there is none, whatever lies in the home directory; one that does not answer is none either."""
    stage.answer({"version": "fine"})
    monkeypatch.setenv("PATH", f"{stage.program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("KUBECONFIG", raising=False)
    assert not reachable()
    monkeypatch.setenv("KUBECONFIG", "/some/file")
    assert reachable()
    stage.answer({})
    assert not reachable()
