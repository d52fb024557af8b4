"""The stream of polls: what changes on ports without an event, and counters every so often."""

import time
from collections.abc import Collection
from functools import partial

from msgspec import Struct

from supervisor import Outlet
from supervisor_infiniband.report import Change, Counters, Link, Poll
from supervisor_infiniband.sysfs import counters, device, fingerprint, ports
from supervisor_infiniband.sysfs.attributes import Nonsense
from supervisor_infiniband.sysfs.device import Reading
from supervisor_infiniband.sysfs.fingerprint import Fingerprint
from supervisor_infiniband.sysfs.messages import Told, Watch
from supervisor_infiniband.sysfs.ports import Sample
from supervisor_infiniband.sysfs.survey import Key, Known, Survey, Taken

SLICE = 0.5
"""Seconds that one sleep lasts at most."""
SOON = 0.1
"""Seconds until the next poll while a device is late."""


def watch(survey: Survey, request: Watch, outlet: Outlet) -> None:
    """Send what is worth it, until nobody listens."""
    watcher = Watcher(survey)
    poll_at = time.monotonic() + (request.poll if survey.taken is None else 0.0)  # the first look is on its way
    counters_at = 0.0
    while not outlet.closed:
        now = time.monotonic()
        if now >= poll_at:
            told = watcher.poll(with_counters=now >= counters_at)
            if told.poll != Poll():
                outlet.send(told)
            counters_at = now + request.counters if now >= counters_at else counters_at
            poll_at = now + (SOON if watcher.expects else request.poll)
        outlet.beat()
        time.sleep(min(SLICE, max(0.0, poll_at - time.monotonic())))


class _Sampled(Struct, frozen=True):
    """What one device said at one poll."""

    samples: tuple[Sample, ...] = ()
    links: tuple[tuple[int, Link], ...] = ()
    """Of the ports whose sample is another one than before."""
    problem: str = ""
    counters: tuple[Counters, ...] = ()


class Watcher:
    """What one listener was told, which is more than the newest look has."""

    def __init__(self, survey: Survey) -> None:
        self._survey = survey
        self._taken: Taken | None = None
        self._mark: Fingerprint = {}
        self._samples: dict[Key, tuple[Sample, ...]] = {}
        self._links: dict[tuple[str, int], Link] = {}
        self._problems: dict[Key, str | None] = {}
        self._silent: set[Key] = set()
        self._interfaces: Collection[str] = ()
        self._functions: Collection[str] = ()
        self.expects = False
        """Whether a device is late that was not told to be."""

    def poll(self, *, with_counters: bool) -> Told:
        """Ask each device once."""
        with self._survey.lock:
            taken = self._survey.taken
            if taken is None:
                return Told(Poll(structure=True), 0)
            if taken is not self._taken:
                self._begin(taken)
            asked = {key: known for key, known in taken.known.items() if known.id}
            jobs = {key: partial(_ask, known, self._samples[key], with_counters) for key, known in asked.items()}
            answers = self._survey.crew.read(jobs)
        changes: list[Change] = []
        found: list[Counters] = []
        structure = self._structure()
        for key, known in asked.items():
            answer = answers.get(key)
            if isinstance(answer, _Sampled):
                structure |= self._heard(key, known, answer, changes)
                found += answer.counters
            elif key in answers:
                structure |= self._is_other(key, known, answer)
        self._listen(asked, changes)
        return Told(Poll(tuple(changes), tuple(found), structure), taken.number)

    def _begin(self, taken: Taken) -> None:
        """A look has told all this."""
        self._taken, self._mark = taken, taken.fingerprint
        self._samples = {key: known.reading.samples if known.reading else () for key, known in taken.known.items()}
        told = [known.device for known in taken.known.values() if known.id]
        self._links = {(one.id, port.number): port.link for one in told for port in one.ports}
        self._problems = {}
        self._silent = {key for key, known in taken.known.items() if known.unresponsive}
        ports_now = [port for one in told for port in one.ports]
        self._interfaces = {netdev.name for port in ports_now for netdev in port.link.netdevs}
        self._interfaces |= {gid.netdev for port in ports_now for gid in port.gids}
        self._functions = {
            word for one in taken.report.devices for word in (one.pci, one.pf, one.path.rpartition("/")[2]) if word
        }

    def _structure(self) -> bool:
        now, before = fingerprint.take(self._survey.host), self._mark
        self._mark = now
        return fingerprint.differs(self._survey.host, now, before, self._interfaces, self._functions)

    def _heard(self, key: Key, known: Known, answer: _Sampled, changes: list[Change]) -> bool:
        """Note what a device said; whether that needs a look."""
        came_back = key in self._silent
        self._silent.discard(key)
        for number, link in answer.links:
            if came_back or self._links.get((known.id, number)) != link:
                self._links[known.id, number] = link
                changes.append(Change(known.id, number, link))
        if not answer.problem:
            self._samples[key] = answer.samples
        other = self._problems.get(key, "") != answer.problem
        self._problems[key] = answer.problem
        return came_back or other

    def _is_other(self, key: Key, known: Known, answer: object) -> bool:
        """Whether one that made no sense, or never answered, does so now."""
        self._silent.discard(key)
        before = known.reading.device.problem if known.reading is not None else None
        now = answer.device.problem if isinstance(answer, Reading) else None
        other = now != self._problems.get(key, before)
        self._problems[key] = now
        return other

    def _listen(self, asked: Collection[Key], changes: list[Change]) -> None:
        """Tell of those that have become silent."""
        assert self._taken is not None
        late = {key: self._survey.crew.waiting(key) for key in asked if key not in self._silent}
        silent = {key for key, seconds in late.items() if seconds > self._survey.options.patience}
        changes += [Change(self._taken.known[key].id) for key in asked if key in silent]
        self._silent |= silent
        self.expects = any(late[key] > 0 for key in late.keys() - silent)


def _ask(known: Known, before: tuple[Sample, ...], with_counters: bool) -> object:
    """What a device says now; one that made no sense, or never answered, is read as at a look. May hang."""
    if known.reading is None or known.reading.device.problem:
        return device.read(known.place)
    polled = known.reading.polled
    samples = tuple(ports.sample(where) for where in polled)
    try:
        links = tuple(
            (where.number, ports.link(where, sample))
            for where, sample, old in zip(polled, samples, before, strict=True)
            if sample != old
        )
    except Nonsense as error:
        return _Sampled(samples, problem=str(error))
    found = counters.read(known.id, known.place.directory, known.reading) if with_counters else ()
    return _Sampled(samples, links, counters=found)
