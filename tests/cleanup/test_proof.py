"""When a file may go: two readings, apart from each other and from a kubelet's start."""

import math

from hypothesis import given
from hypothesis import strategies as st

from supervisor.cleanup.proof import Pace, Proof, Verdict
from supervisor.kubelet.sockets import FileIdentity
from supervisor.ledger import Reading
from supervisor.model import Leftover

FILE = "/var/run/cdi/gpu.json"
FREE, HELD = Leftover(FILE), Leftover(FILE, ("g1",))
EPOCH = 1_700_000_000.0
"""The wall clock when the monotonic one shows 0."""


def kubelet(started: float, inode: int = 1) -> FileIdentity:
    """The socket of one that started at this monotonic second."""
    return FileIdentity(1, inode, int((EPOCH + started) * 1e9))


def judge(proof: Proof, at: float, leftover: Leftover, since: float | None = -1000.0, *, complete: bool = True) -> Verdict:
    """One reading; ``since``: when the kubelet started."""
    reading = Reading(at, "podresources", complete=complete)
    return proof.judge(reading, [leftover], None if since is None else kubelet(since), EPOCH + at)


def test_two_readings_ten_seconds_apart_are_a_proof() -> None:
    """One proves nothing, nor does one that follows too soon."""
    proof = Proof(Pace())
    assert judge(proof, 0, FREE).pending == (FREE,)
    assert judge(proof, 9.9, FREE).pending == (FREE,)
    assert judge(proof, 10, FREE).free == (FREE,)


def test_whoever_holds_it_takes_the_proof_back() -> None:
    """Also a reading that says nothing does."""
    proof = Proof(Pace())
    judge(proof, 0, FREE)
    assert judge(proof, 5, HELD).held == (HELD,)
    assert judge(proof, 12, FREE).pending == (FREE,)
    assert judge(proof, 20, FREE, complete=False).held == (FREE,)
    assert judge(proof, 23, FREE).pending == (FREE,)
    assert judge(proof, 33, FREE).free == (FREE,)


def test_a_fresh_kubelet_proves_nothing_for_a_minute() -> None:
    """Its first answers are empty."""
    proof = Proof(Pace())
    for at in (5, 20, 59):
        assert judge(proof, at, FREE, since=0).pending == (FREE,)
    assert proof.next_at(Reading(59, "podresources", complete=True)) == 69
    assert proof.next_at(Reading(5, "podresources", complete=True)) == 60
    assert judge(proof, 60, FREE, since=0).pending == (FREE,)
    assert judge(proof, 70, FREE, since=0).free == (FREE,)


def test_a_kubelet_that_restarts_begins_it_all_again() -> None:
    """Whatever was shown before; one that has gone does so, too."""
    proof = Proof(Pace())
    judge(proof, 0, FREE)
    assert judge(proof, 10, FREE, since=8).pending == (FREE,)
    assert judge(proof, 67, FREE, since=8).pending == (FREE,)
    assert judge(proof, 70, FREE, since=None).pending == (FREE,)
    assert judge(proof, 80, FREE, since=None).free == (FREE,)


def test_a_clock_that_was_set_back_costs_a_minute() -> None:
    """The socket seems to be from the future."""
    proof = Proof(Pace())
    assert judge(proof, 0, FREE, since=5000).pending == (FREE,)
    assert judge(proof, 59, FREE, since=5000).pending == (FREE,)
    assert judge(proof, 61, FREE, since=5000).pending == (FREE,)
    assert judge(proof, 71, FREE, since=5000).free == (FREE,)


readings = st.lists(
    st.tuples(st.floats(0.1, 30), st.sampled_from(["free", "held", "incomplete"]), st.integers(1, 3)), min_size=1, max_size=30
)


@given(readings, st.floats(-100, 0))
def test_nothing_goes_unproved(steps: list[tuple[float, str, int]], started: float) -> None:
    """Whatever goes was shown free by every reading of the last ten seconds and more, a minute after the kubelet's start."""
    proof, at, since, life = Proof(Pace()), 0.0, started, 0
    free_from = math.inf
    for seconds, said, inode in steps:
        at += seconds
        if inode != life:
            life, since = inode, at if life else started
            free_from = math.inf
        reading = Reading(at, "podresources", complete=said != "incomplete")
        leftover = HELD if said == "held" else FREE
        verdict = proof.judge(reading, [leftover], kubelet(since, inode), EPOCH + at)
        free_from = min(free_from, at) if said == "free" and at >= since + 60 - 1e-3 else math.inf
        assert not verdict.free or (said == "free" and at - free_from >= 10 - 1e-3)
        assert len(verdict.free) + len(verdict.pending) + len(verdict.held) == 1
