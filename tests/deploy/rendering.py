"""What kustomize makes of ``deploy``, as objects, and how two renderings are compared."""

import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[2] / "deploy"
NAME = "device-plugin-supervisor"
"""Of the namespace and of nearly all that is in it."""

KUBECTL = Path(sys.executable).with_name("kubectl")
"""The one of this environment. Debian's is too old for components."""

BASE = "base"
OVERLAYS = ("overlays/nvidia-runtime", "overlays/openshift")
COMPONENTS = tuple(
    str(path.parent.relative_to(FOLDER))
    for path in sorted(FOLDER.rglob("kustomization.yaml"))
    if yaml.safe_load(path.read_text())["kind"] == "Component"
)
"""All there are, ``monitoring`` included."""

Object = dict[str, Any]


def kustomize(folder: Path) -> list[Object]:
    """The objects of one kustomization. Raises ``CalledProcessError`` with kustomize's words in ``stderr``."""
    return _objects(_text(folder))


def rendered(base: str = BASE, components: Sequence[str] = (), **more: Any) -> list[Object]:
    """The objects of a user's own kustomization that takes these parts of ``deploy``; ``more`` are further fields of it."""
    return _objects(_combined(base, tuple(components), yaml.safe_dump(more)))


@functools.cache
def _combined(base: str, components: tuple[str, ...], more: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), base, components, **yaml.safe_load(more))
        return _text(Path(folder))


def _text(folder: Path) -> str:
    command = [str(KUBECTL), "kustomize", str(folder)]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=True).stdout


def _objects(text: str) -> list[Object]:
    return list(yaml.load_all(text, yaml.CSafeLoader))


def write(folder: Path, base: str, components: Sequence[str], **more: Any) -> None:
    """Write such a kustomization. Paths in it are relative, since kustomize takes no others."""
    away = Path(os.path.relpath(FOLDER, folder.resolve()))
    fields = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [str(away / base)],
        "components": [str(away / each) for each in components],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(fields | more))


def one(objects: Iterable[Object], kind: str, name: str = NAME) -> Object:
    """The only object of a kind and name."""
    (found,) = (each for each in objects if each["kind"] == kind and each["metadata"]["name"] == name)
    return found


def pod_spec(objects: Iterable[Object]) -> Object:
    """What the DaemonSet says of its pods."""
    spec: Object = one(objects, "DaemonSet")["spec"]["template"]["spec"]
    return spec


def containers(objects: Iterable[Object]) -> dict[str, Object]:
    """All containers of the DaemonSet's pods by name, those that run first and end included."""
    pod = pod_spec(objects)
    return {each["name"]: each for each in (*pod.get("initContainers", ()), *pod["containers"])}


def mounts(objects: Iterable[Object], container: str = "supervisor") -> Iterator[tuple[Object, Object]]:
    """Each mount of a container with its volume."""
    objects = list(objects)
    volumes = {each["name"]: each for each in pod_spec(objects)["volumes"]}
    for mount in containers(objects)[container]["volumeMounts"]:
        yield mount, volumes[mount["name"]]


def canonical(value: Any) -> Any:
    """The same without an order where the API knows none: objects, and lists whose members have names or keys of their own."""
    if isinstance(value, Mapping):
        return {key: canonical(member) for key, member in sorted(value.items())}
    if isinstance(value, list):
        members = [canonical(each) for each in value]
        return sorted(members, key=_identity) if members and all(isinstance(each, Mapping) for each in value) else members
    return value


def _identity(member: Mapping[str, Any]) -> tuple[str, str]:
    """What tells a member of a list from the others, and all of it for what has no such thing."""
    metadata = member.get("metadata", {})
    key = (member.get("kind"), metadata.get("namespace"), metadata.get("name")) if metadata else ()
    found = (*key, member.get("mountPath") or member.get("name"))
    return str(found), str(member)
