"""The states of one device: how it falls, how it comes back, and what cannot bring it back."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor_nvidia_gpu.config import Health
from supervisor_nvidia_gpu.health.evidence import Facts, Judgement
from supervisor_nvidia_gpu.health.state import DAY, Change, State, fresh, probation, step, unwatched, wake_at, worse

CONFIG = Health(quiet=60.0, probation=300.0, suspicion=10.0)
STRONG = Facts((Judgement("strong"),))
FATAL = Facts((Judgement("fatal", needs_reset=True),))
DOUBT = Facts((Judgement("doubt", strong=False),))
WELL = Facts(looked=True)
RESET = Facts(reset="reset", looked=True)


def seen(facts: Facts) -> Facts:
    """The same, found by a look."""
    return Facts(facts.against, facts.reset, looked=True)


def after(*steps: tuple[float, Facts], config: Health = CONFIG) -> State:
    """The state that these lead to, from a device that nothing is known of."""
    state = fresh("GPU-a", 0.0)
    for at, facts in steps:
        state, _ = step(state, facts, at, config)
    return state


def phases(*steps: tuple[float, Facts], config: Health = CONFIG) -> list[str]:
    """The phase after each of them."""
    return [after(*steps[: count + 1], config=config).phase for count in range(len(steps))]


def test_strong_evidence_counts_at_once_and_heals_by_quiet_and_probation() -> None:
    """Sixty seconds without evidence, then three hundred listed Unhealthy still, each ended by a good look."""
    steps = [(10.0, STRONG), (69.9, WELL), (70.0, WELL), (369.9, WELL), (370.0, WELL)]
    assert phases(*steps) == ["unhealthy", "unhealthy", "probation", "probation", "healthy"]
    assert after(*steps).reason == ""


def test_each_change_has_its_reason_and_its_time() -> None:
    """The cause when it falls, the sign or the quiet when it is on its way back."""
    state, told = step(fresh("GPU-a", 0.0), STRONG, 10.0, CONFIG)
    assert told == (Change("healthy", "unhealthy", "strong", 10.0),)
    assert (state.reason, state.since) == ("strong", 10.0)
    state, _ = step(state, WELL, 11.0, CONFIG)
    state, told = step(state, RESET, 20.0, CONFIG)
    assert told == (Change("unhealthy", "probation", "reset", 20.0),)
    assert (state.reason, state.since) == ("strong", 20.0)
    state, told = step(after((10.0, STRONG)), WELL, 70.0, CONFIG)
    assert told == (Change("unhealthy", "probation", "nothing has spoken against it for long enough", 70.0),)


def test_time_alone_heals_nothing() -> None:
    """Without a look nobody knows; an event about something else is none."""
    assert after((10.0, STRONG), (5_000.0, Facts())).phase == "unhealthy"
    assert phases((10.0, STRONG), (5_000.0, WELL), (9_000.0, Facts()), (9_001.0, WELL))[1:] == [
        "probation",
        "probation",
        "healthy",
    ]


def test_new_evidence_begins_the_quiet_anew() -> None:
    """Also when it is the same again; the phase is as old as it was."""
    assert phases((10.0, STRONG), (60.0, STRONG), (70.0, WELL), (120.0, WELL))[2:] == ["unhealthy", "probation"]
    assert after((10.0, STRONG), (60.0, STRONG)).since == 10.0


def test_weak_evidence_needs_a_look_to_confirm_it() -> None:
    """A lost wait makes suspect, for ever if nobody looks; a look acquits, or condemns what lasts."""
    assert phases((0.0, DOUBT), (50.0, DOUBT), (900.0, Facts())) == ["suspect"] * 3
    assert after((0.0, DOUBT), (1.0, WELL)) == State("GPU-a", 1.0, 1.0)
    assert phases((0.0, DOUBT), (5.0, seen(DOUBT)), (9.9, seen(DOUBT)), (10.0, seen(DOUBT))) == ["suspect"] * 3 + ["unhealthy"]


def test_without_suspicion_a_look_that_gets_no_answer_counts_at_once() -> None:
    """An event alone does not even then."""
    config = Health(suspicion=0.0)
    assert phases((0.0, DOUBT), (0.1, seen(DOUBT)), config=config) == ["suspect", "unhealthy"]
    assert after((0.0, seen(DOUBT)), config=config).phase == "unhealthy"


def test_weak_evidence_of_an_event_holds_nothing_back() -> None:
    """A driver that calls wolf every half minute keeps no GPU unhealthy that each look finds well."""
    steps = [(0.0, STRONG), *((at * 30.0, facts) for at in range(1, 14) for facts in (DOUBT, WELL))]
    assert after(*steps).phase == "healthy"


def test_what_a_look_sees_holds_until_a_look_sees_it_gone() -> None:
    """However rare looks are: then the quiet begins."""
    steps = [(0.0, seen(STRONG)), (500.0, seen(STRONG)), (1_000.0, WELL), (1_059.0, WELL), (1_060.0, WELL)]
    assert phases(*steps) == ["unhealthy"] * 4 + ["probation"]
    assert wake_at(after(*steps[:2]), CONFIG) is None
    assert wake_at(after(*steps[:3]), CONFIG) == 1_060.0


def test_only_a_reset_heals_what_needs_one() -> None:
    """No quiet does, and it stays so whatever else comes on top."""
    steps = [(0.0, FATAL), (9_000.0, WELL), (9_001.0, STRONG), (20_000.0, WELL)]
    assert phases(*steps) == ["unhealthy"] * 4
    assert after(*steps).reason == "fatal"
    assert wake_at(after(*steps), CONFIG) is None
    assert phases(*steps, (20_001.0, RESET), (20_301.0, WELL))[-2:] == ["probation", "healthy"]


def test_a_graver_reason_replaces_a_lighter_one() -> None:
    """What needs a reset is told, and what a look sees now instead of what an event told before."""
    assert after((0.0, STRONG), (1.0, FATAL)).reason == "fatal"
    assert after((0.0, STRONG), (1.0, Facts((Judgement("other"),)))).reason == "strong"
    assert after((0.0, STRONG), (1.0, Facts((Judgement("other"),), looked=True))).reason == "other"


def test_a_reset_that_a_look_began_to_see_before_the_evidence_proves_nothing() -> None:
    """The look's time is that of its beginning."""
    assert after((10.0, FATAL), (9.9, RESET)).needs_reset
    assert after((10.0, DOUBT), (9.9, WELL)).phase == "suspect"


