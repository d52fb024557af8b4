"""What is believed of a port: nothing that is over before its time has come, and nothing for ever."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from supervisor_infiniband.health.memory import Known, recall, remember
from supervisor_infiniband.health.sight import Kind
from supervisor_infiniband.health.track import Timing, Track, due, merged, step, unwatched

TIMING = Timing(hold_down=5.0, grace=60.0)
KINDS: tuple[Kind, ...] = ("active", "waiting", "down", "idle", "silent")


def after(*steps: tuple[float, Kind], timing: Timing = TIMING) -> Track:
    """The track of a port of which nothing was known before."""
    track: Track | None = None
    for at, kind in steps:
        track = step(track, kind, at, timing)
    assert track is not None
    return track


def beliefs(*steps: tuple[float, Kind], timing: Timing = TIMING) -> list[str]:
    """What is believed after each."""
    return [after(*steps[: count + 1], timing=timing).believed for count in range(len(steps))]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "waiting"])
def test_what_is_seen_first_is_believed_at_once(kind: Kind) -> None:
    """There is nothing that could be held against it."""
    assert beliefs((0.0, kind)) == [kind]


def test_a_port_that_waits_at_first_has_its_grace() -> None:
    """Every InfiniBand port goes through INIT; one that stays there is not well."""
    assert beliefs((0.0, "waiting"), (59.9, "waiting"), (60.0, "waiting")) == ["active", "active", "waiting"]


def test_down_and_up_are_believed_after_the_hold_down() -> None:
    """Both ways the same, to the moment."""
    steps: list[tuple[float, Kind]] = [(0, "active"), (10, "down"), (14.9, "down"), (15, "down")]
    assert beliefs(*steps, (20, "active"), (24.9, "active"), (25, "active")) == ["active"] * 3 + ["down"] * 3 + ["active"]


@pytest.mark.parametrize(("long", "short"), [("active", "down"), ("down", "active")])
def test_short_flaps_change_nothing(long: Kind, short: Kind) -> None:
    """Four seconds of each five, for a minute, it is what it is not believed to be."""
    kinds: tuple[tuple[float, Kind], ...] = ((0.0, long), (1.0, short))
    flaps = [(at + off, kind) for at in range(0, 60, 5) for off, kind in kinds]
    assert set(beliefs(*flaps)) == {long}


def test_a_long_run_that_nobody_saw_end_is_not_claimed() -> None:
    """Between two sights that differ it may have been anything: only a second sight of the same proves that it lasted."""
    assert beliefs((0, "active"), (10, "down"), (30, "active")) == ["active"] * 3


def test_a_port_between_states_is_not_spared() -> None:
    """DOWN and INIT in turn, none for long enough: after both times together it is believed to be what it is then."""
    steps: list[tuple[float, Kind]] = [(0, "active"), *((10.0 + at, "down" if at % 2 else "waiting") for at in range(66))]
    assert beliefs(*steps)[-2:] == ["active", "down"]
    assert steps[-1] == (75.0, "down")


def test_nothing_is_due_that_is_believed() -> None:
    """So that nobody looks for no reason; else the moment is told exactly."""
    assert due(after((0, "down")), TIMING) is None
    assert due(after((0, "active"), (10, "down")), TIMING) == 15
    assert due(after((0, "active"), (10, "waiting")), TIMING) == 70
    assert due(after((0, "active"), (10, "down"), (14, "waiting")), TIMING) == 74
    assert due(after((0, "down"), (10, "active")), TIMING) == 15


def test_without_times_everything_counts_at_once() -> None:
    """A hold-down and a grace of zero are allowed."""
    steps: list[tuple[float, Kind]] = [(0, "active"), (1, "waiting"), (1, "active"), (2, "down"), (2, "active")]
    assert beliefs(*steps, timing=Timing(0, 0)) == [kind for _, kind in steps]


def test_unseen_time_speaks_against_a_port_but_not_for_it() -> None:
    """After a gap it must be active for the whole hold-down again; that it is down still counts from the beginning."""
    healing = unwatched(after((0, "down"), (10, "active")))
    assert step(healing, "active", 15, TIMING).believed == "down"
    assert due(step(healing, "active", 15, TIMING), TIMING) == 20
    falling = unwatched(after((0, "active"), (10, "down")))
    assert step(falling, "down", 15, TIMING).believed == "down"
    assert step(unwatched(after((0, "active"))), "down", 15, TIMING).believed == "active"


def test_two_accounts_of_one_port() -> None:
    """The broken one counts, until this process has seen it active for long enough."""
    mine, kept = after((0, "active")), after((0, "down"))
    assert merged(mine, kept).believed == "down"
    assert step(merged(mine, kept), "active", 5, TIMING).believed == "active"
    assert merged(kept, mine) is kept
    assert merged(mine, mine) is mine


@given(st.lists(st.tuples(st.floats(0.01, 20), st.sampled_from(KINDS)), max_size=60), st.sampled_from([TIMING, Timing(2, 0)]))
def test_no_port_comes_back_faster_than_the_hold_down(sights: Iterable[tuple[float, Kind]], timing: Timing) -> None:
    """Between two changes the latter of which is to ``active`` lies the hold-down, whatever is seen."""
    now, changed = 0.0, 0.0
    track = step(None, "active", now, timing)
    for pause, kind in sights:
        now += pause
        before, track = track, step(track, kind, now, timing)
        if track.believed != before.believed:
            assert track.believed == kind
            assert kind != "active" or now - changed >= timing.hold_down
            changed = now


class Port(RuleBasedStateMachine):
    """One port over polls, looks, restarts and absences, held against what a person with a list of sights would say."""

    @initialize(kind=st.sampled_from(KINDS))
    def begin(self, kind: Kind) -> None:
        """The first sight."""
        self.now = 100.0
        self.track = step(None, kind, self.now, TIMING)
        self.sights: list[tuple[float, Kind]] = [(self.now, kind)]
        self.changed = -1e9

    @rule(pause=st.floats(0.1, 70), kind=st.sampled_from(KINDS))
    def see(self, pause: float, kind: Kind) -> None:
        """A sight of any kind, some time later."""
        self._see(self.now + pause, kind)

    @rule(pause=st.floats(0.1, 4.9), times=st.integers(1, 6), kind=st.sampled_from(["down", "idle", "silent"]))
    def flap(self, pause: float, times: int, kind: Kind) -> None:
        """Down and up again, each for less than the hold-down: believed is what was believed before."""
        if self.track.believed != "active":
            return
        for _ in range(times):
            self._see(self.now + 0.01, "active")
            self._see(self.now + 0.01, kind)
            self._see(self.now + pause, "active")
        assert self.track.believed == "active"

    @rule()
    def recover(self) -> None:
        """Active without a break: well again, whatever has been before."""
        self._see(self.now + 0.01, "active")
        self._see(self.now + TIMING.hold_down + 0.01, "active")
        assert self.track.believed == "active"

    @rule(kind=st.sampled_from(KINDS))
    def fail(self, kind: Kind) -> None:
        """Seen without a break for the longest time that there is: believed, whatever has been before."""
        self._see(self.now + 0.01, kind)
        self._see(self.now + TIMING.grace + 0.01, kind)
        assert self.track.believed == kind

    @rule()
    def restart(self) -> None:
        """What is kept brings the same belief back, and is the same when it is kept again."""
        kept = remember(Known({TIMING: {("a", 1): self.track}}), {})
        known, dropped = recall(kept, [TIMING], self.now)
        track = known.tracks[TIMING]["a", 1]
        assert dropped == 0
        assert (track.believed, track.seen) == (self.track.believed, self.track.seen)
        assert due(track, TIMING) == due(self.track, TIMING)
        assert remember(known, {}) == kept
        self.track = track
        self.sights = self.sights[-1:] if track.seen != "active" else []

    @rule()
    def vanish(self) -> None:
        """Nobody can see it for a while."""
        self.track = unwatched(self.track)
        self.sights = self.sights[-1:] if self.track.seen != "active" else []

    @invariant()
    def what_is_due_is_to_come(self) -> None:
        """Else somebody would look again and again."""
        at = due(self.track, TIMING)
        assert at is None or not self.track.watched or at > self.now

    def _see(self, at: float, kind: Kind) -> None:
        before, self.now = self.track, at
        self.track = step(before, kind, at, TIMING)
        self.sights.append((at, kind))
        if self.track.believed != before.believed:
            assert self.track.believed == kind
            if kind == "active":
                run = self._run("active")
                assert at - run >= TIMING.hold_down - 1e-6
                assert at - self.changed >= TIMING.hold_down - 1e-6
            self.changed = at

    def _run(self, kind: Kind) -> float:
        """When the newest sights of one kind began."""
        began = self.sights[-1][0]
        for at, seen in reversed(self.sights):
            if seen != kind:
                break
            began = at
        return began


TestPort = Port.TestCase
