"""What containers are told of their devices: lists that go in step, and hints that are right or left out."""

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from supervisor_infiniband.config import Hints, Pool
from supervisor_infiniband.environment import best_gid_index, notices, pcidevice, variables
from supervisor_infiniband.report import Gid, Port, RdmaDevice, Report
from supervisor_infiniband.units import units_of
from tests.plugins.infiniband.functions import ACTIVE, DOWN, pf, port, vf

LINK_LOCAL = "fe80:0000:0000:0000:ba59:9fff:fe0a:0001"
GLOBAL = "2001:0db8:0000:0000:0000:0000:0000:0001"
UNIQUE_LOCAL = "fd00:0000:0000:0000:0000:0000:0000:0001"
IPV4 = "0000:0000:0000:0000:0000:ffff:0a00:0001"
IPV4_LINK_LOCAL = "0000:0000:0000:0000:0000:ffff:a9fe:0001"
NOBODY = "0000:0000:0000:0000:0000:0000:0000:0000"

NODES = frozenset({"rdma_cm", *(f"{kind}{number}" for kind in ("uverbs", "umad", "issm") for number in range(40))})
EXCLUSIVE = Pool(name="hca")


def told(pool: Pool, *devices: RdmaDevice) -> Mapping[str, str]:
    return variables(units_of(pool, devices), Report(devices, nodes=NODES))


def roce(number: int = 1, *gids: str, first: int = 0, **facts: Any) -> Port:
    """A port with these RoCE v2 GIDs, each behind the same one of RoCE v1."""
    pairs = ((index, gid, kind) for index, gid in enumerate(gids) for kind in ("IB/RoCE v1", "RoCE v2"))
    table = tuple(Gid(first + 2 * index + (kind == "RoCE v2"), gid, kind, "ens1f0") for index, gid, kind in pairs)
    return replace(port(number, link_layer="Ethernet", interface="ens1f0", **facts), gids=table)


def test_names_and_ids_go_in_step() -> None:
    """In the order asked, whatever the devices are called."""
    found = told(EXCLUSIVE, pf(1), pf(0))
    assert found["RDMA_DEVICES"] == "mlx5_1,mlx5_0"
    assert found["PCIDEVICE_RDMA_HCA"] == "0000:3b:00.1,0000:3b:00.0"
    assert [each["id"] for each in json.loads(found["RDMA_DEVICE_INFO"])] == ["0000:3b:00.1", "0000:3b:00.0"]
    assert set(found) == {"RDMA_DEVICES", "PCIDEVICE_RDMA_HCA", "RDMA_DEVICE_INFO"}


def test_all_about_a_device() -> None:
    """Its place, its GUID, its end points, and its nodes in the container."""
    (found,) = json.loads(told(EXCLUSIVE, pf(1, ports=(roce(1, LINK_LOCAL, IPV4), port(2, DOWN, ""))))["RDMA_DEVICE_INFO"])
    assert found == {
        "id": "0000:3b:00.1",
        "name": "mlx5_1",
        "pci": "0000:3b:00.1",
        "numaNode": 1,
        "nodeGuid": "b8ce:f603:00aa:0001",
        "ports": [
            {
                "number": 1,
                "linkLayer": "Ethernet",
                "guid": "b8ce:f603:00aa:0101",
                "netdevs": ["ens1f0"],
                "gidIndex": 3,
                "rate": 200.0,
            },
            {
                "number": 2,
                "linkLayer": "InfiniBand",
                "guid": "b8ce:f603:00aa:0102",
                "netdevs": [],
                "gidIndex": None,
                "rate": None,
            },
        ],
        "nodes": ["/dev/infiniband/uverbs1", "/dev/infiniband/rdma_cm"],
    }


def test_only_end_points_are_told() -> None:
    """A port without GIDs carries no traffic."""
    device = pf(0, ports=(replace(port(1), gids=()), port(2)))
    (found,) = json.loads(told(EXCLUSIVE, device)["RDMA_DEVICE_INFO"])
    assert [each["number"] for each in found["ports"]] == [2]
    assert told(Pool(name="hca", hints=Hints(ucx=True)), device)["UCX_NET_DEVICES"] == "mlx5_0:2"


def test_replicas_of_one_device_are_one_device() -> None:
    """A container with two replicas of an HCA has one HCA."""
    (unit,) = units_of(Pool(name="hca", mode="shared", replicas=4), (pf(0),))
    assert variables((unit, unit), Report(nodes=NODES))["RDMA_DEVICES"] == "mlx5_0"


def test_a_whole_pool_is_told_without_what_cannot_be_used() -> None:
    """A device that has moved into a pod, or has no node, costs nobody the others."""
    pool = Pool(name="all", mode="pool", replicas=3)
    devices = (pf(0), pf(1, elsewhere=True), pf(2, uverbs=None), pf(3, uverbs="uverbs77"), pf(4))
    assert told(pool, *devices)["RDMA_DEVICES"] == "mlx5_0,mlx5_4"


@pytest.mark.parametrize(
    ("resource", "name"),
    [
        ("rdma/hca", "PCIDEVICE_RDMA_HCA"),
        ("mellanox.com/mlnx_sriov", "PCIDEVICE_MELLANOX_COM_MLNX_SRIOV"),
        ("a-b.example/hca-x.1", "PCIDEVICE_A_B_EXAMPLE_HCA_X_1"),
    ],
)
def test_the_variable_of_a_resource(resource: str, name: str) -> None:
    """As others have it; what a shell cannot read is an underscore."""
    assert pcidevice(resource) == name


