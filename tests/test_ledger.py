"""The ledger: which source is believed, and when it is read."""

import math
from collections.abc import Awaitable, Callable

import trio
from hypothesis import given
from hypothesis import strategies as st

from supervisor.ledger import DOUBT, PERIOD, SETTLE, WATCHED_PERIOD, Holding, Ledger, Reading, both, next_read_at

HELD = Holding("example.com/fuse", "fuse-0", "default", "pod-a", "main")


def source(*readings: Reading) -> Callable[[], Awaitable[Reading]]:
    """A source that gives these readings one after the other."""
    left = list(readings)

    async def read() -> Reading:
        await trio.lowlevel.checkpoint()
        return left.pop(0)

    return read


def complete(at: float, *holdings: Holding) -> Reading:
    """A reading in which these are held."""
    return Reading(at, "podresources", complete=True, holdings=holdings)


def failed(at: float, reason: str = "gone") -> Reading:
    """A reading that showed nothing."""
    return Reading(at, "checkpoint", complete=False, reason=reason)


async def test_podresources_is_believed_and_the_checkpoint_is_noted_beside_it() -> None:
    """An id that both show is held; one that only the checkpoint shows is unsure."""
    setup = Holding("example.com/fuse", "fuse-1", "", "uid", "setup")
    same = Holding("example.com/fuse", "fuse-0", "", "uid", "main")
    elsewhere = Holding("example.com/other", "fuse-0", "", "uid", "main")
    reading = await both(source(complete(1.0, HELD)), source(complete(2.0, setup, same, elsewhere)))()
    assert (reading.at, reading.holdings, reading.unlisted) == (1.0, (HELD,), (setup, elsewhere))
    assert reading.held("example.com/fuse") == {"fuse-0"}
    assert reading.unsure("example.com/fuse") == {"fuse-1"}


async def test_podresources_alone_is_enough() -> None:
    """Where the checkpoint cannot be read, nothing is unsure."""
    assert await both(source(complete(1.0, HELD)), source(failed(2.0)))() == complete(1.0, HELD)


async def test_the_checkpoint_stands_in_for_podresources() -> None:
    """Where podresources fails, the complete answer of the checkpoint is given as it is."""
    assert await both(source(failed(1.0)), source(complete(2.0, HELD)))() == complete(2.0, HELD)


async def test_all_reasons_are_told_when_no_source_answers() -> None:
    """An incomplete reading of no source says why each failed, and shows nothing."""
    reading = await both(source(failed(1.0, "no socket")), source(failed(2.0, "no file")))()
    assert reading == Reading(1.0, "none", complete=False, reason="no socket; no file")


async def test_a_failed_reading_keeps_the_last_complete_one() -> None:
    """Who holds what is answered from the last complete reading, while the newest says that it failed."""
    ledger = Ledger(source(complete(1.0, HELD), failed(2.0)))
    assert ledger.holders("example.com/fuse", "fuse-0") == ()
    await ledger.refresh()
    await ledger.refresh()
    assert (ledger.newest, ledger.complete) == (failed(2.0), complete(1.0, HELD))
    assert ledger.holders("example.com/fuse", "fuse-0") == (HELD,)
    assert ledger.holders("example.com/other", "fuse-0") == ()


async def test_a_new_ledger_reads_at_once_then_rests() -> None:
    """What was held before this process began is asked at once; with nothing to learn after it, no read is planned."""
    ledger = Ledger(source(complete(100.0)))
    assert ledger.next_read_at(tombstones=False, attribution=False) == -math.inf
    await ledger.refresh()
    assert ledger.next_read_at(tombstones=False, attribution=False) is None
    assert ledger.next_read_at(tombstones=True, attribution=False) == 100.0 + PERIOD
    assert ledger.next_read_at(tombstones=False, attribution=True) == 100.0 + WATCHED_PERIOD


async def test_a_burst_of_changes_is_one_read_and_is_read_again_until_it_is_certain() -> None:
    """The first change of a burst sets the next read; reads go on until one began long enough after the last change."""
    ledger = Ledger(source(complete(100.0), complete(116.0), complete(146.0), complete(176.0)))
    await ledger.refresh()
    for now in (111.0, 112.0, 114.0):
        ledger.changed(now)
    due = [ledger.next_read_at(tombstones=False, attribution=False)]
    for _ in range(3):
        await ledger.refresh()
        due.append(ledger.next_read_at(tombstones=False, attribution=False))
    assert due == [111.0 + SETTLE, 116.0 + PERIOD, 146.0 + PERIOD, None]


async def test_a_change_during_a_read_stays_unread() -> None:
    """A reading that began before a change does not cover it."""
    ledger = Ledger(source(complete(100.0), complete(200.0)))
    await ledger.refresh()
    ledger.changed(190.0)
    ledger.changed(201.0)
    await ledger.refresh()
    assert ledger.next_read_at(tombstones=False, attribution=False) == 201.0 + SETTLE


TIMES = st.floats(0, 1000)


@given(read_at=TIMES, changed_at=TIMES, unread=st.booleans(), tombstones=st.booleans(), attribution=st.booleans())
def test_the_schedule_never_forgets_and_never_hurries(
    *, read_at: float, changed_at: float, unread: bool, tombstones: bool, attribution: bool
) -> None:
    """It rests only when nothing is unread, doubtful or wanted, and else reads in time, but not before a change has settled."""
    since = changed_at if unread else None
    due = next_read_at(read_at, changed_at, since, tombstones=tombstones, attribution=attribution)
    wanted = tombstones or attribution or read_at < changed_at + DOUBT
    assert (due is None) == (not unread and not wanted)
    if due is not None:
        assert due <= read_at + (WATCHED_PERIOD if attribution else PERIOD) or not wanted
        assert due <= changed_at + SETTLE or not unread
        assert due >= min(read_at + (WATCHED_PERIOD if attribution else PERIOD), changed_at + SETTLE)
