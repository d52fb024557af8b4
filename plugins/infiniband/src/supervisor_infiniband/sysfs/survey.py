"""A look at all RDMA devices."""

import os
import threading
import time
from collections.abc import Iterator, Mapping
from functools import partial

from msgspec import Struct, structs

from supervisor import Crew, Host, HostView, natural_order
from supervisor_infiniband.report import Link, NetnsMode, Port, RdmaDevice, Report
from supervisor_infiniband.sysfs import attributes, device, fingerprint, identity, links, nodes
from supervisor_infiniband.sysfs.device import Place, Reading
from supervisor_infiniband.sysfs.fingerprint import Fingerprint
from supervisor_infiniband.sysfs.functions import Functions
from supervisor_infiniband.sysfs.identity import Candidate, Identities
from supervisor_infiniband.sysfs.messages import NO_MODULE, Options
from supervisor_infiniband.sysfs.nodes import Nodes

_MORE_TRIES = 2
"""Further looks while devices come, go or are renamed: one that is renamed after it was listed would seem to have gone."""
_PAUSE = 0.02
"""Seconds before each, longer than a renaming takes."""

Key = tuple[str, int]
"""An RDMA device as long as it is not made anew: kernel name and inode."""

_MODES: Mapping[str, NetnsMode] = {"Y": "shared", "1": "shared", "N": "exclusive", "0": "exclusive"}


class Known(Struct, frozen=True):
    """One device of the newest look."""

    place: Place
    reading: Reading | None
    """``None`` for one that never answered."""
    unresponsive: bool = False
    id: str = ""
    """Empty for one that is refused."""

    @property
    def device(self) -> RdmaDevice:
        facts = self.place.facts if self.reading is None else self.reading.device
        if self.unresponsive:
            silent = tuple(structs.replace(port, link=Link()) for port in facts.ports)
            facts = structs.replace(facts, ports=silent, unresponsive=True)
        return structs.replace(facts, id=self.id)


class Taken(Struct, frozen=True):
    """The newest look."""

    number: int
    report: Report
    fingerprint: Fingerprint
    known: Mapping[Key, Known]
    """Those that can be asked, refused ones, too."""
    interfaces: frozenset[str]
    """Those on the ports, by name."""
    functions: frozenset[str]
    """The devices' own, and those that carry them, by the last word of their paths."""

    def stands(self, host: Host, now: Fingerprint, before: Fingerprint) -> bool:
        """Whether nothing that counts differs between two fingerprints."""
        return not fingerprint.differs(host, now, before, self.interfaces, self.functions)


