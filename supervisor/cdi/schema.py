"""A specification as values: as much of it as plugins write, and what makes it valid.

Source: the Container Device Interface specification, versions 0.3.0 to 1.1.0. Runtimes refuse a file with unknown fields, with a
version below what its content needs, or with a device that edits nothing; one bad device costs all devices of the file.
"""

from collections.abc import Iterator
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

Path = Annotated[str, Meta(pattern=r"\A/[^\0]*\Z", max_length=4095)]
Env = Annotated[str, Meta(pattern=r"\A[^=\0]+=[^\0]*\Z")]
DeviceName = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9]([-_.:A-Za-z0-9]*[A-Za-z0-9])?\Z")]
Kind = Annotated[
    str, Meta(pattern=r"\A[A-Za-z][-_.A-Za-z0-9]*[A-Za-z0-9]/[A-Za-z][-_.A-Za-z0-9]*[A-Za-z0-9]\Z", max_length=317)
]
"""Vendor and class, of two characters each at least: containerd panics on shorter ones."""


class _Part(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, rename="camel"):
    """A mapping of the file."""


class CdiNode(_Part, frozen=True):
    path: Path
    """In the container."""
    host_path: Path | None = None
    """``None``: as in the container."""
    permissions: Annotated[str, Meta(pattern=r"\A[rwm]{1,3}\Z")] = "rw"


class CdiMount(_Part, frozen=True):
    host_path: Path
    container_path: Path
    options: tuple[str, ...] = ()


class CdiHook(_Part, frozen=True):
    """A program of the host that the runtime starts while it makes a container."""

    hook_name: Annotated[str, Meta(pattern=r"\A(createRuntime|createContainer|startContainer|poststart|poststop)\Z")]
    path: Path
    args: tuple[str, ...] = ()


class CdiEdits(_Part, frozen=True):
    """``containerEdits``"""

    env: tuple[Env, ...] = ()
    device_nodes: tuple[CdiNode, ...] = ()
    mounts: tuple[CdiMount, ...] = ()
    hooks: tuple[CdiHook, ...] = ()


NO_EDITS = CdiEdits()


class CdiDevice(_Part, frozen=True):
    name: DeviceName
    container_edits: CdiEdits


class CdiSpec(_Part, frozen=True):
    """One file."""

    cdi_version: str
    kind: Kind
    devices: Annotated[tuple[CdiDevice, ...], Meta(min_length=1)]
    container_edits: CdiEdits = NO_EDITS
    """For every container that gets any of the devices."""

    @property
    def names(self) -> tuple[str, ...]:
        """The full names of its devices."""
        return tuple(f"{self.kind}={device.name}" for device in self.devices)

    def all_edits(self) -> Iterator[CdiEdits]:
        yield self.container_edits
        yield from (device.container_edits for device in self.devices)


def cdi_spec(kind: str, devices: tuple[CdiDevice, ...], edits: CdiEdits = NO_EDITS) -> CdiSpec:
    """A spec of the lowest version that its content needs, so that the oldest runtimes can read it."""
    return CdiSpec(_needed(kind, devices, edits), kind, devices, edits)


def _needed(kind: str, devices: tuple[CdiDevice, ...], edits: CdiEdits) -> str:
    if "." in kind.partition("/")[2]:
        return "0.6.0"
    every = (edits, *(device.container_edits for device in devices))
    elsewhere = any(node.host_path is not None for each in every for node in each.device_nodes)
    return "0.5.0" if elsewhere or any(device.name[0].isdigit() for device in devices) else "0.3.0"


def encode(spec: CdiSpec) -> bytes:
    """The file: the same bytes for the same spec."""
    return msgspec.json.format(msgspec.json.encode(spec), indent=2) + b"\n"


def decode(data: bytes) -> CdiSpec:
    """Read a spec back and check it. Raises ``ValueError`` (``msgspec.DecodeError`` is one) with what is wrong."""
    spec = msgspec.json.decode(data, type=CdiSpec)
    names = [device.name for device in spec.devices]
    if len(set(names)) < len(names):
        raise ValueError("a device is defined twice")
    if empty := [device.name for device in spec.devices if device.container_edits == NO_EDITS]:
        raise ValueError(f"device {empty[0]} edits nothing")
    needed = _needed(spec.kind, spec.devices, spec.container_edits)
    if _numbers(spec.cdi_version) < _numbers(needed):
        raise ValueError(f"version {spec.cdi_version} is too low: the content needs {needed}")
    return spec


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def host_paths(spec: CdiSpec) -> frozenset[str]:
    """Everything that the host must have for containers to start."""
    return frozenset(
        path
        for edits in spec.all_edits()
        for path in (
            *(node.host_path or node.path for node in edits.device_nodes),
            *(mount.host_path for mount in edits.mounts),
            *(hook.path for hook in edits.hooks),
        )
    )
