"""A stand-in for kubectl with a cluster of one node behind it, for a dry run of the end-to-end tests.

It does what they ask for, in a file, and what the node's kubelet and the supervisors would do about it. A fault, named in the
environment's FAULT, makes it misbehave in one way. It knows no more of Kubernetes than these tests need, so it proves them able to
pass and to fail, and nothing about clusters.
"""

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

FILE = Path(os.environ["PUPPET_CLUSTER"])
FAULT = os.environ.get("FAULT", "")
NODE, NAMESPACE, FUSE = "node-1", "device-plugin-supervisor", "devices.device-plugin-supervisor.io/fuse"
CONFIG = "plugins:\n  generic:\n    resources:\n      - name: …\n"
NEW: dict[str, Any] = {"namespaces": [], "pods": {}, "serial": 0, "config": CONFIG, "restarts": 0, "gap": 0}


def supervisor(state: dict[str, Any]) -> str:
    """The name of the one supervisor's pod."""
    return f"supervisor-{state['serial']}"


def apply(state: dict[str, Any]) -> str:
    """Install, or change nothing where it is installed."""
    if NAMESPACE not in state["namespaces"]:
        state |= {"namespaces": [*state["namespaces"], NAMESPACE], "serial": state["serial"] + 1, "config": CONFIG}
    return "applied\n"


def delete(state: dict[str, Any]) -> str:
    """Remove the installation; pods of others stay."""
    state["namespaces"] = [name for name in state["namespaces"] if name != NAMESPACE]
    if FAULT == "removal ends pods":
        state["pods"] = {}
    return "deleted\n"


def restart(state: dict[str, Any]) -> str:
    """Replace the supervisor."""
    state |= {"serial": state["serial"] + 1, "gap": 3 if FAULT == "upgrade with a gap" else 0}
    return "restarted\n"


def restart_kubelet(state: dict[str, Any]) -> str:
    """As the supervisor notices it."""
    state["restarts"] += FAULT != "restart unnoticed"
    return ""


def create(state: dict[str, Any]) -> str:
    """Make a pod: one that sleeps runs, one that opens the device succeeds if it was given it."""
    pod = json.load(sys.stdin)
    (container,) = pod["spec"]["containers"]
    given = "resources" in container or FAULT == "device for everybody"
    phase = "Running" if "sleep" in container["command"][2] else "Succeeded" if given else "Failed"
    state["pods"][pod["metadata"]["name"]] = {**pod, "status": {"phase": phase}}
    return "created\n"


def create_namespace(state: dict[str, Any], name: str) -> str:
    state["namespaces"].append(name)
    return "created\n"


def patch(state: dict[str, Any], *words: str) -> str:
    """Another configuration; with a fault, the supervisor starts anew to read it."""
    state["config"] = json.loads(words[-1])["data"]["config.yaml"]
    state["serial"] += FAULT == "edit restarts"
    return "patched\n"


def node(state: dict[str, Any]) -> dict[str, Any]:
    """What the kubelet says of the node."""
    there = NAMESPACE in state["namespaces"]
    units = 0 if state["gap"] or not there else 99 if FAULT == "a unit is missing" else 100
    state["gap"] = max(0, state["gap"] - 1)
    amounts = {name: "1" for name in re.findall(r"name: (e2e\.example\.com/[\w-]+)", state["config"]) if there}
    amounts[FUSE] = str(units)
    return {"metadata": {"name": NODE}, "spec": {}, "status": {"allocatable": amounts, "capacity": amounts}}


def get(state: dict[str, Any], *words: str) -> str:
    """Objects as JSON, nothing where there is none."""
    found: Any
    match words[0]:
        case "namespace":
            found = {"metadata": {"name": words[1]}} if words[1] in state["namespaces"] else None
        case "node":
            found = node(state)
        case "nodes":
            found = {"items": [node(state)]}
        case "pods":
            status = {"conditions": [{"type": "Ready", "status": "True"}]}
            found = {"items": [{"metadata": {"name": supervisor(state)}, "spec": {"nodeName": NODE}, "status": status}]}
        case "pod":
            found = state["pods"].get(words[1])
        case "configmap":
            found = {"data": {"config.yaml": state["config"]}}
        case _:
            restarts = f"device_plugin_kubelet_restarts_total {state['restarts']}\n"
            return f'{restarts}device_plugin_connected{{resource="{FUSE}"}} 1\n'
    return json.dumps(found) if found else ""


COMMANDS: dict[str, Callable[..., str]] = {
    "version": lambda state, *words: "fine\n",
    "apply --kustomize": lambda state, *words: apply(state),
    "delete --kustomize": lambda state, *words: delete(state),
    "delete namespace": lambda state, *words: "deleted\n",
    "rollout status": lambda state, *words: "rolled out\n",
    "rollout restart": lambda state, *words: restart(state),
    "restart-kubelet": lambda state, *words: restart_kubelet(state),
    "create namespace": create_namespace,
    "create": lambda state, *words: create(state),
    "patch": patch,
    "exec": lambda state, *words: "",
    "get": get,
}


def main() -> None:
    """One command."""
    state = json.loads(FILE.read_text()) if FILE.exists() else NEW
    words = " ".join(sys.argv[1:])
    name = next(name for name in COMMANDS if words.startswith(name))
    sys.stdout.write(COMMANDS[name](state, *sys.argv[1 + len(name.split()) :]))
    # By a rename: a test asks from two threads.
    temporary = FILE.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps(state))
    temporary.replace(FILE)


if __name__ == "__main__":
    main()
