"""How fast counters rise: no error is lost or invented by resets, gaps and slow readings."""

from hypothesis import given
from hypothesis import strategies as st

from supervisor_infiniband.config import ErrorRates
from supervisor_infiniband.health.slopes import HOLD, MOST_SAMPLES, WINDOW, Slope, counted, excesses


def after(*readings: tuple[float, int], name: str = "symbol_error") -> Slope:
    """The slope after readings of one counter."""
    slope = Slope()
    for at, value in readings:
        slope = counted(slope, {name: value}, at)
    return slope


def rate(*readings: tuple[float, int]) -> float:
    """The rate at the last of them."""
    return after(*readings).rate("symbol_error", readings[-1][0])


def test_what_was_counted_before_anybody_looked_does_not_count() -> None:
    """A first reading says nothing of a rate, however high it is."""
    assert rate((0, 65_535)) == 0


def test_errors_in_a_minute() -> None:
    """By readings each 15 seconds; the window slides over what is older."""
    assert rate((0, 5), (15, 7), (30, 7), (45, 10), (60, 15)) == 10
    slope = after((0, 5), (15, 105), *((15.0 + 15 * count, 105) for count in range(1, 15)))
    assert slope.rate("symbol_error", 300.0) == 0


def test_a_burst_is_no_more_than_was_counted() -> None:
    """Three errors within fifteen seconds are three in this minute, not twelve."""
    assert rate((0, 0), (15, 3)) == 3


def test_slow_readings_give_the_mean() -> None:
    """Once in ten minutes: 100 errors are ten in a minute, until the reading after the next is due."""
    slope = after((0, 0), (600, 100))
    assert slope.rate("symbol_error", 600 + 1_199) == 10
    assert slope.rate("symbol_error", 600 + 1_200) == 0


def test_a_counter_that_has_fallen_has_been_reset() -> None:
    """By a tool, a driver, or a wrap: what it shows came since."""
    assert rate((0, 100), (15, 4)) == 4
    assert rate((0, 100), (15, 110), (30, 0), (45, 5)) == 15


def test_a_rate_counts_for_a_while() -> None:
    """So that a port near its limit does not come and go with each reading."""
    slope = after((0, 0), (15, 200), (30, 200))
    assert slope.rate("symbol_error", 15 + HOLD - 0.1) == 200
    quiet = after((0, 0), (15, 200), *((15.0 * count, 200) for count in range(2, 6)))
    assert quiet.rate("symbol_error", 75) == 200
    assert quiet.rate("symbol_error", 75 + HOLD + WINDOW) == 0


def test_what_cannot_be_read_is_left_out() -> None:
    """A counter that is missing from one reading is held against the reading before."""
    slope = counted(Slope(), {"link_downed": 1, "symbol_error": 1}, 0)
    slope = counted(slope, {"symbol_error": 2}, 15)
    slope = counted(slope, {"link_downed": 4, "port_xmit_data": 99}, 30)
    assert (slope.rate("link_downed", 30), slope.rate("symbol_error", 30)) == (3, 1)
    assert slope.rate("port_xmit_data", 30) == 0


def test_readings_out_of_turn_change_nothing() -> None:
    """One that is not newer than the last tells nothing."""
    slope = after((10, 0), (20, 5))
    assert counted(slope, {"symbol_error": 99}, 20) is slope


def test_limits() -> None:
    """So many are too many; a limit of zero is none."""
    slope = after((0, 0), (15, 100))
    assert [*excesses(slope, ErrorRates(), 15)] == [("symbol_error", 100)]
    assert [*excesses(slope, ErrorRates(symbol_error=101), 15)] == []
    assert [*excesses(slope, ErrorRates(symbol_error=0), 15)] == []


@given(st.lists(st.tuples(st.floats(0.5, 200), st.integers(0, 1_000)), min_size=1, max_size=200))
def test_rates_are_bounded_and_no_rate_is_missed(steps: list[tuple[float, int]]) -> None:
    """No more than all that was counted; the mean of any reading that counts still; and little is kept."""
    slope, now, value, readings = Slope(), 0.0, 0, [(0.0, 0)]
    slope = counted(slope, {"symbol_error": 0}, 0.0)
    for pause, rise in steps:
        now, value = now + pause, value + rise
        readings.append((now, value))
        slope = counted(slope, {"symbol_error": value}, now)
    assert slope.rate("symbol_error", now) <= value
    (before, one), (last, other) = readings[-2:]
    newest = (other - one) * 60 / max(last - before, WINDOW)
    assert slope.rate("symbol_error", now) >= newest * (1 - 1e-9) or last - before < WINDOW
    assert len(slope.samples) <= MOST_SAMPLES
