"""The stream of polls: what changes on ports without an event, and counters every so often."""

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from functools import partial

from msgspec import Struct

from supervisor import Outlet
from supervisor_infiniband.report import Change, Counters, Link, Poll
from supervisor_infiniband.sysfs import counters, device, fingerprint, ports
from supervisor_infiniband.sysfs.attributes import Nonsense
from supervisor_infiniband.sysfs.device import Reading
from supervisor_infiniband.sysfs.fingerprint import Fingerprint
from supervisor_infiniband.sysfs.links import Links
from supervisor_infiniband.sysfs.messages import Told, Watch
from supervisor_infiniband.sysfs.ports import Sample
from supervisor_infiniband.sysfs.survey import Key, Known, Survey, Taken

SLICE = 1.0
"""Seconds that one sleep lasts at most."""
SOON = 0.1
"""Seconds until the next poll while a device is late, and between two polls for which rtnetlink is the reason."""
CARRIED = 2.0
"""Seconds between two polls of a VF or SF, if polls are not rarer: it is judged by the ports of the function that carries it."""


def watch(survey: Survey, request: Watch, outlet: Outlet) -> None:
    """Send what is worth it, until nobody listens."""
    with ExitStack() as listening:
        _watch(survey, request, outlet, _ear(survey.options.rtnetlink, listening))


def _ear(rtnetlink: bool, listening: ExitStack) -> Links | None:
    """What hears of interfaces, where that is wanted and can be; why it cannot be, a look tells."""
    if not rtnetlink:
        return None
    try:
        return listening.enter_context(Links())
    except OSError:
        return None


def _watch(survey: Survey, request: Watch, outlet: Outlet, ear: Links | None) -> None:
    watcher = Watcher(survey, max(1, int(CARRIED / request.poll)))
    poll_at = time.monotonic() + (request.poll if survey.taken is None else 0.0)  # the first look is on its way
    polled_at, counters_at = float("-inf"), 0.0
    heard = False
    while not outlet.closed:
        now = time.monotonic()
        if now >= poll_at:
            told = watcher.poll(with_counters=now >= counters_at)
            if told.poll != Poll():
                outlet.send(told)
            counters_at = now + request.counters if now >= counters_at else counters_at
            # What an interface does, its port may do a moment later.
            polled_at, poll_at = now, now + (SOON if watcher.expects or heard else request.poll)
            heard = False
        outlet.beat()
        pause = min(SLICE, max(0.0, poll_at - time.monotonic()))
        if ear is None:
            time.sleep(pause)
        elif ear.wait(pause, watcher.interfaces):
            heard, poll_at = True, min(poll_at, polled_at + SOON)


class Sampled(Struct, frozen=True):
    """What one device said at one poll, where that is another than before, or counters are wanted."""

    samples: tuple[Sample, ...]
    links: tuple[tuple[int, Link], ...] = ()
    """Of the ports whose sample is another one."""
    problem: str = ""
    counters: tuple[Counters, ...] = ()


Job = Callable[[], Sampled | Reading | None]


