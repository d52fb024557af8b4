"""Which things of a set are nearest to each other: a search over numbers alone, bounded by counted work instead of by a clock.

The answer depends on the arguments only, never on the machine or its load. It is the best there is for up to ten things and for
larger sets whose members are much alike, as GPUs behind switches are; for others it is at least what greed and exchanging find.
"""

from collections.abc import Collection, Sequence
from itertools import accumulate
from typing import NamedTuple

WORK = 12_000
"""Candidates weighed in the exact search: some milliseconds. Ten things need at most 1 023 steps of ten."""
SEEDS = 4
"""Beginnings that greed tries where nothing is given."""


class _Pairs(NamedTuple):
    """What is maximised, in whole numbers: the scores within the choice first, then the scores within what is left.

    What is left scores all the more, the less each member of the choice scores with everything: this makes it a matter of single
    members, ``own``.
    """

    gain: Sequence[Sequence[int]]
    """By two positions, for having both."""
    own: Sequence[int]
    """By position, for having it."""
    twin: Sequence[int]
    """The nearest position before it that scores alike with all others; -1 without one."""

    def worth(self, chosen: Sequence[int]) -> int:
        return sum(self.own[at] + sum(self.gain[at][there] for there in chosen[:n]) for n, at in enumerate(chosen))


def nearest(scores: Sequence[Sequence[int]], must: Collection[int], size: int) -> tuple[int, ...]:
    """The positions of ``size`` things whose pairs score most, ``must`` among them, in ascending order.

    Of choices that score alike, the one that leaves the best scores among the others; ``scores`` is symmetric and not negative.
    Takes all where there are no more than ``size``, and ``must`` where that is ``size`` or more.
    """
    count = len(scores)
    given = sorted(set(must))
    if size >= count or size <= len(given):
        return tuple(range(count)) if size >= count else tuple(given)
    pairs = _weigh(scores, given)
    seeds = [given] if given else [[at] for at in _seeds(pairs)]
    best = max((_exchange(pairs, _grow(pairs, seed, size), given) for seed in seeds), key=pairs.worth)
    return tuple(sorted(_Search(pairs, size, best).run(given)))


def _weigh(scores: Sequence[Sequence[int]], given: Sequence[int]) -> _Pairs:
    degrees = [sum(row) - row[at] for at, row in enumerate(scores)]
    first = sum(degrees) + 1  # greater than any sum of single worths, so that these decide between equals alone
    gain = [[0 if at == there else score * first for there, score in enumerate(row)] for at, row in enumerate(scores)]
    twin = []
    for at, row in enumerate(scores):
        alike = (before for before in range(at - 1, -1, -1) if before not in given and _twins(scores[before], row, before, at))
        twin.append(-1 if at in given else next(alike, -1))
    return _Pairs(gain, [-degree for degree in degrees], twin)


def _twins(one: Sequence[int], other: Sequence[int], at: int, there: int) -> bool:
    """Whether two things may stand for each other in any choice."""
    return all(a == b for n, (a, b) in enumerate(zip(one, other, strict=True)) if n not in {at, there})


def _seeds(pairs: _Pairs) -> list[int]:
    """The most promising of those that stand for no other, by what they gain at most."""
    lone = [at for at, twin in enumerate(pairs.twin) if twin < 0]
    return sorted(lone, key=lambda at: (-max(pairs.gain[at]), -pairs.own[at], at))[:SEEDS]


def _grow(pairs: _Pairs, seed: Sequence[int], size: int) -> list[int]:
    """The seed and, one after the other, what gains most."""
    chosen = list(seed)
    worth = {at: own + sum(pairs.gain[at][there] for there in chosen) for at, own in enumerate(pairs.own) if at not in chosen}
    while len(chosen) < size:
        at = max(worth, key=worth.__getitem__)
        del worth[at]
        chosen.append(at)
        row = pairs.gain[at]
        for other in worth:
            worth[other] += row[other]
    return chosen


def _exchange(pairs: _Pairs, chosen: list[int], given: Sequence[int]) -> list[int]:
    """The choice after one for one has been exchanged, the best first, until none helps or there was one for each member."""
    worth = [own + sum(row[at] for at in chosen) for own, row in zip(pairs.own, pairs.gain, strict=True)]
    for _ in range(len(chosen)):
        inside = [at for at in chosen if at not in given]
        outside = [at for at in range(len(worth)) if at not in chosen]
        better, leaves, comes = max((worth[b] - worth[a] - pairs.gain[a][b], a, b) for a in inside for b in outside)
        if better <= 0:
            break
        chosen = [at for at in chosen if at != leaves] + [comes]
        worth = [value - pairs.gain[leaves][at] + pairs.gain[comes][at] for at, value in enumerate(worth)]
    return chosen


class _Search:
    """Branch and bound: every choice is tried that could be better than the best one so far."""

    def __init__(self, pairs: _Pairs, size: int, best: Sequence[int]) -> None:
        self._pairs = pairs
        self._size = size
        self._best = tuple(best)
        self._worth = pairs.worth(best)
        self._work = WORK
        self._ahead: dict[int, list[int]] = {}
        """By position: the most that it can gain from so many others that are not given."""

    def run(self, given: Sequence[int]) -> tuple[int, ...]:
        pairs = self._pairs
        free = [at for at in range(len(pairs.own)) if at not in given]
        for at in free:
            gains = sorted((pairs.gain[at][there] for there in free), reverse=True)
            self._ahead[at] = [0, *accumulate(gains)]
        worth = {at: pairs.own[at] + sum(pairs.gain[at][there] for there in given) for at in free}
        self._descend(tuple(given), pairs.worth(given), free, worth)
        return self._best

    def _descend(self, chosen: tuple[int, ...], sum_so_far: int, free: list[int], worth: dict[int, int]) -> None:
        """Try all choices of ``chosen`` and some of ``free``; ``worth`` says what each of these adds to ``chosen``."""
        missing = self._size - len(chosen)
        if missing == 0:
            if sum_so_far > self._worth:
                self._worth, self._best = sum_so_far, chosen
            return
        for n, at in enumerate(free):
            rest = free[n:]
            if len(rest) < missing or self._work <= 0:
                return
            self._work -= len(rest)
            twice = sorted((2 * worth[other] + self._ahead[other][missing - 1] for other in rest), reverse=True)
            if 2 * sum_so_far + sum(twice[:missing]) <= 2 * self._worth:
                return
            twin = self._pairs.twin[at]
            if twin < 0 or twin in chosen:
                row = self._pairs.gain[at]
                after = {other: worth[other] + row[other] for other in rest[1:]}
                self._descend((*chosen, at), sum_so_far + worth[at], rest[1:], after)
