"""The stream of polls: what changes on functions without an event, what is programmed in them included."""

import time
from collections.abc import Collection, Iterator

from msgspec import Struct, structs

from supervisor import HostView, Outlet
from supervisor_fpga.report import Change, Evidence, Function, Poll
from supervisor_fpga.sysfs.messages import Told, Watch
from supervisor_fpga.sysfs.presence import Fingerprint
from supervisor_fpga.sysfs.survey import Key, Known, Survey, Taken, card_of

SLICE = 1.0
"""Seconds that one sleep lasts at most."""
FIND = 30.0
"""Seconds between two searches for functions where nothing seems to have come or gone."""


def watch(survey: Survey, request: Watch, outlet: Outlet) -> None:
    """Send what is worth it, until nobody listens."""
    watcher = Watcher(survey)
    poll_at = time.monotonic() + (request.poll if survey.taken is None else 0.0)  # the first look is on its way
    while not outlet.closed:
        now = time.monotonic()
        if now >= poll_at:
            told = watcher.poll()
            if told.poll != Poll():
                outlet.send(told)
            poll_at = now + request.poll
        outlet.beat()
        time.sleep(min(SLICE, max(0.0, poll_at - time.monotonic())))


class _Heard(Struct, frozen=True):
    """What was told of one function last."""

    facts: Function
    """Without its evidence."""
    evidence: Evidence
    silent: bool


class Watcher:
    """What one listener was told, which is more than the newest look has. Used by one thread."""

    def __init__(self, survey: Survey) -> None:
        self._survey = survey
        self._taken: Taken | None = None
        self._mark: Fingerprint = {}
        self._find_at = 0.0
        self._heard: dict[Key, _Heard] = {}

    def poll(self) -> Told:
        """Ask each card once."""
        with self._survey.lock:
            taken = self._survey.taken
            if taken is None:
                return Told(Poll(structure=True), 0)
            if taken is not self._taken:
                self._begin(taken)
            answers = self._survey.ask({key: known.found for key, known in taken.known.items()})
        changes: list[Change] = []
        structure = self._structure(taken)
        for key, function in answers.items():
            structure |= self._hear(key, function, changes)
        changes += self._silent(taken, taken.known.keys() - answers.keys())
        return Told(Poll(tuple(changes), structure), taken.number)

    def _begin(self, taken: Taken) -> None:
        """A look has told all this."""
        self._taken, self._mark = taken, taken.fingerprint
        self._find_at = time.monotonic() + FIND
        self._heard = {key: _as_told(known) for key, known in taken.known.items()}

    def _structure(self, taken: Taken) -> bool:
        """Whether functions have come or gone, or got another driver or node."""
        mark = self._survey.mark()
        if mark == self._mark and time.monotonic() < self._find_at:
            return False
        self._mark, self._find_at = mark, time.monotonic() + FIND
        return self._survey.find(HostView(self._survey.host)) != taken.found

    def _hear(self, key: Key, function: Function, changes: list[Change]) -> bool:
        """Note what a function says; whether that needs a look."""
        before = self._heard[key]
        now = _Heard(_facts(function), function.evidence, silent=False)
        self._heard[key] = now
        if now == before:
            return False
        if function.id:
            changes.append(Change(function.id, now.evidence, function.afu_id))
        return now.facts != before.facts

    def _silent(self, taken: Taken, keys: Collection[Key]) -> Iterator[Change]:
        """Tell of those that have become silent. Others may have gone, which their names tell."""
        for key in keys:
            before = self._heard[key]
            if before.silent or self._survey.crew.waiting(card_of(taken.known[key].found)) == 0:
                continue
            self._heard[key] = structs.replace(before, silent=True)
            if before.facts.id:
                yield Change(before.facts.id, before.evidence, before.facts.afu_id, unresponsive=True)


def _as_told(known: Known) -> _Heard:
    told = known.function
    return _Heard(_facts(known.said or known.found), told.evidence, known.silent)


def _facts(function: Function) -> Function:
    return structs.replace(function, evidence=Evidence())
