"""MIG devices by their profiles, numbered as the driver does it."""

import re
import uuid

from supervisor_nvidia_gpu.report import Gpu, MigDevice

COMPUTE_SLICES, MEMORY_SLICES = 7, 8
"""Of every GPU that has MIG."""

_PROFILE = re.compile(r"(?:([1-6])c\.)?([12347])g\.([0-9]{1,3})gb(?:\+me(?:\.all)?|\+gfx|-me)?")
_COUNTED = re.compile(r"([^*]+)(?:\*([1-7]))?")
_MEMORY = {1: (1, 2), 2: (2,), 3: (4,), 4: (4,), 7: (8,)}
"""Memory slices that so many compute slices may come with."""
_FIRST_INSTANCE = {7: 0, 4: 1, 3: 1, 2: 3, 1: 7}
"""The number of the first GPU instance with so many compute slices."""


def partition(gpu: Gpu, profiles: str) -> tuple[MigDevice, ...]:
    """The MIG devices of ``3g.40gb,1g.10gb*2``: one GPU instance with one compute instance for each.

    The same profiles give the same UUIDs again. Raises ``ValueError`` for a profile that this GPU has not, and for more than fit.
    """
    devices: list[MigDevice] = []
    compute = memory = 0
    for profile in _spelt_out(profiles):
        whole, slices, eighths = _size(gpu, profile)
        compute += slices
        memory += eighths
        instance = _FIRST_INSTANCE[slices]
        while instance in {device.gpu_instance for device in devices}:
            instance += 1
        name = uuid.uuid5(uuid.NAMESPACE_OID, f"{gpu.uuid}/{instance}/0/{profile}")
        mib = (gpu.memory_mib or 0) * eighths // MEMORY_SLICES
        devices.append(MigDevice(f"MIG-{name}", instance, 0, len(devices), profile, whole, mib))
    if compute > COMPUTE_SLICES or memory > MEMORY_SLICES:
        raise ValueError(
            f"{profiles} takes {compute} of {COMPUTE_SLICES} compute slices and {memory} of {MEMORY_SLICES} memory slices"
        )
    return tuple(devices)


def _spelt_out(profiles: str) -> list[str]:
    names = []
    for part in profiles.split(","):
        match = _COUNTED.fullmatch(part)
        if match is None:
            raise ValueError(f"{part!r} is neither a profile nor one with a count, like 1g.10gb*7")
        names += [match[1]] * int(match[2] or 1)
    return names


def _size(gpu: Gpu, profile: str) -> tuple[bool, int, int]:
    """Whether a profile takes all compute slices of its GPU instance, and the compute and memory slices of that."""
    match = _PROFILE.fullmatch(profile)
    if match is None:
        raise ValueError(f"{profile!r} is no MIG profile, like 1g.10gb or 1c.2g.20gb")
    slices = int(match[2])
    gigabytes = round((gpu.memory_mib or 0) / 1024)
    eighths = next((count for count in _MEMORY[slices] if count * gigabytes == int(match[3]) * MEMORY_SLICES), 0)
    if not eighths or (match[1] and int(match[1]) >= slices):
        raise ValueError(f"{gpu.model} with {gigabytes} GB has no profile {profile}")
    return not match[1], slices, eighths
