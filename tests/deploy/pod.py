"""The pod of ``deploy/base``, and of components with it, as podman runs it: with the manifest's security context, arguments and mounts, and nothing else."""

import copy
import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from supervisor.kubelet.simulator import KubeletSimulator
from supervisor.testing import FakeHost
from tests.deploy.image import IMAGE, Container, Store
from tests.deploy.rendering import BASE, one, pod_spec, rendered

NEVER = 86400
"""Seconds between timed looks: what is found was found by an event."""

_SECURITY = {"privileged": False, "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True}
_POD_SECURITY = {"runAsUser": 0, "runAsGroup": 0, "seccompProfile": {"type": "RuntimeDefault"}}


@functools.cache
def manifest(*components: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the DaemonSet of the base says of its pods, and the configuration that the base has, as kustomize renders them."""
    objects = rendered(BASE, components)
    return pod_spec(objects), dict(yaml.safe_load(one(objects, "ConfigMap")["data"]["config.yaml"]))


def arguments(
    store: Store,
    sources: Mapping[str, Path],
    *,
    image: str = IMAGE,
    command: tuple[str, ...] = (),
    components: tuple[str, ...] = (),
) -> list[str]:
    """What podman is told: options, image, and the manifest's arguments or another command.

    ``sources`` has what is to be mounted in place of the node's directories, by the names of volumes.
    """
    pod, _ = manifest(*components)
    (container,) = (each for each in pod["containers"] if each["name"] == "supervisor")
    entry = ["--entrypoint", command[0]] if command else []
    told = command[1:] if command else container["args"]
    return [*_security(store, pod, container), *_mounts(pod, container, sources), *entry, image, *told]


def helper_arguments(store: Store, sources: Mapping[str, Path], *more: str, components: tuple[str, ...]) -> list[str]:
    """The same for the helper, with its mounts and without its privilege, which would be this machine's; ``more`` are further options.

    Without the host's ``/dev`` as well: of devices nothing can be shown here.
    """
    pod, _ = manifest(*components)
    (container,) = (each for each in pod["containers"] if each["name"] == "helper")
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    mounted = container | {"volumeMounts": [mount for mount in container["volumeMounts"] if mount["name"] != "dev"]}
    return [*_confined(store), *_mounts(pod, mounted, sources), *more, IMAGE, *container["args"]]


def _security(store: Store, pod: Mapping[str, Any], container: Mapping[str, Any]) -> Iterator[str]:
    """Refuses a manifest that asks for what is not understood here: nothing would be proved of it."""
    context = {**container["securityContext"]}
    assert context.pop("capabilities") == {"drop": ["ALL"]}
    assert context == _SECURITY
    assert pod["securityContext"] == _POD_SECURITY
    assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & pod.keys()
    yield from _confined(store)


def _confined(store: Store) -> Iterator[str]:
    yield from ("--user", "0:0", "--cap-drop=ALL", "--security-opt", "no-new-privileges")
    yield from ("--read-only", "--read-only-tmpfs=false")
    if not store.seccomp:
        yield from ("--security-opt", "seccomp=unconfined")


def _mounts(pod: Mapping[str, Any], container: Mapping[str, Any], sources: Mapping[str, Path]) -> Iterator[str]:
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for mount in container["volumeMounts"]:
        volume = volumes[mount["name"]]
        mode = "ro" if mount.get("readOnly") else "rw"
        if "emptyDir" in volume and mount["name"] not in sources:
            yield f"--mount=type=tmpfs,destination={mount['mountPath']},{mode}"
            continue
        source = sources.get(mount["name"]) or volume["hostPath"]["path"]
        follow = "rslave" if mount.get("mountPropagation") == "HostToContainer" else "rprivate"
        # No device opens below `nodev`, as under the device cgroup of a node.
        yield f"--volume={source}:{mount['mountPath']}:{mode},nodev,{follow}"


class Place:
    """A node's directories that are the test's own; the others are this machine's."""

    def __init__(self, kubelet: KubeletSimulator, folder: Path) -> None:
        self.kubelet = kubelet
        self.folder = folder
        self.components: tuple[str, ...] = ()
        """Besides the base."""
        self.config = copy.deepcopy(manifest()[1])
        self.config["plugins"]["generic"]["lookInterval"] = NEVER
        self.sources = {name: folder / name for name in ("config", "run-udev")}
        for source in self.sources.values():
            source.mkdir()
        self.sources |= {"device-plugins": kubelet.paths.device_plugins, "pod-resources": kubelet.paths.pod_resources}
        self._log = folder / "log"
        self.write()

    def move_to(self, machine: FakeHost) -> None:
        """Have the hardware of another machine."""
        self.sources["dev"] = machine.path("/dev")
        for name in ("bus", "class", "dev", "devices", "module"):
            self.sources[f"sys-{name}"] = machine.path(f"/sys/{name}")
            self.sources[f"sys-{name}"].mkdir(parents=True, exist_ok=True)

    def publish(self) -> None:
        """Have the component for files that runtimes and CNI plugins read, and its directories."""
        self.components = ("components/cdi",)
        for name in ("cdi", "device-info"):
            self.sources[name] = self.folder / name
            self.sources[name].mkdir()

    def operate(self, socket: Path) -> None:
        """Have the component that programs FPGAs, and its directories: bitstreams are made by the test, the helper's socket has a short path."""
        self.components = ("components/fpga-programming",)
        self.sources["helper-socket"] = socket
        for name in ("bitstreams", "fpga-locks"):
            self.sources[name] = self.folder / name
        self.sources["fpga-locks"].mkdir(mode=0o755)

    def helping(self, store: Store, *more: str) -> Container:
        """The helper's container of the pod, to be entered; ``more`` are further options of podman's."""
        return Container(
            store, self.folder / "helper.log", *helper_arguments(store, self.sources, *more, components=self.components)
        )

    def running(self, store: Store, image: str = IMAGE) -> Container:
        """The container of the pod, to be entered."""
        return Container(store, self._log, *arguments(store, self.sources, image=image, components=self.components))

    def offer(self, name: str, **match: Any) -> None:
        """One more resource for the generic plugin; a running supervisor notices."""
        self.config["plugins"]["generic"]["resources"].append({"name": name, "match": [match]})
        self.write()

    def write(self) -> None:
        """Write the configuration, in one step."""
        new = self.sources["config"] / "new"
        new.write_text(json.dumps(self.config))
        new.rename(self.sources["config"] / "config.yaml")
