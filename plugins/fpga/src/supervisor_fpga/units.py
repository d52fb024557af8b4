"""What is offered: the units of each resource, made of the functions that its rules took."""

from collections.abc import Mapping

from msgspec import Struct

from supervisor_fpga.config import Resource
from supervisor_fpga.report import Function


class Unit(Struct, frozen=True):
    """What one id of the kubelet stands for."""

    id: str
    """Of a function, region, card or group; with ``@<resource>`` where several resources offer one region."""
    resource: str
    """The name, made of the template."""
    rule: Resource
    functions: tuple[Function, ...]

    @property
    def region(self) -> str:
        """What other units must not hold at the same time; empty where nothing is shared."""
        return self.functions[0].region if self.rule.program is not None else ""


class Offer(Struct, frozen=True):
    """What the rules make of a report."""

    units: tuple[Unit, ...] = ()
    resources: tuple[str, ...] = ()
    """All that are offered, those without a device, too."""
    reasons: Mapping[str, tuple[str, ...]] = {}
    """For each function, by id: what each rule in turn said of it."""
    taken: Mapping[str, tuple[str, ...]] = {}
    """The resources of each function, by id."""
    quarantined: Mapping[str, str] = {}
    """Functions whose name or id cannot be used, with the reason."""
    notices: tuple[str, ...] = ()
