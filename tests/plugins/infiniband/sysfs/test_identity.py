"""Ids: unique, the same whatever the order, and kept by those who cannot be asked now."""

from hypothesis import given
from hypothesis import strategies as st

from supervisor_infiniband.sysfs.identity import Candidate, Identities, settle

PCI = "0000:3b:00.0"
FIRST, SECOND = "b83f:d200:03b0:0000", "b83f:d200:03b0:0002"
NOBODY = Identities()

candidates = st.lists(
    st.builds(
        Candidate,
        st.sampled_from([f"mlx5_{number}" for number in range(12)]),
        st.sampled_from(["", PCI, "0000:3b:00.1", "mlx5_core.sf.4"]),
        st.sampled_from(["", "0000:0000:0000:0000", FIRST, SECOND]),
        st.sampled_from([True, False, None]),
    ),
    unique_by=lambda one: one.name,
)


@given(candidates, st.randoms(use_true_random=False))
def test_ids_are_unique_and_the_order_does_not_matter(found: list[Candidate], random: object) -> None:
    """Everybody has an id or a reason, never both."""
    settled = settle(found, NOBODY)
    assert settled == settle(reversed(found), NOBODY)
    assert settled.ids.keys() | settled.refused.keys() == {one.name for one in found}
    assert not settled.ids.keys() & settled.refused.keys()
    assert len(set(settled.ids.values())) == len(settled.ids)
    assert all(0 < len(name) <= 63 for name in settled.ids.values())


@given(candidates)
def test_who_is_settled_stays_so(found: list[Candidate]) -> None:
    """The next look finds the same, also when nobody can be asked."""
    settled = settle(found, NOBODY)
    assert settle(found, settled) == settled
    silent = [Candidate(one.name, one.base, one.guid, None) for one in found]
    assert settle(silent, settled) == settled


def test_a_function_with_two_end_points_has_two_ids() -> None:
    """With the node GUID; that one is away for a while changes no id."""
    both = [Candidate("mlx5_0", PCI, FIRST), Candidate("mlx5_1", PCI, SECOND)]
    settled = settle(both, NOBODY)
    assert settled.ids == {"mlx5_0": f"{PCI}-b83fd20003b00000", "mlx5_1": f"{PCI}-b83fd20003b00002"}
    assert settle(both[1:], settled).ids == {"mlx5_1": f"{PCI}-b83fd20003b00002"}


def test_what_is_no_end_point_has_a_reason() -> None:
    """And the other one on its function has the address alone."""
    settled = settle([Candidate("mlx5_0", PCI, FIRST), Candidate("smi1", PCI, SECOND, endpoint=False)], NOBODY)
    assert settled.ids == {"mlx5_0": PCI}
    assert "no port of it is an end point" in settled.refused["smi1"]


def test_those_that_nothing_tells_apart_are_refused_but_one() -> None:
    """Whoever had the id keeps it."""
    twins = [Candidate("rxe0", "", FIRST), Candidate("rxe1", "", FIRST)]
    guid = "guid-b83fd20003b00000"
    assert settle(twins, NOBODY).ids == {"rxe0": guid}
    settled = settle(twins, Identities({"rxe1": guid}))
    assert settled.ids == {"rxe1": guid}
    assert "it cannot be told from rxe1" in settled.refused["rxe0"]
