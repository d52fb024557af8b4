"""When to register, rule by rule as tables, and as laws for whatever kubelets, rivals and clocks may do."""

import itertools
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test
from msgspec.structs import replace

from supervisor.kubelet.caller import REGISTER_TIMEOUT
from supervisor.kubelet.registration import (
    CONTEST_BACKOFF,
    CONTEST_LOSSES,
    CONTEST_WINDOW,
    DIAL_BACK,
    REFUSED_BACKOFF,
    SETTLE_AFTER_END,
    SETTLE_OVERLAP,
    SUSPICION,
    UNREACHABLE_BACKOFF,
    Act,
    Phase,
    Seen,
    State,
    Step,
    begin,
    step,
)
from supervisor.kubelet.sockets import FileIdentity
from supervisor.levels import Attempt, Level, Outcome

OLD, NEW = FileIdentity(1, 1, 1), FileIdentity(1, 2, 2)
READY = Level(bound=True, listed=True)
OPEN = replace(READY, streams=1, opened=1)
CONNECTED = State(Phase.CONNECTED, generation=1, kubelet=OLD, opened=1)


def see(level: Level = READY, *, now: float = 100.0, kubelet: FileIdentity | None = OLD, **others: Any) -> Seen:
    """What is known, by default: bound, listed, no stream, the old kubelet accepting."""
    return Seen(**{"now": now, "level": level, "kubelet": kubelet, "accepting": True, **others})


def registering(outcome: Outcome | None, *, ended_at: float = 100.0, failures: int = 0) -> tuple[State, Level]:
    """A state whose first call has ended like this."""
    state = State(Phase.REGISTERING, generation=1, kubelet=OLD, failures=failures)
    return state, replace(READY, attempt=Attempt(1, outcome, ended_at, "told so"))


# --- the first registration -------------------------------------------------------------------------------------------


def test_a_listed_resource_registers_once_a_kubelet_accepts() -> None:
    """First ask for a probe; with its answer, call Register under the next generation."""
    assert step(State(), see(accepting=None)).act is Act.PROBE
    result = step(State(), see())
    assert result.act is Act.REGISTER
    assert (result.state.phase, result.state.generation, result.state.kubelet) == (Phase.REGISTERING, 1, OLD)


@pytest.mark.parametrize(
    "seen",
    [see(replace(READY, bound=False)), see(replace(READY, listed=False)), see(kubelet=None), see(accepting=False)],
    ids=["not bound", "no list yet", "no kubelet.sock", "nobody listens"],
)
def test_what_is_missing_is_waited_for(seen: Seen) -> None:
    """Nothing is done, and no timer runs: each of these ends with an event or with the caller's next probe."""
    assert step(State(), seen) == Step(State())


def test_what_happened_before_is_no_news() -> None:
    """A new watcher of an old resource neither mourns earlier streams nor takes an earlier outcome for its own."""
    level = replace(READY, opened=7, attempt=Attempt(3, Outcome.ANSWERED, 1.0))
    result = step(begin(level, 100.0), see(level))
    assert result.act is Act.REGISTER
    assert result.state.generation == 4
    assert step(result.state, see(level)).state.phase is Phase.REGISTERING


# --- waiting for the stream -------------------------------------------------------------------------------------------


def test_a_call_under_way_is_waited_for() -> None:
    """However long it takes: the wire thread tells when it ends."""
    state, level = registering(None)
    for now in (100.0, 1000.0):
        assert step(state, see(level, now=now)).act is None


@pytest.mark.parametrize("outcome", [Outcome.ANSWERED, Outcome.TIMED_OUT])
def test_an_answer_proves_nothing_and_a_time_out_neither(outcome: Outcome) -> None:
    """Both leave the kubelet time to dial back; after it the promise is broken, and the next try backs off."""
    state, level = registering(outcome)
    early = step(state, see(level, now=100.0 + DIAL_BACK - 0.1))
    assert (early.act, early.state.phase, early.wake_at) == (None, Phase.REGISTERING, 100.0 + DIAL_BACK)
    late = step(early.state, see(level, now=100.0 + DIAL_BACK))
    assert late.state.phase is Phase.REFUSED
    assert late.wake_at == 100.0 + DIAL_BACK + REFUSED_BACKOFF[0]


