"""What a container needs of the driver besides device nodes: libraries, programs, firmware, sockets and settings of one version.

Sources: the contents of NVIDIA's driver package, and the lists of ``nvidia-container-toolkit``. The directory of the MPS daemon is
left out: it lies in ``/tmp``, where anybody may have put a link to anywhere.
"""

import os
import posixpath
import re
from collections.abc import Iterator

from msgspec import Struct

from supervisor_nvidia_gpu.cdi.elf import soname
from supervisor_nvidia_gpu.driver_root import DIRECTORIES, HOST_ROOTS, DriverRoot

MAX_LIBRARIES = 256
MAX_FIRMWARE = 16

_VERSION = re.compile(r"\d+(\.\d+){1,3}")
_SUBDIRECTORIES = ("", "/vdpau")
_BINARIES = (
    "nvidia-smi",
    "nvidia-debugdump",
    "nvidia-persistenced",
    "nvidia-cuda-mps-control",
    "nvidia-cuda-mps-server",
    "nvidia-imex",
    "nvidia-imex-ctl",
)
_BINARY_DIRECTORIES = ("/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/local/nvidia/bin", "/opt/nvidia/bin", "/opt/bin")
_SOCKETS = ("/var/run/nvidia-persistenced/socket", "/var/run/nvidia-fabricmanager/socket")
_SETTINGS = (
    "glvnd/egl_vendor.d/10_nvidia.json",
    "egl/egl_external_platform.d/10_nvidia_wayland.json",
    "egl/egl_external_platform.d/15_nvidia_gbm.json",
    "nvidia/nvoptix.bin",
    "X11/xorg.conf.d/10-nvidia.conf",
    "X11/xorg.conf.d/nvidia-drm-outputclass.conf",
)
_VULKAN = (
    "vulkan/icd.d/nvidia_icd.json",
    "vulkan/icd.d/nvidia_icd.x86_64.json",
    "vulkan/icd.d/nvidia_icd.aarch64.json",
    "vulkan/icd.d/nvidia_layers.json",
    "vulkan/implicit_layer.d/nvidia_layers.json",
)
_XORG = ("nvidia/xorg", "xorg/modules/drivers", "xorg/modules/extensions")
_STORAGE = ("/etc/cufile.json", "/run/udev")


class Library(Struct, frozen=True):
    """A shared library of the driver."""

    host_path: str
    directory: str
    """Where it is found in the driver's root, before links are followed."""
    name: str
    """Of the file: ``libcuda.so.580.65.06``."""
    soname: str
    """By which programs ask for it: ``libcuda.so.1``; for some the whole version, as in the name."""
    triplet: str
    subdirectory: str = ""
    """``/vdpau`` for those that are looked for in a directory of their own, below that of the others."""


class File(Struct, frozen=True):
    """Something else that is bound into containers."""

    host_path: str
    container_path: str


class Libraries(Struct, frozen=True):
    """Everything that was found of one version, in a fixed order."""

    driver: str = ""
    libraries: tuple[Library, ...] = ()
    files: tuple[File, ...] = ()
    """Programs, firmware and settings."""
    sockets: tuple[File, ...] = ()
    storage: tuple[File, ...] = ()
    """For GPUDirect Storage."""
    problem: str = ""
    """Why nothing was found, in one sentence."""


def locate(driver: str, root: str | None, mount: str) -> tuple[DriverRoot, Libraries]:
    """The root that has the files of a driver version, and what is there. ``root`` as the host names it; ``None``: the usual ones."""
    roots = [DriverRoot(name, mount) for name in (HOST_ROOTS if root is None else (root,))]
    tried = [(each, find(each, driver)) for each in roots]
    for each, found in tried:
        if not found.problem:
            return each, found
    return tried[0][0], Libraries(driver, problem="; ".join(dict.fromkeys(found.problem for _, found in tried)))


def find(root: DriverRoot, driver: str) -> Libraries:
    """Look for the files of a driver version below its root. Nothing is executed, and only heads of libraries are read."""
    if not _VERSION.fullmatch(driver):
        return Libraries(problem=f"the version of the driver is not known ({driver!r})" if driver else "there is no driver")
    libraries = tuple(_libraries(root, driver))
    if not any(library.soname == "libcuda.so.1" for library in libraries):
        return Libraries(driver, problem=f"there is no libcuda.so.{driver} below {root.host}")
    files = (*_binaries(root), *_firmware(root, driver), *_settings(root), *_xorg(root, libraries, driver))
    return Libraries(driver, libraries, files, tuple(_sockets(root)), tuple(_storage(DriverRoot("/", root.mount))))


