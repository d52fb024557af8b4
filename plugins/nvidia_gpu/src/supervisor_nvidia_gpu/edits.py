"""What a container gets with a unit, by each of the ways in which container runtimes can be told of GPUs.

``envvar`` and ``volume-mounts`` are understood by NVIDIA's container runtime, which then injects nodes and libraries by itself;
the two CDI strategies by any runtime that knows CDI; device specs by every runtime, but they bring no libraries.
"""

import re
from collections.abc import Iterator

from msgspec import Struct, structs

from supervisor import CdiState, ContainerEdits, DeviceNode, Mount
from supervisor_nvidia_gpu.cdi import names
from supervisor_nvidia_gpu.config import DeviceList, Extras, NvidiaGpuConfig
from supervisor_nvidia_gpu.nodes import IMEX_CHANNELS, Nodes
from supervisor_nvidia_gpu.units import Unit

VISIBLE_DEVICES = "NVIDIA_VISIBLE_DEVICES"
MOUNT_ROOT = "/var/run/nvidia-container-devices"
"""NVIDIA's runtime reads the names of what is mounted there as a list of devices, where it is told to accept that."""
ANNOTATION = "nvidia-gpu_"
"""A name of our own, behind the prefix that marks a request for CDI devices; what follows is unique to a device."""

_CDI_SINCE = {"containerd": (2, 0), "cri-o": (1, 23)}
_KUBELET_CDI_SINCE = (1, 29)
_VERSION = re.compile(r"v?(\d{1,4})\.(\d{1,4})(?!\d)")
_CDI = frozenset({"cdi-annotations", "cdi-cri"})


class Strategies(Struct, frozen=True):
    """By which ways containers are told."""

    names: tuple[DeviceList, ...]
    device_specs: bool
    reason: str
    """Why these, in one sentence."""
    problem: str = ""
    """Why it is not as the operator wants it; empty when it is."""

    @property
    def cdi(self) -> bool:
        return not _CDI.isdisjoint(self.names)


def choose(config: NvidiaGpuConfig, cdi: CdiState, evidence: str = "") -> Strategies:
    """Which ways to go. ``evidence``: by what it is known that the runtime understands CDI, besides the setting ``runtimeCdi``."""
    if config.device_list_strategy == "auto":
        return _auto(config, cdi, "the setting runtimeCdi says so" if config.runtime_cdi else evidence)
    wanted = tuple(dict.fromkeys(config.device_list_strategy))
    rest = tuple(name for name in wanted if name not in _CDI)
    # Where CDI alone is wanted nothing else is given: no GPU for a container is safer than one by a way that was not asked for.
    specs = bool(config.pass_device_specs) and bool(rest or not wanted)
    reason = f"deviceListStrategy says {', '.join(wanted) or 'none'}{' and passDeviceSpecs adds device specs' if specs else ''}"
    if not wanted and not specs:
        return Strategies((), specs, reason, "containers get no GPU, since no way to tell them is configured")
    if cdi.usable or rest == wanted:
        return Strategies(wanted, specs, reason)
    if rest:
        return Strategies(rest, specs, f"{reason}; CDI is left out, since {cdi.problem}", cdi.problem)
    return Strategies(wanted, specs, reason, f"containers get no GPU, since {cdi.problem}")


def _auto(config: NvidiaGpuConfig, cdi: CdiState, evidence: str) -> Strategies:
    specs = config.pass_device_specs is not False
    start = f"auto: envvar{' and device specs' if specs else ''}"
    if not evidence:
        return Strategies(("envvar",), specs, f"{start}; no cdi-cri, since nothing says that the container runtime knows CDI")
    if not cdi.usable:
        return Strategies(("envvar",), specs, f"{start}; no cdi-cri, since {cdi.problem}", cdi.problem)
    return Strategies(("envvar", "cdi-cri"), specs, f"{start}, and cdi-cri, since the container runtime knows CDI: {evidence}")


def node_evidence(runtime: str, kubelet: str) -> str:
    """What the node says of itself that lets CDI devices work: a sentence, or nothing where it is not sure.

    ``runtime`` and ``kubelet`` are ``containerRuntimeVersion`` and ``kubeletVersion`` of its ``nodeInfo``. containerd has CDI
    switched on since 2.0, CRI-O since 1.23; the kubelet passes CDI devices on since 1.29.
    """
    name, _, version = runtime.partition("://")
    since = _CDI_SINCE.get(name)
    if since is None or _version(version) < since or _version(kubelet) < _KUBELET_CDI_SINCE:
        return ""
    return f"the node runs {name} {version} and kubelet {kubelet}"