@pytest.mark.parametrize("phase", [Phase.REGISTERING, Phase.REFUSED])
def test_a_late_stream_is_accepted(phase: Phase) -> None:
    """Kubelets up to 1.34 complete a call that has timed out, whatever we think by then."""
    state, level = registering(Outcome.TIMED_OUT)
    result = step(replace(state, phase=phase, failures=3), see(replace(level, streams=1, opened=1), now=105.0))
    assert (result.act, result.state.phase, result.state.failures) == (None, Phase.CONNECTED, 0)


@pytest.mark.parametrize(
    ("outcome", "bounds"), [(Outcome.REFUSED, REFUSED_BACKOFF), (Outcome.UNREACHABLE, UNREACHABLE_BACKOFF)]
)
def test_failed_calls_back_off_up_to_a_limit(outcome: Outcome, bounds: tuple[float, float]) -> None:
    """Each failure doubles the wait; jitter only shortens it."""
    waits = []
    for failures in range(12):
        state, level = registering(outcome, failures=failures)
        result = step(state, see(level))
        assert (result.state.phase, result.state.reason) == (Phase.REFUSED, "told so")
        assert result.wake_at is not None
        waits.append(result.wake_at - 100.0)
        jittered = step(state, see(level, jitter=1.0)).wake_at
        assert jittered is not None
        assert 0 < jittered - 100.0 < waits[-1]
    assert waits[0] == pytest.approx(bounds[0])
    assert waits[1] == pytest.approx(2 * bounds[0])
    assert waits[-1] == pytest.approx(bounds[1])


def test_a_refused_resource_tries_again_when_its_time_has_come() -> None:
    """Not before, and then at once."""
    state, level = registering(Outcome.REFUSED)
    refused = step(state, see(level)).state
    assert step(refused, see(level, now=refused.not_before - 0.01)).wake_at == refused.not_before
    assert step(refused, see(level, now=refused.not_before)).act is Act.REGISTER


def test_a_call_that_was_not_sent_costs_no_time() -> None:
    """The stream that made the wire thread skip it has ended meanwhile."""
    state, level = registering(Outcome.SKIPPED)
    assert step(state, see(level)).act is Act.REGISTER


def test_a_new_kubelet_ends_all_waiting_for_the_old_one() -> None:
    """A call that has timed out, was refused or found nobody: the new kubelet knows nothing of it."""
    for outcome in (Outcome.TIMED_OUT, Outcome.REFUSED, Outcome.UNREACHABLE):
        state, level = registering(outcome, failures=10)
        result = step(state, see(level, kubelet=NEW))
        assert result.act is Act.REGISTER
        assert (result.state.kubelet, result.state.failures) == (NEW, 0)
        assert result.state.generation > 1


@pytest.mark.parametrize("outcome", [None, Outcome.ANSWERED])
def test_a_changed_socket_under_a_call_is_only_a_suspicion(outcome: Outcome | None) -> None:
    """Its ctime moves without a new kubelet, too, and a second call would then be one too many: its stream has a second."""
    state, level = registering(outcome)
    result = step(state, see(level, kubelet=NEW))
    assert (result.act, result.state.phase, result.wake_at) == (None, Phase.REGISTERING, 100.0 + SUSPICION)
    failed = replace(level, attempt=Attempt(1, Outcome.UNREACHABLE, 100.1))
    assert step(result.state, see(failed, kubelet=NEW, now=100.1)).act is Act.REGISTER
    still = step(result.state, see(level, kubelet=NEW, now=100.5))
    assert (still.act, still.wake_at) == (None, 100.0 + SUSPICION)
    late = step(still.state, see(level, kubelet=NEW, now=100.0 + SUSPICION))
    assert (late.act, late.state.kubelet, late.state.generation > 1) == (Act.REGISTER, NEW, True)