def _libraries(root: DriverRoot, driver: str) -> Iterator[Library]:
    """Each name once, from the first directory that has it; several directories are often one by links."""
    ours = re.compile(rf"lib[-+.\w]+\.so\.{re.escape(driver)}|libnvidia-egl-\w+\.so(\.\d+){{2,4}}")
    found: dict[tuple[str, str], Library] = {}
    for directory in _directories(root):
        for below in _SUBDIRECTORIES:
            for name in root.names(directory + below):
                if len(found) < MAX_LIBRARIES and ours.fullmatch(name) and (below, name) not in found:
                    library = _library(root, directory, below, name)
                    if library is not None:
                        found[below, name] = library
    # One name to programs may be that of several files, like two versions of an EGL library: the newest file counts.
    by_soname = {
        (each.subdirectory, each.soname): each for _, each in sorted(found.items(), key=lambda item: _natural(item[0]))
    }
    return iter(sorted(by_soname.values(), key=lambda each: (each.subdirectory, each.name)))


def _library(root: DriverRoot, directory: str, below: str, name: str) -> Library | None:
    path = root.file(f"{directory}{below}/{name}")
    found = None if path is None else soname(root.local(path))
    if path is None or found is None:
        return None
    return Library(root.on_host(path), directory, name, found.name, found.triplet, below)


def _directories(root: DriverRoot) -> Iterator[str]:
    for directory in DIRECTORIES:
        before, star, behind = directory.partition("/*/*/")
        if not star:
            yield f"/{directory}"
        else:  # one for each driver and kernel: only the running kernel's counts
            yield from (f"/{before}/{version}/{os.uname().release}/{behind}" for version in root.names(f"/{before}"))


def _natural(key: tuple[str, str]) -> tuple[str, list[int]]:
    return key[0], [int(number) for number in re.findall(r"\d+", key[1])]


def _binaries(root: DriverRoot) -> Iterator[File]:
    for name in _BINARIES:
        for directory in _BINARY_DIRECTORIES:
            if (path := root.file(f"{directory}/{name}")) is not None:
                yield File(root.on_host(path), f"/usr/bin/{name}")
                break


def _firmware(root: DriverRoot, driver: str) -> Iterator[File]:
    """The GPU's system processor loads it from there; the driver asks by the path below ``/lib``."""
    directory = f"/lib/firmware/nvidia/{driver}"
    blobs = [name for name in root.names(directory) if name.startswith("gsp") and name.endswith(".bin")]
    for name in blobs[:MAX_FIRMWARE]:
        yield from _files(root, f"{directory}/{name}", f"{directory}/{name}")


def _settings(root: DriverRoot) -> Iterator[File]:
    for name in _SETTINGS:
        path = next((path for at in ("/etc", "/usr/share") if root.file(path := f"{at}/{name}")), None)
        if path is not None:
            yield from _files(root, path, path)
    for name in _VULKAN:
        # Loaders look below /etc in every distribution; some drivers have the files at the top of their root.
        path = next((path for at in ("/etc", "/usr/share", "") if root.file(path := f"{at}/{name}")), None)
        if path is not None:
            yield from _files(root, path, f"/etc/{name}")


def _xorg(root: DriverRoot, libraries: tuple[Library, ...], driver: str) -> Iterator[File]:
    """The modules of the X server, which lie below the directory of the libraries."""
    for directory in dict.fromkeys(library.directory for library in libraries):
        for below in _XORG:
            place = posixpath.join(directory, below)
            yield from _files(root, f"{place}/nvidia_drv.so", f"{place}/nvidia_drv.so")
            yield from _files(root, f"{place}/libglxserver_nvidia.so.{driver}", f"{place}/libglxserver_nvidia.so")


def _sockets(root: DriverRoot) -> Iterator[File]:
    for path in _SOCKETS:
        if (found := root.socket(path)) is not None:
            yield File(root.on_host(found), path)


def _storage(own: DriverRoot) -> Iterator[File]:
    """cuFile is set up on the host itself, whoever brings the driver, and asks udev's database about disks."""
    return (File(path, path) for path in _STORAGE if own.resolve(path) is not None)


def _files(root: DriverRoot, path: str, container_path: str) -> Iterator[File]:
    if (found := root.file(path)) is not None:
        yield File(root.on_host(found), container_path)
