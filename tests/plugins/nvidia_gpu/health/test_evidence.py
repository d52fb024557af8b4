"""What a look tells for and against a GPU."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor_nvidia_gpu.config import Health
from supervisor_nvidia_gpu.health.evidence import Facts, Judgement, Seen, judge, on_bus
from supervisor_nvidia_gpu.report import Evidence, Gpu, RemappedRows, Report
from tests.plugins.nvidia_gpu.health.samples import gpu, look, rows

ALL = ("uncorrected-ecc", "remap-failure", "remap-pending", "retirement-pending", "recovery-action")
OPTIONAL = st.one_of(st.none(), st.integers(0, 9))
FLAGS = st.one_of(st.none(), st.booleans())
EVIDENCE = st.builds(
    Evidence,
    uncorrected_ecc=OPTIONAL,
    remapped=st.one_of(st.none(), st.builds(RemappedRows, st.just(0), st.just(0), st.booleans(), st.booleans())),
    retirement_pending=FLAGS,
    recovery_action=OPTIONAL,
)


def facts(*looks: Evidence | Gpu | Report, unhealthy_on: tuple[str, ...] = ALL) -> Facts:
    """What the last of several looks tells."""
    seen: Seen | None = None
    told = Facts()
    for each in looks:
        report = each if isinstance(each, Report) else look(each if isinstance(each, Gpu) else gpu(evidence=each))
        told, seen = judge(report.gpus[0], report, seen, unhealthy_on)
    return told


def reasons(told: Facts) -> list[str]:
    return [each.reason for each in told.against]


def test_what_cannot_be_told_is_never_bad() -> None:
    """A GPU without any of these facts has nothing against it, and facts that come and go are no change."""
    assert facts(Evidence()) == Facts(looked=True)
    known = Evidence(3, RemappedRows(1, 2, pending=False, failed=False), retirement_pending=False, recovery_action=0)
    assert facts(Evidence(), known) == facts(known, Evidence()) == facts(known, Evidence(), known) == Facts(looked=True)


def test_a_gpu_that_does_not_answer_is_doubted() -> None:
    """Its own sentence is the reason, and it is weak evidence."""
    assert facts(gpu(problem="GPU is lost")).against == (Judgement("GPU is lost", strong=False),)


@pytest.mark.parametrize(
    ("evidence", "kind", "part"),
    [
        (rows(failed=True), "remap-failure", "could not be replaced"),
        (rows(pending=True), "remap-pending", "wait for a reset"),
        (Evidence(retirement_pending=True), "retirement-pending", "wait for a reset"),
        (Evidence(recovery_action=1), "recovery-action", "needs a reset of the GPU"),
        (Evidence(recovery_action=99), "recovery-action", "needs recovery action 99"),
    ],
)
def test_conditions_count_where_they_are_configured(evidence: Evidence, kind: str, part: str) -> None:
    """Each is strong evidence, and none is where the setting leaves it out."""
    (told,) = facts(evidence).against
    assert told.strong
    assert part in told.reason
    assert not facts(evidence, unhealthy_on=tuple(each for each in ALL if each != kind)).against


def test_by_default_what_only_a_reset_activates_takes_no_gpu_away() -> None:
    """Rows and pages that wait for a reset are the normal end of a corrected error."""
    default = Health().unhealthy_on
    assert not facts(rows(pending=True), unhealthy_on=default).against
    assert facts(rows(failed=True), unhealthy_on=default).against


def test_a_counter_counts_by_its_rise() -> None:
    """Its value at the first look says nothing; each rise is told once."""
    assert not facts(Evidence(5)).against
    assert reasons(facts(Evidence(5), Evidence(7))) == ["2 new uncorrected memory errors"]
    assert reasons(facts(Evidence(5), Evidence(), Evidence(6))) == ["1 new uncorrected memory error"]
    assert not facts(Evidence(5), Evidence(7), Evidence(7)).against


@pytest.mark.parametrize(
    ("before", "after", "sign"),
    [
        (Evidence(5), Evidence(0), "its error counters started anew"),
        (Evidence(recovery_action=1), Evidence(recovery_action=0), "the driver no longer asks for a reset"),
        (rows(pending=True), rows(), "its broken memory rows were replaced"),
        (Evidence(retirement_pending=True), Evidence(retirement_pending=False), "its broken memory pages were retired"),
        (look(gpu(), driver="580.1"), look(gpu(), driver="580.2"), "the driver was loaded anew"),
        (look(gpu(), load=7), look(gpu(), load=9), "the driver was loaded anew"),
    ],
)
def test_signs_of_a_reset(before: Evidence | Report, after: Evidence | Report, sign: str) -> None:
    """A reset clears what waits for it; each is seen once, and not at all without a look before."""
    assert facts(before, after).reset == sign
    assert not facts(before, after, after).reset
    assert not facts(after).reset


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Evidence(recovery_action=3), Evidence(recovery_action=0)),
        (Evidence(recovery_action=1), Evidence(recovery_action=4)),
        (Evidence(recovery_action=1), Evidence()),
        (rows(pending=True), Evidence()),
        (rows(failed=True), rows()),
        (look(gpu(), driver="580.1", load=None), look(gpu(), driver="", load=3)),
    ],
)
def test_what_is_no_sign_of_a_reset(before: Evidence | Report, after: Evidence | Report) -> None:
    """Traffic may be drained without a reset, and what is not known any more may be as it was."""
    assert not facts(before, after).reset


def test_one_reset_is_seen_once() -> None:
    """What turns up late was reset at the same time, and is no second sign."""
    before = look(gpu(evidence=Evidence(5)), load=7)
    assert facts(before, look(gpu(problem="starting"), load=8)).reset
    assert not facts(before, look(gpu(problem="starting"), load=8), look(gpu(evidence=Evidence(0)), load=8)).reset


def test_a_place_on_the_bus_is_empty_only_when_that_is_sure() -> None:
    """A GPU that cannot be read may be the one that is missed."""
    assert on_bus("0000:0a:00.0", look(gpu())) is True
    assert on_bus("0000:0a:00.0", look(gpu("GPU-b"))) is False
    assert on_bus("0000:0a:00.0", look(gpu("GPU-b"), Gpu(index=1, problem="unreadable"))) is None
    assert on_bus("", look(gpu())) is None


@given(st.lists(EVIDENCE, min_size=1, max_size=6), st.sets(st.sampled_from(ALL)))
def test_a_look_never_speaks_for_and_against_by_one_counter(history: list[Evidence], kinds: set[str]) -> None:
    """With any history: a look was a look, nothing is against that is not configured, and a fallen counter has not risen."""
    told = facts(*history, unhealthy_on=tuple(kinds))
    assert told.looked
    assert len(told.against) <= len(kinds)
    assert not (told.reset and any("new uncorrected" in each for each in reasons(told)))