def test_no_call_is_made_while_another_is_under_way() -> None:
    """A stream that came and went before its call was answered: two calls at once would race inside the kubelet."""
    state, level = registering(None)
    level = replace(level, opened=1)
    result = step(state, see(level))
    assert (result.act, result.state.phase) == (None, Phase.LOST)
    assert result.wake_at is not None
    answered = replace(level, attempt=Attempt(1, Outcome.ANSWERED, 100.0))
    assert step(result.state, see(answered)).act is Act.REGISTER


# --- the stream -------------------------------------------------------------------------------------------------------


def test_an_open_stream_needs_nothing() -> None:
    """With the kubelet that was registered at, and also while its socket is missing."""
    for kubelet in (OLD, None):
        assert step(CONNECTED, see(OPEN, kubelet=kubelet)) == Step(CONNECTED)


def test_a_lost_stream_is_registered_at_once() -> None:
    """The first end of a stream waits for nothing but a kubelet that accepts."""
    result = step(CONNECTED, see(replace(OPEN, streams=0, ended_at=100.0)))
    assert (result.act, result.state.phase) == (Act.REGISTER, Phase.REGISTERING)
    assert result.state.wanted_since == 100.0


def test_a_stream_that_came_and_went_unseen_counts_as_lost() -> None:
    """Levels tell it by the number of streams so far."""
    state, level = registering(Outcome.ANSWERED)
    result = step(state, see(replace(level, opened=1, ended_at=100.0), accepting=None))
    assert (result.act, result.state.phase, result.state.losses) == (Act.PROBE, Phase.LOST, (100.0,))


def test_a_stream_that_ends_again_and_again_backs_off() -> None:
    """One kubelet that cannot read our list would otherwise be called as fast as it hangs up."""
    state, waits, now = CONNECTED, [], 100.0
    for opened in range(1, 10):
        lost = step(state, see(replace(OPEN, streams=0, opened=opened, ended_at=now), now=now, accepting=None)).state
        waits.append(lost.not_before - now)
        now = lost.not_before
        state = replace(lost, phase=Phase.CONNECTED, since=now)
    assert waits[0] == 0
    assert waits[1] == pytest.approx(REFUSED_BACKOFF[0])
    assert waits == sorted(waits)
    assert waits[-1] == pytest.approx(REFUSED_BACKOFF[1])


def test_after_an_overlap_the_end_of_both_streams_settles_first() -> None:
    """Some kubelets close the second stream when the first one ends; registering between the two would lose a third."""
    both = step(CONNECTED, see(replace(OPEN, streams=2, opened=2)))
    assert (both.act, both.state.phase) == (None, Phase.CONNECTED)
    one = replace(OPEN, opened=2, ended_at=101.0)
    left = step(both.state, see(one, now=101.1))
    assert (left.act, left.state.phase) == (None, Phase.CONNECTED)
    none = step(left.state, see(replace(one, streams=0, ended_at=101.15), now=101.15))
    assert (none.act, none.wake_at) == (None, 101.15 + SETTLE_OVERLAP)
    assert step(none.state, see(replace(one, streams=0), now=101.15 + SETTLE_OVERLAP)).act is Act.REGISTER


def test_an_overlap_is_forgotten_when_one_stream_stays() -> None:
    """Long after it the end of a stream is an ordinary one."""
    overlapped = replace(CONNECTED, overlapped=True)
    level = replace(OPEN, ended_at=50.0)
    assert not step(overlapped, see(level)).state.overlapped


# --- a changed kubelet.sock -------------------------------------------------------------------------------------------


def test_a_changed_socket_with_a_live_stream_is_only_a_suspicion() -> None:
    """Its ctime moves without a new kubelet: give the stream a second to end by itself."""
    result = step(CONNECTED, see(OPEN, kubelet=NEW))
    assert (result.act, result.state.phase, result.wake_at) == (None, Phase.SUSPECT, 100.0 + SUSPICION)
    back = step(result.state, see(OPEN, now=100.5))
    assert back.state.phase is Phase.CONNECTED


