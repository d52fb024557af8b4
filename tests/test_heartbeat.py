"""A thread is wedged only when it has been seen late twice: a machine that was paused is late once."""

from hypothesis import given
from hypothesis import strategies as st

from supervisor.heartbeat import FATAL, OBSERVATIONS, PERIOD, Watch


def test_a_thread_that_turns_is_never_wedged() -> None:
    """Whatever the hour, as long as its beat is young enough."""
    watch = Watch()
    for now in range(1000):
        watch = watch.observe(now - FATAL, now)
        assert not watch.wedged


def test_a_thread_that_stands_still_is_wedged_at_the_second_late_observation() -> None:
    """Not at the first."""
    watch = Watch().observe(0.0, FATAL + 1)
    assert not watch.wedged
    assert watch.observe(0.0, FATAL + 1 + PERIOD).wedged
    assert OBSERVATIONS == 2


@given(st.lists(st.floats(0.0, 1e6)))
def test_pauses_of_the_machine_condemn_nobody(pauses: list[float]) -> None:
    """After each pause, however long, the other thread turns before it is observed again."""
    watch, now, beat = Watch(), 0.0, 0.0
    for pause in pauses:
        now += pause
        watch = watch.observe(beat, now)
        assert not watch.wedged
        beat = now
        now += PERIOD
        watch = watch.observe(beat, now)
        assert not watch.wedged
