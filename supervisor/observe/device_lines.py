"""The families that have a line for each device. What was drawn is kept until the values that it was drawn from are others."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from operator import is_
from typing import Generic, TypeVar

from msgspec import Struct

from supervisor.attribution import Holders
from supervisor.families import PREFIX
from supervisor.inventory import Inventory
from supervisor.ledger import Holding
from supervisor.observe.lines import PIECE, Family, Row, line
from supervisor.observe.series import Taken, gauge, label, resources
from supervisor.pieces import pieces

MOST_DEVICES = 4096
"""Lines of one family, those of unhealthy devices first; ``series_left_out`` counts the others."""

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
        """All of them; one that is not wanted has no lines."""
        left_out: dict[str, int] = {}
        listed = taken.inventories if taken.wanted.per_device else ()
        health = self._health.of({one.resource: (one,) for one in listed})
        lines = chain(chain.from_iterable(one.unhealthy for one in health.values()), *(one.healthy for one in health.values()))
        yield _bounded(
            "device_health",
            "1 when a device is healthy, 0 when it is not.",
            lines,
            sum(one.total for one in health.values()),
            left_out,
        )
        yield from self._holders(taken, left_out)
        rows: list[Row] = [({"family": PREFIX + name}, number) for name, number in left_out.items()]
        yield gauge("series_left_out", "Series of a family that are not shown because there are too many.", rows)

    def _holders(self, taken: Taken, left_out: dict[str, int]) -> Iterator[Family]:
        """What is not known is not there: neither as held, nor as free."""
        known, holders = taken.attribution.known, taken.attribution.holders
        listed = taken.inventories if known and taken.wanted.per_device else ()
        shared = self._shared.of({one.resource: (one, holders) for one in listed}).values()
        lines = chain.from_iterable(one.lines for one in shared)
        text = "Replicas of a shared device that containers hold."
        yield _bounded("replicas_in_use", text, lines, sum(one.total for one in shared), left_out)
        held = self._held.of({"": (holders,)})[""] if known else {}
        names = [one.name for one in resources(taken)] if known else []
        rows: list[Row] = [({"resource": name}, held[name].devices if name in held else 0) for name in names]
        yield gauge("devices_held", "Devices that containers hold.", rows)
        ours = [held[name] for name in names if name in held] if taken.wanted.per_pod else []
        lines = chain.from_iterable(one.lines for one in ours)
        yield _bounded(
            "allocated", "Always 1: this container holds this device.", lines, sum(one.total for one in ours), left_out
        )


def _bounded(name: str, text: str, lines: Iterable[bytes], total: int, left_out: dict[str, int]) -> Family:
    shown = tuple(islice(lines, MOST_DEVICES))
    left_out[name] = total - len(shown)
    return Family(PREFIX + name, text, "gauge", lines=shown)


class _Kept(Generic[T]):
    """What was drawn for each name, for as long as that name is asked for and what it is drawn from are the same objects."""

    def __init__(self, draw: Callable[..., T]) -> None:
        self._draw = draw
        self._kept: Mapping[str, tuple[tuple[object, ...], T]] = {}

    def of(self, sources: Mapping[str, tuple[object, ...]]) -> Mapping[str, T]:
        """The drawings of all these names."""
        self._kept = {name: self._one(self._kept.get(name), given) for name, given in sources.items()}
        return {name: drawing for name, (_, drawing) in self._kept.items()}

    def _one(self, before: tuple[tuple[object, ...], T] | None, given: tuple[object, ...]) -> tuple[tuple[object, ...], T]:
        if before is not None and all(map(is_, before[0], given)):
            return before
        return given, self._draw(*given)


def _health(inventory: Inventory) -> _Health:
    lines: dict[bool, list[bytes]] = {True: [], False: []}
    for piece in pieces(inventory.devices, PIECE):
        for device in piece:
            if len(kept := lines[device.healthy]) < MOST_DEVICES:
                labels = {"resource": inventory.resource, "device": device.id, "reason": label(device.reason)}
                kept.append(line(f"{PREFIX}device_health", labels, int(device.healthy)).encode())
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
    drawn: dict[str, tuple[dict[bytes, None], list[int]]] = {}
    for piece in pieces(list(holders.items()), PIECE):
        for (resource, device), holdings in piece:
            lines, counts = drawn.setdefault(resource, ({}, [0, 0]))
            for holding in dict.fromkeys(map(_holder, holdings)):
                counts[0] += 1
                if len(lines) < MOST_DEVICES:
                    lines[_allocated(resource, device, *holding)] = None
            counts[1] += 1
    return {resource: _Held(tuple(lines), *counts) for resource, (lines, counts) in drawn.items()}


def _holder(holding: Holding) -> tuple[str, str, str]:
    return label(holding.namespace), label(holding.pod), label(holding.container)


def _allocated(resource: str, device: str, namespace: str, pod: str, container: str) -> bytes:
    labels = {
        "resource": resource,
        "device": label(device),
        "namespace": namespace,
        "pod": pod,
        "container": container,
    }
    return line(f"{PREFIX}allocated", labels, 1).encode()