def test_a_suspicion_is_checked_by_a_probe() -> None:
    """Only a kubelet that accepts there makes us end the old stream; until then the stream is kept."""
    suspect = step(CONNECTED, see(OPEN, kubelet=NEW)).state
    late = 100.0 + SUSPICION
    assert step(suspect, see(OPEN, kubelet=NEW, now=late, accepting=None)).act is Act.PROBE
    kept = step(suspect, see(OPEN, kubelet=NEW, now=late, accepting=False))
    assert (kept.act, kept.state.phase, kept.wake_at) == (None, Phase.SUSPECT, late + SUSPICION)
    ended = step(suspect, see(OPEN, kubelet=NEW, now=late))
    assert (ended.act, ended.state.phase, ended.wake_at) == (Act.END_STREAMS, Phase.LOST, late + SETTLE_AFTER_END)


def ended_by_us() -> State:
    """Our stream is being ended because a new kubelet listens, at 101.0."""
    suspect = step(CONNECTED, see(OPEN, kubelet=NEW)).state
    return step(suspect, see(OPEN, kubelet=NEW, now=101.0)).state


def test_the_end_that_we_asked_for_is_waited_for() -> None:
    """A stream that has not ended yet is no new one, and one that never ends is told again."""
    soon = step(ended_by_us(), see(OPEN, kubelet=NEW, now=101.1))
    assert (soon.act, soon.state.phase, soon.wake_at) == (None, Phase.LOST, 101.0 + SETTLE_AFTER_END)
    late = step(soon.state, see(OPEN, kubelet=NEW, now=101.0 + SETTLE_AFTER_END))
    assert late.act is Act.END_STREAMS


def test_after_our_own_end_the_kubelet_has_time_to_notice() -> None:
    """Half a second, although a new kubelet accepts; then it is registered at, and no loss is counted."""
    closed = replace(OPEN, streams=0, ended_at=101.0)
    soon = step(ended_by_us(), see(closed, kubelet=NEW, now=101.1))
    assert (soon.act, soon.wake_at, soon.state.losses) == (None, 101.0 + SETTLE_AFTER_END, ())
    late = step(soon.state, see(closed, kubelet=NEW, now=101.0 + SETTLE_AFTER_END))
    assert (late.act, late.state.kubelet) == (Act.REGISTER, NEW)


def test_a_new_stream_while_the_old_one_is_ending_is_connected() -> None:
    """The number of streams so far tells them apart."""
    result = step(ended_by_us(), see(replace(OPEN, streams=2, opened=2), kubelet=NEW, now=101.1))
    assert result.state.phase is not Phase.LOST


def test_changed_options_are_registered_anew() -> None:
    """The kubelet reads them at registration only, so the stream is ended for them."""
    result = step(CONNECTED, see(replace(OPEN, pre_start_required=True)))
    assert (result.act, result.state.phase, result.wake_at) == (Act.END_STREAMS, Phase.LOST, 100.0 + SETTLE_AFTER_END)


# --- rivals -----------------------------------------------------------------------------------------------------------


def lose(state: State, *, now: float, rivals: bool = True, kubelet: FileIdentity = OLD) -> State:
    """The stream of a connected resource ends."""
    level = replace(OPEN, streams=0, opened=state.opened, ended_at=now)
    state = replace(state, phase=Phase.CONNECTED)
    return step(state, see(level, now=now, rivals=rivals, kubelet=kubelet, accepting=None)).state


def test_three_losses_in_a_minute_with_a_rival_are_a_contest() -> None:
    """The resource is contested, the wait is long, and the reason says what to do."""
    state = CONNECTED
    for now in (100.0, 110.0):
        state = lose(state, now=now)
        assert state.phase is Phase.LOST
    state = lose(state, now=120.0)
    assert state.phase is Phase.CONTESTED
    assert state.not_before == 120.0 + CONTEST_BACKOFF[0]
    assert "remove one" in state.reason


