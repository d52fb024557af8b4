"""The search for what is nearest to each other, beside a search that simply tries everything."""

from collections.abc import Sequence
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor_nvidia_gpu.nearest import nearest

Matrix = tuple[tuple[int, ...], ...]


def symmetric(count: int, scores: Sequence[int]) -> Matrix:
    """A matrix of pairs, row by row below the diagonal."""
    pairs = dict(zip(combinations(range(count), 2), scores, strict=True))
    return tuple(tuple(pairs.get((min(a, b), max(a, b)), 0) for b in range(count)) for a in range(count))


@st.composite
def matrices(draw: st.DrawFn, most: int = 8) -> Matrix:
    """Few different scores, so that there are ties and twins, or many."""
    count = draw(st.integers(0, most))
    pairs = count * (count - 1) // 2
    score = st.sampled_from(draw(st.sampled_from([(0,), (10, 20), (10, 20, 110, 210), tuple(range(2000))])))
    return symmetric(count, draw(st.lists(score, min_size=pairs, max_size=pairs)))


def blocks(count: int, *levels: tuple[int, int]) -> Matrix:
    """A tree of switches: the score of the first level whose blocks hold both."""
    return tuple(
        tuple(0 if a == b else next((s for size, s in levels if a // size == b // size), 10) for b in range(count))
        for a in range(count)
    )


def within(scores: Matrix, positions: Sequence[int]) -> int:
    return sum(scores[a][b] for a, b in combinations(positions, 2))


def worth(scores: Matrix, chosen: Sequence[int]) -> tuple[int, int]:
    """What is maximised: the scores of the choice, then of what is left."""
    return within(scores, chosen), within(scores, [at for at in range(len(scores)) if at not in chosen])


def best_worth(scores: Matrix, must: Sequence[int], size: int) -> tuple[int, int]:
    """The greatest worth of all choices there are."""
    choices = combinations(range(len(scores)), size)
    return max(worth(scores, choice) for choice in choices if set(must) <= set(choice))


@given(st.data(), matrices())
def test_up_to_eight_things_are_as_near_as_can_be(data: st.DataObject, scores: Matrix) -> None:
    """Whatever the scores, the size and what must be there: no other choice is better, within itself and in what it leaves."""
    size = data.draw(st.integers(0, len(scores)))
    must = data.draw(st.lists(st.sampled_from(range(len(scores))), max_size=size, unique=True)) if scores else []
    chosen = nearest(scores, must, size)
    assert list(chosen) == sorted(set(chosen))
    assert len(chosen) == size
    assert set(must) <= set(chosen)
    assert worth(scores, chosen) == best_worth(scores, must, size)


@pytest.mark.parametrize("size", [2, 5, 8])
@pytest.mark.parametrize(
    "scores",
    [blocks(16), blocks(16, (2, 60)), blocks(16, (4, 40), (8, 20)), blocks(16, (2, 650), (4, 640), (8, 620))],
    ids=["uniform", "pairs", "quads", "tree"],
)
@pytest.mark.parametrize("must", [(), (3,), (3, 9)])
def test_sixteen_behind_switches_are_as_near_as_can_be(scores: Matrix, must: tuple[int, ...], size: int) -> None:
    """Where many are alike, the bounded search is exact for sixteen too."""
    assert worth(scores, nearest(scores, must, size)) == best_worth(scores, must, size)


@given(matrices(most=20), st.integers(-2, 25), st.lists(st.integers(0, 19), max_size=4))
def test_any_number_is_answered(scores: Matrix, size: int, must: list[int]) -> None:
    """The size is exact, as far as there are so many and what must be there is no more."""
    given_ones = {at for at in must if at < len(scores)}
    chosen = nearest(scores, sorted(given_ones), size)
    assert len(set(chosen)) == len(chosen) == min(max(size, len(given_ones)), len(scores))
    assert given_ones <= set(chosen)


def test_a_lone_one_is_taken_from_where_it_is_missed_least() -> None:
    """Of two free pairs and a single one, a request for one takes the single one."""
    scores = blocks(5, (2, 50))
    assert nearest(scores, (), 1) == (4,)


def test_a_pair_is_not_torn_out_of_a_quad() -> None:
    """A request for two takes the free pair and leaves the four that are together."""
    quad = [(a, b) for a, b in combinations(range(4), 2)]
    pairs = dict.fromkeys(quad, 50) | {(4, 5): 50}
    scores = symmetric(6, [pairs.get(pair, 10) for pair in combinations(range(6), 2)])
    assert nearest(scores, (), 2) == (4, 5)


def test_many_different_things_end_the_search_in_time() -> None:
    """Forty things that are nothing alike: the work is bounded, the answer complete and no worse than greed alone."""
    scores = symmetric(40, [(a * 7919 + b * 104729) % 2003 for a, b in combinations(range(40), 2)])
    chosen = nearest(scores, (5,), 20)
    greedy = [5]
    while len(greedy) < 20:
        greedy.append(max(set(range(40)) - set(greedy), key=lambda at: sum(scores[at][other] for other in greedy)))
    assert len(chosen) == 20
    assert within(scores, chosen) >= within(scores, greedy)