def test_more_about_devices_as_others_tell_it() -> None:
    """On request, and with the nodes that the container gets."""
    pool = Pool(name="vf", pcidevice_info=True, char_devices=("rdma_cm", "umad", "issm"))
    device = vf(2, ports=(port(1, umad="umad3", issm="issm3"), port(2, umad="umad4", issm="issm4")))
    assert json.loads(told(pool, device)["PCIDEVICE_RDMA_VF_INFO"]) == {
        "0000:3b:01.2": {
            "generic": {"deviceID": "0000:3b:01.2"},
            "rdma": {
                "uverbs": "/dev/infiniband/uverbs10",
                "rdma_cm": "/dev/infiniband/rdma_cm",
                "umad": "/dev/infiniband/umad3",
                "issm": "/dev/infiniband/issm3",
                "rdma_dev": "mlx5_10",
            },
        }
    }


@pytest.mark.parametrize(
    ("gids", "index"),
    [
        ((), None),
        ((LINK_LOCAL,), 1),
        ((LINK_LOCAL, GLOBAL), 3),
        ((LINK_LOCAL, GLOBAL, IPV4), 5),
        ((IPV4, GLOBAL, IPV4), 1),
        ((UNIQUE_LOCAL, LINK_LOCAL), 1),
        ((IPV4_LINK_LOCAL, GLOBAL), 3),
        ((NOBODY, "ff02:0000:0000:0000:0000:0000:0000:0001", "garbage", IPV4.replace("0a00:0001", "0000:0000")), None),
    ],
)
def test_the_best_gid(gids: tuple[str, ...], index: int | None) -> None:
    """The one that reaches furthest, of those the lowest; never RoCE v1."""
    assert best_gid_index(roce(1, *gids)) == index


def test_infiniband_has_no_gid_to_choose() -> None:
    """Its GIDs are of no kind of RoCE."""
    assert best_gid_index(port()) is None


@given(st.permutations([LINK_LOCAL, GLOBAL, IPV4, UNIQUE_LOCAL, NOBODY]))
def test_the_best_gid_is_of_the_same_address_wherever_it_stands(gids: list[str]) -> None:
    """An order by reach, not by luck."""
    found = roce(1, *gids)
    assert next(gid.gid for gid in found.gids if gid.index == best_gid_index(found)) == IPV4


NCCL = Pool(name="hca", hints=Hints(nccl=True, ucx=True))


def test_hints() -> None:
    """Exact names, since NCCL takes others for beginnings; ports that are down, too, but behind those that are up."""
    found = told(NCCL, pf(0, ports=(port(1, DOWN), port(2, ACTIVE))), pf(10))
    assert found["NCCL_IB_HCA"] == "=mlx5_0:2,mlx5_0:1,mlx5_10:1"
    assert found["UCX_NET_DEVICES"] == "mlx5_0:2,mlx5_0:1,mlx5_10:1"
    assert "NCCL_IB_GID_INDEX" not in found


@pytest.mark.parametrize(
    ("ports", "index"),
    [
        ((roce(1, IPV4), roce(1, IPV4)), "1"),
        ((roce(1, IPV4), port(1)), "1"),
        ((roce(1, IPV4), roce(1, LINK_LOCAL, IPV4)), None),
        ((roce(1, IPV4), roce(1, "garbage")), None),
        ((port(1), port(1)), None),
    ],
)
def test_the_hint_of_a_gid_index(ports: tuple[Port, Port], index: str | None) -> None:
    """Only one that is right for every RoCE port; InfiniBand does not ask it."""
    found = told(NCCL, *(pf(at, ports=(each,)) for at, each in enumerate(ports)))
    assert found.get("NCCL_IB_GID_INDEX") == index


def test_without_an_end_point_there_are_no_hints() -> None:
    """An empty list would mean all, or none."""
    assert not {"NCCL_IB_HCA", "UCX_NET_DEVICES"} & set(told(NCCL, pf(0, ports=())))


def test_a_variable_that_no_program_could_be_started_with_is_left_out() -> None:
    """The others are there, and it is said which is not."""
    units = units_of(Pool(name="all", mode="pool", replicas=1), tuple(vf(index, ports=(roce(1, IPV4),)) for index in range(30)))
    many = units_of(units[0].pool, [replace(each, id=f"{each.id}-{n}") for n in range(5) for each in units[0].devices])
    report = Report(nodes=NODES)
    assert list(notices(units, report)) == []
    assert list(notices(many, report)) == ["containers with rdma/all are not given RDMA_DEVICE_INFO: it would be too long"]
    assert variables(many, report).keys() == {"RDMA_DEVICES", "PCIDEVICE_RDMA_ALL"}


def test_a_name_that_is_too_long_is_left_out() -> None:
    """Resource names may be longer than names of variables."""
    name = f"{'.'.join(['d' * 60] * 4)}/{'n' * 63}"
    assert set(told(Pool(name=name), pf(0))) == {"RDMA_DEVICES", "RDMA_DEVICE_INFO"}


@given(st.lists(st.integers(0, 9), unique=True, min_size=1), st.sampled_from([EXCLUSIVE, NCCL]))
def test_lists_go_in_step_whatever_is_asked(numbers: list[int], pool: Pool) -> None:
    """By position, a name, an id and an object of one device; and every name of a variable is one that a shell can read."""
    found = told(pool, *(pf(number) for number in numbers))
    info = json.loads(found["RDMA_DEVICE_INFO"])
    assert found["RDMA_DEVICES"].split(",") == [each["name"] for each in info] == [f"mlx5_{number}" for number in numbers]
    assert found["PCIDEVICE_RDMA_HCA"].split(",") == [each["id"] for each in info]
    assert all(re.fullmatch(r"[A-Z_][A-Z0-9_]*", name) for name in found)
