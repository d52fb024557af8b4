"""What our CDI specs say. Pure: the same units, nodes and files give the same specs.

Without a hook, each library is bound over the name by which programs ask for it, in the directories where loaders look by
themselves, so that nothing of the host runs while a container starts. What that cannot give is an entry in the image's
``ld.so.cache``: a program that reads this instead of loading a library needs the hook.
"""

import posixpath
from collections.abc import Iterable, Iterator, Sequence

from supervisor import CdiDevice, CdiEdits, CdiHook, CdiMount, CdiNode, CdiSpec, cdi_spec
from supervisor_nvidia_gpu.cdi import names
from supervisor_nvidia_gpu.cdi.libraries import File, Libraries, Library
from supervisor_nvidia_gpu.config import NvidiaGpuConfig
from supervisor_nvidia_gpu.nodes import Nodes
from supervisor_nvidia_gpu.units import Unit

VOID = "NVIDIA_VISIBLE_DEVICES=void"
"""Keeps NVIDIA's own runtime from injecting a second time."""

_READ_ONLY = ("ro", "nosuid", "nodev", "rbind", "rprivate")
_SOCKET = (*_READ_ONLY, "noexec")
_LOADED = ("/usr/lib/{triplet}", "/usr/lib64")
"""Where the loaders of Debian's and of Red Hat's family look without being told."""
_CUDA = "/usr/local/nvidia/lib64"
"""In ``LD_LIBRARY_PATH`` of CUDA images, where some programs look for these two themselves."""
_LOOKED_FOR = frozenset({"libcuda.so.1", "libnvidia-ml.so.1"})
_ALIASES = {
    "libcuda.so.1": "libcuda.so",
    "libnvidia-opticalflow.so.1": "libnvidia-opticalflow.so",
    "libnvidia-allocator.so.1": "gbm/nvidia-drm_gbm.so",
}
"""Other names under which programs load a library: links that the driver's installer makes."""


def specs(units: Iterable[Unit], nodes: Nodes, libraries: Libraries, config: NvidiaGpuConfig) -> tuple[CdiSpec, ...]:
    """One spec for each class of devices that there is something of. Units whose nodes are missing are left out."""
    gpus = {device.name: device for device in (_gpu(unit, nodes, config) for unit in units if not nodes.lacking(unit))}
    made = []
    if gpus and not libraries.problem:
        made.append(cdi_spec(names.kind(config, names.GPU), tuple(gpus.values()), _common(nodes, libraries, config)))
    return (*made, *_extras(nodes, libraries, config))


def _gpu(unit: Unit, nodes: Nodes, config: NvidiaGpuConfig) -> CdiDevice:
    paths = nodes.of(unit)
    if unit.mig is None or "gfx" in unit.mig.profile:  # no other MIG device can do graphics
        paths += nodes.dri.get(unit.gpu.pci, ())
    return CdiDevice(names.device(unit, config), CdiEdits(device_nodes=_nodes(paths, nodes)))


def _extras(nodes: Nodes, libraries: Libraries, config: NvidiaGpuConfig) -> Iterator[CdiSpec]:
    """Of what any resource asks for, as far as it is there."""
    wanted = {device for extras in config.extras.values() for device in names.extra_devices(extras)}
    storage = _mounts(libraries.storage, _READ_ONLY)
    for class_name, paths, mounts in (
        (names.GDS, nodes.gds, storage),
        (names.MOFED, nodes.mofed, ()),
        (names.GDRCOPY, nodes.gdrcopy, ()),
    ):
        if (class_name, names.ALL) in wanted and paths:
            device = CdiDevice(names.ALL, CdiEdits(device_nodes=_nodes(paths, nodes), mounts=mounts))
            yield cdi_spec(names.kind(config, class_name), (device,))
    channels = tuple(
        CdiDevice(str(channel), CdiEdits(device_nodes=_nodes((path,), nodes)))
        for channel, path in nodes.imex.items()
        if (names.IMEX, str(channel)) in wanted
    )
    if channels:
        yield cdi_spec(names.kind(config, names.IMEX), channels)


def _common(nodes: Nodes, libraries: Libraries, config: NvidiaGpuConfig) -> CdiEdits:
    hook = config.cdi.hook
    bound = _with_hook(libraries) if hook is not None else _over_sonames(libraries.libraries)
    mounts = {mount.container_path: mount for mount in _mounts((*bound, *libraries.files), _READ_ONLY)}
    return CdiEdits(
        env=(VOID,),
        device_nodes=_nodes(nodes.control, nodes),
        mounts=(*mounts.values(), *_mounts(libraries.sockets, _SOCKET)),
        hooks=() if hook is None else tuple(_hooks(hook, libraries)),
    )


def _over_sonames(libraries: Iterable[Library]) -> Iterator[File]:
    for library in libraries:
        places = [place.format(triplet=library.triplet) + library.subdirectory for place in _LOADED]
        if library.soname in _LOOKED_FOR:
            places.append(_CUDA)
        for place in places:
            for name in filter(None, (library.soname, _ALIASES.get(library.soname))):
                yield File(library.host_path, f"{place}/{name}")


def _with_hook(libraries: Libraries) -> Iterator[File]:
    """As they lie below the driver's root; the hook makes the names."""
    for library in libraries.libraries:
        yield File(library.host_path, f"{library.directory}{library.subdirectory}/{library.name}")


def _hooks(hook: str, libraries: Libraries) -> Iterator[CdiHook]:
    """Commands of ``nvidia-cdi-hook`` (1.17.8 and newer), or of ``nvidia-ctk``, which has the same ones below ``hook``."""
    program = posixpath.basename(hook)
    start = (program, "hook") if program == "nvidia-ctk" else (program,)
    found = libraries.libraries
    links = [_link(library, alias) for library in found if (alias := _ALIASES.get(library.soname)) is not None]
    folders = dict.fromkeys(library.directory + library.subdirectory for library in found)
    commands = [("create-symlinks", *(word for link in links for word in ("--link", link)))] if links else []
    commands += [
        ("enable-cuda-compat", f"--host-driver-version={libraries.driver}"),
        ("update-ldcache", *(word for folder in folders for word in ("--folder", folder))),
        ("disable-device-node-modification",),
    ]
    return (CdiHook("createContainer", hook, (*start, *command)) for command in commands)


def _link(library: Library, alias: str) -> str:
    """``target::link``, the target as seen from the link's directory."""
    up = "../" * alias.count("/")
    return f"{up}{library.soname}::{library.directory}/{alias}"


def _nodes(paths: Sequence[str], nodes: Nodes) -> tuple[CdiNode, ...]:
    return tuple(CdiNode(path, None if (host := nodes.host_path(path)) == path else host) for path in paths)


def _mounts(files: Iterable[File], options: tuple[str, ...]) -> tuple[CdiMount, ...]:
    return tuple(CdiMount(file.host_path, file.container_path, options) for file in files)
