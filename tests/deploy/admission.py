"""Rules by which an API server takes or refuses what ``deploy`` holds, for want of one: written from its documentation and source.

They are as narrow as the manifests: what these do not use is not modelled, and is refused where it could hide something.
"""

from collections.abc import Iterator, Mapping
from typing import Any

Pod = Mapping[str, Any]

_STRATEGY = {"type": "object", "properties": {"type": {"enum": ["RunAsAny", "MustRunAs"]}}, "required": ["type"]}
_NAMES = {"type": "array", "items": {"type": "string"}}
_FLAG = {"type": "boolean"}
SCC_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": [
        *("allowHostDirVolumePlugin", "allowHostIPC", "allowHostNetwork", "allowHostPID", "allowHostPorts"),
        *("allowPrivilegedContainer", "readOnlyRootFilesystem", "apiVersion", "kind", "metadata"),
    ],
    "properties": {
        "apiVersion": {"enum": ["security.openshift.io/v1"]},
        "kind": {"enum": ["SecurityContextConstraints"]},
        "metadata": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"name": {"type": "string"}, "labels": {"type": "object"}, "annotations": {"type": "object"}},
        },
        **dict.fromkeys(
            (
                *("allowHostDirVolumePlugin", "allowHostIPC", "allowHostNetwork", "allowHostPID", "allowHostPorts"),
                *("allowPrivilegeEscalation", "allowPrivilegedContainer", "defaultAllowPrivilegeEscalation"),
                "readOnlyRootFilesystem",
            ),
            _FLAG,
        ),
        **dict.fromkeys(
            (
                *("allowedCapabilities", "defaultAddCapabilities", "requiredDropCapabilities"),
                *("groups", "seccompProfiles", "users", "volumes"),
            ),
            _NAMES,
        ),
        "priority": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "fsGroup": _STRATEGY,
        "supplementalGroups": _STRATEGY,
        "runAsUser": {
            "type": "object",
            "additionalProperties": False,
            "required": ["type"],
            "properties": {
                "type": {"enum": ["MustRunAs", "MustRunAsNonRoot", "MustRunAsRange", "RunAsAny"]},
                "uid": {"type": "integer"},
            },
        },
        "seLinuxContext": {
            "type": "object",
            "additionalProperties": False,
            "required": ["type"],
            "properties": {
                "type": {"enum": ["MustRunAs", "RunAsAny"]},
                "seLinuxOptions": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {key: {"type": "string"} for key in ("level", "role", "type", "user")},
                },
            },
        },
    },
}
"""The fields of SecurityContextConstraints, security.openshift.io/v1."""


def update_problems(daemonset: Mapping[str, Any]) -> Iterator[str]:
    """What the API server says of a rolling update (``ValidateRollingUpdateDaemonSet``), and the scheduler of its pods later."""
    rolling = daemonset["spec"]["updateStrategy"]["rollingUpdate"]
    surge = int(str(rolling.get("maxSurge", 0)).rstrip("%"))
    unavailable = int(str(rolling.get("maxUnavailable", 1)).rstrip("%"))
    if surge and unavailable:
        yield "maxSurge may not be set when maxUnavailable is non-zero"
    if not surge and not unavailable:
        yield "maxUnavailable cannot be 0 when maxSurge is 0"
    if surge and (ports := list(host_ports(daemonset["spec"]["template"]["spec"]))):
        yield f"a second pod of the node is never scheduled: no free port {ports}"


def host_ports(pod: Pod) -> Iterator[int]:
    """Ports of the node that a pod takes; with hostNetwork each port of a container is one."""
    for container in pod["containers"]:
        for port in container.get("ports", ()):
            if pod.get("hostNetwork") or "hostPort" in port:
                yield port.get("hostPort", port["containerPort"])


def node_fits(pod: Pod, labels: Mapping[str, str]) -> bool:
    """Whether the pod may be placed on a node with these labels, taints aside: by its selector and the affinity it requires."""
    if not pod.get("nodeSelector", {}).items() <= labels.items():
        return False
    required = pod.get("affinity", {}).get("nodeAffinity", {}).get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    return any(
        all(_expression_holds(each, labels) for each in term["matchExpressions"]) for term in required["nodeSelectorTerms"]
    )


def _expression_holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """A label that is not there is in no list, so ``NotIn`` holds of it."""
    holds = {"In": True, "NotIn": False}[expression["operator"]]
    return (labels.get(expression["key"]) in expression["values"]) is holds


def constraint_problems(scc: Mapping[str, Any], pod: Pod) -> Iterator[str]:
    """Why OpenShift would refuse a pod under these constraints alone, without filling anything in."""
    for field, flag in {"hostNetwork": "allowHostNetwork", "hostPID": "allowHostPID", "hostIPC": "allowHostIPC"}.items():
        if pod.get(field) and not scc[flag]:
            yield f"{field} is not allowed"
    if list(host_ports(pod)) and not scc["allowHostPorts"]:
        yield "host ports are not allowed"
    kinds = {next(key for key in volume if key != "name") for volume in pod["volumes"]}
    if pod["automountServiceAccountToken"]:
        kinds.add("projected")
    yield from (f"volumes of the type {kind} are not allowed" for kind in sorted(kinds - set(scc["volumes"])))
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        yield from (f"{container['name']}: {problem}" for problem in _of_container(scc, pod, container))


def _of_container(scc: Mapping[str, Any], pod: Pod, container: Mapping[str, Any]) -> Iterator[str]:
    context = dict(pod["securityContext"]) | container["securityContext"]
    if context.get("privileged") and not scc["allowPrivilegedContainer"]:
        yield "privileged is not allowed"
    if context["allowPrivilegeEscalation"] and not scc["allowPrivilegeEscalation"]:
        yield "privilege escalation is not allowed"
    if scc["readOnlyRootFilesystem"] and not context["readOnlyRootFilesystem"]:
        yield "the root file system must be read-only"
    capabilities = context.get("capabilities", {})
    if missing := set(scc["requiredDropCapabilities"]) - set(capabilities.get("drop", ())):
        yield f"capabilities to drop: {missing}"
    if added := set(capabilities.get("add", ())) - set(scc["allowedCapabilities"]):
        yield f"capabilities that are not allowed: {added}"
    if scc["runAsUser"]["type"] == "MustRunAs" and context["runAsUser"] != scc["runAsUser"]["uid"]:
        yield f"runs as {context['runAsUser']}"
    must = scc["seLinuxContext"]
    if must["type"] == "MustRunAs" and context.get("seLinuxOptions") != must["seLinuxOptions"]:
        yield f"SELinux: {context.get('seLinuxOptions')} is not {must['seLinuxOptions']}"
    profile = {"RuntimeDefault": "runtime/default"}.get(context["seccompProfile"]["type"])
    if profile not in scc["seccompProfiles"]:
        yield f"seccomp: {context['seccompProfile']}"
