"""When to call ``Register``: a pure state machine for each resource that supervises the stream, not only files.

``step`` is called with everything that is known now and says what to do and when to look again. It reads no clock and touches
nothing, so every kubelet behaviour that matters is a table in its tests. The rules come from the behaviour of kubelets 1.20 to
1.37: an answer of ``Register`` proves nothing; the open ``ListAndWatch`` does.
"""

import enum
import math

from msgspec import Struct
from msgspec.structs import replace

from supervisor.kubelet.sockets import FileIdentity
from supervisor.levels import Level, Outcome

DIAL_BACK = 11.0
"""Seconds after an answer in which a kubelet up to 1.24 may still dial back (its limit is 10), and a timed-out call complete."""
SUSPICION = 1.0
"""Seconds that a stream, or a call that may bring one, may outlive a change of ``kubelet.sock``: its ctime moves without a new
kubelet, too."""
SETTLE_AFTER_END = 0.5
"""Seconds between ending our own streams and registering again: the kubelet must notice first."""
SETTLE_OVERLAP = 0.2
"""Seconds after the end of one of two streams: kubelets 1.25 to 1.36 then close the other one, too."""
CONTEST_WINDOW = 60.0
CONTEST_LOSSES = 3
CONTEST_BACKOFF = (10.0, 300.0)
REFUSED_BACKOFF = (0.1, 5.0)
"""For a refused call, and for a stream that one kubelet ends again and again; its first end is answered at once."""
UNREACHABLE_BACKOFF = (0.02, 1.0)


class Phase(enum.StrEnum):
    BOUND = "bound"
    """Never registered yet; waiting for a list or for a kubelet."""
    REGISTERING = "registering"
    CONNECTED = "connected"
    SUSPECT = "suspect"
    """Connected, but ``kubelet.sock`` is another one than we registered at."""
    LOST = "lost"
    """The stream ended, or we are ending it; registering again as soon as a kubelet accepts."""
    REFUSED = "refused"
    """The kubelet said no, or did not keep its word; waiting for the next try."""
    CONTESTED = "contested"
    """A rival plugin keeps taking the resource; trying again with a long back-off."""


class Act(enum.Enum):
    REGISTER = enum.auto()
    END_STREAMS = enum.auto()
    PROBE = enum.auto()
    """Find out whether the kubelet accepts, then step again."""


class Seen(Struct, frozen=True):
    """What is known now. Times are ``time.monotonic()`` seconds."""

    now: float
    level: Level
    kubelet: FileIdentity | None
    accepting: bool | None
    """Whether a probe just made got through; ``None``: not probed."""
    rivals: bool = False
    """There are sockets of other plugins in the directory."""
    jitter: float = 0.0
    """0 to 1, random: spreads the back-off of many nodes."""


class State(Struct, frozen=True):
    phase: Phase = Phase.BOUND
    since: float = 0.0
    reason: str = ""
    generation: int = 0
    """Number of the newest attempt. Outcomes of lower ones no longer count."""
    kubelet: FileIdentity | None = None
    """The ``kubelet.sock`` that this state is about."""
    opened: int = 0
    """``level.opened`` when this was last looked at."""
    overlapped: bool = False
    """More than one stream was open lately."""
    not_before: float = 0.0
    """No attempt earlier than this."""
    failures: int = 0
    losses: tuple[float, ...] = ()
    """When streams were lost without a new kubelet."""
    contests: int = 0
    """Times in a row that a rival took the resource."""
    wanted_since: float | None = None
    """When the first attempt of this disconnection was due; for measuring."""
    doubted_since: float | None = None
    """When ``kubelet.sock`` changed under a call whose stream may still come."""


def begin(level: Level, now: float) -> State:
    """The state of a resource that nobody has watched yet; what its level tells of the past is not news."""
    generation = 0 if level.attempt is None else level.attempt.generation
    return State(since=now, generation=generation, opened=level.opened)


