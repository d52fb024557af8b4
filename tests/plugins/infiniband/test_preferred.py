"""Which ids are preferred: near devices, and parts of shared ones by the pool's wish; whatever is asked, an answer."""

import random
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor_infiniband.config import Mode, Pool
from supervisor_infiniband.preferred import prefer
from supervisor_infiniband.units import Unit, base, replica_ids, units_of
from tests.plugins.infiniband.functions import pf

Preference = Literal["spread", "pack"]

EXCLUSIVE = Pool(name="hca")
PREFERENCES: tuple[Preference, ...] = ("spread", "pack")
MODES: tuple[Mode, ...] = ("exclusive", "shared", "pool")


def at(number: int, node: int | None, path: str) -> Unit:
    """A unit whose id is ``a<number>``."""
    return units_of(EXCLUSIVE, [pf(0, id=f"a{number}", numa_node=node, path=path)])[0]


RAILS = tuple(at(n, n // 4, f"pci{n // 4}/switch{n // 2}/port{n % 2}") for n in range(8))
"""Eight devices on two NUMA nodes, two behind each switch."""
ALL = [unit.id for unit in RAILS]


@pytest.mark.parametrize(
    ("available", "must", "size", "answer"),
    [
        (ALL, [], 2, ["a0", "a1"]),
        (["a1", "a2", "a4", "a5"], [], 2, ["a4", "a5"]),
        (["a0", "a2", "a3", "a5"], [], 3, ["a0", "a2", "a3"]),
        (["a0", "a4", "a5", "a6"], [], 1, ["a0"]),
        (ALL, ["a6"], 2, ["a6", "a7"]),
        (["a0", "a1", "a4", "a6"], ["a6"], 2, ["a6", "a4"]),
        (["a0", "a1", "a2", "a4"], ["a6", "a3"], 3, ["a6", "a3", "a2"]),
        (ALL, [], 4, ["a0", "a1", "a2", "a3"]),
        (ALL, [], 6, ["a0", "a1", "a2", "a3", "a4", "a5"]),
        (ALL, ALL[:2], 2, ["a0", "a1"]),
    ],
)
def test_whole_devices_are_near_to_each_other(available: list[str], must: list[str], size: int, answer: list[str]) -> None:
    """The same switch, else the same NUMA node; the smaller group that suffices, so that the larger ones stay whole."""
    assert prefer(RAILS, available, must, size) == answer


def test_devices_without_a_numa_node_are_near_by_their_path() -> None:
    """Some firmware does not tell nodes."""
    units = [at(0, None, "pci0/a/x"), at(1, None, "pci1/b/y"), at(2, None, "pci1/b/z")]
    assert prefer(units, ["a0", "a1", "a2"], [], 2) == ["a1", "a2"]


def shared(prefer: Preference = "spread") -> tuple[Unit, ...]:
    """HCAs with three replicas each, two on each NUMA node."""
    pool = Pool(name="hca", mode="shared", replicas=3, prefer=prefer)
    return units_of(pool, [pf(n, numa_node=n // 2, path=f"pci{n // 2}/{n}") for n in range(4)])


def ids(units: Sequence[Unit]) -> list[str]:
    return [name for unit in units for name in replica_ids(unit)]


def without(names: Sequence[str], *taken: str) -> list[str]:
    return [name for name in names if name not in taken]


def test_spread_takes_the_device_that_is_used_least() -> None:
    """And another one each time, on the same NUMA node as far as there are any."""
    units = shared()
    free = without(ids(units), "0000:3b:00.0::0", "0000:3b:00.1::0", "0000:3b:00.1::1", "0000:3b:00.2::2")
    assert prefer(units, free, [], 1) == ["0000:3b:00.3::0"]
    assert [base(name)[-1] for name in prefer(units, free, [], 4)] == ["3", "2", "0", "1"]
    assert [base(name)[-1] for name in prefer(units, free, ["0000:3b:00.1::2"], 3)] == ["1", "0", "3"]


def test_pack_takes_of_the_device_that_is_used_most() -> None:
    """Of those with enough; where none has, of one device after the other, on one NUMA node if that can be."""
    units = shared("pack")
    free = without(ids(units), "0000:3b:00.2::0", "0000:3b:00.1::0", "0000:3b:00.1::1")
    assert prefer(units, free, [], 1) == ["0000:3b:00.1::2"]
    assert prefer(units, free, [], 2) == ["0000:3b:00.2::1", "0000:3b:00.2::2"]
    assert [base(name)[-1] for name in prefer(units, free, [], 4)] == ["1", "0", "0", "0"]


def test_the_units_of_a_whole_pool_are_alike() -> None:
    """In their order."""
    units = units_of(Pool(name="all", mode="pool", replicas=12), [pf(0), pf(1)])
    assert prefer(units, ids(units), [], 3) == [f"rdma.all::{number}" for number in range(3)]


@st.composite
def questions(draw: st.DrawFn) -> tuple[tuple[Unit, ...], list[str], list[str]]:
    """Units of any mode, and ids to choose of: known ones, and some that nobody knows."""
    mode = draw(st.sampled_from(MODES))
    replicas = None if mode == "exclusive" else draw(st.integers(1, 5))
    pool = Pool(name="hca", mode=mode, replicas=replicas, prefer=draw(st.sampled_from(PREFERENCES)))
    paths = st.lists(st.sampled_from(["a", "b", "c"]), max_size=3).map("/".join)
    numbers = range(draw(st.integers(0, 8)))
    units = units_of(pool, [pf(n, numa_node=draw(st.sampled_from([None, 0, 1])), path=draw(paths)) for n in numbers])
    known = [*ids(units), "strange", "0000:3b:00.0::99"]
    available = draw(st.lists(st.sampled_from(known), unique=True))
    must = draw(st.lists(st.sampled_from(available), unique=True)) if available else []
    return units, available, must


@given(questions(), st.integers(-1, 12), st.randoms(use_true_random=False))
def test_always_an_answer(question: tuple[tuple[Unit, ...], list[str], list[str]], size: int, luck: random.Random) -> None:
    """As many as are wanted, as far as there are so many, none twice, what must be there first; the order of the question is nothing."""
    units, available, must = question
    answer = prefer(units, available, must, size)
    assert len(answer) == len(set(answer)) == max(0, min(size, len(available)))
    assert set(answer) <= set(available)
    assert answer[: len(must)] == must[: max(size, 0)]
    shuffled = luck.sample(available, len(available))
    assert prefer(luck.sample(units, len(units)), shuffled, must, size) == answer


@given(st.sets(st.integers(0, 7), min_size=1), st.integers(1, 8))
def test_as_few_numa_nodes_as_possible(free: set[int], size: int) -> None:
    """A request that fits on one node stays there."""
    answer = prefer(RAILS, [f"a{number}" for number in free], [], size)
    nodes = Counter(number // 4 for number in free)
    if size <= max(nodes.values()):
        assert len({int(name[1:]) // 4 for name in answer}) == 1


@given(st.sets(st.integers(0, 11), min_size=1), st.integers(1, 12))
def test_spread_is_even(free: set[int], size: int) -> None:
    """No container has two replicas of one device while another device has one left that it has none of."""
    units = shared()
    every = ids(units)
    names = [every[number] for number in free]
    counts = Counter(base(name) for name in prefer(units, names, [], size))
    left = {base(name) for name in set(names)} - set(counts)
    assert not left or max(counts.values()) == 1
