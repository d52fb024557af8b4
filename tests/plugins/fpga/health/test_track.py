"""What is believed of a symptom: nothing that is over before its time has come, and nothing for ever."""

from hypothesis import given
from hypothesis import strategies as st

from supervisor_fpga.health.track import Track, due, merged, step, unwatched

HOLD = 5.0


def after(*steps: tuple[float, str], hold_down: float = HOLD) -> Track:
    """The track of a symptom of which nothing was known before."""
    track: Track | None = None
    for at, text in steps:
        track = step(track, text, at, hold_down)
    assert track is not None
    return track


def beliefs(*steps: tuple[float, str], hold_down: float = HOLD) -> list[bool]:
    """What is believed after each."""
    return [after(*steps[: count + 1], hold_down=hold_down).believed for count in range(len(steps))]


def test_what_is_seen_first_is_believed_at_once() -> None:
    """There is nothing that could be held against it."""
    assert beliefs((0, "hot")) == [True]
    assert beliefs((0, "")) == [False]


def test_both_ways_after_the_hold_down() -> None:
    """To the moment."""
    steps = [(0, ""), (10, "hot"), (14.9, "hot"), (15, "hot"), (20, ""), (24.9, ""), (25, "")]
    assert beliefs(*steps) == [False, False, False, True, True, True, False]


def test_short_flaps_change_nothing() -> None:
    """Four seconds of each five, for a minute, it is what it is not believed to be."""
    for long, short in (("", "hot"), ("hot", "")):
        flaps = [(at + off, text) for at in range(0, 60, 5) for off, text in ((0.0, long), (1.0, short))]
        assert set(beliefs(*flaps)) == {bool(long)}


def test_a_long_run_that_nobody_saw_end_is_not_claimed() -> None:
    """Only a second sight of the same proves that it lasted."""
    assert beliefs((0, ""), (10, "hot"), (30, "")) == [False] * 3


def test_without_a_hold_down_everything_counts_at_once() -> None:
    """It may be configured so."""
    assert beliefs((0, ""), (1, "hot"), (1, ""), hold_down=0) == [False, True, False]


def test_reasons_are_the_newest() -> None:
    """The last one is kept while the symptom is gone but counts still."""
    assert after((0, "a"), (1, "b")).text == "b"
    assert after((0, "a"), (1, "b"), (2, "")).text == "b"


def test_unseen_time_speaks_against_a_function_but_not_for_it() -> None:
    """After a gap the symptom must be absent for the whole hold-down again; that it is there still counts from the beginning."""
    healing = unwatched(after((0, "hot"), (10, "")))
    assert step(healing, "", 15, HOLD).believed
    assert due(step(healing, "", 15, HOLD), HOLD) == 20
    falling = unwatched(after((0, ""), (10, "hot")))
    assert step(falling, "hot", 15, HOLD).believed


def test_nothing_is_due_that_is_believed() -> None:
    """So that nobody looks for no reason."""
    assert due(after((0, "hot")), HOLD) is None
    assert due(after((0, ""), (10, "hot")), HOLD) == 15


def test_two_processes() -> None:
    """What either believes to be wrong is wrong until it is seen otherwise."""
    well, ill = after((0, "")), after((0, "hot"))
    assert merged(well, ill) == Track(True, False, 0, "hot")
    assert merged(ill, well) == ill
    assert merged(well, well) == well


@given(
    st.lists(st.tuples(st.floats(0.1, 20), st.booleans(), st.booleans()), min_size=1, max_size=40),
    st.sampled_from([0.0, 0.5, 5.0]),
)
def test_beliefs_follow_what_lasts(steps: list[tuple[float, bool, bool]], hold_down: float) -> None:
    """A belief changes only when the sights of a hold-down agree, and always then; what is due is to come."""
    now, track, seen = 0.0, step(None, "", 0.0, hold_down), [(0.0, False)]
    for pause, there, gap in steps:
        now += pause
        before = unwatched(track) if gap else track
        track = step(before, "hot" if there else "", now, hold_down)
        seen = [*([] if gap and not there else seen), (now, there)]
        began = now
        for at, each in reversed(seen):
            if each != there:
                break
            began = at
        assert track.believed == (there if now >= began + hold_down else before.believed)
        to_come = due(track, hold_down)
        assert to_come is None or to_come > now
