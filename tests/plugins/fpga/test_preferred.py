"""Which ids are preferred: near to each other and to what is given, leaving large groups whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from supervisor_fpga.preferred import prefer
from supervisor_fpga.report import Function
from supervisor_fpga.units import Unit
from tests.plugins.fpga.functions import alveo, dfl, offered, program


def at(name: str, numa: int | None, root: str, card: str) -> Function:
    return replace(dfl(), id=name, region=name, numa_node=numa, path=f"/sys/devices/{root}/x", card=card)


MACHINE = (
    at("a0", 0, "pci0000:10", "a"),
    at("a1", 0, "pci0000:10", "a"),
    at("b0", 0, "pci0000:20", "b"),
    at("c0", 1, "pci0000:80", "c"),
    at("c1", 1, "pci0000:80", "c"),
    at("c2", 1, "pci0000:80", "c"),
    at("d0", 1, "pci0000:80", "d"),
    at("z", None, "platform", "z"),
)
ALL = [each.id for each in MACHINE]


def units(*functions: Function, rule: str = "unit: function") -> tuple[Unit, ...]:
    return offered(f"{{name: fpga.example/a, {rule}}}", *functions).units


@pytest.mark.parametrize(
    ("available", "must", "size", "chosen"),
    [
        (ALL, [], 2, ["a0", "a1"]),
        (ALL, [], 3, ["a0", "a1", "b0"]),
        (["a0", "b0", "c0", "c1"], [], 2, ["a0", "b0"]),
        (["a0", "c0", "c1", "d0"], [], 2, ["c0", "c1"]),
        (["a0", "a1", "c0", "c1", "d0"], ["d0"], 2, ["d0", "c0"]),
        (["a0", "a1", "b0", "c1"], ["b0"], 2, ["b0", "a0"]),
        (["c0", "c1", "c2", "d0"], [], 1, ["d0"]),
        (ALL, [], 99, sorted(ALL)),
        (["new", "a0"], [], 2, ["a0", "new"]),
        (ALL, [], 0, []),
        (ALL, ["a0"], -1, []),
    ],
)
def test_near_ones_are_preferred(available: list[str], must: list[str], size: int, chosen: list[str]) -> None:
    """The same card before the same PCI root before the same NUMA node; the smallest group that has enough."""
    assert prefer(units(*MACHINE), available, must, size) == chosen


def test_cards_of_one_serial_number_are_one() -> None:
    """Both chips of one U30 are nearer than two of different ones."""
    cards = [alveo(number, group=f"S{number % 2}", numa_node=0) for number in range(4)]
    ids = [each.id for each in cards]
    assert prefer(units(*cards), ids, [], 2) == [ids[0], ids[2]]


def test_those_that_exclude_each_other_are_not_preferred_together() -> None:
    """Only one of them could start."""
    shared = [dfl(0), replace(dfl(1), region=dfl(0).region, numa_node=0), replace(dfl(2), numa_node=1)]
    found = units(*shared, rule=program())
    ids = [unit.id for unit in found]
    assert prefer(found, ids, [], 2) == [ids[0], ids[2]]
    assert prefer(found, ids, [ids[1]], 2) == [ids[1], ids[2]]
    assert prefer(found, ids, [], 3) == [ids[0], ids[2], ids[1]]


@given(st.permutations(ALL), st.sets(st.sampled_from(ALL)), st.integers(-1, 10))
def test_every_answer_is_one_that_the_kubelet_takes(order: list[str], must: set[str], size: int) -> None:
    """As many as are asked for or there are, each once, with those that must be; the order of the question changes nothing."""
    found = prefer(units(*MACHINE), order, sorted(must), size)
    assert found == prefer(units(*MACHINE), ALL, sorted(must), size)
    assert len(found) == len(set(found)) == min(max(size, 0), len(ALL))
    assert set(sorted(must)[: max(size, 0)]) <= set(found)
