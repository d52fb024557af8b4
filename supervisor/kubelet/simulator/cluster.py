"""What outlives a kubelet: the pods the API server knows, the containers the runtime runs, the Node's resource keys.

Kept in ``cluster.json`` in the simulator's root, not in the kubelet's directories, so that SIGKILL loses nothing.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from supervisor.kubelet.simulator.pods import (
    ContainerState,
    Phase,
    PodSpec,
    PodState,
    RunOptions,
)

FILE_NAME = "cluster.json"


@dataclass(slots=True)
class Pod:
    """A pod of this node and what became of it."""

    uid: str
    spec: PodSpec
    phase: Phase = Phase.PENDING
    reason: str = ""
    message: str = ""
    running: set[str] = field(default_factory=set)
    starts: dict[str, int] = field(default_factory=dict)
    waiting: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Container → reason and message of a start that would be retried."""
    options: dict[str, RunOptions] = field(default_factory=dict)
    """Container → what the runtime was told; not saved, the kubelet merges anew at each start."""

    def fail(self, reason: str, message: str) -> None:
        """End the pod for good."""
        self.phase, self.reason, self.message = Phase.FAILED, reason, message
        self.running.clear()

    def state(self, devices: dict[str, dict[str, tuple[str, ...]]]) -> PodState:
        """Freeze the pod; ``devices`` is container → resource → ids."""
        containers = {}
        for spec in (*self.spec.init_containers, *self.spec.containers):
            reason, message = self.waiting.get(spec.name, ("", ""))
            containers[spec.name] = ContainerState(
                devices.get(spec.name, {}),
                self.options.get(spec.name, RunOptions()),
                spec.name in self.running,
                self.starts.get(spec.name, 0),
                reason,
                message,
            )
        spec_name, namespace = self.spec.name, self.spec.namespace
        return PodState(spec_name, namespace, self.uid, self.phase, self.reason, self.message, containers)


class Cluster:
    """The pods of this node, by uid, and a few numbers, saved after each change."""

    def __init__(self, root: Path) -> None:
        """Load what an earlier simulator left in ``root``; an unreadable file raises ``ValueError``."""
        self._path = root / FILE_NAME
        self.pods: dict[str, Pod] = {}
        self.node_resources: set[str] = set()
        """Resource keys of the Node object; the kubelet never deletes one."""
        self.lives = 0
        self.pods_made = 0
        if self._path.exists():
            self._load(json.loads(self._path.read_text()))

    def active(self) -> set[str]:
        """Return the uids of the pods that have not failed."""
        return {uid for uid, pod in self.pods.items() if pod.phase is not Phase.FAILED}

    def find(self, namespace: str, name: str) -> Pod | None:
        """Find a pod by name."""
        for pod in self.pods.values():
            if (pod.spec.namespace, pod.spec.name) == (namespace, name):
                return pod
        return None

    def create(self, spec: PodSpec) -> Pod:
        """Add a pod under a new uid."""
        self.pods_made += 1
        pod = Pod(f"00000000-0000-4000-8000-{self.pods_made:012d}", spec)
        self.pods[pod.uid] = pod
        return pod

    def save(self) -> None:
        """Write everything, atomically."""
        data = {
            "lives": self.lives,
            "pods_made": self.pods_made,
            "node_resources": sorted(self.node_resources),
            "pods": [_to_json(pod) for pod in self.pods.values()],
        }
        temporary = self._path.with_suffix(".new")
        temporary.write_text(json.dumps(data))
        os.replace(temporary, self._path)

    def _load(self, data: dict[str, Any]) -> None:
        self.lives = data["lives"]
        self.pods_made = data["pods_made"]
        self.node_resources = set(data["node_resources"])
        for entry in data["pods"]:
            pod = _from_json(entry)
            self.pods[pod.uid] = pod


def _to_json(pod: Pod) -> dict[str, Any]:
    return {
        "uid": pod.uid,
        "spec": pod.spec.to_json(),
        "phase": pod.phase.value,
        "reason": pod.reason,
        "message": pod.message,
        "running": sorted(pod.running),
        "starts": pod.starts,
        "waiting": {name: list(why) for name, why in pod.waiting.items()},
    }


def _from_json(data: dict[str, Any]) -> Pod:
    return Pod(
        data["uid"],
        PodSpec.from_json(data["spec"]),
        Phase(data["phase"]),
        data["reason"],
        data["message"],
        set(data["running"]),
        dict(data["starts"]),
        {name: (reason, message) for name, (reason, message) in data["waiting"].items()},
    )
