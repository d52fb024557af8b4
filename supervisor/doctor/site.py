"""What is examined: where the kubelet's and the host's directories are seen from here, and small ways to read them."""

import contextlib
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from msgspec import Struct

from supervisor.config import KubeletConfig
from supervisor.host import Host, HostView
from supervisor.model import Finding

CDI_DIRECTORIES = ("/etc/cdi", "/var/run/cdi")
"""Where container runtimes look for CDI specs; of two that define one device, the one in the last directory counts."""

CGROUPS = "/sys/fs/cgroup"

_MAX_PROCESSES = 50_000


class Site(Struct, frozen=True):
    """One node, as this process sees it."""

    kubelet: KubeletConfig = KubeletConfig()
    host: Host = Host()
    cdi: tuple[str, ...] = CDI_DIRECTORIES
    cgroups: str = CGROUPS
    """Where this process has its own control groups: the runtime mounts them there, wherever the host's ``/sys`` is."""

    @property
    def directory(self) -> Path:
        return Path(self.kubelet.device_plugins_dir)

    @property
    def view(self) -> HostView:
        """A new one: a view belongs to one thread."""
        return HostView(self.host)


Check = Callable[[Site], Iterable[Finding]]


def fields(text: str | None) -> Mapping[str, str]:
    """The lines ``Name: value`` of a file like ``/proc/self/status``."""
    pairs = (line.partition(":") for line in (text or "").splitlines())
    return {name.strip(): value.strip() for name, colon, value in pairs if colon}


def seen(view: HostView, directory: str) -> bool:
    """Whether a directory that is never empty on a host can be seen from here: of ``/sys`` a pod has only some mounted."""
    return bool(view.names(directory))


def number(text: str | None) -> int | None:
    """A whole number that is not negative; ``None`` for anything else."""
    return int(text) if text is not None and text.isascii() and text.isdecimal() else None


def limit(view: HostView, process: str, name: str) -> int | None:
    """The soft limit of a process, as ``/proc/PID/limits`` shows it; -1 for unlimited, ``None`` where it cannot be read."""
    for line in (view.read(f"/proc/{process}/limits") or "").splitlines():
        if line.startswith(name):
            soft = line.removeprefix(name).split()[:1]
            return -1 if soft == ["unlimited"] else number(soft[0] if soft else None)
    return None


def processes(view: HostView, names: Iterable[str]) -> Mapping[str, str]:
    """The first process of each of these names that can be seen, with its directory in ``/proc``."""
    wanted, found = set(names), dict[str, str]()
    for process in view.names("/proc")[:_MAX_PROCESSES]:
        if process.isdecimal() and (name := view.read(f"/proc/{process}/comm")) in wanted:
            found.setdefault(name or "", process)
    return found


def refusal(path: Path | str) -> str:
    """Why nobody accepts a connection at a unix socket; empty if somebody does. Sends nothing."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as probe:
        try:
            with contextlib.suppress(BlockingIOError):  # the backlog is full: somebody listens, and is busy
                probe.connect(str(path))
        except OSError as error:
            return reason(error)
    return ""


def reason(error: OSError) -> str:
    """What went wrong, in the system's words."""
    return os.strerror(error.errno) if error.errno is not None else str(error)
