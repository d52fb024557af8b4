"""The state of one GPU or MIG device: healthy → suspect → unhealthy → probation → healthy.

Pure: a state, what came up, and the moment give the next state. Strong evidence condemns at once. Weak evidence makes suspect, and
only a look confirms it. What was condemned comes back by quiet and probation, both watched: time alone changes nothing until a
look finds the device well. A reset stands for the quiet; where only a reset heals, nothing else does. And of a reset one knows no more
than that it was between two looks: it takes back only what spoke against the device before the first of them.
"""

from typing import Literal

import msgspec
from msgspec import Struct

from supervisor_nvidia_gpu.config import Health
from supervisor_nvidia_gpu.health.evidence import Facts, Judgement

Phase = Literal["healthy", "suspect", "unhealthy", "probation"]

SEVERITY: tuple[Phase, ...] = ("healthy", "suspect", "probation", "unhealthy")
OFFERED = frozenset({"healthy", "suspect"})

DAY = 24 * 3600.0
MOST = 8
"""A probation becomes no longer than so many times the setting."""
FALLS = 4
"""So many falls make the longest probation; older ones are forgotten."""


class State(Struct, frozen=True):
    """Where a device stands. Times are ``time.monotonic()`` seconds."""

    gpu: str
    """The UUID of the GPU that it is, or lies on."""
    since: float
    """When this phase began."""
    clock: float
    """From when suspicion, quiet or probation counts."""
    phase: Phase = "healthy"
    reason: str = ""
    """What spoke against it, kept through probation; empty when healthy."""
    needs_reset: bool = False
    standing: bool = False
    """Whether the last look saw what speaks against it, so that it holds until another look does not."""
    witnessed: bool = True
    """Whether a look has been since the last that spoke against it, so that a reset which the next one sees came later."""
    falls: tuple[float, ...] = ()
    """When it became unhealthy, within a day, newest last: each doubles the next probation."""

    @property
    def offered(self) -> bool:
        """Whether new pods may get it."""
        return self.phase in OFFERED


class Change(Struct, frozen=True):
    """One step from phase to phase, or the same phase twice: something was told that changed nothing."""

    before: Phase
    after: Phase
    reason: str
    at: float


def fresh(gpu: str, now: float) -> State:
    """A device that nothing is known of."""
    return State(gpu, now, now)


def step(state: State, facts: Facts, now: float, config: Health) -> tuple[State, tuple[Change, ...]]:
    """The state after ``facts``, and the changes on the way there.

    ``now`` is when an event happened, or when the look *began*: what it found may be older than what an event told meanwhile.
    """
    changes: tuple[Change, ...] = ()
    after = _accused(state, facts, now, config) if facts.against else _cleared(state, facts, now, config)
    while after.phase != state.phase:
        changes += (Change(state.phase, after.phase, _why(after, facts), now),)
        # With no quiet or no probation configured, one good look goes all the way.
        state, after = after, after if facts.against else _cleared(after, msgspec.structs.replace(facts, reset=""), now, config)
    return (witnessed(after, now) if facts.looked else after), changes


def _why(after: State, facts: Facts) -> str:
    if after.phase == "probation":
        return facts.reset or "nothing has spoken against it for long enough"
    return after.reason


def _accused(state: State, facts: Facts, now: float, config: Health) -> State:
    worst = max(facts.against, key=lambda each: (each.strong, each.needs_reset))
    if worst.strong:
        return _condemned(state, worst, facts, now)
    if not facts.looked:
        return _suspected(state, worst, now)
    doubted_since = state.since if state.phase == "suspect" else now
    if state.offered and now < doubted_since + config.suspicion:
        return _suspected(state, worst, now)
    return _condemned(state, worst, facts, now)


