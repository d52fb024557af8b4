"""What is offered: the units of each resource, made of the functions that its rules took, and the ids that the kubelet knows them by."""

import re
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from msgspec import Struct

from supervisor_fpga import pci
from supervisor_fpga.config import Resource, UnitKind
from supervisor_fpga.report import Function

LONGEST = 63
"""Characters of an id."""

_PLAIN = re.compile(r"[!-~]+")
_SUM = 9
"""Characters of a checksum with the sign before it."""
_TOLD = 5
"""Functions that one sentence tells one by one."""


class Unit(Struct, frozen=True):
    """What one id of the kubelet stands for."""

    id: str
    """Of a function, region, card or group. Of what is programmed, followed by ``@`` and a checksum of the resource, as several resources
    may offer one region; also while only one does, so that another one that is configured later changes no id."""
    resource: str
    """The name, made of the template."""
    rule: Resource
    functions: tuple[Function, ...]
    claim: str = ""
    """What units of which only one may be held at a time have in common; empty where none excludes another."""

    @property
    def region(self) -> str:
        """What has to be programmed for it; empty where nothing is."""
        return region_of(self.functions[0]) if self.rule.program is not None else ""


class Offer(Struct, frozen=True):
    """What the rules make of a report."""

    units: tuple[Unit, ...] = ()
    """In the order of the rules, those of each in the order of the bus."""
    resources: tuple[str, ...] = ()
    """All that are offered, those without a device, too: one that somebody has configured by its full name is offered with 0."""
    reasons: Mapping[str, tuple[str, ...]] = {}
    """For each function, by id: what each rule in turn said of it. What came to no rule has its one reason."""
    taken: Mapping[str, Mapping[str, str]] = {}
    """The resources of each function that has one, by id, with the templates of their names: several only where they program it."""
    quarantined: Mapping[str, str] = {}
    """Functions that make no sense, or whose name or id cannot be used, with the reason. None of them is offered."""
    notices: tuple[str, ...] = ()


class Whole(Struct, frozen=True):
    """What goes to one container together, or not at all."""

    id: str
    functions: tuple[Function, ...]
    problem: str = ""
    """Why it cannot be told what belongs together."""


def wholes(kind: UnitKind, functions: Sequence[Function]) -> tuple[Whole, ...]:
    """All functions, divided in what a rule offers as one. A function of VFIO never comes without the rest of its IOMMU group."""
    parts: dict[tuple[str, str], list[Function]] = {}
    for function in functions:
        parts.setdefault(_key(kind, function), []).append(function)
    groups: dict[str, set[tuple[str, str]]] = {}
    for function in functions:
        if function.backend == "vfio" and function.iommu_group:
            groups.setdefault(function.iommu_group, set()).add(_key(kind, function))
    torn = {group for group, keys in groups.items() if len(keys) > 1}
    return tuple(_whole(kind, key, part, torn) for key, part in parts.items())


def region_of(function: Function) -> str:
    """Its region; where it is not known, itself."""
    return function.region or function.id


def problem_of(function: Function, rule: Resource) -> str:
    """Why what was read of it makes no sense to a rule; empty: it does."""
    return function.problem or ("" if rule.takes_any_content else function.content_problem)


def unit_id(whole: Whole, rule: Resource, resource: str) -> str:
    """The id for the kubelet: itself, but for names that are too long or too odd for one."""
    if rule.program is None:
        return _short(whole.id, LONGEST)
    return f"{_short(whole.id, LONGEST - _SUM)}@{_checksum(resource)}"


def claim_of(unit: Unit, programmed: Collection[str]) -> str:
    """What a unit must hold alone.

    A region that some resource programs is for one container, whoever else could have a part of it. And what another resource may have
    after the next programming, since the rules look at the AFU id, must not be given to a second container then.
    """
    claim = next((region_of(each) for each in unit.functions if region_of(each) in programmed), "")
    return _short(claim or (unit.id if unit.rule.by_afu else ""), LONGEST)


_KEYS: Mapping[UnitKind, Callable[[Function], str]] = {
    "function": lambda function: "",
    "region": lambda function: function.region,
    "card": lambda function: function.card,
    "group": lambda function: function.group,
}
_UNKNOWN: Mapping[UnitKind, str] = {
    "function": "",
    "region": "it is in no region that is known",
    "card": "its card is not known",
    "group": "it has no serial number, which would say what belongs together",
}


def _key(kind: UnitKind, function: Function) -> tuple[str, str]:
    if name := _KEYS[kind](function):
        return kind, name
    if kind == "function" and function.backend == "vfio" and function.iommu_group:
        return "iommu", function.iommu_group
    return "", function.id


def _whole(kind: UnitKind, key: tuple[str, str], functions: list[Function], torn: set[str]) -> Whole:
    what, name = key
    split = next((each.iommu_group for each in functions if each.backend == "vfio" and each.iommu_group in torn), "")
    problem = f"its IOMMU group {split} reaches beyond its {kind}" if split else ("" if what else _UNKNOWN[kind])
    return Whole(functions[0].id if what == "iommu" else name, tuple(functions), problem)


def _short(name: str, longest: int) -> str:
    if len(name) <= longest and (not name or _PLAIN.fullmatch(name)):
        return name
    return f"{re.sub(r'[^!-~]', '_', name)[: longest - _SUM]}:{_checksum(name)}"


def _checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode(errors='surrogateescape')):08x}"


def order(functions: Iterable[Function]) -> list[Function]:
    """Functions in the order of the bus."""
    return sorted(functions, key=lambda each: (pci.order(each.id), each.name, each.backend))


def title(function: Function) -> str:
    """How people name a function: ``dfl-port.0 (0000:3b:00.0)``."""
    return f"{function.name} ({function.id})" if function.name and function.name != function.id else function.id


def titles(functions: Sequence[Function]) -> str:
    """The first few by their titles, and how many more there are."""
    return ", ".join(map(title, functions[:_TOLD])) + (f" and {len(functions) - _TOLD} more" if len(functions) > _TOLD else "")
