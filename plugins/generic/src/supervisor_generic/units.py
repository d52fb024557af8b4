"""Units: what one pod gets for a count of 1. Pure functions from what was found to what is offered."""

import posixpath
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import TypeVar

from msgspec import Struct, structs

from supervisor import ContainerEdits, Device, DeviceNode, Health, Mount, Topology
from supervisor_generic.config import Member, Resource
from supervisor_generic.identity import Identity, device_id, replica_ids
from supervisor_generic.rules import Found

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)

_MAX_REASON = 500


class Unit(Struct, frozen=True):
    """Some things handed out together, under one id."""

    id: str
    match: int
    """Which match of the resource made it, counted from 1."""
    reason: str
    """Why it cannot be used; empty when it can."""
    topology: Topology
    edits: ContainerEdits

    def devices(self, replicas: int) -> tuple[Device, ...]:
        """Its replicas, which share all but the id."""
        health = Health.UNHEALTHY if self.reason else Health.HEALTHY
        reason, topology, edits = self.reason, self.topology, self.edits
        return tuple(
            [
                Device(id=name, health=health, reason=reason, topology=topology, edits=edits)
                for name in replica_ids(self.id, replicas)
            ]
        )


def zip_members(members: Sequence[Member], found: Sequence[Sequence[T]]) -> list[tuple[tuple[T, ...], ...]]:
    """For each unit, what it gets from each member.

    The required members decide how many units there are: as many as the member that found most, but no more than the one whose
    finds run out first, each counted ``limit`` times. A member with ``together`` gives all it found to every unit and must have
    found something; an optional one gives what it has.
    """
    required = [(m, f) for m, f in zip(members, found, strict=True) if not m.optional]
    if not all(things for _, things in required):
        return []
    zipped = [(member, len(things)) for member, things in required if not member.together]
    count = 1
    if zipped:
        count = min(max(size for _, size in zipped), *(size * member.limit for member, size in zipped))
    return [tuple(_share(member, things, at) for member, things in zip(members, found, strict=True)) for at in range(count)]


def _share(member: Member, things: Sequence[T], at: int) -> tuple[T, ...]:
    if member.together:
        return tuple(things)
    return (things[at % len(things)],) if at < len(things) * member.limit else ()


def by_owner(
    members: Sequence[Member], found: Sequence[Sequence[T]], owner_of: Callable[[T], K | None]
) -> Iterator[tuple[K, list[list[T]]]]:
    """What was found, apart for each owner that something required has; what has no owner is there for all of them."""
    owned: list[dict[K | None, list[T]]] = []
    for things in found:
        owned.append({})
        for thing in things:
            owned[-1].setdefault(owner_of(thing), []).append(thing)
    owners = dict.fromkeys(owner for m, theirs in zip(members, owned, strict=True) if not m.optional for owner in theirs)
    for owner in owners:
        if owner is not None:
            yield owner, [[*theirs.get(owner, []), *theirs.get(None, [])] for theirs in owned]


def make_unit(
    resource: Resource,
    match: int,
    members: Sequence[Member],
    shares: Sequence[tuple[Found, ...]],
    *,
    words: str,
    owner: Identity | None = None,
) -> Unit:
    """The unit of one share from each member. ``words`` describe the members; ``owner`` is what all of it hangs on.

    Optional members have no say in the id, so that they may come and go; one that cannot be used is left out.
    """
    parts = [
        (member, thing)
        for member, share in zip(members, shares, strict=True)
        for thing in share
        if not (member.optional and thing.problem)
    ]
    identities = [t.identity for m, t in parts if not (m.optional or m.together)]
    identities = identities or [Identity(f"together {words}", posixpath.basename(resource.name))]
    if owner is not None:
        identities.insert(0, owner)
    problems = [thing.problem for _, thing in parts if thing.problem]
    edits = _edits(resource, parts)
    problems += _conflicts(edits)
    nodes = {thing.device.numa_node for _, thing in parts if thing.device is not None}
    return Unit(
        id=device_id(resource.name, "\n".join(identity.key for identity in identities), identities[0].label),
        match=match,
        reason="; ".join(problems)[:_MAX_REASON],
        topology=Topology(tuple(sorted(node for node in nodes if node is not None))),
        edits=edits,
    )


def _edits(resource: Resource, parts: Sequence[tuple[Member, Found]]) -> ContainerEdits:
    # By both paths: what two members of a group find alike, a container gets once, as the first of them says.
    device_nodes: dict[tuple[str, str | None], DeviceNode] = {}
    mounts = {
        (mount.host_path, mount.container_path): Mount(mount.host_path, mount.container_path, mount.read_only)
        for mount in resource.mounts
    }
    for member, thing in parts:
        place = (thing.path, _inside(member, thing))
        if member.mount is not None:
            mounts.setdefault(place, Mount(*place, member.read_only is not False))
        else:
            device_nodes.setdefault(place, DeviceNode(*place, member.permissions or resource.permissions))
    envs = resource.envs
    if resource.paths_env is not None:
        seen = dict.fromkeys(_inside(member, thing) or thing.path for member, thing in parts)
        envs = {**envs, resource.paths_env: ",".join(seen)}
    return ContainerEdits(tuple(device_nodes.values()), tuple(mounts.values()), envs)


def _inside(member: Member, thing: Found) -> str | None:
    """Where a container sees it; ``None``: where the host does. A node found by a link keeps the name of the link."""
    if member.container_path is None:
        return None if thing.name == thing.path else thing.name
    return member.container_path + posixpath.basename(thing.name) if member.directory else member.container_path


def _conflicts(edits: ContainerEdits) -> Iterator[str]:
    """Where one container would have to see two things at one path."""
    seen: dict[str, str] = {}
    for edit in _all_edits(edits):
        inside = posixpath.normpath(edit.container_path or edit.host_path)
        if seen.setdefault(inside, edit.host_path) != edit.host_path:
            yield f"{seen[inside]} and {edit.host_path} both want to be {inside} in the container"


def told_apart(resource: str, units: Iterable[Unit]) -> list[Unit]:
    """The units, each set of nodes once and each id once.

    Where two units would have one id (two paths to one disk), the first keeps it and the others are known by their nodes too.
    """
    by_nodes: dict[tuple[str, ...], Unit] = {}
    for unit in units:
        by_nodes.setdefault(host_paths(unit), unit)
    taken: set[str] = set()
    apart: list[Unit] = []
    for unit in by_nodes.values():
        own = unit
        if unit.id in taken:
            key = "\n".join((unit.id, *host_paths(unit)))
            own = structs.replace(unit, id=device_id(resource, key, unit.id.rpartition("-")[0]))
        taken.add(own.id)
        apart.append(own)
    return apart


def host_paths(unit: Unit) -> tuple[str, ...]:
    """All that a unit takes from the host, in a fixed order."""
    return tuple(sorted({edit.host_path for edit in _all_edits(unit.edits)}))


def _all_edits(edits: ContainerEdits) -> tuple[DeviceNode | Mount, ...]:
    return (*edits.device_nodes, *edits.mounts)