def test_a_reset_counts_only_for_what_a_look_knew_before_it() -> None:
    """With evidence and reset between the same two looks nobody knows which came first; the next reset is known to be later."""
    assert after((0.0, FATAL), (10.0, RESET)).needs_reset
    assert after((0.0, FATAL), (10.0, RESET), (20.0, RESET)).phase == "probation"
    assert after((0.0, FATAL), (10.0, WELL), (11.0, STRONG), (20.0, RESET)).needs_reset


def test_a_reset_does_not_outweigh_what_is_seen_now() -> None:
    """It takes back that a reset is needed, no more."""
    state = after((0.0, FATAL), (5.0, WELL), (10.0, Facts(STRONG.against, "reset", looked=True)))
    assert (state.phase, state.needs_reset, state.reason) == ("unhealthy", False, "strong")


def test_each_relapse_doubles_the_probation_up_to_eightfold() -> None:
    """Evidence during probation is a relapse; a day later all is forgotten."""
    state, at, lengths = fresh("GPU-a", 0.0), 0.0, []
    for _ in range(6):
        state, _ = step(state, STRONG, at, CONFIG)
        state, _ = step(state, WELL, at + 60.0, CONFIG)
        lengths.append(probation(state, CONFIG))
        at += 100.0
    assert lengths == [300.0, 600.0, 1_200.0, 2_400.0, 2_400.0, 2_400.0]
    state, _ = step(state, STRONG, at + DAY, CONFIG)
    state, _ = step(state, WELL, at + DAY + 60.0, CONFIG)
    assert probation(state, CONFIG) == 300.0


def test_with_nothing_to_wait_for_one_good_look_is_enough() -> None:
    """Quiet and probation of zero seconds: every step is told all the same."""
    config = Health(quiet=0.0, probation=0.0)
    state, told = step(after((0.0, STRONG), config=config), WELL, 0.0, config)
    assert state.phase == "healthy"
    assert [each.after for each in told] == ["probation", "healthy"]


