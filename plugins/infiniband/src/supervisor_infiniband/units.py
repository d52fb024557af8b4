"""What is offered: the units of each resource, made of the devices that its rules took."""

from collections.abc import Mapping

from msgspec import Struct

from supervisor_infiniband.config import Pool
from supervisor_infiniband.report import RdmaDevice

SEPARATOR = "::"
"""Between the id of a unit and the number of its replica."""


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
    reasons: Mapping[str, tuple[str, ...]] = {}
    """For each device, by id: what each rule in turn said of it, in sentences, down to the one that took it."""
    taken: Mapping[str, str] = {}
    """The resource of each device that has one, by id."""
    notices: tuple[str, ...] = ()