@pytest.mark.parametrize(
    ("times", "rivals", "kubelet"),
    [
        ((100.0, 110.0, 100.0 + CONTEST_WINDOW), True, OLD),
        ((100.0, 110.0, 120.0), False, OLD),
        ((100.0, 110.0, 120.0), True, NEW),
    ],
    ids=["too far apart", "no rival", "another kubelet"],
)
def test_other_losses_are_no_contest(times: tuple[float, ...], *, rivals: bool, kubelet: FileIdentity) -> None:
    """It takes all three: a rival, one kubelet, one minute."""
    state = CONNECTED
    for now in times[:-1]:
        state = lose(state, now=now, rivals=rivals)
    assert lose(state, now=times[-1], rivals=rivals, kubelet=kubelet).phase is Phase.LOST


def test_a_lasting_contest_backs_off_to_five_minutes() -> None:
    """Each further loss doubles the wait, also when the waits have become longer than the window."""
    state, now, waits = CONNECTED, 100.0, []
    for _ in range(CONTEST_LOSSES + 8):
        state = lose(replace(state, since=now), now=now + 0.1)
        waits.append(state.not_before - now - 0.1)
        now = state.not_before
    assert waits[-1] == pytest.approx(CONTEST_BACKOFF[1])
    assert waits[CONTEST_LOSSES] == pytest.approx(2 * waits[CONTEST_LOSSES - 1])
    assert all(later > earlier - 1e-6 for earlier, later in itertools.pairwise(waits[CONTEST_LOSSES - 1 :]))


def test_a_stream_that_lasts_ends_the_contest() -> None:
    """After a quiet minute the next loss is an ordinary one."""
    contested = State(Phase.CONTESTED, kubelet=OLD, contests=5, opened=1, losses=(1.0, 2.0, 3.0))
    state = lose(replace(contested, since=100.0), now=100.0 + CONTEST_WINDOW)
    assert (state.phase, state.contests) == (Phase.LOST, 0)


def test_a_new_kubelet_ends_the_contest() -> None:
    """Who registers first there is open."""
    contested = State(Phase.CONTESTED, kubelet=OLD, contests=5, not_before=1000.0)
    assert step(contested, see(kubelet=NEW)).act is Act.REGISTER


# --- laws -------------------------------------------------------------------------------------------------------------

LONGEST = REGISTER_TIMEOUT + DIAL_BACK + CONTEST_BACKOFF[1] + 1.0
"""Seconds after which a resource that can be registered must have been tried, whatever happened before."""


