"""Whether this node has what RDMA in containers needs: drivers, modules, nodes, locked memory, directories; each with its cure."""

import os
import re
import resource
from collections.abc import Iterator, Sequence
from pathlib import Path

from supervisor import Finding, Host, HostView
from supervisor_infiniband.config import InfinibandConfig
from supervisor_infiniband.nodes import FOLDER, RDMA_CM
from supervisor_infiniband.report import Report

_INFINIBAND = ("0x0207", "0x0c06")
"""PCI classes of InfiniBand controllers. Ethernet cards with RDMA have that of all others, so nothing is told of those."""
_AUXILIARY = ("*.rdma.*", "*.roce.*", "*.iwarp.*")
"""What a network driver makes for the RDMA driver of its card: ``mlx5_core.rdma.0``, ``ice.roce.0``."""
_VERSION = re.compile(r"(\d+)\.(\d+)")
_DMA_BUF_KERNEL = (5, 12)
"""The first with ``ib_umem_dmabuf_get``."""
_NAMED = 4
_MOUNT = "Mount {} of the host, read-only, and set host.sysfs; or run doctor on the node itself."
_CURE_MEMLOCK = (
    "Set LimitMEMLOCK=infinity in the unit of the container runtime, restart it, and start the pods anew. The capability IPC_LOCK "
    "lifts the limit for programs that run as root alone, and not in pods with a user namespace of their own."
)


def examine(host: Host, config: InfinibandConfig, report: Report | None) -> Iterator[Finding]:
    """All of it. ``report`` is the last look, if there was one."""
    if config.simulate is not None:
        yield Finding("note", "simulation", "The RDMA devices are simulated: this node needs nothing for them.")
        return
    view = HostView(host)
    devices = view.names("/sys/class/infiniband")
    away = sum(device.elsewhere for device in report.devices) if report is not None else 0
    yield from _drivers(view, devices, away)
    if not devices and not away:
        return
    yield from _modules(view, config)
    yield from _nodes(view)
    yield locked(resource.getrlimit(resource.RLIMIT_MEMLOCK)[0])
    yield _namespaces(view, devices, away)
    yield from _peer_memory(view)
    yield from _directories(view, config)


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"


def _drivers(view: HostView, devices: Sequence[str], away: int) -> Iterator[Finding]:
    """The devices, and the hardware that could be one and is none."""
    subject = "RDMA devices"
    if devices or away:
        elsewhere = f" {away} are in network namespaces of containers." if away else ""
        yield Finding("ok", subject, f"There are {len(devices)}{f': {_named(devices)}' if devices else ''}.{elsewhere}")
    elif not view.names("/sys/class"):
        text = "Whether there are any cannot be seen here: /sys/class is not mounted."
        yield Finding("note", subject, text, _MOUNT.format("/sys/class and /sys/devices"))
    else:
        yield Finding("ok", subject, "There are none: nothing to offer.")
    cards = [each for each in view.devices("pci") if (each.attribute("class") or "").startswith(_INFINIBAND)]
    if idle := [card.name for card in cards if not card.driver]:
        cure = "Install and load the card's driver (modprobe mlx5_core or ib_mthca …); dmesg says why that fails."
        yield Finding(
            "failure", "InfiniBand cards", f"No driver has taken {_named(idle)}, which are InfiniBand controllers.", cure
        )
    if parts := [each.name for kind in _AUXILIARY for each in view.devices("auxiliary", kind) if not each.driver]:
        cure = "modprobe mlx5_ib, irdma or bnxt_re, as the card needs, and name it in /etc/modules-load.d for the next boot."
        text = f"The network drivers offer {_named(parts)}, and no RDMA driver has taken them."
        yield Finding("warning", "RDMA drivers", text, cure)


def _modules(view: HostView, config: InfinibandConfig) -> Iterator[Finding]:
    """By what they make, as one that is built in is no module."""
    asked = {kind for pool in config.pools for kind in pool.char_devices}
    required = {kind for pool in config.pools for kind in pool.require}
    if view.names("/sys/class/infiniband_verbs"):
        yield Finding("ok", "module ib_uverbs", "It is loaded.")
    else:
        text = "It is not loaded: no program can use an RDMA device, so all are Unhealthy."
        yield Finding("failure", "module ib_uverbs", text, _load("ib_uverbs"))
    if RDMA_CM in view.names("/sys/class/misc"):
        yield Finding("ok", "module rdma_ucm", "It is loaded.")
    elif RDMA_CM in asked:
        text = "It is not loaded, so containers get no rdma_cm: programs that connect by addresses (librdmacm) fail, verbs alone work."
        yield Finding("failure" if RDMA_CM in required else "warning", "module rdma_ucm", text, _load("rdma_ucm"))
    if any(name.startswith("umad") for name in view.names("/sys/class/infiniband_mad")):
        yield Finding("ok", "module ib_umad", "It is loaded.")
    elif wanted := sorted(asked & {"umad", "issm"}):
        text = f"It is not loaded, or no port takes management datagrams: containers get no {' and no '.join(wanted)}."
        yield Finding("failure" if required & {*wanted} else "warning", "module ib_umad", text, _load("ib_umad"))


