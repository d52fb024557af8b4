"""Whether this node has what GPUs in containers need: card, driver, library, device nodes, MIG rights, CDI; each with its cure."""

import re
from collections.abc import Iterator

from supervisor import Finding, Host, HostDevice, HostView
from supervisor_nvidia_gpu import nodes, procfs
from supervisor_nvidia_gpu.cdi import libraries
from supervisor_nvidia_gpu.config import NvidiaGpuConfig
from supervisor_nvidia_gpu.driver_root import DriverRoot, mount_of
from supervisor_nvidia_gpu.nvml.library import SONAME, candidates
from supervisor_nvidia_gpu.picture import Picture
from supervisor_nvidia_gpu.report import Report

_NVIDIA = "0x10de"
_CARDS, _SWITCHES = ("0x0300", "0x0302"), ("0x0680",)
"""PCI classes: VGA and 3D controllers; bridges of another kind, which NVSwitches are."""
_VERSION = re.compile(r"\.so\.(\d+(?:\.\d+){1,3})$")
_PERSISTENCED = "/var/run/nvidia-persistenced/socket"
_FABRIC_MANAGER = "/var/run/nvidia-fabricmanager/socket"
_MAKE_NODES = "Run nvidia-smi or nvidia-modprobe -u -c 0 as root on the node; nvidia-persistenced does so at each boot."
_NAMED = 4
_MOUNT = "Mount {} of the host, read-only, and set host.sysfs; or run doctor on the node itself."
_RUN = "/var/run"
"""Where the sockets of daemons are; a pod sees of the driver's root only what it mounts."""


def examine(host: Host, config: NvidiaGpuConfig, picture: Picture | None, *, wants_cdi: bool) -> Iterator[Finding]:
    """All of it. ``picture`` is the last look, if there was one; ``wants_cdi``: the configuration asks for CDI."""
    if config.simulate is not None:
        yield Finding("note", "simulation", "The GPUs are simulated: this node needs nothing for them.")
        return
    view = HostView(host)
    cards, version = list(_on_bus(view, _CARDS)), procfs.driver_version(host.proc)
    yield from _driver(view, cards, version)
    if not cards and not version:
        return
    yield from _library(config, version)
    report = picture.report if picture is not None else procfs.look(host.proc, host.sysfs)
    driver, _ = libraries.locate(version, config.driver_root, mount_of(config.driver_root_mount))
    if version:
        yield from _nodes(host, config, report, driver)
        yield from _mig(view, report, picture)
        yield from _daemons(view, driver)
    if picture is not None:
        yield from _cdi(picture, wants_cdi=wants_cdi)


def _on_bus(view: HostView, classes: tuple[str, ...]) -> Iterator[HostDevice]:
    for device in view.devices("pci"):
        if device.attribute("vendor") == _NVIDIA and (device.attribute("class") or "").startswith(classes):
            yield device


def _driver(view: HostView, cards: list[HostDevice], version: str) -> Iterator[Finding]:
    subject = "NVIDIA driver"
    if version:
        yield Finding("ok", subject, f"Version {version} is loaded; {len(cards)} cards are on the bus.")
        yield from _unified_memory(view)
    elif not cards and not view.names("/sys/bus"):
        text = "No driver is loaded, and whether there are NVIDIA cards cannot be seen here: /sys/bus is not mounted."
        yield Finding("note", subject, text, _MOUNT.format("/sys/bus and /sys/devices"))
    elif not cards:
        yield Finding("ok", subject, "No NVIDIA card is on the bus, and no driver is loaded: nothing to offer.")
    else:
        names = ", ".join(card.name for card in cards[:_NAMED])
        cure = (
            "Install the driver and load it (modprobe nvidia); dmesg says why that fails (headers of the kernel, Secure Boot)."
        )
        yield Finding("failure", subject, f"It is not loaded, though there are {len(cards)} cards: {names}.", cure)
    for card in cards:
        if card.driver == "nouveau":
            cure = "Put 'blacklist nouveau' into /etc/modprobe.d, make the initramfs anew, and boot."
            yield Finding("failure", card.name, "nouveau has taken this card, so NVIDIA's driver cannot.", cure)
        elif card.driver == "vfio-pci":
            yield Finding(
                "note", card.name, "It is passed through to virtual machines (vfio-pci), so it is no GPU of this node."
            )


def _unified_memory(view: HostView) -> Iterator[Finding]:
    if view.names("/sys/module/nvidia_uvm"):
        yield Finding("ok", "module nvidia_uvm", "It is loaded.")
    elif not view.names("/sys/module"):
        text = "Whether it is loaded cannot be seen here: /sys/module is not mounted."
        yield Finding("note", "module nvidia_uvm", text, _MOUNT.format("/sys/module"))
    else:
        cure = "modprobe nvidia-uvm, and name it in /etc/modules-load.d for the next boot."
        yield Finding("warning", "module nvidia_uvm", "It is not loaded: CUDA does not start without it.", cure)