class Survey:
    """Looks, and what the newest one has found. ``lock`` keeps looks and polls apart: each device is read by one thread at a time."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.host = Host(sysfs=options.sysfs, dev=options.dev)
        self.crew: Crew[Key, object] = Crew()
        self.lock = threading.Lock()
        self.taken: Taken | None = None
        self._identities = Identities()

    def look(self) -> Taken:
        """Look at everything. Raises ``OSError`` where there is no sysfs, which is not the same as one without RDMA devices."""
        with self.lock:
            before = self._identities
            taken = self._look()
            for _ in range(_MORE_TRIES):
                if fingerprint.same_devices(fingerprint.take(self.host), taken.fingerprint):
                    break
                time.sleep(_PAUSE)
                self._identities = before  # under both of its names a device would be two
                taken = self._look()
            self.taken = taken
            return taken

    def stands(self, number: int) -> bool:
        """Whether, ports apart, everything is as at the look of this number, which has to be the newest. Asks no device."""
        taken = self.taken
        if taken is None or taken.number != number:
            return False
        return taken.stands(self.host, fingerprint.take(self.host), taken.fingerprint)

    def _look(self) -> Taken:
        mark = fingerprint.take(self.host)
        found = nodes.look(self.host)
        places, lost, notices = self._places(found)
        known = self._read(places)
        away = self._elsewhere(found, {key[0] for key in places} | lost)
        self._settle(known, away)
        known = {key: structs.replace(one, id=self._identities.ids.get(key[0], "")) for key, one in known.items()}
        refused = dict(self._identities.refused) | dict.fromkeys(lost, "its entry in /sys/class/infiniband leads nowhere")
        report = self._report(known, away, found, refused, notices)
        words = {word for one in report.devices for word in (one.pci, one.pf, one.path.rpartition("/")[2])}
        interfaces = {name for one in report.devices for name in _interfaces(one)}
        return Taken(time.monotonic_ns(), report, mark, known, frozenset(interfaces), frozenset(words - {""}))

    def _places(self, found: Nodes) -> tuple[dict[Key, Place], set[str], list[str]]:
        """Where each device is read, the names that lead nowhere, and what could not be seen."""
        classes = f"{self.host.sysfs}/class"
        entries = _listed(f"{classes}/infiniband")
        if entries is None:
            os.listdir(classes)  # raises where no sysfs is mounted
            return {}, set(), [NO_MODULE]
        view = HostView(self.host)
        functions = Functions(view)
        places: dict[Key, Place] = {}
        for name, inode in entries:
            path = view.resolve(f"/sys/class/infiniband/{name}")
            if path is not None and (local := self.host.local(path)) is not None:
                function = functions.of(name, path)
                places[name, inode] = Place(name, local, function, found, f"{classes}/net", self.options.hw_counters)
        missing = places and not os.path.lexists(f"{classes}/infiniband_verbs")
        lost = {name for name, _ in entries} - {name for name, _ in places}
        return places, lost, ["the kernel module ib_uverbs is not loaded: no device can be used"] if missing else []

    def _read(self, places: Mapping[Key, Place]) -> dict[Key, Known]:
        """Ask each. One that answered before and is slow now is as it was, until it has taken too long."""
        before = self.taken.known if self.taken is not None else {}
        old = {key: before[key].reading for key in places if key in before}
        patience = self.options.patience
        jobs = {key: partial(device.read, place) for key, place in places.items()}
        values = self.crew.read(jobs, lambda key: 0.0 if old.get(key) is not None else patience)
        found: dict[Key, Known] = {}
        for key, place in places.items():
            if key not in values:
                late = self.crew.waiting(key) > patience or old.get(key) is None
                found[key] = Known(place, old.get(key), late)
            elif isinstance(reading := values[key], Reading):
                found[key] = Known(place, reading)
        return found

    def _elsewhere(self, found: Nodes, here: set[str]) -> list[RdmaDevice]:
        """Those whose character devices are here and that are not themselves: in RDMA mode ``exclusive`` they have moved."""
        if self._mode() != "exclusive":
            return []
        verbs = f"{self.host.sysfs}/class/infiniband_verbs"
        # Whoever is taken away for good loses its character device first, so that is looked at last.
        away = [name for name, node in found.uverbs.items() if name not in here and os.path.lexists(f"{verbs}/{node}")]
        functions = Functions(HostView(self.host))
        return [_moved(functions, name, found) for name in away]

    def _settle(self, known: Mapping[Key, Known], away: list[RdmaDevice]) -> None:
        candidates = [
            Candidate(
                one.place.name,
                one.place.function.facts.id,
                one.device.node_guid,
                None if one.reading is None else one.reading.endpoint,
            )
            for one in known.values()
        ]
        candidates += [Candidate(moved.name, moved.id, endpoint=None) for moved in away]
        self._identities = identity.settle(candidates, self._identities)

    def _report(
        self,
        known: Mapping[Key, Known],
        away: list[RdmaDevice],
        found: Nodes,
        refused: Mapping[str, str],
        notices: list[str],
    ) -> Report:
        ids = self._identities.ids
        devices = [one.device for one in known.values() if one.id]
        devices += [structs.replace(moved, id=ids[moved.name]) for moved in away if moved.name in ids]
        if self.options.rtnetlink and (problem := links.problem({name for one in devices for name in _netdevs(one)})):
            notices = [*notices, problem]
        return Report(
            devices=tuple(sorted(_with_functions(devices), key=lambda one: (one.pci, natural_order(one.id)))),
            netns_mode=self._mode(),
            nodes=found.present,
            refused=refused,
            notices=tuple(notices),
            simulated=self.options.simulated,
        )

    def _mode(self) -> NetnsMode:
        return _MODES.get(fingerprint.netns_mode(self.host), "")


def _interfaces(device: RdmaDevice) -> Iterator[str]:
    yield from _netdevs(device)
    yield from (gid.netdev for port in device.ports for gid in port.gids)


def _netdevs(device: RdmaDevice) -> Iterator[str]:
    return (netdev.name for port in device.ports for netdev in port.link.netdevs)


def _listed(directory: str) -> list[Key] | None:
    """Names and inodes in natural order; ``None`` without the directory. Raises ``OSError``."""
    try:
        with os.scandir(directory) as entries:
            found = [(entry.name, entry.inode()) for entry in entries]
    except FileNotFoundError:
        return None
    return sorted(found, key=lambda entry: natural_order(entry[0]))[: attributes.MAX_NAMES]


def _moved(functions: Functions, name: str, found: Nodes) -> RdmaDevice:
    uverbs = found.uverbs[name]
    ports = tuple(
        Port(number, umad=found.umad.get((name, number)), issm=found.issm.get((name, number)))
        for number in nodes.ports_of(found, name)
    )
    facts = functions.of(name, f"/sys/class/infiniband_verbs/{uverbs}").facts
    return structs.replace(facts, uverbs=uverbs, ports=ports, elsewhere=True)


def _with_functions(devices: list[RdmaDevice]) -> Iterator[RdmaDevice]:
    """With ``pf`` as an id, where that is more than the address of a function."""
    first: dict[str, str] = {}
    for one in devices:
        if one.kind == "pf":
            first.setdefault(one.pci, one.id)
    return (structs.replace(one, pf=first.get(one.pf, one.pf)) if one.pf else one for one in devices)