def _load(module: str) -> str:
    return f"modprobe {module}, and name it in /etc/modules-load.d for the next boot."


def _nodes(view: HostView) -> Iterator[Finding]:
    made = [name for name in view.names("/sys/class/infiniband_verbs") if name.startswith("uverbs")]
    made += [name for name in view.names("/sys/class/misc") if name == RDMA_CM]
    there = {*view.names(FOLDER)}
    missing = [name for name in made if name not in there]
    if not missing:
        if made:
            yield Finding("ok", FOLDER, f"The nodes of {_named(made)} are there.")
    elif not view.names("/dev"):
        text = "Whether the nodes are there cannot be seen here: /dev is not mounted."
        yield Finding("note", FOLDER, text, "Mount /dev of the host, and set host.dev; or run doctor on the node itself.")
    else:
        cure = "udevadm trigger --action=add; where udev has no rules for them, install rdma-core on the node."
        yield Finding("failure", FOLDER, f"Not there: {_named(missing)}. Containers cannot use what they stand for.", cure)


def locked(limit: int) -> Finding:
    """Of ``RLIMIT_MEMLOCK``, in bytes.

    No warning: the supervisor's own check has that, with the limits of the runtimes. What helps a pod and what does not, it lacks.
    """
    subject = "locked memory of RDMA programs"
    if limit == resource.RLIM_INFINITY:
        return Finding("ok", subject, "This process has no limit, so containers of the same runtime should have none.")
    text = (
        f"This process may lock {limit >> 10} KiB, and so may containers of the same runtime. No device plugin can raise that."
    )
    return Finding("note", subject, text, _CURE_MEMLOCK)


def _namespaces(view: HostView, devices: Sequence[str], away: int) -> Finding:
    subject = "RDMA network namespaces"
    mode = (view.read("/sys/module/ib_core/parameters/netns_mode") or "").strip()
    if mode in {"Y", "1"}:
        text = "The mode is shared: a container sees all devices in /sys/class/infiniband, and can open those alone that it was given."
        old = "Images whose rdma-core is of 2021 or older may fail to list them (librdmacm: No such device): update those."
        return Finding("ok", subject, text, old if len(devices) > 1 else "")
    if mode in {"N", "0"}:
        text = (
            f"The mode is exclusive: a container sees a device when a CNI plugin (rdma-cni) moves it there; {away} are moved now. "
            "Containers to which none is moved get nodes that they cannot use."
        )
        return Finding(
            "ok", subject, text, "For shared and pooled devices: rdma system set netns shared, before any container runs."
        )
    text = "The mode cannot be seen here: /sys/module/ib_core/parameters/netns_mode cannot be read."
    return Finding("note", subject, text, _MOUNT.format("/sys/module"))


def _peer_memory(view: HostView) -> Iterator[Finding]:
    """Never a condition for anything: which way GPUs and HCAs find is between their drivers."""
    subject = "GPUDirect RDMA"
    modules = {*view.names("/sys/module")}
    if not modules:
        text = "Whether nvidia_peermem is loaded cannot be seen here: /sys/module is not mounted."
        yield Finding("note", subject, text, _MOUNT.format("/sys/module"))
    elif "nvidia" in modules:
        peer = "nvidia_peermem is loaded" if "nvidia_peermem" in modules else "nvidia_peermem is not loaded"
        yield Finding("note", subject, f"{peer}. DMA-BUF, which needs no such module: {_dma_buf(view)}.")


def _dma_buf(view: HostView) -> str:
    found = _VERSION.match(view.read("/proc/sys/kernel/osrelease") or "")
    driver = view.read("/proc/driver/nvidia/version") or ""
    if found is None:
        return "not known, as the kernel's version cannot be read"
    if (int(found[1]), int(found[2])) < _DMA_BUF_KERNEL:
        return f"not with this kernel ({found[0]}), as it came with {'.'.join(map(str, _DMA_BUF_KERNEL))}"
    if not driver:
        return "the kernel has it; whether NVIDIA's driver does cannot be seen here"
    return (
        "kernel and driver have it"
        if "Open Kernel Module" in driver
        else "not with NVIDIA's closed kernel modules, only with the open"
    )


def _directories(view: HostView, config: InfinibandConfig) -> Iterator[Finding]:
    """Where other programs on the node read our files."""
    wanted = {}
    if any(pool.cdi for pool in config.pools):
        wanted[config.cdi.directory] = "CDI specs"
    if any(pool.device_info for pool in config.pools):
        wanted[config.device_info_directory] = "device-info files"
    for directory, what in wanted.items():
        cure = (
            f"In a pod, mount {directory} as hostPath (DirectoryOrCreate), writable: the component deploy/components/cdi does."
        )
        if view.read("/sys/fs/selinux/enforce") is not None:
            cure += " With SELinux it labels the directory, too, as the supervisor may not write it otherwise."
        if not Path(directory).is_dir():
            yield Finding("warning", directory, f"It is not there, and resources need it for {what}.", cure)
        elif not os.access(directory, os.W_OK | os.X_OK):
            yield Finding("warning", directory, f"It cannot be written, and resources need it for {what}.", cure)
        else:
            yield Finding("ok", directory, f"It is there for {what}, and can be written.")
