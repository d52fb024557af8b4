"""Long work in pieces: nothing is lost, and nothing is too long."""

from hypothesis import given
from hypothesis import strategies as st

from supervisor.pieces import one_by_one, pieces


@given(st.lists(st.integers(), max_size=50), st.integers(1, 20))
def test_the_pieces_are_the_whole(items: list[int], size: int) -> None:
    """In their order, each as long as it may be but the last one."""
    cut = list(pieces(items, size))
    assert [item for piece in cut for item in piece] == items
    assert all(len(piece) == size for piece in cut[:-1])
    assert all(0 < len(piece) <= size for piece in cut[-1:])


@given(st.lists(st.integers(), max_size=20))
def test_one_by_one_they_are_all_there(items: list[int]) -> None:
    """In their order, and taken from what gives them one by one."""
    assert list(one_by_one(iter(items))) == items
