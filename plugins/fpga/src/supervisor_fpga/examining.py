"""Whether this node has what FPGAs in containers need: drivers, nodes, a helper, bitstreams, VFIO, directories; each with its cure.

What cannot be seen from here is never called absent.
"""

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from supervisor import Finding, Host, HostView
from supervisor_fpga.config import FpgaConfig, Program, Resource
from supervisor_fpga.operating.bitstreams import Bitstreams
from supervisor_fpga.operating.outcome import Clock, Stopped
from supervisor_fpga.operating.settings import settings
from supervisor_fpga.presets import rules_of
from supervisor_fpga.reach import COMPONENT, reachable
from supervisor_fpga.report import Function, Report
from supervisor_fpga.starting import is_made_ready, wanted
from supervisor_fpga.sysfs.presence import unbound

_CHECK = 5.0
"""Seconds for all bitstreams."""
_NAMED = 4
_MOUNT = "Mount {} of the host, read-only, and set host.{}; or run doctor on the node itself."


def examine(host: Host, config: FpgaConfig, report: Report | None, *, bitstreams: str = "") -> Iterator[Finding]:
    """All of it. ``report`` is the last look, if there was one; ``bitstreams`` their directory, where it is not what is set."""
    if config.simulate is not None:
        yield Finding("note", "simulation", "The FPGAs are simulated: this node needs nothing for them.")
        return
    view = HostView(host)
    functions = report.functions if report is not None else ()
    yield from _drivers(view, functions)
    yield from _vfio(view, config)
    if functions:
        yield from _nodes(view, functions)
        yield from _operating(host, rules_of(config), functions)
    yield from _bitstreams(config.resources, bitstreams or settings().bitstreams)
    yield from _firmware(view, config, bitstreams or settings().bitstreams)
    yield from _directory(view, config)


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"


def _drivers(view: HostView, functions: Sequence[Function]) -> Iterator[Finding]:
    """The functions, and the hardware that could be one and is none."""
    if functions:
        yield Finding("ok", "FPGAs", f"There are {len(functions)}: {_named([each.id for each in functions])}.")
    elif not view.names("/sys/class"):
        text = "Whether there are any cannot be seen here: /sys/class is not mounted."
        yield Finding("note", "FPGAs", text, _MOUNT.format("/sys/class, /sys/bus and /sys/devices", "sysfs"))
    else:
        yield Finding("ok", "FPGAs", "No driver shows any: nothing to offer.")
    waiting: dict[str, list[str]] = {}
    for function in functions:
        if function.waiting_for:
            waiting.setdefault(function.waiting_for, []).append(function.id)
    for reason, ids in waiting.items():
        cure = "Load the module or bind the driver (driverctl, sysfs), on the node and for the next boot; dmesg says why that fails."
        yield Finding("warning", "drivers of FPGAs", f"{_named(ids)} cannot be used: {reason}.", cure)
    if idle := sorted(unbound(view, [each.pci for each in functions])):
        cure = (
            "If they are FPGAs, load their driver (modprobe dfl-pci, intel_fpga_pcie or xocl), or pass them on by vfio-pci and name them "
            "in vfio."
        )
        yield Finding("warning", "processing accelerators", f"No driver has taken {_named(idle)}, which may be FPGAs.", cure)


def _vfio(view: HostView, config: FpgaConfig) -> Iterator[Finding]:
    if not config.vfio:
        return
    if "vfio-pci" in view.names("/sys/bus/pci/drivers"):
        yield Finding("ok", "module vfio_pci", "It is loaded.")
    elif not view.names("/sys/bus/pci"):
        text = "Whether it is loaded cannot be seen here: /sys/bus is not mounted."
        yield Finding("note", "module vfio_pci", text, _MOUNT.format("/sys/bus", "sysfs"))
    else:
        cure = "modprobe vfio-pci, and name it in /etc/modules-load.d for the next boot."
        yield Finding("failure", "module vfio_pci", "It is not loaded, so no function can be passed on.", cure)
    if groups := view.names("/sys/kernel/iommu_groups"):
        yield Finding("ok", "IOMMU", f"It is on, with {len(groups)} groups.")
    elif "iommu_groups" not in view.names("/sys/kernel"):
        text = "Whether it is on cannot be seen here: /sys/kernel/iommu_groups is not there."
        yield Finding("note", "IOMMU", text, _MOUNT.format("/sys/kernel/iommu_groups", "sysfs"))
    else:
        cure = "Switch it on in the firmware (VT-d, AMD-Vi), and boot with intel_iommu=on where the kernel does not do so by itself."
        yield Finding("failure", "IOMMU", "It has no groups: it is off, and VFIO passes nothing on without it.", cure)


