"""What is offered: the units of each resource, made of the devices that its rules took, and the ids that the kubelet knows them by."""

import re
import zlib
from collections.abc import Mapping, Sequence

from msgspec import Struct

from supervisor_infiniband.config import MAX_REPLICAS, Pool
from supervisor_infiniband.report import RdmaDevice

SEPARATOR = "::"
"""Between the id of a unit and the number of its replica."""

LONGEST = 63 - len(f"{SEPARATOR}{MAX_REPLICAS - 1}")
"""Characters of a unit's id, so that those of its replicas keep to the 63 of a device id."""


class Unit(Struct, frozen=True):
    """What one id of the kubelet stands for, replicas apart."""

    id: str
    """That of its device; of a ``pool``, one made of the resource's name."""
    pool: Pool
    devices: tuple[RdmaDevice, ...]
    """One; of a ``pool`` all."""

    @property
    def resource(self) -> str:
        return self.pool.resource


class Offer(Struct, frozen=True):
    """What the rules make of a report."""

    units: tuple[Unit, ...] = ()
    """In the order of the resources, those of each in the order of the bus, as ``pci.order`` has it."""
    resources: tuple[str, ...] = ()
    """All that are offered, those without a device, too: one that somebody has configured is offered with 0."""
    reasons: Mapping[str, tuple[str, ...]] = {}
    """For each device, by id: what each rule in turn said of it, in sentences, down to the one that took it. What came to no rule has
    its one reason, where it has no id under the kernel's name."""
    taken: Mapping[str, str] = {}
    """The resource of each device that has one, by the device's id."""
    notices: tuple[str, ...] = ()


def units_of(pool: Pool, devices: Sequence[RdmaDevice]) -> tuple[Unit, ...]:
    """What one resource offers of the devices that it has taken."""
    if pool.mode == "pool":
        return (Unit(pool_id(pool.resource), pool, tuple(devices)),) if devices else ()
    return tuple(Unit(device_id(device.id), pool, (device,)) for device in devices)


def replica_ids(unit: Unit) -> tuple[str, ...]:
    """The ids that the kubelet gets for a unit."""
    if unit.pool.replicas is None:
        return (unit.id,)
    return tuple(f"{unit.id}{SEPARATOR}{number}" for number in range(unit.pool.replicas))


def base(kubelet_id: str) -> str:
    """The unit's id of a kubelet's id."""
    return kubelet_id.rpartition(SEPARATOR)[0] or kubelet_id


def device_id(name: str) -> str:
    """An RDMA device's id as the kubelet gets it: itself, but for names on the auxiliary bus that are too long or too odd for one."""
    return (
        name
        if len(name) <= LONGEST and re.fullmatch(r"(?!.*::)[!-~]+", name)
        else _summed(re.sub(r"::|[^!-~]", "_", name), name)
    )


def pool_id(resource: str) -> str:
    """The id of a whole pool: ``rdma/all`` is ``rdma.all``.

    A checksum tells those apart that would else be one: a name that is cut, or has a dot, as ``a.b/c`` and ``a/b.c``.
    """
    domain, _, name = resource.partition("/")
    plain = f"{domain}.{name}"
    return plain if len(plain) <= LONGEST and "." not in name else _summed(plain, resource)


def _summed(text: str, whole: str) -> str:
    """No name of a resource or of a device on a bus has a lone colon before eight such digits at its end."""
    return f"{text[: LONGEST - 9]}:{zlib.crc32(whole.encode(errors='surrogateescape')):08x}"
