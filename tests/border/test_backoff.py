"""Back-off: the first end costs no time, the next ones ever more, up to a limit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.border.backoff import FIRST, MOST, STEADY, Backoff

JITTER = st.floats(0, 1)


def after(ends: int, jitter: float = 0.0) -> Backoff:
    """So many lives have ended at once, at time 100."""
    backoff = Backoff()
    for _ in range(ends):
        backoff = backoff.after(0.0, 100.0, jitter)
    return backoff


@pytest.mark.parametrize(("ends", "delay"), [(1, 0.0), (2, FIRST), (3, 2 * FIRST), (4, 4 * FIRST), (9, MOST), (1000, MOST)])
def test_each_early_end_doubles_the_pause(ends: int, delay: float) -> None:
    """From the second on."""
    assert after(ends).until == 100.0 + delay


@given(st.integers(2, 2000), JITTER)
def test_jitter_only_lengthens_and_by_a_quarter_at_most(ends: int, jitter: float) -> None:
    """So that many nodes do not start their programs in step, and never in a busy loop."""
    assert FIRST <= after(ends).until - 100.0 <= after(ends, jitter).until - 100.0 <= MOST * 1.25


@given(st.integers(0, 50), JITTER)
def test_after_a_steady_life_an_end_is_the_first(ends: int, jitter: float) -> None:
    """What went wrong a day ago is no reason to wait today."""
    assert after(ends).after(STEADY, 200.0, jitter) == Backoff(1, 200.0)