class Registrations(RuleBasedStateMachine):
    """Any kubelet, any rival, any clock; the caller does what it is told, as the registrar does."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.level = Level()
        self.kubelet: FileIdentity | None = None
        self.identities = 0
        self.accepting = False
        self.rivals = False
        self.state = State()
        self.wake_at: float | None = None
        self.refused_probe = False
        self.registered_at: list[tuple[int, FileIdentity]] = []
        self.under_way: FileIdentity | None = None

    # --- the caller ---

    def seen(self, accepting: bool | None) -> Seen:
        return Seen(self.now, self.level, self.kubelet, accepting, self.rivals)

    def look(self) -> None:
        result = step(self.state, self.seen(None))
        self.refused_probe = False
        if result.act is Act.PROBE:
            result = step(result.state, self.seen(self.accepting))
            self.refused_probe = not self.accepting
        assert result.act is not Act.PROBE
        self.state, self.wake_at = result.state, result.wake_at
        if result.act is Act.REGISTER:
            self.register()
        if result.act is Act.END_STREAMS:
            assert self.level.streams

    def register(self) -> None:
        assert self.kubelet is not None
        assert not self.level.streams
        assert self.level.bound
        assert self.level.listed
        assert self.under_way != self.kubelet, "two calls at one kubelet"
        assert self.state.generation > (self.level.attempt.generation if self.level.attempt else 0)
        self.registered_at.append((self.state.generation, self.kubelet))
        self.level = replace(
            self.level, attempt=Attempt(self.state.generation), registered_pre_start=self.level.pre_start_required
        )
        self.under_way = self.kubelet

    def sleep_until(self, then: float) -> None:
        """Let time pass, and look whenever it was asked for; after a refused probe that is soon."""
        while True:
            due = self.now + 1.0 if self.refused_probe else self.wake_at
            if due is None or due > then:
                break
            self.now = max(self.now, due)
            self.look()
        self.now = max(self.now, then)
        self.look()

    # --- the world ---

    @initialize(listed=st.booleans(), kubelet=st.booleans())
    def start(self, *, listed: bool, kubelet: bool) -> None:
        self.level = Level(bound=True, listed=listed)
        if kubelet:
            self.new_kubelet(accepting=True)

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.15, 0.3, 0.7, 1.0, 3.0, 10.0, 30.0, 100.0]))
    def time_passes(self, seconds: float) -> None:
        self.sleep_until(self.now + seconds)

    @rule(accepting=st.booleans())
    def new_kubelet(self, *, accepting: bool) -> None:
        self.identities += 1
        self.kubelet = FileIdentity(1, self.identities, self.identities)
        self.accepting = accepting
        self.look()

    @rule()
    def kubelet_goes(self) -> None:
        self.kubelet, self.accepting = None, False
        self.look()

    @rule(accepting=st.booleans())
    def kubelet_listens(self, *, accepting: bool) -> None:
        self.accepting = accepting
        self.look()

    @precondition(lambda self: self.level.attempt is not None and self.level.attempt.outcome is None)
    @rule(outcome=st.sampled_from(list(Outcome)))
    def call_ends(self, outcome: Outcome) -> None:
        assert self.level.attempt is not None
        self.level = replace(self.level, attempt=Attempt(self.level.attempt.generation, outcome, self.now, "told so"))
        self.under_way = None
        self.look()

    @rule()
    def stream_opens(self) -> None:
        self.level = replace(self.level, streams=self.level.streams + 1, opened=self.level.opened + 1)
        self.look()

    @rule()
    def stream_comes_and_goes(self) -> None:
        self.level = replace(self.level, opened=self.level.opened + 1, ended_at=self.now)
        self.look()

    @precondition(lambda self: self.level.streams)
    @rule()
    def stream_ends(self) -> None:
        self.level = replace(self.level, streams=self.level.streams - 1, ended_at=self.now)
        self.look()

    @rule(bound=st.booleans(), listed=st.booleans(), pre_start=st.booleans(), rivals=st.booleans())
    def others_change(self, *, bound: bool, listed: bool, pre_start: bool, rivals: bool) -> None:
        self.level = replace(self.level, bound=bound, listed=listed, pre_start_required=pre_start)
        self.rivals = rivals
        self.look()

    @rule()
    def all_turns_good(self) -> None:
        """Liveness: with a kubelet that accepts and nothing missing, a call comes within a bounded time."""
        if self.under_way is not None:
            self.call_ends(Outcome.TIMED_OUT)
        if self.kubelet is None:
            self.new_kubelet(accepting=True)
        calls = len(self.registered_at)
        self.accepting = True
        self.level = replace(self.level, bound=True, listed=True, streams=0, ended_at=self.now)
        began = self.now
        self.look()
        while len(self.registered_at) == calls and self.under_way is None:
            due = self.now + 1.0 if self.refused_probe else self.wake_at
            assert due is not None, "nothing would ever happen"
            assert due < began + LONGEST, "too late"
            self.now = max(self.now, due)
            self.look()

    @invariant()
    def always_something_is_waited_for(self) -> None:
        """A time, an answer of a probe, or one of the facts that come with an event."""
        level = self.level
        assert (
            self.wake_at is not None
            or self.refused_probe
            or level.streams
            or not (level.bound and level.listed)
            or self.kubelet is None
            or (level.attempt is not None and level.attempt.outcome is None)
        )


def test_the_laws_hold_whatever_happens() -> None:
    """Never a call with a stream open, never two at one kubelet, always something is waited for, and always a call in the end."""
    run_state_machine_as_test(Registrations, settings=settings(deadline=None, max_examples=200, stateful_step_count=40))
