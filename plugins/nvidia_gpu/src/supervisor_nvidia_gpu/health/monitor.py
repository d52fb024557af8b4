"""The health of all GPUs of the node: the one thing here that changes, behind one lock.

Events come from the thread that watches, looks and verdicts from the one that looks. All it knows is one frozen value, replaced as a
whole; the rest are counters, and when to ask for the next look.
"""

import math
import threading
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from msgspec import Struct

from supervisor_nvidia_gpu.config import Health
from supervisor_nvidia_gpu.health import memory, survey
from supervisor_nvidia_gpu.health.evidence import LONGEST_REASON, Facts, Judgement
from supervisor_nvidia_gpu.health.policy import TELLING, Decision, decide
from supervisor_nvidia_gpu.health.state import Change, Phase, State, fresh, probation, step, unwatched, wake_at
from supervisor_nvidia_gpu.health.survey import Known
from supervisor_nvidia_gpu.health.targets import Key, keys, targets
from supervisor_nvidia_gpu.report import Gpu, GpuEvent, Report

BURST = 4
PACE = 0.25
"""So many looks within so many seconds are asked for because verdicts changed, so at most 20 in any second, however many XIDs come;
and one alone never waits."""
SIGN_PACE = 1.0
"""Seconds after any look was asked for until one is because something may have changed."""
WITNESS_PACE = 5.0
"""The same for XIDs of what is unhealthy already: without a look after the last of them, a reset would not be known to be later."""
TELL_EVERY = 60.0
"""Seconds for which an XID that changes nothing is told once for a GPU."""
BOUND = 4_000
"""Pairs of a GPU and an XID that are counted apart."""
MOST_COUNTED = 10_000
"""A rule that wants more XIDs than these within its window never gets them."""

_DOUBTS = {"lost": "the wait for its events failed", "unavailable": "the driver calls it unavailable"}
"""Kinds of events that are weak evidence."""
_VOICES = frozenset({"xid", "recovery-action", "mig-changed", "unavailable"})
"""Kinds that only a living NVML process can tell; others also come from who waits for it."""


class Verdict(Struct, frozen=True):
    """What is said of one device."""

    healthy: bool
    """Whether new pods may get it."""
    reason: str
    since: float
    """``time.monotonic()`` seconds."""
    state: Phase | Literal["unmonitored"]
    """``unmonitored``: nobody watches it. Not healthy where somebody did before, and died."""


class Counts(Struct, frozen=True):
    """For metrics, since the start of the process."""

    xids: Mapping[tuple[str, int], int]
    """By GPU (empty where the driver named none) and code; ``("", 0)`` holds what is beyond the bound."""
    changes: Mapping[Phase, int]
    """How often a device came to each phase."""


class _Silence(Struct, frozen=True):
    """Nobody watches."""

    since: float
    reason: str


