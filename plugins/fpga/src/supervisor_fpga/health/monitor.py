"""The health of all FPGAs of the node: the one thing here that changes, behind one lock.

Looks and verdicts come from the thread that looks, polls from the one that watches, ``begin`` and ``end`` from those that wait for containers
to start. A poll tells what differs from the newest look, so a look that crossed one is put right by the next. Nothing is believed because
time went by: when enough has, a look is due, and what it sees counts.
"""

import math
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct, structs

from supervisor_fpga.config import Limits
from supervisor_fpga.health import memory
from supervisor_fpga.health.failures import Failure, concerns, failure, observed
from supervisor_fpga.health.memory import Known, Tracks
from supervisor_fpga.health.policy import Scene, Verdict, judge
from supervisor_fpga.health.symptoms import symptoms
from supervisor_fpga.health.track import due, step, unwatched
from supervisor_fpga.naming import bare_id
from supervisor_fpga.operating.messages import Prepared
from supervisor_fpga.report import Change, Function, Poll, Report
from supervisor_fpga.units import Unit, region_of

__all__ = ["Counts", "Monitor", "Verdict"]


class Counts(Struct, frozen=True):
    """For metrics, since the start of the process."""

    polls: int


class Monitor:
    """Gives verdicts, and says when a look is due. Every ``now`` is in ``time.monotonic()`` seconds."""

    def __init__(self, limits: Limits) -> None:
        self._lock = threading.Lock()
        self._limits = limits
        self._tracks: dict[str, Tracks] = {}
        self._failures: dict[str, Failure] = {}
        self._functions: dict[str, Function] = {}
        """Of the newest look, with what polls have told since."""
        self._operated: Counter[str] = Counter()
        """How many are at work on each region right now."""
        self._ended: dict[str, float] = {}
        """When the last of them has ended: what was read before shows a function in the making."""
        self._looked = -math.inf
        self._asked = -math.inf
        self._urgent = False
        """Something was recalled or operated since the last look."""
        self._said: dict[tuple[str, str], tuple[Unit, Verdict]] = {}
        """What was said of each unit after the last look: what the kubelet knows."""
        self._polls = 0

    def look(self, report: Report, now: float) -> None:
        """Take in a look that began at ``now``."""
        with self._lock:
            self._functions = {function.id: function for function in report.functions}
            self._looked, self._urgent = now, False
            self._said.clear()
            for function in report.functions:
                self._see(function, now)
            self._lose_sight()

    def poll(self, poll: Poll, now: float) -> bool:
        """Take in a poll; whether a look would say something new."""
        with self._lock:
            self._polls += 1
            news = [self._hear(change, now) for change in poll.changes]
            return poll.structure or any(news) or (bool(poll.changes) and self._differs())

    def begin(self, function: Function) -> None:
        """It will be programmed or reset: from now on what is read of it and of its region speaks neither for nor against them.

        ``end`` has to follow, whatever happens.
        """
        with self._lock:
            self._operated[region_of(function)] += 1

    def end(self, function: Function, prepared: Prepared | None, now: float) -> bool:
        """What came of it, ``None``: nobody knows; whether a look would say something new.

        A failure of the hardware counts until the function, or with it the whole region, was made ready once.
        """
        with self._lock:
            region = region_of(function)
            self._operated -= Counter([region])
            self._ended[region] = now
            if prepared is not None:
                self._learn(function, prepared, now)
            self._urgent |= prepared is None or self._may_differ(function, prepared)
            return self._urgent or self._differs()

    def verdict(self, unit: Unit) -> Verdict:
        """Whether a unit of the last look is healthy, and why."""
        with self._lock:
            verdict = judge(unit, self._limits, self._scene())
            first = self._said.get((unit.resource, unit.id))
            if first is None or first[0] != unit:  # asked again it is no news to the kubelet
                self._said[unit.resource, unit.id] = unit, verdict
            return verdict

    def wake_at(self) -> float | None:
        """When the next look is due, if nothing happens before; ``None``: whenever. It may be in the past."""
        with self._lock:
            return self._wake_at()

    def due(self, now: float) -> bool:
        """Whether a look is due. Saying so counts as having asked for it: nothing asks twice for one that fails."""
        with self._lock:
            at = self._wake_at()
            if at is None or at > now:
                return False
            self._asked, self._urgent = now, False
            return True

    def remember(self) -> dict[str, Any]:
        """What to keep over a restart within this boot. It is the same as long as nothing changes."""
        with self._lock:
            return memory.remember(Known(self._tracks, self._failures))

    def recall(self, mapping: Mapping[str, Any], now: float) -> int:
        """Take in what the owner before kept; how many of its entries made no sense. Look again after it."""
        known, dropped = memory.recall(mapping, now)
        with self._lock:
            self._tracks = memory.bounded(memory.merge(self._tracks, known.tracks))
            self._failures = {**known.failures, **self._failures}
            self._urgent |= bool(known.tracks or known.failures)
        return dropped

    def counts(self) -> Counts:
        """The counters as they are now."""
        with self._lock:
            return Counts(self._polls)

    def readings(self) -> Mapping[str, Function]:
        """The newest of each function that is there, by id: the last look, with what polls have told since."""
        with self._lock:
            return dict(self._functions)

    # --- taking in ----------------------------------------------------------------------------------------------------

    def _see(self, function: Function, now: float) -> None:
        """Take in what is seen of a function at ``now``."""
        tracks = self._tracks.get(function.id, {})
        making = now < self._ended.get(region_of(function), -math.inf) or self._is_operated(function)
        believed = {name for name, track in tracks.items() if track.believed}
        told = symptoms(function, self._limits, believed)
        if making:
            # What began meanwhile and lasts is told to nobody a second time.
            self._urgent |= any(told.values()) and not self._is_operated(function)
            told = {}
        left = {name: unwatched(track) for name, track in tracks.items() if name not in told}
        seen = {name: step(tracks.get(name), text, now, self._limits.hold_down) for name, text in told.items()}
        self._tracks[function.id] = {**left, **seen}
        failed = self._failures.get(function.id)
        if failed is not None and not making:
            following = observed(failed, function)
            self._forget([function.id]) if following is None else self._failures.update({function.id: following})

    def _hear(self, change: Change, now: float) -> bool:
        """Take in what a poll tells; whether a look is needed for it: who it is about is not known, or is offered by what is programmed."""
        function = self._functions.get(change.function)
        if function is None:
            return True
        if change.unresponsive:
            following = structs.replace(function, unresponsive=True)
        else:
            following = structs.replace(function, evidence=change.evidence, afu_id=change.afu_id, unresponsive=False)
        self._functions[function.id] = following
        self._see(following, now)
        return following.afu_id != function.afu_id

    def _learn(self, function: Function, prepared: Prepared, now: float) -> None:
        if prepared.outcome == "ready":
            healed = (name for name, each in self._failures.items() if concerns(each, name, function))
            self._forget([name for name in healed if name == function.id or prepared.programmed])
        elif (failed := failure(function, prepared, now)) is not None:
            self._failures[function.id] = failed

    def _may_differ(self, function: Function, prepared: Prepared) -> bool:
        """Whether a look may find another function than is known: no event tells of it. A reset of one that is well leaves it as it is."""
        if prepared.programmed or prepared.outcome in {"failed", "late"}:
            return True
        known = self._functions.get(function.id)
        if known is None or (prepared.afu_id and prepared.afu_id != bare_id(known.afu_id)):
            return True
        unwell = any(symptoms(known, self._limits).values()) or not all(
            track.clean for track in self._tracks.get(function.id, {}).values()
        )
        return prepared.was_reset and unwell

    def _forget(self, failures: Iterable[str]) -> None:
        for name in failures:
            self._failures.pop(name, None)

    def _lose_sight(self) -> None:
        """Of functions that are not there only what is wrong is remembered, so that they do not come back well.

        A failure ends with them: who takes a function away and brings it back has seen to it.
        """
        gone = [name for name in self._tracks if name not in self._functions]
        for name in gone:
            left = {each: unwatched(track) for each, track in self._tracks.pop(name).items()}
            if not all(track.clean for track in left.values()):
                self._tracks[name] = left
        self._tracks = memory.bounded(self._tracks)
        self._forget([name for name in self._failures if name not in self._functions])
        regions = {region_of(function) for function in self._functions.values()}
        self._ended = {region: at for region, at in self._ended.items() if region in regions}

    # --- telling ------------------------------------------------------------------------------------------------------

    def _is_operated(self, function: Function) -> bool:
        return self._operated[region_of(function)] > 0

    def _scene(self) -> Scene:
        operated = (
            frozenset(name for name, each in self._functions.items() if self._is_operated(each))
            if self._operated
            else frozenset()
        )
        return Scene(self._tracks, self._failures, operated)

    def _differs(self) -> bool:
        """Whether any unit would be said to be in another state than it was after the last look."""
        scene = self._scene()
        return any(
            (said.healthy, said.state) != ((new := judge(unit, self._limits, scene)).healthy, new.state)
            for unit, said in self._said.values()
        )

    def _wake_at(self) -> float | None:
        if self._urgent:
            return max(self._looked, self._asked)
        watched = (track for tracks in self._tracks.values() for track in tracks.values() if track.watched)
        times = (due(track, self._limits.hold_down) for track in watched)
        # A look that came when it was due and changed nothing is not asked for again: something else holds the state.
        return min((at for at in times if at is not None and at > max(self._looked, self._asked)), default=None)
