"""By which ids the kubelet knows what is offered, and what goes together."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor_fpga import pci
from supervisor_fpga.config import Program, Resource
from supervisor_fpga.report import Function
from supervisor_fpga.units import Unit, Whole, claim_of, order, region_of, title, titles, unit_id, wholes
from tests.plugins.fpga.functions import SUM, alveo, dfl, functions, u30, vfio, zynq

KUBELET = re.compile(r"[!-~]{1,63}")
PLAIN = Resource(name="a.io/b")
PROGRAMMED = Resource(name="a.io/b", program=Program("a.bin", SUM))


@pytest.mark.parametrize("name", ["0000:3b:00.0", "0000:3b:00.0/port1", "0000:3b:00.0/region0", "fpga0", "2A0001", "x" * 63])
def test_ids_are_what_people_know(name: str) -> None:
    """Addresses, platform names and serial numbers are not touched."""
    assert unit_id(Whole(name, ()), PLAIN, "a.io/b") == name


@pytest.mark.parametrize(
    ("name", "id_"),
    [
        ("x" * 64, "x" * 54 + ":3ad2ac12"),
        ("two words", "two_words:20dece55"),
        ("b\udcff", "b_:3b10f457"),
    ],
)
def test_ids_that_would_be_none(name: str, id_: str) -> None:
    """What the kubelet would refuse gets a checksum, the same after each restart."""
    assert unit_id(Whole(name, ()), PLAIN, "a.io/b") == id_


def test_ids_of_what_is_programmed() -> None:
    """One for each resource that a region backs, the same whatever others there are."""
    whole = Whole("0000:3b:00.0/region0", ())
    assert unit_id(whole, PROGRAMMED, "a.io/nlb") == "0000:3b:00.0/region0@0294fe1e"
    assert unit_id(whole, PROGRAMMED, "a.io/dma") == "0000:3b:00.0/region0@8f111b33"


@given(st.text(min_size=1, max_size=100), st.sampled_from([PLAIN, PROGRAMMED]))
def test_every_id_is_one_for_the_kubelet(name: str, rule: Resource) -> None:
    """Whatever hardware calls itself."""
    assert KUBELET.fullmatch(unit_id(Whole(name, ()), rule, "a.io/b"))


def test_what_goes_together() -> None:
    """By region, card or serial number."""
    first, second = dfl(id="0000:3b:00.0/port0"), dfl(id="0000:3b:00.0/port1")
    devices = [first, second, zynq()]
    assert [(each.id, len(each.functions)) for each in wholes("function", devices)] == [
        ("0000:3b:00.0/port0", 1),
        ("0000:3b:00.0/port1", 1),
        ("fpga0", 1),
    ]
    assert [(each.id, len(each.functions)) for each in wholes("region", devices)] == [("0000:3b:00.0/region0", 2), ("fpga0", 1)]
    assert [(each.id, len(each.functions)) for each in wholes("card", devices)] == [("0000:3b:00.0", 2), ("fpga0", 1)]
    assert wholes("group", [u30(0), u30(1)]) == (Whole("2A0001", (u30(0), u30(1))),)


@given(st.lists(functions(), max_size=8), st.sampled_from(["function", "region", "card", "group"]))
def test_nothing_is_lost_or_there_twice(found: list[Function], kind: str) -> None:
    """Each function is in one whole; what VFIO ties together is in one, or told to be torn."""
    parts = wholes(kind, found)  # type: ignore[arg-type]  # one of the kinds
    assert sorted(map(id, (each for part in parts for each in part.functions))) == sorted(map(id, found))
    for group in {each.iommu_group for each in found if each.backend == "vfio" and each.iommu_group}:
        holding = [
            part for part in parts if any(each.backend == "vfio" and each.iommu_group == group for each in part.functions)
        ]
        assert len(holding) == 1 or all(part.problem for part in holding)


def test_claims() -> None:
    """Of what is programmed its region, for all that have a part of it; of what looks at the AFU id itself; else nothing."""
    by_afu = Resource(name="a.io/{afu_id}")
    unit = Unit("0000:3b:00.0@1", "a.io/b", PROGRAMMED, (dfl(),))
    assert unit.region == claim_of(unit, ["0000:3b:00.0/region0"]) == "0000:3b:00.0/region0"
    neighbour = Unit("0000:3b:00.0", "a.io/c", PLAIN, (vfio(0), dfl()))
    assert neighbour.region == ""
    assert claim_of(neighbour, ["0000:3b:00.0/region0"]) == "0000:3b:00.0/region0"
    assert claim_of(neighbour, ["0000:3c:00.0/region0"]) == ""
    assert claim_of(Unit("0000:3b:00.0", "a.io/c", by_afu, (dfl(),)), []) == "0000:3b:00.0"
    assert region_of(vfio(0)) == "0000:5e:00.0"


def test_titles() -> None:
    """By the kernel's name and the id; many are cut short."""
    assert title(zynq()) == "fpga0"
    assert titles([dfl(), zynq()]) == "dfl-port.0 (0000:3b:00.0), fpga0"
    assert titles([zynq()] * 9) == "fpga0, fpga0, fpga0, fpga0, fpga0 and 4 more"


def test_functions_are_in_the_order_of_the_bus() -> None:
    """Ports of a card in theirs, and what has no address after all."""
    names = ["0000:09:00.0", "0000:3b:00.0/port2", "0000:3b:00.0/port10", "0000:4f:00.0", "10000:01:00.0", "fpga2", "fpga10"]
    assert [each.id for each in order([alveo(id=name) for name in reversed(names)])] == names


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("3B:0.1", "0000:3b:00.1"),
        (" 10000:e1:1f.7 ", "10000:e1:1f.7"),
        ("3b:00.0/port1", "0000:3b:00.0/port1"),
        ("fpga0", ""),
        ("3b:20.0", ""),
        ("", ""),
    ],
)
def test_addresses_as_people_write_them(text: str, name: str) -> None:
    """Short, in capitals, or with a port."""
    assert pci.normal(text) == name