def _version(text: str) -> tuple[int, int]:
    match = _VERSION.match(text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def edits(unit: Unit, strategies: Strategies, nodes: Nodes, config: NvidiaGpuConfig, cdi: CdiState) -> ContainerEdits:
    """What one unit adds to its container, by all ways at once. Pure.

    Only CDI devices that a runtime can resolve are named: an unknown one keeps the container from starting. Whether what is
    left out is needed, ``refusal`` says.
    """
    extras = config.extras_of(unit.resource)
    named = [name for name in _cdi_names(unit, extras, config) if name in cdi.names]
    return ContainerEdits(
        device_nodes=tuple(_device_nodes(unit, extras, nodes)) if strategies.device_specs else (),
        mounts=tuple(_mounts(unit, extras, config)) if "volume-mounts" in strategies.names else (),
        envs=dict(_envs(unit, extras, strategies, config)),
        annotations=dict(_annotations(named, config)) if "cdi-annotations" in strategies.names else {},
        cdi_devices=tuple(named) if "cdi-cri" in strategies.names else (),
    )


def refusal(unit: Unit, strategies: Strategies, nodes: Nodes, config: NvidiaGpuConfig, cdi: CdiState) -> str:
    """Why ``Allocate`` must fail for a unit, in one short sentence; empty if it need not."""
    extras = config.extras_of(unit.resource)
    if extras.imex_required:
        for channel in extras.imex_channels:
            if channel not in nodes.imex:
                return f"{IMEX_CHANNELS}/channel{channel} is required and not there"
    if strategies.cdi:
        needed = extras if extras.imex_required else structs.replace(extras, imex_channels=())
        for name in _cdi_names(unit, needed, config):
            if name not in cdi.names:
                return f"{name} is in no verified CDI spec: {cdi.problem or nodes.lacking(unit) or _unresolved(cdi)}"
    return ""


def _unresolved(cdi: CdiState) -> str:
    return "; ".join(cdi.conflicts) or "what it stands for is not there"


def _cdi_names(unit: Unit, extras: Extras, config: NvidiaGpuConfig) -> Iterator[str]:
    yield names.qualified(config, names.GPU, names.device(unit, config))
    for class_name, device in names.extra_devices(extras):
        yield names.qualified(config, class_name, device)


def _annotations(named: list[str], config: NvidiaGpuConfig) -> Iterator[tuple[str, str]]:
    """One for each CDI device, so that several devices of one container do not meet under one key."""
    for name in named:
        class_name, _, device = name.rpartition("/")[2].partition("=")
        suffix = device.replace(":", "_") if class_name == names.GPU else f"{class_name}_{device}"
        yield f"{config.cdi.annotation_prefix}{ANNOTATION}{suffix}", name


def _envs(unit: Unit, extras: Extras, strategies: Strategies, config: NvidiaGpuConfig) -> Iterator[tuple[str, str]]:
    if "volume-mounts" in strategies.names:
        yield VISIBLE_DEVICES, MOUNT_ROOT
    elif "envvar" in strategies.names:
        yield VISIBLE_DEVICES, names.value(unit, config)
    else:
        return
    for on, name in ((extras.gds, "NVIDIA_GDS"), (extras.mofed, "NVIDIA_MOFED"), (extras.gdrcopy, "NVIDIA_GDRCOPY")):
        if on:
            yield name, "enabled"
    if extras.imex_channels and "envvar" in strategies.names:
        yield "NVIDIA_IMEX_CHANNELS", ",".join(map(str, extras.imex_channels))


def _mounts(unit: Unit, extras: Extras, config: NvidiaGpuConfig) -> Iterator[Mount]:
    """Their names alone count."""
    yield Mount("/dev/null", f"{MOUNT_ROOT}/{names.value(unit, config)}")
    for channel in extras.imex_channels:
        yield Mount("/dev/null", f"{MOUNT_ROOT}/imex/{channel}")


def _device_nodes(unit: Unit, extras: Extras, nodes: Nodes) -> Iterator[DeviceNode]:
    paths = [*nodes.control, *nodes.of(unit)]
    for on, theirs in ((extras.gds, nodes.gds), (extras.mofed, nodes.mofed), (extras.gdrcopy, nodes.gdrcopy)):
        if on:
            paths += theirs
    paths += (nodes.imex[channel] for channel in extras.imex_channels if channel in nodes.imex)
    for path in paths:
        host = nodes.host_path(path)
        yield DeviceNode(host, None if host == path else path)