def _nodes(view: HostView, functions: Sequence[Function]) -> Iterator[Finding]:
    subject = "nodes of FPGAs"
    missing = [node.path for function in functions for node in function.nodes if not node.present and node.role != "iommu"]
    if not missing:
        if any(function.nodes for function in functions):
            yield Finding("ok", subject, "They are there.")
    elif not view.names("/dev"):
        text = "Whether they are there cannot be seen here: /dev is not mounted."
        yield Finding("note", subject, text, _MOUNT.format("/dev", "dev"))
    else:
        cure = "udevadm trigger --action=add makes nodes anew; where none appear, the driver has none: dmesg says why."
        yield Finding("failure", subject, f"Not there: {_named(missing)}. Containers cannot use what they stand for.", cure)


def _operating(host: Host, rules: Sequence[Resource], functions: Sequence[Function]) -> Iterator[Finding]:
    """Whether anybody can program and reset, where that is asked for."""
    names = [rule.name for rule in rules if is_made_ready(rule)]
    if not names:
        return
    subject = "programming and reset"
    if Path(host.helper_socket).is_socket():
        yield Finding("ok", subject, f"A helper is there at {host.helper_socket}.")
    elif all(reachable(function, host) for function in functions):
        yield Finding("ok", subject, "There is no helper; a child of this process may open the devices itself.")
    else:
        text = f"No container with {_named(names)} starts: there is no helper at {host.helper_socket}, and nothing can be opened from here."
        yield Finding("failure", subject, text, f"Add {COMPONENT} to the deployment; in the chart, fpgaProgramming.enabled.")


def _bitstreams(rules: Sequence[Resource], directory: str) -> Iterator[Finding]:
    """As the process checks them before it programs; where the helper sees them, it decides."""
    programs = list(dict.fromkeys(rule.program for rule in rules if rule.program is not None))
    if not programs:
        return
    if not Path(directory).is_dir():
        text = f"Whether the bitstreams are there cannot be seen here: {directory} is not mounted. The helper has a mount of its own."
        yield Finding("note", directory, text, f"Mount it here, too, as {COMPONENT} does, if doctor is to check them.")
        return
    files, clock = Bitstreams(directory), Clock(time.monotonic() + _CHECK)
    for program in programs:
        try:
            files.check(wanted(program), clock)
        except Stopped as error:
            yield _unusable(program, directory, error)
        else:
            yield Finding("ok", _subject(program), "It is there, and is what is asked for.")


def _unusable(program: Program, directory: str, error: Stopped) -> Finding:
    if error.outcome == "late" or isinstance(error.__cause__, PermissionError):
        return Finding("note", _subject(program), f"Whether it can be used cannot be seen here: {error}."[:1000])
    cure = f"Put it below {directory} on the node, owned by root and writable by nobody else, and its SHA-256 into the configuration."
    return Finding("failure", _subject(program), f"It cannot be used: {error}."[:1000], cure)


def _subject(program: Program) -> str:
    return f"bitstream {program.bitstream}"[:200]


def _firmware(view: HostView, config: FpgaConfig, directory: str) -> Iterator[Finding]:
    """By the FPGA manager the kernel itself reads bitstreams, by a name below one of its own directories."""
    if "fpga-manager" not in config.programming:
        return
    name = "/sys/module/firmware_class/parameters/path"
    found = view.read(name)
    if found is None:
        text = "Where the kernel reads bitstreams cannot be seen here: the parameter cannot be read."
        yield Finding("note", "firmware_class.path", text, _MOUNT.format("/sys/module", "sysfs"))
    elif found.strip() in {"", directory}:
        yield Finding("ok", "firmware_class.path", f"It is {'empty' if not found.strip() else found.strip()}.")
    else:
        text = f"It is {found.strip()[:200]}, and bitstreams lie in {directory}: the FPGA manager does not find them."
        yield Finding("warning", "firmware_class.path", text, f"echo -n {directory} > {name}, or nothing in place of it.")


def _directory(view: HostView, config: FpgaConfig) -> Iterator[Finding]:
    """Where container runtimes read our CDI specs."""
    directory = config.cdi.directory
    if not any(rule.cdi for rule in config.resources):
        return
    cure = f"In a pod, mount {directory} as hostPath (DirectoryOrCreate), writable: the component deploy/components/cdi does."
    if view.read("/sys/fs/selinux/enforce") is not None:
        cure += " With SELinux it labels the directory, too, as the supervisor may not write it otherwise."
    if not Path(directory).is_dir():
        yield Finding("warning", directory, "It is not there, and resources need it for CDI specs.", cure)
    elif not os.access(directory, os.W_OK | os.X_OK):
        yield Finding("warning", directory, "It cannot be written, and resources need it for CDI specs.", cure)
    else:
        yield Finding("ok", directory, "It is there for CDI specs, and can be written.")