class Watcher:
    """What one listener was told, which is more than the newest look has. Used by one thread."""

    def __init__(self, survey: Survey, turns: int = 1) -> None:
        """``turns``: in how many polls all VFs and SFs have their turn, and the structure has."""
        self._survey = survey
        self._turns, self._turn = turns, 0
        self._taken: Taken | None = None
        self._mark: Fingerprint = {}
        self._known: dict[Key, Known] = {}
        self._samples: dict[Key, tuple[Sample, ...]] = {}
        self._jobs: list[dict[Key, Job]] = []
        """For each turn."""
        self._links: dict[tuple[str, int], Link] = {}
        self._problems: dict[Key, str] = {}
        self._silent: set[Key] = set()
        self._slow: set[Key] = set()
        """Those that were late since the last look. They are waited for when they have come back: firmware may always take its time."""
        self._carried: set[Key] = set()
        """VFs and SFs whose carrier is an RDMA device, too."""
        self.expects = False
        """Whether a device is late that was not told to be."""

    @property
    def interfaces(self) -> Collection[str]:
        """Those on the ports, by name."""
        return () if self._taken is None else self._taken.interfaces

    def poll(self, *, with_counters: bool) -> Told:
        """Ask each device whose turn it is once, and for counters all."""
        patience = self._survey.options.patience
        with self._survey.lock:
            taken = self._survey.taken
            if taken is None:
                return Told(Poll(structure=True), 0)
            if taken is not self._taken:
                self._begin(taken)
            self._turn = (self._turn + 1) % self._turns
            jobs = {key: self._job(key, with_counters=True) for key in self._known} if with_counters else self._jobs[self._turn]
            answers = self._survey.crew.read(jobs, lambda key: patience if key in self._slow else 0.0)
            self._slow |= jobs.keys() - answers.keys()
        changes: list[Change] = []
        found: list[Counters] = []
        structure = self._turn == 0 and self._structure(taken)
        unsettled = self._silent | self._problems.keys()
        for key, answer in answers.items():
            if answer is None and key not in unsettled:
                continue
            if isinstance(answer, Sampled):
                structure |= self._heard(key, answer, changes)
                found += answer.counters
            elif isinstance(answer, Reading):
                structure |= self._is_other(key, answer)
            else:  # it is again as it was
                structure = True
                self._silent.discard(key)
                self._problems.pop(key, None)
        changes += self._late(jobs.keys() - answers.keys())
        return Told(Poll(tuple(changes), tuple(found), structure), taken.number)

    def _begin(self, taken: Taken) -> None:
        """A look has told all this."""
        self._taken, self._mark = taken, taken.fingerprint
        self._known = {key: known for key, known in taken.known.items() if known.id}
        self._samples = {key: known.reading.samples if known.reading else () for key, known in self._known.items()}
        facts = {key: known.place.function.facts for key, known in self._known.items()}
        pfs = {one.pci for one in facts.values() if one.kind == "pf"}
        self._carried = {key for key, one in facts.items() if one.pf in pfs}
        self._jobs = [{} for _ in range(self._turns)]
        for place, key in enumerate(facts):
            for turn in [place % self._turns] if key in self._carried else range(self._turns):
                self._jobs[turn][key] = self._job(key, with_counters=False)
        self._problems = {}
        self._slow = set()
        self._silent = {key for key, known in self._known.items() if known.unresponsive}
        told = [known.device for known in self._known.values()]
        self._links = {(one.id, port.number): port.link for one in told for port in one.ports}

    def _job(self, key: Key, *, with_counters: bool) -> Job:
        """What to ask a device; one that made no sense, or never answered, is read as at a look."""
        known = self._known[key]
        if known.reading is None or known.reading.device.problem:
            return partial(device.read, known.place)
        return partial(self._sampled, key, known.reading, with_counters)

    def _sampled(self, key: Key, reading: Reading, with_counters: bool) -> Sampled | None:
        """What a device says now; ``None`` where that is what it said. May hang."""
        before, carried, known = self._samples[key], key in self._carried, self._known[key]
        samples = tuple([ports.sample(where, old, carried=carried) for where, old in zip(reading.polled, before, strict=True)])
        if samples == before and not with_counters:
            return None
        try:
            links = tuple(
                (where.number, ports.link(where, sample))
                for where, sample, old in zip(reading.polled, samples, before, strict=True)
                if sample != old
            )
        except Nonsense as error:
            return Sampled(samples, problem=str(error))
        found = counters.read(known.id, known.place.directory, reading) if with_counters else ()
        return Sampled(samples, links, counters=found)

    def _structure(self, taken: Taken) -> bool:
        now, before = fingerprint.take(self._survey.host), self._mark
        self._mark = now
        return not taken.stands(self._survey.host, now, before)

    def _heard(self, key: Key, answer: Sampled, changes: list[Change]) -> bool:
        """Note what a device said; whether that needs a look."""
        came_back = key in self._silent
        self._silent.discard(key)
        name = self._known[key].id
        for number, link in answer.links:
            if came_back or self._links.get((name, number)) != link:
                self._links[name, number] = link
                changes.append(Change(name, number, link))
        if answer.problem:
            other = self._problems.get(key) != answer.problem
            self._problems[key] = answer.problem
            return other
        self._samples[key] = answer.samples
        return self._problems.pop(key, "") != "" or came_back

    def _is_other(self, key: Key, answer: Reading) -> bool:
        """Whether one that made no sense, or never answered, says something else now."""
        self._silent.discard(key)
        known = self._known[key].reading
        before = self._problems.get(key, known.device.problem if known is not None else None)
        self._problems[key] = answer.device.problem
        return answer.device.problem != before

    def _late(self, keys: set[Key]) -> Iterator[Change]:
        """Tell of those that have become silent."""
        self.expects = False
        for key in keys - self._silent:
            seconds = self._survey.crew.waiting(key)
            if seconds > self._survey.options.patience:
                self._silent.add(key)
                yield Change(self._known[key].id)
            elif seconds > 0:
                self.expects = True