def _suspected(state: State, worst: Judgement, now: float) -> State:
    """Weak evidence, not yet confirmed. It does not hold back what is on its way back: a look has to see it."""
    if state.phase == "healthy":
        return msgspec.structs.replace(state, phase="suspect", reason=worst.reason, since=now, clock=now)
    if state.phase == "suspect":
        return msgspec.structs.replace(state, clock=max(state.clock, now))
    return state


def _condemned(state: State, worst: Judgement, facts: Facts, now: float) -> State:
    bound = state.needs_reset and not _repaired(state, facts)
    if state.phase != "unhealthy":
        falls = (*(fall for fall in state.falls if now - fall < DAY), now)[-FALLS:]
        return State(state.gpu, now, now, "unhealthy", worst.reason, worst.needs_reset, facts.looked, facts.looked, falls)
    # Events may come in thousands, of all kinds: only a graver one, or what a look sees, is told instead of the first.
    newer = (worst.needs_reset or facts.looked) and not bound
    return msgspec.structs.replace(
        state,
        clock=state.clock if facts.looked and state.standing else max(state.clock, now),
        reason=worst.reason if newer else state.reason,
        needs_reset=bound or worst.needs_reset,
        standing=state.standing or facts.looked,
        witnessed=state.witnessed and facts.looked,
    )


def _repaired(state: State, facts: Facts) -> bool:
    """Whether it was reset after the last that spoke against it."""
    return bool(facts.reset) and state.witnessed


def _cleared(state: State, facts: Facts, now: float, config: Health) -> State:
    """A look that saw nothing wrong; an event that says nothing against a device changes nothing."""
    if not facts.looked or now < state.clock or state.phase == "healthy":
        return state
    if state.phase == "suspect":
        return _well(state, now)
    wake = wake_at(state, config)
    waited = wake is not None and wake <= now
    if state.phase == "probation":
        return _well(state, now) if waited else state
    repaired = _repaired(state, facts)
    if state.standing and not repaired:
        return msgspec.structs.replace(state, standing=False, clock=now)
    if repaired or waited:
        return msgspec.structs.replace(state, phase="probation", since=now, clock=now, needs_reset=False, standing=False)
    return state


def _well(state: State, now: float) -> State:
    return State(state.gpu, now, now, falls=state.falls)


def probation(state: State, config: Health) -> float:
    """Seconds that the probation lasts which began at ``state.clock``: doubled by each relapse of the day before."""
    falls = sum(state.clock - fall < DAY for fall in state.falls)
    return config.probation * float(min(MOST, 2 ** max(0, falls - 1)))


def wake_at(state: State, config: Health) -> float | None:
    """When a good look would change the state for no other reason than time; ``None``: never."""
    if state.phase == "suspect":
        return state.since + config.suspicion
    if state.phase == "probation":
        return state.clock + probation(state, config)
    if state.phase == "unhealthy" and not state.needs_reset and not state.standing:
        return state.clock + config.quiet
    return None


def witnessed(state: State, now: float) -> State:
    """The state after a look that began at ``now``."""
    return state if state.witnessed or now < state.clock else msgspec.structs.replace(state, witnessed=True)


def unwatched(state: State, now: float) -> State:
    """The state after a time in which nobody watched: it counts neither as quiet nor as probation."""
    if state.offered:
        return state
    return msgspec.structs.replace(state, clock=max(state.clock, now))


def worse(one: State, other: State) -> State:
    """The worse of two accounts of one device; of two equals the one that heard of it later. Falls of both count."""
    chosen = max(one, other, key=lambda each: (each.needs_reset, SEVERITY.index(each.phase), each.clock))
    return msgspec.structs.replace(chosen, falls=_together(one.falls, other.falls))


def _together(one: tuple[float, ...], other: tuple[float, ...]) -> tuple[float, ...]:
    """Falls of both accounts; two within a second are one, that each heard of by itself."""
    falls: list[float] = []
    for fall in sorted((*one, *other)):
        if not falls or fall - falls[-1] > 1.0:
            falls.append(fall)
    return tuple(falls[-FALLS:])
