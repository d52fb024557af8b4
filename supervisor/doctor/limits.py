"""Limits that are met late, and look like something else then: locked memory, memory, open files, inotify."""

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

from supervisor.doctor.site import Site, limit, number, processes, seen
from supervisor.model import Finding

LEAST_MEMORY = 64 << 20
"""Bytes of the container's memory limit; the process itself stays below 52 MB with 3 resources."""
LEAST_FILES = 1024
LEAST_INSTANCES, LEAST_WATCHES = 128, 8192

_RUNTIMES = ("containerd", "crio", "dockerd")
_LOCKED, _FILES = "Max locked memory", "Max open files"


def locked_memory(site: Site) -> Iterator[Finding]:
    """RDMA pins what it sends. No device plugin and no CDI spec can raise this limit: containers get the runtime's."""
    view = site.view
    rdma = bool(view.names("/sys/class/infiniband")) if seen(view, "/sys/class") else None
    yield _locked("locked memory", limit(view, "self", _LOCKED), "this process", rdma=rdma)
    for name, process in sorted(processes(view, _RUNTIMES).items()):
        yield _locked(
            f"locked memory of {name}", limit(view, process, _LOCKED), f"{name}, whose containers inherit it", rdma=rdma
        )


def _locked(subject: str, most: int | None, whose: str, *, rdma: bool | None) -> Finding:
    """``rdma``: whether the node has any; ``None``: nobody knows."""
    if most is None:
        return Finding("note", subject, "It is not known: the limits in /proc cannot be read.")
    if most == -1:
        return Finding("ok", subject, f"Unlimited for {whose}.")
    text = f"{_size(most)} for {whose}"
    if rdma is None:
        text = f"{text}; that matters to RDMA, and whether there is any cannot be seen here: /sys/class is not mounted."
        return Finding("note", subject, text, "Mount it of the host, read-only, and set host.sysfs; or run doctor on the node.")
    if not rdma:
        return Finding("note", subject, f"{text}; that matters to RDMA, of which this node has nothing.")
    cure = "Set LimitMEMLOCK=infinity in the unit of the container runtime, restart it, and start the pods anew."
    return Finding(
        "warning", subject, f"{text}: programs fail to register memory for RDMA (ibv_reg_mr: Cannot allocate memory).", cure
    )


def open_files(site: Site) -> Iterator[Finding]:
    """Each resource takes a few descriptors, each stream one."""
    most = limit(site.view, "self", _FILES)
    if most is None:
        yield Finding("note", "open files", "Their limit is not known.")
    elif 0 <= most < LEAST_FILES:
        cure = f"Raise LimitNOFILE of the container runtime to {LEAST_FILES} or more."
        yield Finding("warning", "open files", f"At most {most}; 32 resources may need more.", cure)
    else:
        yield Finding("ok", "open files", "Unlimited." if most == -1 else f"At most {most}.")


def memory(site: Site) -> Iterator[Finding]:
    """What the control group allows."""
    if not Path(site.cgroups).is_dir():
        yield Finding("note", "memory limit", f"It cannot be seen here: {site.cgroups} is not mounted.")
        return
    most = _memory_limit(site)
    if most is None:
        yield Finding("ok", "memory limit", "None is set.")
    elif most < LEAST_MEMORY:
        cure = f"Set resources.limits.memory of the container to {_size(LEAST_MEMORY)} or more; each plugin in a process takes its own."
        yield Finding("warning", "memory limit", f"{_size(most)}: the kernel would kill the supervisor.", cure)
    else:
        yield Finding("ok", "memory limit", f"{_size(most)}.")


def _memory_limit(site: Site) -> int | None:
    """The lowest of the control groups that this process is in, of version 2 or 1; ``None`` for none."""
    found: list[int] = []
    for line in (site.view.read("/proc/self/cgroup") or "").splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers not in {"", "memory"}:
            continue
        base, name = (site.cgroups, "memory.max") if not controllers else (f"{site.cgroups}/memory", "memory.limit_in_bytes")
        steps = path.strip("/").split("/") if path.strip("/") else []
        places = ["/".join([base, *steps[:count]]) for count in range(len(steps) + 1)]
        limits = (number(_text(f"{place}/{name}")) for place in places)
        found += [each for each in limits if each is not None and each < 1 << 60]  # version 1 writes 2**63 for none
    return min(found, default=None)


def _text(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None


def inotify(site: Site) -> Iterator[Finding]:
    """Every program on the node that watches files takes from the same few; without one, restarts of the kubelet are noticed late."""
    view = site.view
    cure = "Raise it for the node: sysctl -w fs.inotify.{}={}, and in /etc/sysctl.d for the next boot."
    instances, watches = (
        number(view.read(f"/proc/sys/fs/inotify/{name}")) for name in ("max_user_instances", "max_user_watches")
    )
    if (problem := _try_inotify()) is not None:
        yield Finding("failure", "inotify", f"No instance can be had: {problem}.", cure.format("max_user_instances", 1024))
    for name, found, least in (
        ("max_user_instances", instances, LEAST_INSTANCES),
        ("max_user_watches", watches, LEAST_WATCHES),
    ):
        if found is not None and found < least:
            yield Finding("warning", f"inotify {name}", f"Only {found} for each user.", cure.format(name, 8 * least))
        elif found is not None:
            yield Finding("ok", f"inotify {name}", f"{found} for each user.")


def _try_inotify() -> str | None:
    """Why no instance can be made; one that can be is closed at once."""
    descriptor = ctypes.CDLL(None, use_errno=True).inotify_init1(os.O_CLOEXEC)
    if descriptor < 0:
        return os.strerror(ctypes.get_errno())
    os.close(descriptor)
    return None


def _size(count: int) -> str:
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= unit:
            return f"{count / unit:.4g} {name}"
    return f"{count} B"