class Monitor:
    """Gives verdicts, and says when a look is due. Every ``now`` is in ``time.monotonic()`` seconds."""

    def __init__(self, config: Health) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._known = Known()
        self._report = Report()
        self._gpus: dict[Key, Gpu] = {}
        self._watched = False
        self._silence: _Silence | None = None
        self._looked = -math.inf
        self._asked: deque[float] = deque([-math.inf] * BURST, maxlen=BURST)
        self._due: float | None = None
        self._heard: dict[tuple[Key, int], deque[float]] = {}
        self._told_at: dict[tuple[Key, int], float] = {}
        self._xids: Counter[tuple[str, int]] = Counter()
        self._changes: Counter[Phase] = Counter()
        self._telling: deque[tuple[Key, Change]] = deque(maxlen=1_000)

    def events(self, events: Iterable[GpuEvent], now: float) -> bool:
        """Take in what happened; whether a look is wanted now. One that is wanted later is in ``wake_at``."""
        events = tuple(events)
        with self._lock:
            if any(event.kind in _VOICES for event in events):
                self._alive(now)
            states = dict(self._known.states)
            for event in events:
                self._hear(event, states, now)
            self._known = memory.bounded(Known(states, self._known.seen))
            return self._wanted(now)

    def look(self, report: Report, now: float) -> None:
        """Take in a look that began at ``now``. One without NVML (``procfs``) says nothing about health."""
        with self._lock:
            self._looked = now
            if report.source != "procfs" or self._report.source == "procfs" or not self._report.gpus:
                # A look without NVML knows no MIG devices: the layout of the last full one is the better guess.
                self._report = report
                self._gpus = {key: gpu for gpu in report.gpus for key in keys(gpu)}
            if report.source == "procfs":
                self._hush(report.waiting_for or "; ".join(report.notices) or "NVML cannot be reached", now)
                return
            self._alive(now)
            if self._config.enabled:
                known, changes = survey.look(self._known, report, now, self._config)
                self._known = memory.bounded(known)
                for key, change in changes:
                    self._tell(key, change)

    def verdict(self, key: Key, now: float) -> Verdict:
        """Whether a device is healthy, and why. All replicas of a device share its verdict."""
        with self._lock:
            state = self._known.states.get(key)
            if not self._config.enabled:
                return Verdict(healthy=True, reason="health checks are switched off", since=now, state="unmonitored")
            if state is not None and not state.offered:
                return Verdict(healthy=False, reason=self._reason(state), since=state.since, state=state.phase)
            silence = self._silence
            if silence is not None and self._watched and now - silence.since >= self._config.monitor_grace:
                since = silence.since + self._config.monitor_grace
                return Verdict(healthy=False, reason=f"no longer monitored: {silence.reason}", since=since, state="unmonitored")
            if silence is not None and not self._watched:
                reason = f"not monitored: {silence.reason}"
                return Verdict(healthy=True, reason=reason, since=silence.since, state="unmonitored")
            if state is None:
                return Verdict(healthy=True, reason="not looked at yet", since=now, state="unmonitored")
            return Verdict(healthy=True, reason=state.reason, since=state.since, state=state.phase)

    def wake_at(self) -> float | None:
        """When the next look is due, if nothing happens before; ``None``: whenever. It may be in the past."""
        with self._lock:
            return self._wake_at()

    def due(self, now: float) -> bool:
        """Whether a look is due. Saying so counts as having asked for it: nothing asks twice for one that fails."""
        with self._lock:
            at = self._wake_at()
            return at is not None and at <= now and self._ask(now)

    def remember(self) -> dict[str, Any]:
        """What to keep over a restart within this boot. It is the same as long as nothing changes."""
        with self._lock:
            return memory.remember(self._known)

    def recall(self, mapping: Mapping[str, Any], now: float) -> int:
        """Take in what the owner before kept; how many of its entries made no sense. Look again after it."""
        recalled, dropped = memory.recall(mapping, now)
        with self._lock:
            if self._report.gpus and self._report.source != "procfs":
                # What happened to the GPUs between that owner's last look and the last one of this process.
                recalled, _ = survey.look(recalled, self._report, self._looked, self._config)
            self._known = memory.merge(self._known, recalled, self._looked)
        return dropped

    def told(self) -> tuple[tuple[Key, Change], ...]:
        """What changed since this was asked last, oldest first; the newest 1 000."""
        with self._lock:
            told = tuple(self._telling)
            self._telling.clear()
            return told

    def counts(self) -> Counts:
        """The counters as they are now."""
        with self._lock:
            return Counts(dict(self._xids), dict(self._changes))

    def _hear(self, event: GpuEvent, states: dict[Key, State], now: float) -> None:
        at = min(event.at, now) if event.at > 0 else now
        hit = self._hit(event, states)
        if event.kind == "xid":
            pair = (event.uuid, event.xid)
            self._xids[pair if pair in self._xids or len(self._xids) < BOUND else ("", 0)] += 1
            for key in hit:
                self._judge(key, event.xid, states, at, now)
        elif event.kind in _DOUBTS:
            for key in hit:
                reason = event.detail[:LONGEST_REASON] or _DOUBTS[event.kind]
                self._apply(key, Judgement(reason, strong=False), states, at, now)
        if event.kind != "xid" or event.xid in TELLING:
            self._want(now, self._asked[-1] + SIGN_PACE)

    def _hit(self, event: GpuEvent, states: Mapping[Key, State]) -> tuple[Key, ...]:
        """Whom an event hits. Of a GPU that the last look missed no layout is known: all that ever lay on it may be meant."""
        hit = targets(event, self._report)
        if not event.uuid or event.uuid in self._gpus:
            return hit
        return tuple(dict.fromkeys((*hit, *(key for key, state in states.items() if state.gpu == event.uuid))))

    def _judge(self, key: Key, xid: int, states: dict[Key, State], at: float, now: float) -> None:
        """Apply what an XID means for one device."""
        gpu = self._gpus.get(key)
        decision = decide(xid, gpu.model if gpu else "", self._config.xids)
        if decision.action == "ignore":
            return
        reason = f"XID {xid}: {decision.why}"
        if decision.action == "event" or not self._counts(key, xid, decision, at):
            self._mention(key, xid, reason, states, at)
            return
        self._apply(key, Judgement(reason, needs_reset=decision.action == "until-reset"), states, at, now)

    def _counts(self, key: Key, xid: int, decision: Decision, at: float) -> bool:
        """Whether it came often enough. Halves of a count do not outlive the process."""
        if decision.count == 1:
            return True
        heard = self._heard.setdefault((key, xid), deque(maxlen=min(decision.count, MOST_COUNTED)))
        heard.append(at)
        if len(self._heard) > BOUND:
            del self._heard[next(iter(self._heard))]
        return len(heard) == decision.count and at - heard[0] <= decision.window

    def _mention(self, key: Key, xid: int, reason: str, states: Mapping[Key, State], at: float) -> None:
        """Tell of an XID that changes nothing, now and then."""
        if not self._config.enabled or at - self._told_at.get((key, xid), -math.inf) < TELL_EVERY:
            return
        self._told_at[key, xid] = at
        if len(self._told_at) > BOUND:
            del self._told_at[next(iter(self._told_at))]
        phase: Phase = states[key].phase if key in states else "healthy"
        self._telling.append((key, Change(phase, phase, reason, at)))

    def _apply(self, key: Key, judgement: Judgement, states: dict[Key, State], at: float, now: float) -> None:
        if not self._config.enabled:
            return
        gpu = self._gpus.get(key)
        before = states.get(key) or fresh(gpu.uuid if gpu else key, at)
        states[key], changes = step(before, Facts((judgement,)), at, self._config)
        for change in changes:
            self._tell(key, change)
        if states[key].offered != before.offered:
            self._want(now, self._asked[0] + PACE)
        elif changes:
            self._want(now, self._asked[-1] + SIGN_PACE)
        elif not states[key].witnessed:
            self._want(now, self._asked[-1] + WITNESS_PACE)

    def _tell(self, key: Key, change: Change) -> None:
        self._changes[change.after] += 1
        self._telling.append((key, change))

    def _alive(self, now: float) -> None:
        """Somebody watches. If nobody did for longer than the grace, what is on its way back begins its wait anew."""
        if self._silence is not None and now - self._silence.since >= self._config.monitor_grace:
            states = {key: unwatched(state, now) for key, state in self._known.states.items()}
            self._known = Known(states, self._known.seen)
            self._want(now, self._asked[0] + PACE)
        self._silence = None
        self._watched = True

    def _hush(self, reason: str, now: float) -> None:
        since = now if self._silence is None else self._silence.since
        self._silence = _Silence(since, reason)

    def _reason(self, state: State) -> str:
        if state.phase == "probation":
            return f"on probation for {probation(state, self._config):.0f} s, after {state.reason}"
        return f"{state.reason}; only a reset heals it" if state.needs_reset else state.reason

    def _want(self, now: float, earliest: float) -> None:
        due = max(now, earliest)
        self._due = due if self._due is None else min(self._due, due)

    def _wanted(self, now: float) -> bool:
        return self._due is not None and self._due <= now and self._ask(now)

    def _ask(self, now: float) -> bool:
        self._asked.append(now)
        self._due = None
        return True

    def _wake_at(self) -> float | None:
        times = [wake_at(state, self._config) for key, state in self._known.states.items() if key in self._gpus]
        if self._silence is not None and self._watched:
            times.append(self._silence.since + self._config.monitor_grace)
        # A look that came when it was due and changed nothing is not asked for again: something else holds the state.
        coming = [at for at in times if at is not None and at > max(self._looked, self._asked[-1])]
        return min(coming if self._due is None else [*coming, self._due], default=None)
