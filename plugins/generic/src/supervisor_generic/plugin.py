"""The plugin: one look serves all rules, and what did not change is returned as the very same objects."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from supervisor import Device, Finding, Host, HostDevice, HostView
from supervisor_generic.config import GenericConfig, Match, Resource
from supervisor_generic.examining import examine, unseen
from supervisor_generic.identity import Identities, Identity, Memory, unit_of
from supervisor_generic.rules import ANY_SUBSYSTEM, Found, PathRule, Rule, make_rule
from supervisor_generic.units import Unit, by_owner, host_paths, make_unit, told_apart, zip_members

MAX_DEVICES = 100_000
"""Of one resource, replicas counted: more than a kubelet can be told in one message."""


_OWNERS: Mapping[str, Callable[[Found], HostDevice | None]] = {
    "usb": lambda found: found.device and found.device.usb_device,
    "pci": lambda found: found.device and found.device.pci_device,
    "parent": lambda found: found.device and found.device.parent,
}
_EACH = {"usb": "USB device", "pci": "PCI function", "parent": "parent device"}


class _Way:
    """One match of one resource, with its rules."""

    def __init__(self, resource: Resource, number: int, match: Match) -> None:
        self.resource = resource
        self.number = number
        self.members = match.members
        self.rules = tuple(make_rule(member) for member in self.members)
        self.words = " + ".join(rule.words for rule in self.rules)
        self._each = match.each
        self.subsystems: set[str] = set().union(*(rule.subsystems(()) for rule in self.rules))

    @property
    def title(self) -> str:
        return f"{self.resource.name}, match {self.number}"

    def look(self, view: HostView, identities: Identities, notices: list[str]) -> list[Unit]:
        """The units that are there now; what is lacking goes to ``notices``."""
        found = [rule.find(view, identities) for rule in self.rules]
        self.subsystems = set().union(*(rule.subsystems(f) for rule, f in zip(self.rules, found, strict=True)))
        units = list(self._units(found, identities))
        notices += self._lacks(view, found, units)
        return units

    def _units(self, found: Sequence[Sequence[Found]], identities: Identities) -> Iterator[Unit]:
        if self._each is None:
            yield from self._zipped(found, None)
            return
        for owner, theirs in by_owner(self.members, found, _OWNERS[self._each]):
            yield from self._zipped(theirs, identities.of_device(owner))

    def _zipped(self, found: Sequence[Sequence[Found]], owner: Identity | None) -> Iterator[Unit]:
        for shares in zip_members(self.members, found):
            yield make_unit(self.resource, self.number, self.members, shares, words=self.words, owner=owner)

    def _lacks(self, view: HostView, found: Sequence[Sequence[Found]], units: Sequence[Unit]) -> Iterator[str]:
        if (
            self._each
            and not units
            and all(things or member.optional for member, things in zip(self.members, found, strict=True))
        ):
            yield f"{self.title}: what it finds does not hang on one {_EACH[self._each]}: {self.words}"
        for member, rule, things in zip(self.members, self.rules, found, strict=True):
            if (blind := rule.blind(view)) is not None:
                yield f"{self.title}: {blind}"
            elif not things and not member.optional:
                yield f"{self.title}: waits for a device: nothing fits {rule.words}"


class _Offer:
    """One resource: its ways to find units, and what the last look gave."""

    def __init__(self, resource: Resource) -> None:
        self.resource = resource
        self.ways = tuple(_Way(resource, number, match) for number, match in enumerate(resource.match, 1))
        self.units: dict[str, Unit] = {}
        self.devices: tuple[Device, ...] = ()
        self._replicas: dict[str, tuple[Device, ...]] = {}

    def look(self, view: HostView, identities: Identities, notices: list[str]) -> tuple[Device, ...]:
        units = told_apart(self.resource.name, (unit for way in self.ways for unit in way.look(view, identities, notices)))
        most = MAX_DEVICES // self.resource.replicas
        if len(units) > most:
            notices.append(f"{self.resource.name}: only the first {most} of {len(units)} units are offered")
        fresh = {unit.id: unit for unit in units[:most]}
        if fresh != self.units or list(fresh) != list(self.units):
            self._replicas = {
                name: self._replicas[name] if self.units.get(name) == unit else unit.devices(self.resource.replicas)
                for name, unit in fresh.items()
            }
            self.units = fresh
            self.devices = tuple(device for replicas in self._replicas.values() for device in replicas)
        return self.devices


class GenericPlugin:
    """Every configured resource of this host. All methods are called in one thread, one at a time.

    ``memory`` may be shared with the plugin that this one replaces.
    """

    name = "generic"

    def __init__(self, config: GenericConfig, host: Host, memory: Memory | None = None) -> None:
        self._host = host
        self._offers = tuple(_Offer(resource) for resource in config.resources)
        self._memory = Memory() if memory is None else memory
        self._notices: tuple[str, ...] = ()

    @property
    def udev_subsystems(self) -> Collection[str]:
        """Those of the configured rules. A path that matches nothing yet may belong to any of them."""
        found = set[str]().union(*(way.subsystems for offer in self._offers for way in offer.ways))
        return (ANY_SUBSYSTEM,) if ANY_SUBSYSTEM in found else tuple(sorted(found))

    def discover(self) -> Mapping[str, Sequence[Device]]:
        """Look once for all rules."""
        view, notices = HostView(self._host), list[str]()
        identities = Identities(view, self._memory)
        found = {offer.resource.name: offer.look(view, identities, notices) for offer in self._offers}
        self._notices = (*notices, *view.problems)
        return found

    def notices(self) -> Sequence[str]:
        """What the last look waited for or could not see."""
        return self._notices

    def explain(self, text: str) -> Sequence[str]:
        """Why a device id, node or kernel name is offered or not, by a look of its own."""
        view = HostView(self._host)
        self._explain_look(view)
        if offered := [
            _offered(offer, unit) for offer in self._offers for unit in offer.units.values() if unit.id == unit_of(text)
        ]:
            return offered
        path, device = _subject(view, text)
        if view.node(path) is None and device is None:
            return ()
        return [sentence for offer in self._offers for sentence in _verdicts(view, offer, path, device)]

    def examine(self) -> Iterator[Finding]:
        """What each match finds on this node, and what it would need."""
        view = HostView(self._host)
        identities = Identities(view, self._memory)
        for way in (way for offer in self._offers for way in offer.ways):
            for member, rule in zip(way.members, way.rules, strict=True):
                yield from examine(view, identities, way.title, member, rule)
        yield from unseen(view)

    def _explain_look(self, view: HostView) -> None:
        identities, unheard = Identities(view, self._memory), list[str]()
        for offer in self._offers:
            offer.look(view, identities, unheard)


def _offered(offer: _Offer, unit: Unit) -> str:
    state = f"is not healthy: {unit.reason}" if unit.reason else "is healthy"
    times = f" {offer.resource.replicas} times" if offer.resource.replicas > 1 else ""
    way = offer.ways[unit.match - 1]
    return f"{way.title} ({way.words}) offers {', '.join(host_paths(unit))}{times} as {unit.id}; it {state}{_where(unit)}."


def _where(unit: Unit) -> str:
    nodes = unit.topology.numa_nodes
    return f", on NUMA node {', '.join(map(str, nodes))}" if nodes else ""


def _subject(view: HostView, text: str) -> tuple[str, HostDevice | None]:
    """The node and the device that a person means by a path or a kernel name."""
    path = text if text.startswith("/") else f"/dev/{text}"
    node = view.node(path) if not text.startswith("/sys/") else None
    if node is not None:
        return node.path, view.device_of(node)
    if text.startswith("/sys/"):
        device = view.device(text)
    else:
        device = next((d for d in _all_devices(view) if text in {d.name, d.node}), None)
    return (path if device is None else device.node or device.path), device


def _all_devices(view: HostView) -> Iterator[HostDevice]:
    for subsystem in (*view.names("/sys/class"), *view.names("/sys/bus")):
        yield from view.devices(subsystem)


def _verdicts(view: HostView, offer: _Offer, path: str, device: HostDevice | None) -> Iterator[str]:
    """What each rule of a resource says of one node or device."""
    holders = [unit for unit in offer.units.values() if path in host_paths(unit)]
    for unit in holders:
        yield _offered(offer, unit)
    for way in offer.ways:
        if any(unit.match == way.number for unit in holders):
            continue
        for rule in way.rules:
            refusal = rule.refusal(view, path, device)
            subject = device.name if device is not None and not isinstance(rule, PathRule) else path
            if refusal is not None:
                yield f"{way.title} ({rule.words}) refuses {subject}: {refusal}."
            else:
                yield f"{way.title} ({rule.words}) takes {subject}, but {_why_not_offered(way, rule, holders)}."


def _why_not_offered(way: _Way, rule: Rule, holders: Sequence[Unit]) -> str:
    if holders:
        return f"match {holders[0].match} of this resource came first"
    if len(way.rules) > 1:
        return "the other members of its group give it no partner"
    return f"the resource is full: {MAX_DEVICES} devices"
