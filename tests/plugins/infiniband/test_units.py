"""By which ids the kubelet knows what is offered."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor_infiniband.config import MAX_REPLICAS, Pool
from supervisor_infiniband.units import Unit, base, device_id, pool_id, replica_ids, units_of
from tests.plugins.infiniband.functions import pf, sf, vf

KUBELET = re.compile(r"[!-~]{1,63}")


def test_an_exclusive_device_is_one_unit() -> None:
    """Its id is its own, which is its PCI address or its name on the auxiliary bus."""
    units = units_of(Pool(name="hca"), [pf(), sf(4)])
    assert [replica_ids(unit) for unit in units] == [("0000:3b:00.0",), ("mlx5_core.sf.4",)]
    assert [unit.resource for unit in units] == ["rdma/hca", "rdma/hca"]


def test_a_shared_device_is_as_many_units_as_it_has_replicas() -> None:
    """Even where it is one, the id says that it is a share."""
    (unit,) = units_of(Pool(name="hca", mode="shared", replicas=3), [pf()])
    assert replica_ids(unit) == ("0000:3b:00.0::0", "0000:3b:00.0::1", "0000:3b:00.0::2")
    (unit,) = units_of(Pool(name="hca", mode="shared", replicas=1), [pf()])
    assert replica_ids(unit) == ("0000:3b:00.0::0",)


def test_a_pool_is_one_thing_with_all_devices() -> None:
    """Its ids are made of the resource's name, and outlive each of its devices; without any it has no unit."""
    pool = Pool(name="example.com/all", mode="pool", replicas=2)
    (unit,) = units_of(pool, [pf(), vf(0)])
    assert unit == Unit("example.com.all", pool, (pf(), vf(0)))
    assert replica_ids(unit) == ("example.com.all::0", "example.com.all::1")
    assert units_of(pool, [vf(0)])[0].id == unit.id
    assert units_of(pool, []) == ()


@pytest.mark.parametrize(
    ("kubelet_id", "unit"),
    [
        ("0000:3b:00.0", "0000:3b:00.0"),
        ("0000:3b:00.0::12", "0000:3b:00.0"),
        ("mlx5_core.sf.4::0", "mlx5_core.sf.4"),
        ("rdma.a:01234567::3", "rdma.a:01234567"),
        ("", ""),
        ("::1", "::1"),
    ],
)
def test_the_unit_of_an_id(kubelet_id: str, unit: str) -> None:
    """The number of the replica falls off, and nothing else."""
    assert base(kubelet_id) == unit


@pytest.mark.parametrize(
    "name", ["0000:3b:00.0", "10000:e1:00.7-b8cef60300aa0001", "mlx5_core.sf.4", "guid-b8cef60300aa0001", "x" * 57]
)
def test_ids_are_what_people_know(name: str) -> None:
    """Addresses and names are not touched."""
    assert device_id(name) == name


@pytest.mark.parametrize(
    ("name", "id_"),
    [
        ("x" * 58, "x" * 48 + ":f4903a50"),
        ("a::1", "a_1:ff55f17f"),
        ("two words", "two_words:20dece55"),
        ("b\udcff", "b_:3b10f457"),
    ],
)
def test_ids_that_would_be_none(name: str, id_: str) -> None:
    """What the kubelet would refuse, or what reads as a replica, gets a checksum, the same after each restart."""
    assert device_id(name) == id_


@given(st.text(min_size=1, max_size=100))
def test_every_id_is_one_for_the_kubelet(name: str) -> None:
    """Whatever a bus calls its devices, each replica has an id of 1 to 63 printable characters, and leads back."""
    (unit,) = units_of(Pool(name="hca", mode="shared", replicas=2), [pf(id=name)])
    assert KUBELET.fullmatch(f"{unit.id}::{MAX_REPLICAS - 1}")
    assert base(unit.id) == unit.id
    assert {base(each) for each in replica_ids(unit)} == {unit.id}


LABELS = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,60}[a-z0-9])?", fullmatch=True)
NAMES = st.from_regex(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", fullmatch=True)
RESOURCES = st.builds("{}/{}".format, st.lists(LABELS, min_size=1, max_size=3).map(".".join), NAMES)


@given(st.sets(RESOURCES, max_size=8))
def test_pools_never_share_an_id(resources: set[str]) -> None:
    """Two names are two ids, each of them one that the kubelet takes, with the number of a replica behind it."""
    made = {pool_id(resource) for resource in resources}
    assert len(made) == len(resources)
    assert all(KUBELET.fullmatch(f"{each}::{MAX_REPLICAS - 1}") for each in made)


def test_names_that_would_meet() -> None:
    """A slash becomes a dot, so where a dot stands in the name already a checksum tells which is which."""
    assert pool_id("a.b/c") == "a.b.c"
    assert pool_id("a/b.c").startswith("a.b.c:")
    assert pool_id(f"a/{'b' * 60}")[:57] != pool_id(f"a/{'b' * 61}")[:57]
