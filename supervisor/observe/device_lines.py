"""The families that have a line for each device. What was drawn is kept until the values that it was drawn from are others."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from operator import is_
from typing import Generic, Protocol, Self, TypeVar

from msgspec import Struct

from supervisor.attribution import Holders
from supervisor.families import PREFIX
from supervisor.inventory import Inventory
from supervisor.ledger import Holding
from supervisor.observe.lines import PIECE, Family, Row, line
from supervisor.observe.series import HEALTHS, Taken, gauge, label, resources
from supervisor.pieces import one_by_one, pieces

MOST_DEVICES = 4096
"""Lines of one family, those of unhealthy devices first; ``series_left_out`` counts the others."""

_HOLDER = ("namespace", "pod", "container")

T = TypeVar("T")


class _Health(Struct, frozen=True):
    """One resource's lines, at most ``MOST_DEVICES`` of each kind, and how many devices it has."""

    unhealthy: Sequence[bytes]
    healthy: Sequence[bytes]
    total: int


class _Shared(Struct, frozen=True):
    """One resource's lines, at most ``MOST_DEVICES``, and how many there would be."""

    lines: Sequence[bytes]
    total: int


class _Held(Struct, frozen=True):
    """What containers hold of one resource."""

    lines: Sequence[bytes]
    total: int
    devices: int


class DeviceLines:
    """May be asked in any thread."""

    def __init__(self) -> None:
        self._health = _Kept(_health)
        self._shared = _Kept(_shared)
        self._held = _Kept(_held)

    def families(self, taken: Taken) -> Iterator[Family]:
        """All of them; one that is not wanted has no lines. What is not known is not told, neither as held nor as free."""
        held = self._held.of({"": (taken.attribution.holders,)} if taken.attribution.known else {}).get("", {})
        bounded = (self._device_health(taken), self._replicas_in_use(taken), _allocated(taken, held))
        for each in bounded:
            yield each.family
        yield _devices_held(taken, held)
        left_out = {each.family.name: each.left_out for each in bounded}
        left_out[f"{PREFIX}devices"] = len(HEALTHS) * (len(taken.status.resources) - len(resources(taken)))
        rows: list[Row] = [({"family": name}, number) for name, number in left_out.items()]
        yield gauge("series_left_out", "Series of a family that are not shown because there are too many.", rows)

    def _device_health(self, taken: Taken) -> "_Bounded":
        listed = taken.inventories if taken.wanted.per_device else ()
        found = self._health.of({one.resource: (one,) for one in listed}).values()
        lines = chain(*(one.unhealthy for one in found), *(one.healthy for one in found))
        return _Bounded.of("device_health", "1 when a device is healthy, 0 when it is not.", lines, found)

    def _replicas_in_use(self, taken: Taken) -> "_Bounded":
        listed = taken.inventories if taken.attribution.known and taken.wanted.per_device else ()
        found = self._shared.of({one.resource: (one, taken.attribution.holders) for one in listed}).values()
        lines = chain(*(one.lines for one in found))
        return _Bounded.of("replicas_in_use", "Replicas of a shared device that containers hold.", lines, found)


class _Counted(Protocol):
    @property
    def total(self) -> int: ...


class _Bounded(Struct, frozen=True):
    """A family with not more lines than it may have."""

    family: Family
    left_out: int

    @classmethod
    def of(cls, name: str, text: str, lines: Iterable[bytes], drawings: Iterable[_Counted]) -> Self:
        shown = tuple(islice(lines, MOST_DEVICES))
        return cls(Family(PREFIX + name, text, "gauge", lines=shown), sum(one.total for one in drawings) - len(shown))


def _allocated(taken: Taken, held: Mapping[str, _Held]) -> _Bounded:
    names = (one.name for one in resources(taken)) if taken.wanted.per_pod else ()
    ours = [held[name] for name in names if name in held]
    lines = chain(*(one.lines for one in ours))
    return _Bounded.of("allocated", "Always 1: this container holds this device.", lines, ours)


def _devices_held(taken: Taken, held: Mapping[str, _Held]) -> Family:
    names = [one.name for one in resources(taken)] if taken.attribution.known else []
    rows: list[Row] = [({"resource": name}, held[name].devices if name in held else 0) for name in names]
    return gauge("devices_held", "Devices that containers hold.", rows)


class _Kept(Generic[T]):
    """What was drawn for each name, for as long as that name is asked for and what it is drawn from are the same objects."""

    def __init__(self, draw: Callable[..., T]) -> None:
        self._draw = draw
        self._kept: Mapping[str, tuple[tuple[object, ...], T]] = {}

    def of(self, sources: Mapping[str, tuple[object, ...]]) -> Mapping[str, T]:
        """The drawings of all these names."""
        before = self._kept
        kept = {name: before[name] for name, given in sources.items() if name in before and _same(before[name][0], given)}
        others = [(name, given) for name, given in sources.items() if name not in kept]
        kept |= {name: (given, self._draw(*given)) for name, given in one_by_one(others)}
        self._kept = kept
        return {name: kept[name][1] for name in sources}


def _same(some: tuple[object, ...], others: tuple[object, ...]) -> bool:
    return all(map(is_, some, others))


def _health(inventory: Inventory) -> _Health:
    lines: dict[bool, list[bytes]] = {True: [], False: []}
    for piece in pieces(inventory.devices, PIECE):
        for device in piece:
            if len(kept := lines[device.sound]) < MOST_DEVICES:
                labels = {"resource": inventory.resource, "device": device.id, "reason": label(device.reason)}
                kept.append(line(f"{PREFIX}device_health", labels, int(device.sound)).encode())
    return _Health(tuple(lines[False]), tuple(lines[True]), len(inventory.devices))


def _shared(inventory: Inventory, holders: Holders) -> _Shared:
    """A device that is shared is offered by several ids: ``X::n`` is one of X, and so is X itself where it is offered too."""
    uses: dict[str, int] = {}
    for piece in pieces(inventory.devices, PIECE):
        for device in piece:
            unit, mark, number = device.id.rpartition("::")
            if mark and number.isdigit():
                if unit not in uses:
                    uses[unit] = int(unit in inventory.index and (inventory.resource, unit) in holders)
                uses[unit] += (inventory.resource, device.id) in holders
    name = f"{PREFIX}replicas_in_use"
    shown = islice(uses.items(), MOST_DEVICES)
    lines = (line(name, {"resource": inventory.resource, "device": unit}, number).encode() for unit, number in shown)
    return _Shared(tuple(lines), len(uses))


def _held(holders: Holders) -> Mapping[str, _Held]:
    """By resource; those of other plugins are among them."""
    of: dict[str, list[tuple[str, tuple[Holding, ...]]]] = {}
    for (resource, device), holdings in holders.items():
        of.setdefault(resource, []).append((device, holdings))
    return {resource: _held_of(resource, found) for resource, found in one_by_one(of.items())}


def _held_of(resource: str, found: Sequence[tuple[str, tuple[Holding, ...]]]) -> _Held:
    """A container that is told twice, or whose name differs in what cannot be shown, has one line."""
    lines: list[bytes] = []
    total = 0
    for piece in pieces(found, PIECE):
        for device, holdings in piece:
            holders = dict.fromkeys((label(one.namespace), label(one.pod), label(one.container)) for one in holdings)
            total += len(holders)
            for names in islice(holders, max(0, MOST_DEVICES - len(lines))):
                labels = {"resource": resource, "device": label(device), **dict(zip(_HOLDER, names, strict=True))}
                lines.append(line(f"{PREFIX}allocated", labels, 1).encode())
    return _Held(tuple(lines), total, len(found))
