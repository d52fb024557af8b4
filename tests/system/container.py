"""A supervisor in a container of its own, as the manifest makes it: a real runtime, a process tree of its own, nothing it may do.

It keeps the machine's network, where its pages are asked for at a free port.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from supervisor.host import Host
from supervisor.kubelet.simulator import Paths
from tests.system.rig import Process

CONFIG = "/etc/device-plugin-supervisor"
DEVICE_PLUGINS, POD_RESOURCES = "/var/lib/kubelet/device-plugins", "/var/lib/kubelet/pod-resources"

CACHES = (Path("/etc/ld.so.cache"),)
"""Where the loader finds libraries."""

_RUN = """
# crun refuses to start where both versions of cgroups are mounted.
[ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ] || mount -t cgroup2 none /sys/fs/cgroup
exec crun --cgroup-manager=disabled "$@"
"""
_APART = ("unshare", "--mount", "--propagation", "private", "sh", "-e", "-c", _RUN, "crun")

Mount = dict[str, Any]
KERNEL: tuple[Mount, ...] = (
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]},
    {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "size=1m"]},
)


@dataclass(frozen=True)
class System:
    """What is in a container before anything of the node is: its root, what is mounted there, and how the supervisor is started."""

    root: Path
    mounts: tuple[Mount, ...]
    command: tuple[str, ...]
    env: tuple[str, ...]

    @classmethod
    def of_machine(cls, root: Path) -> Self:
        """This machine's Python and programs, so that no image needs to be built first. The root is made."""
        root.mkdir(exist_ok=True)
        env = (f"PYTHONPATH={os.pathsep.join(filter(None, sys.path))}", "PATH=/usr/bin:/bin")
        return cls(root, tuple(_programs(root)), (sys.executable, "-m", "supervisor"), env)

    @classmethod
    def of_image(cls, root: Path, env: Sequence[str], packages: Sequence[Path]) -> Self:
        """An image that is unpacked there, with its environment; ``packages`` are places of further plugins."""
        paths = f"PYTHONPATH={os.pathsep.join(map(str, packages))}"
        mounts = tuple(bind(place, str(place)) for place in packages)
        return cls(root, mounts, ("device-plugin-supervisor",), (*env, paths))


class Container(Process):
    """One container. To signal it is to signal its first process, as the runtime of a node does when a pod is to end."""

    def __init__(
        self, kubelet: Paths, folder: Path, plugins: Mapping[str, Mapping[str, Any]], system: System, writable: Path
    ) -> None:
        """``writable`` is the folder that the plugins work in, at the same path as here; all else of theirs is read-only."""
        super().__init__(kubelet, folder, plugins, Host())
        self.edit(kubelet={"devicePluginsDir": DEVICE_PLUGINS, "podResourcesSocket": f"{POD_RESOURCES}/kubelet.sock"})
        self._pid_file = self.folder / "pid"
        mounted = self.folder / "config"
        mounted.mkdir()
        self.config = self.config.rename(mounted / self.config.name)
        own = [
            bind(kubelet.device_plugins, DEVICE_PLUGINS, "rw"),
            bind(kubelet.pod_resources, POD_RESOURCES),
            bind(mounted, CONFIG),
            bind(writable, str(writable), "rw"),
        ]
        self._bundle = self.folder / "bundle"
        self._bundle.mkdir()
        args = [*system.command, "run", "--config", f"{CONFIG}/{self.config.name}"]
        (self._bundle / "config.json").write_text(json.dumps(_specification(system, args, own)))

    @property
    def command(self) -> list[str]:
        """The runtime, which stays as long as the container."""
        state, name = self.folder / "state", self.folder.name
        options = ("--bundle", str(self._bundle), "--pid-file", str(self._pid_file))
        return [*_APART, "--root", str(state), "run", *options, name]

    @property
    def pid(self) -> int:
        """Of the container's first process, as this machine counts."""
        return int(self._pid_file.read_text())

    def stop(self) -> int:
        """End it in good order; a container that outlives that would outlive the test."""
        try:
            return super().stop()
        except subprocess.TimeoutExpired:
            self.kill()
            return super().stop()


def _specification(system: System, args: list[str], own: list[Mount]) -> dict[str, Any]:
    """What the runtime reads: https://github.com/opencontainers/runtime-spec."""
    nothing: dict[str, list[str]] = {kind: [] for kind in ("bounding", "effective", "inheritable", "permitted", "ambient")}
    process = {
        "user": {"uid": 0, "gid": 0},
        "args": args,
        "env": system.env,
        "cwd": "/",
        "capabilities": nothing,
        "noNewPrivileges": True,
    }
    return {
        "ociVersion": "1.0.2",
        "process": process,
        "root": {"path": str(system.root), "readonly": True},
        "mounts": [*KERNEL, *system.mounts, *own],
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]},
    }


def bind(source: Path, target: str, access: str = "ro") -> Mount:
    """A directory of this machine in the container."""
    options = ["rbind", "rprivate", access]
    return {"destination": target, "source": str(source), "type": "bind", "options": options}


def _programs(root: Path) -> list[Mount]:
    """Python, what it imports, and this machine's programs and libraries. Links at its root become links at the container's."""
    system = {Path("/usr"), *(place for pattern in ("lib*", "bin", "sbin") for place in Path("/").glob(pattern))}
    for link in sorted(place for place in system if place.is_symlink()):
        if not (root / link.name).is_symlink():
            (root / link.name).symlink_to(os.readlink(link))
    python = {Path(name).resolve() for name in (sys.prefix, sys.base_prefix, *filter(None, sys.path)) if Path(name).is_dir()}
    places = python | {place for place in system if not place.is_symlink()}
    outermost = sorted(place for place in places if not any(other in place.parents for other in places))
    return [bind(place, str(place)) for place in outermost] + [bind(cache, str(cache)) for cache in CACHES if cache.exists()]