class Step(Struct, frozen=True):
    state: State
    act: Act | None = None
    wake_at: float | None = None
    """Look again then, if nothing happens before."""


def step(state: State, seen: Seen) -> Step:
    """The next state, and what to do. After ``REGISTER`` the caller dials with ``state.generation``."""
    if seen.level.streams:
        return _with_stream(state, seen)
    if state.phase in (Phase.CONNECTED, Phase.SUSPECT) or seen.level.opened > state.opened:
        state = _lost(state, seen)
    return _without_stream(state, seen)


# --- a stream is open -------------------------------------------------------------------------------------------------


def _with_stream(state: State, seen: Seen) -> Step:
    level = seen.level
    if state.phase is Phase.LOST and level.opened == state.opened:  # it has not ended yet since we asked for it
        return (
            _end_streams(state, seen, state.reason) if seen.now >= state.not_before else Step(state, wake_at=state.not_before)
        )
    if state.phase not in (Phase.CONNECTED, Phase.SUSPECT):
        state = replace(state, phase=Phase.CONNECTED, since=seen.now, reason="", failures=0, wanted_since=None)
    overlapped = level.streams > 1 or (state.overlapped and seen.now < level.ended_at + SETTLE_OVERLAP)
    state = replace(state, opened=level.opened, overlapped=overlapped)
    if level.pre_start_required != level.registered_pre_start:
        return _end_streams(state, seen, "its options changed, and the kubelet reads them at registration only")
    if seen.kubelet is None or seen.kubelet == state.kubelet:
        return Step(replace(state, phase=Phase.CONNECTED, reason=""))
    if state.phase is Phase.CONNECTED:
        state = replace(state, phase=Phase.SUSPECT, since=seen.now, reason="kubelet.sock is another one than before")
    if seen.now < state.since + SUSPICION:
        return Step(state, wake_at=state.since + SUSPICION)
    if seen.accepting is None:
        return Step(state, Act.PROBE)
    if seen.accepting:
        return _end_streams(state, seen, "a new kubelet listens, and the old stream is still open")
    return Step(state, wake_at=seen.now + SUSPICION)


def _end_streams(state: State, seen: Seen, reason: str) -> Step:
    not_before = seen.now + SETTLE_AFTER_END
    lost = replace(state, phase=Phase.LOST, since=seen.now, reason=reason, not_before=not_before, wanted_since=not_before)
    return Step(lost, Act.END_STREAMS, not_before)


# --- no stream is open ------------------------------------------------------------------------------------------------


def _lost(state: State, seen: Seen) -> State:
    """The kubelet ended the stream, or died."""
    losses: tuple[float, ...] = ()
    if seen.kubelet == state.kubelet:
        losses = (*(at for at in state.losses if at > seen.now - CONTEST_WINDOW), seen.now)
    not_before = seen.now if len(losses) < 2 else seen.now + _backoff(len(losses) - 2, REFUSED_BACKOFF, seen.jitter)
    if state.overlapped:
        not_before = max(not_before, seen.level.ended_at + SETTLE_OVERLAP)
    contests = state.contests if losses and seen.now < state.since + CONTEST_WINDOW else 0
    state = replace(
        state,
        phase=Phase.LOST,
        since=seen.now,
        reason="the kubelet ended ListAndWatch",
        opened=seen.level.opened,
        overlapped=False,
        not_before=not_before,
        wanted_since=not_before,
        losses=losses,
        contests=contests,
    )
    contested = seen.rivals and (contests or len(losses) >= CONTEST_LOSSES)
    return _contested(state, seen) if contested else state


def _contested(state: State, seen: Seen) -> State:
    wait = _backoff(state.contests, CONTEST_BACKOFF, seen.jitter)
    reason = "a rival plugin keeps taking this resource: the stream ends whenever it registers; remove one of the two"
    return replace(state, phase=Phase.CONTESTED, reason=reason, not_before=seen.now + wait, contests=state.contests + 1)


