"""A real cluster, by way of kubectl: what is asked of it, and waiting with a deadline that says what was not seen."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

NAMESPACE = "device-plugin-supervisor"
KUBELETS = "kubernetes.io/os=linux,type notin (virtual-kubelet),eks.amazonaws.com/compute-type notin (fargate)"
"""Nodes that are machines."""
DAEMONSET = "daemonset/device-plugin-supervisor"
ROOT = Path(__file__).parents[2]
PATIENCE = float(os.environ.get("PATIENCE", "180"))
"""Seconds for anything that a cluster does; images are pulled in them. PATIENCE in the environment says another number."""
PAUSE = 0.5
"""Seconds between two questions."""

T = TypeVar("T")

_KUSTOMIZATION = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [{base}]
images: [{{name: device-plugin-supervisor, newName: {name}, newTag: "{tag}"}}]
"""


class KubectlError(Exception):
    """kubectl said no; its own words, after the command."""


def kubectl() -> str:
    """The program: the one on the PATH, else the one beside this Python."""
    return shutil.which("kubectl") or str(Path(sys.executable).with_name("kubectl"))


def reachable() -> bool:
    """Whether KUBECONFIG names a cluster that answers. A file in the home directory does not count: nobody offered that one."""
    if not os.environ.get("KUBECONFIG"):
        return False
    try:
        Cluster(timeout=10).run("version", "--request-timeout=5s")
    except (KubectlError, OSError):
        return False
    return True


@dataclass(frozen=True)
class Cluster:
    """Commands against one cluster. Each raises KubectlError when it fails or takes longer than ``timeout`` seconds."""

    program: str = field(default_factory=kubectl)
    timeout: float = PATIENCE
    pause: float = PAUSE

    def run(self, *arguments: str, text: str | None = None) -> str:
        """Run one command, ``text`` on its standard input; what it prints."""
        command = (self.program, *arguments)
        try:
            done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=self.timeout, check=False)
        except subprocess.TimeoutExpired as error:
            raise KubectlError(f"{' '.join(arguments)}: no answer in {self.timeout:g} s") from error
        if done.returncode:
            raise KubectlError(f"{' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def get(self, *arguments: str) -> Any:
        """Objects, as they are; None where there is none of this name."""
        text = self.run("get", *arguments, "--output=json", "--ignore-not-found")
        return json.loads(text) if text.strip() else None

    def wait(self, what: str, look: Callable[[], T | None], patience: float = PATIENCE) -> T:
        """Look again and again until there is an answer. Raises TimeoutError with ``what`` was waited for."""
        end = time.monotonic() + patience
        while not (seen := look()):
            if time.monotonic() > end:
                raise TimeoutError(f"not seen in {patience:g} s: {what}")
            time.sleep(self.pause)
        return seen

    def amount(self, node: str, resource: str, of: str = "allocatable") -> int | None:
        """How much a node has of a resource; None if it does not know the name."""
        status = (self.get("node", node) or {}).get("status", {})
        text = status.get(of, {}).get(resource)
        return None if text is None else int(text)

    def supervisors(self) -> dict[str, str]:
        """The node of each supervisor that is ready and is not about to end, with the name of its pod."""
        pods = self.get("pods", "--namespace", NAMESPACE, "--selector", "app.kubernetes.io/component=supervisor")["items"]
        return {pod["spec"]["nodeName"]: pod["metadata"]["name"] for pod in pods if _ready(pod)}

    def metric(self, pod: str, sample: str) -> float:
        """One value of a supervisor's metrics, asked through the API server. Raises KeyError where it has none."""
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}:9410/proxy/metrics"
        values = (line.rpartition(" ") for line in self.run("get", "--raw", path).splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in values}[sample]

    def phase(self, namespace: str, pod: str) -> str:
        """Pending, Running, Succeeded or Failed; empty where there is no such pod."""
        found = self.get("pod", pod, "--namespace", namespace)
        return str(found["status"]["phase"]) if found else ""

    def edit_config(self, text: str) -> None:
        """Put another configuration into the ConfigMap."""
        patch = json.dumps({"data": {"config.yaml": text}})
        self.run("patch", "configmap", NAMESPACE, "--namespace", NAMESPACE, "--type=merge", "--patch", patch)


def _ready(pod: Any) -> bool:
    conditions = pod["status"].get("conditions", ())
    is_ready = any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
    return is_ready and "deletionTimestamp" not in pod["metadata"]


def kustomization(folder: Path, image: str, source: str = "deploy/base") -> None:
    """Write a folder that installs a kustomization of the checkout with an image, NAME:TAG."""
    name, _, tag = image.rpartition(":")
    if not name or "/" in tag:
        raise ValueError(f"{image} has no tag")
    base = os.path.relpath(ROOT / source, folder.resolve())  # kustomize takes no absolute path
    (folder / "kustomization.yaml").write_text(_KUSTOMIZATION.format(base=base, name=name, tag=tag))


def device_pod(name: str, node: str, image: str, command: str, resource: str | None) -> dict[str, Any]:
    """A pod on one node that runs a shell command once, with one unit of a resource if any is named."""
    limits = {"resources": {"limits": {resource: "1"}}} if resource else {}
    container = {"name": "main", "image": image, "command": ["sh", "-c", command], **limits}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            # Not nodeName: that would go past the scheduler, which has to know the resource.
            "nodeSelector": {"kubernetes.io/hostname": node},
            "tolerations": [{"operator": "Exists"}],
            "terminationGracePeriodSeconds": 0,
            "containers": [container],
        },
    }