def test_time_that_nobody_watched_heals_nothing() -> None:
    """Quiet and probation begin anew; a healthy device is as it was."""
    state = unwatched(after((0.0, STRONG), (60.0, WELL)), 350.0)
    assert phases_from(state, (360.0, WELL), (650.0, WELL)) == ["probation", "healthy"]
    assert unwatched(fresh("GPU-a", 0.0), 350.0) == fresh("GPU-a", 0.0)


def phases_from(state: State, *steps: tuple[float, Facts]) -> list[str]:
    found: list[str] = []
    for at, facts in steps:
        state, _ = step(state, facts, at, CONFIG)
        found.append(state.phase)
    return found


def test_of_two_accounts_the_worse_counts_and_of_two_equals_the_newer() -> None:
    """Falls of both count, a fall that both heard of once."""
    mine, other = after((100.0, STRONG)), after((20.0, STRONG), (80.0, WELL), (100.4, STRONG))
    assert worse(mine, other).clock == 100.4
    assert worse(mine, other).falls == worse(other, mine).falls == (20.0, 100.0)
    assert worse(after((0.0, FATAL)), mine).needs_reset
    assert worse(after((0.0, STRONG), (60.0, WELL)), mine).phase == "unhealthy"
    assert worse(fresh("GPU-a", 500.0), mine).phase == "unhealthy"


FACTS = st.sampled_from([STRONG, FATAL, DOUBT, seen(STRONG), seen(FATAL), seen(DOUBT), WELL, RESET, Facts()])
STEPS = st.lists(st.tuples(st.floats(0.0, 500.0), FACTS), max_size=30)


def absolute(steps: list[tuple[float, Facts]]) -> list[tuple[float, Facts]]:
    """The same with times since the beginning instead of since the step before."""
    at, found = 0.0, []
    for wait, facts in steps:
        at += wait
        found.append((at, facts))
    return found


@given(STEPS)
def test_changes_tell_the_whole_way(steps: list[tuple[float, Facts]]) -> None:
    """Each change begins where the one before ended, and the last ends in the state."""
    state, phase = fresh("GPU-a", 0.0), "healthy"
    for at, facts in absolute(steps):
        state, told = step(state, facts, at, CONFIG)
        for change in told:
            assert change.before == phase
            assert change.after != phase
            assert change.reason or change.after == "healthy"
            phase = change.after
        assert phase == state.phase
        assert state.phase == "healthy" or state.reason


@given(STEPS)
def test_nothing_stays_unhealthy_for_ever(steps: list[tuple[float, Facts]]) -> None:
    """Good looks, each when the state asks for it, heal all but what needs a reset; after a reset they heal that too."""
    timeline = absolute(steps)
    at = timeline[-1][0] if timeline else 0.0
    for facts in (WELL, RESET):
        state, _ = step(after(*timeline), WELL, at, CONFIG)
        state, _ = step(state, facts, at, CONFIG)
        for _ in range(4):
            wake = wake_at(state, CONFIG)
            if wake is not None:
                state, _ = step(state, WELL, max(wake, at), CONFIG)
        assert state.phase == "healthy" or (facts is WELL and state.needs_reset)


@given(STEPS, st.floats(0.0, 1_000.0))
def test_nothing_changes_before_it_says_so(steps: list[tuple[float, Facts]], wait: float) -> None:
    """Until ``wake_at`` a further good look changes no phase, at it one does."""
    timeline = absolute(steps)
    last = timeline[-1][0] if timeline else 0.0
    state, _ = step(after(*timeline), WELL, last, CONFIG)
    wake = wake_at(state, CONFIG) or math.inf
    if last + wait < wake:
        assert step(state, WELL, last + wait, CONFIG)[0].phase == state.phase
    if wake < math.inf:
        assert step(state, WELL, max(wake, last), CONFIG)[0].phase != state.phase


@pytest.mark.parametrize("facts", [STRONG, FATAL, seen(STRONG), seen(DOUBT)])
def test_a_fall_is_counted_once(facts: Facts) -> None:
    """A thousand of the same are one fall."""
    config = Health(suspicion=0.0)
    assert after(*((at / 1_000, facts) for at in range(1_000)), config=config).falls == (0.0,)