def _without_stream(state: State, seen: Seen) -> Step:
    if not (seen.level.bound and seen.level.listed):
        return Step(state)
    if seen.kubelet is not None and seen.kubelet != state.kubelet and state.phase is not Phase.BOUND:
        if state.phase is Phase.REGISTERING and _may_succeed(state, seen):
            since = state.doubted_since if state.doubted_since is not None else seen.now
            if seen.now < since + SUSPICION:
                return Step(replace(state, doubted_since=since), wake_at=since + SUSPICION)
        state = _new_kubelet(state, seen)
    if state.phase is Phase.REGISTERING:
        state, wake_at = _await_stream(state, seen)
        if wake_at is not None:
            return Step(state, wake_at=wake_at)
    if seen.kubelet is None:
        return Step(state)
    if seen.now < state.not_before:
        return Step(state, wake_at=state.not_before)
    if _under_way(state, seen):
        return Step(state, wake_at=seen.now + DIAL_BACK)
    if not seen.accepting:
        return Step(state, Act.PROBE if seen.accepting is None else None)
    return Step(_attempt(state, seen), Act.REGISTER)


def _new_kubelet(state: State, seen: Seen) -> State:
    """Whatever was waited for, was waited for from another kubelet. Our own stream's end must still be noticed by it."""
    calm = min(state.not_before, seen.now + SETTLE_AFTER_END) if state.phase is Phase.LOST else seen.now
    return replace(
        state,
        phase=Phase.LOST,
        reason="a new kubelet",
        generation=state.generation + 1,
        kubelet=seen.kubelet,
        not_before=calm,
        failures=0,
        losses=(),
        contests=0,
        wanted_since=state.wanted_since if state.wanted_since is not None else seen.now,
    )


def _under_way(state: State, seen: Seen) -> bool:
    """Whether the newest call has not come back: two at once would race inside the kubelet."""
    attempt = seen.level.attempt
    return attempt is not None and attempt.generation == state.generation and attempt.outcome is None


def _may_succeed(state: State, seen: Seen) -> bool:
    """Whether a stream may still come of the newest call. It fails at once when its kubelet is really another one."""
    attempt = seen.level.attempt
    ours = attempt is not None and attempt.generation == state.generation
    return attempt is None or not ours or attempt.outcome in (None, Outcome.ANSWERED)


def _attempt(state: State, seen: Seen) -> State:
    return replace(
        state,
        phase=Phase.REGISTERING,
        since=seen.now,
        generation=state.generation + 1,
        kubelet=seen.kubelet,
        wanted_since=state.wanted_since if state.wanted_since is not None else seen.now,
        doubted_since=None,
    )


def _await_stream(state: State, seen: Seen) -> tuple[State, float | None]:
    """Registering: wait for the answer and then for the stream, or settle what went wrong."""
    attempt = seen.level.attempt
    if attempt is None or attempt.generation != state.generation or attempt.outcome is None:
        return state, seen.now + DIAL_BACK  # the wire thread reports in any case; this only bounds a lost wake-up
    deadline = attempt.ended_at + DIAL_BACK
    if attempt.outcome in (Outcome.ANSWERED, Outcome.TIMED_OUT) and seen.now < deadline:
        return replace(state, reason=attempt.detail), deadline
    reason = attempt.detail or "the kubelet answered Register but did not open ListAndWatch"
    bounds = UNREACHABLE_BACKOFF if attempt.outcome is Outcome.UNREACHABLE else REFUSED_BACKOFF
    if attempt.outcome is Outcome.SKIPPED:
        reason, bounds = "the stream ended while registering", (0.0, 0.0)
    wait = _backoff(state.failures, bounds, seen.jitter)
    settled = replace(
        state, phase=Phase.REFUSED, since=seen.now, reason=reason, failures=state.failures + 1, not_before=seen.now + wait
    )
    return settled, None


def _backoff(failures: int, bounds: tuple[float, float], jitter: float) -> float:
    first, most = bounds
    return min(most, math.ldexp(first, min(failures, 20))) * (1 - jitter / 4)