def _library(config: NvidiaGpuConfig, version: str) -> Iterator[Finding]:
    found = dict(candidates(config.driver_root_mount or "", config.driver_root))
    good = [path for path, why in found.items() if not why]
    for path, why in found.items():
        if why == "is a directory":
            text = f"It {why}: a container runtime made it where the file was missing when it was to be mounted."
            yield Finding(
                "failure" if not good else "warning", path, text, f"rmdir {path}, and install the driver's libraries."
            )
        elif why:
            cure = "Install the driver's libraries for this processor and word size; remove those that are not."
            yield Finding("failure" if not good else "note", path, f"It {why}.", cure)
    if not found:
        cure = "Install the driver's user space (libnvidia-ml1), and in a pod mount the host's root read-only at /driver-root."
        yield Finding("failure", SONAME, "No driver library is found where drivers are installed.", cure)
    versions = {match[1] for path in good if (match := _VERSION.search(path))}
    if good and version and versions and version not in versions:
        text = f"The kernel has driver {version}, the libraries are {', '.join(sorted(versions))}: NVML refuses to work."
        cure = "An upgrade has replaced the files under a running driver: boot the node, or unload and load the nvidia modules."
        yield Finding("failure", SONAME, text, cure)
    elif good:
        yield Finding(
            "ok", SONAME, f"{good[0]} fits this processor" + (" and the loaded driver." if version in versions else ".")
        )


def _nodes(host: Host, config: NvidiaGpuConfig, report: Report, driver: DriverRoot) -> Iterator[Finding]:
    found = nodes.look(host, report, nodes.root_of(host, config.dev_root, driver))
    missing = [path for path in nodes.CONTROL[:2] if path not in found.control]
    missing += [f"/dev/nvidia{gpu.minor}" for gpu in report.gpus if gpu.minor is not None and gpu.minor not in found.gpus]
    if missing:
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        text = f"Not there: {', '.join(missing[:_NAMED])}{more}. Containers cannot use what they stand for."
        yield Finding("failure", "device nodes", text, _MAKE_NODES)
    else:
        yield Finding("ok", "device nodes", f"Those of {len(found.gpus)} GPUs and of the driver itself are there.")


def _mig(view: HostView, report: Report, picture: Picture | None) -> Iterator[Finding]:
    if not any(gpu.mig_enabled for gpu in report.gpus):
        return
    if not view.read(nodes.MIG_MINORS):
        cure = "Mount the host's /proc, and set host.proc; or load the driver anew, if the host itself has no such file."
        yield Finding("failure", "MIG", f"{nodes.MIG_MINORS} cannot be read, which names the nodes of MIG devices.", cure)
        return
    units = picture.offer.units if picture is not None else ()
    lacking = [why for unit in units if picture is not None and unit.mig is not None and (why := picture.nodes.lacking(unit))]
    if lacking:
        cure = f"nvidia-modprobe -f makes them (/proc/driver/nvidia/capabilities). {_MAKE_NODES}"
        yield Finding("failure", "MIG", f"{lacking[0]}; so it is with {len(lacking)} MIG devices."[:1000], cure)
    else:
        yield Finding(
            "ok",
            "MIG",
            f"{sum(1 for gpu in report.gpus if gpu.mig_enabled)} GPUs are in MIG mode, and the rights to their devices are there.",
        )


def _daemons(view: HostView, driver: DriverRoot) -> Iterator[Finding]:
    if driver.socket(_PERSISTENCED) is not None:
        yield Finding("ok", "persistence", "nvidia-persistenced keeps the driver awake.")
    elif driver.resolve(_RUN) is None:
        text = f"Whether nvidia-persistenced runs cannot be seen here: {driver.on_host(_RUN)} is not mounted."
        yield Finding("note", "persistence", text, "On the node: systemctl status nvidia-persistenced.")
    else:
        text = "nvidia-persistenced is not seen: without persistence mode, the first use of an idle GPU takes seconds."
        yield Finding("note", "persistence", text, "systemctl enable --now nvidia-persistenced, or nvidia-smi -pm 1.")
    if not (switches := len(list(_on_bus(view, _SWITCHES)))):
        return
    if driver.socket(_FABRIC_MANAGER) is not None:
        yield Finding("ok", "fabric manager", f"It runs, for {switches} NVSwitches.")
    elif driver.resolve(_RUN) is None:
        text = f"There are {switches} NVSwitches; whether their fabric manager runs cannot be seen here: {driver.on_host(_RUN)} is not mounted."
        yield Finding("note", "fabric manager", text, "On the node: systemctl status nvidia-fabricmanager.")
    else:
        text = f"There are {switches} NVSwitches, but no socket of the fabric manager: without it CUDA does not start on such boards."
        cure = "systemctl enable --now nvidia-fabricmanager, of the driver's very version."
        yield Finding("warning", "fabric manager", text, cure)


def _cdi(picture: Picture, *, wants_cdi: bool) -> Iterator[Finding]:
    if not wants_cdi:
        text = "Devices are passed as nodes: set runtimeCdi: true where the runtime knows CDI, and containers get the libraries, too."
        yield Finding("note", "CDI", text)
        return
    state = picture.cdi
    if state.problem:
        cure = "Mount the directory writable; its files are written by the supervisor that owns the node, so start one first."
        yield Finding("warning", state.directory or "CDI", f"{state.problem}."[:1000], cure)
    else:
        yield Finding("ok", state.directory or "CDI", f"{len(state.names)} devices can be injected by name.")
    for conflict in state.conflicts:
        yield Finding(
            "warning", "CDI", f"{conflict}."[:1000], "Remove that file, or give this plugin's cdi section another kind."
        )
