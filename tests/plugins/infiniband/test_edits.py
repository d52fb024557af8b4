"""What containers get: the character devices of now and no others, CDI devices where they can be resolved, or a refusal with a reason."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import CdiState, ContainerEdits, DeviceNode
from supervisor.allocation import merge
from supervisor_infiniband.config import CharDevice, Pool
from supervisor_infiniband.edits import edits, joint, refusal
from supervisor_infiniband.publishing import Published
from supervisor_infiniband.publishing.device_info import DeviceInfoState, file_name
from supervisor_infiniband.report import RdmaDevice, Report
from supervisor_infiniband.units import units_of
from tests.plugins.infiniband.functions import pf, port, vf

NODES = frozenset({"rdma_cm", "uverbs0", "uverbs1", "uverbs8", "umad0", "issm0", "umad1", "issm1"})
NOTHING = Published()
CDI = "vendor.example/hca"
RESOLVABLE = Published("vendor.example", CdiState(names=frozenset({f"{CDI}=0000:3b:00.0"})))


def report(*devices: RdmaDevice, nodes: frozenset[str] = NODES, simulated: str = "") -> Report:
    return Report(devices, nodes=nodes, simulated=simulated)


def got(pool: Pool, *devices: RdmaDevice, published: Published = NOTHING, **facts: Any) -> ContainerEdits:
    return joint(units_of(pool, devices), report(*devices, **facts), published)


def paths(found: ContainerEdits) -> list[str]:
    return [node.host_path.removeprefix("/dev/infiniband/") for node in found.device_nodes]


def test_uverbs_and_rdma_cm() -> None:
    """By default, read and write, under the names that the host has."""
    found = got(Pool(name="hca"), pf(0))
    assert found.device_nodes == (DeviceNode("/dev/infiniband/uverbs0"), DeviceNode("/dev/infiniband/rdma_cm"))
    assert {node.permissions for node in found.device_nodes} == {"rw"}
    assert (found.mounts, found.annotations, found.cdi_devices) == ((), {}, ())


@pytest.mark.parametrize(
    ("wanted", "given"),
    [
        ((), ["uverbs0"]),
        (("umad",), ["uverbs0", "umad0", "umad1"]),
        (("rdma_cm", "issm"), ["uverbs0", "rdma_cm", "issm0", "issm1"]),
    ],
)
def test_other_nodes_on_request(wanted: tuple[CharDevice, ...], given: list[str]) -> None:
    """Of every port of the device its own, and of no other device."""
    device = pf(0, ports=(port(1, umad="umad0", issm="issm0"), port(2, umad="umad1", issm="issm1")))
    assert paths(got(Pool(name="hca", char_devices=wanted), device)) == given


@given(st.sets(st.sampled_from(sorted(NODES))), st.sets(st.sampled_from(["rdma_cm", "umad", "issm"])))
def test_no_node_that_is_not_there_or_not_asked_for(nodes: set[str], wanted: set[CharDevice]) -> None:
    """A runtime cannot start a container with a node that the host has not."""
    given = set(paths(got(Pool(name="hca", char_devices=tuple(wanted)), pf(0), nodes=frozenset(nodes))))
    assert given <= nodes & {"uverbs0", "umad0", "issm0", "rdma_cm"}
    assert {name.rstrip("0123456789") for name in given} <= {"uverbs", *wanted}


def test_simulated_devices_have_harmless_nodes() -> None:
    """``/dev/null`` under the names that real ones would have, so that a container starts on any host; never a CDI device."""
    found = got(Pool(name="hca", cdi=True), pf(0), simulated="rails-8", published=NOTHING)
    assert found.device_nodes == (
        DeviceNode("/dev/null", "/dev/infiniband/uverbs0"),
        DeviceNode("/dev/null", "/dev/infiniband/rdma_cm"),
    )
    assert found.envs["RDMA_DEVICES"] == "mlx5_0"


def test_a_cdi_device_in_place_of_nodes() -> None:
    """Where it can be resolved; a unit that has none is given by its nodes, in the same container."""
    pool = Pool(name="hca", cdi=True)
    found = got(pool, pf(0), pf(1), published=RESOLVABLE)
    assert found.cdi_devices == (f"{CDI}=0000:3b:00.0",)
    assert paths(found) == ["uverbs1", "rdma_cm"]
    assert found.envs["RDMA_DEVICES"] == "mlx5_0,mlx5_1"
    assert paths(got(pool, pf(0))) == ["uverbs0", "rdma_cm"]
    assert got(Pool(name="hca"), pf(0), published=RESOLVABLE).cdi_devices == ()


def test_replicas_of_one_device() -> None:
    """Two replicas in one container are one device to it."""
    (unit,) = units_of(Pool(name="hca", mode="shared", replicas=2), (pf(0),))
    assert joint((unit, unit), report(pf(0)), NOTHING) == edits(unit, report(pf(0)), NOTHING)


def test_a_whole_pool() -> None:
    """All that can be used, each node once."""
    found = got(Pool(name="hca", mode="pool", replicas=2), pf(0), pf(1), pf(2), pf(3, elsewhere=True, uverbs="uverbs8"))
    assert paths(found) == ["uverbs0", "rdma_cm", "uverbs1"]


@given(st.lists(st.sampled_from([0, 1]), unique=True, min_size=1))
def test_nodes_of_several_units_are_those_of_each(numbers: list[int]) -> None:
    """What the supervisor would merge out of single units, but for the variables."""
    pool, devices = Pool(name="hca", char_devices=("rdma_cm", "umad")), [pf(number) for number in numbers]
    units = units_of(pool, devices)
    merged = merge(edits(unit, report(*devices), NOTHING) for unit in units)
    assert merged.device_nodes == joint(units, report(*devices), NOTHING).device_nodes


def refused(pool: Pool, *devices: RdmaDevice, published: Published = NOTHING, **facts: Any) -> str:
    return refusal(units_of(pool, devices), report(*devices, **facts), published)


def test_what_can_be_had_is_not_refused() -> None:
    """Without rdma_cm, too, which only librdmacm needs, and without nodes that are merely wanted."""
    pool = Pool(name="hca", char_devices=("rdma_cm", "umad", "issm"))
    assert refused(pool, pf(0), pf(1)) == ""
    assert refused(pool, pf(0), nodes=frozenset({"uverbs0"})) == ""


@pytest.mark.parametrize(
    ("device", "why"),
    [
        (pf(0, elsewhere=True), "mlx5_0 (0000:3b:00.0) is in use in another network namespace"),
        (pf(0, uverbs=None), "mlx5_0 (0000:3b:00.0) has no node /dev/infiniband/uverbs*"),
        (pf(0, uverbs="uverbs5"), "mlx5_0 (0000:3b:00.0) has no node /dev/infiniband/uverbs5"),
    ],
)
def test_a_device_that_cannot_be_had_is_refused(device: RdmaDevice, why: str) -> None:
    """With the reason; one of several costs the whole request, since half of it is not what was asked for."""
    assert refused(Pool(name="hca"), device) == why
    assert refused(Pool(name="hca"), pf(1), device) == why


@pytest.mark.parametrize(
    ("kind", "gone", "why"),
    [
        ("rdma_cm", {"rdma_cm"}, "/dev/infiniband/rdma_cm, which is required"),
        ("umad", {"umad0"}, "/dev/infiniband/umad*, which is required"),
        ("issm", {"issm0"}, "/dev/infiniband/issm*, which is required"),
    ],
)
def test_a_required_node_that_is_not_there(kind: CharDevice, gone: set[str], why: str) -> None:
    """It was asked for."""
    pool = Pool(name="hca", char_devices=(kind,), require=(kind,))
    assert refused(pool, pf(0)) == ""
    assert refused(pool, pf(0), nodes=NODES - gone) == f"mlx5_0 (0000:3b:00.0) has no node {why}"


def test_a_whole_pool_is_refused_when_nothing_of_it_is_left() -> None:
    """One that can be used is enough."""
    pool = Pool(name="hca", mode="pool", replicas=2)
    assert refused(pool, pf(0), pf(1, elsewhere=True)) == ""
    assert "mlx5_0" in refused(pool, pf(0, uverbs=None), pf(1, elsewhere=True))


def test_without_its_device_info_file_a_device_is_refused() -> None:
    """The CNI plugin would fail, after the pod has been told that all is well; of simulated devices there is none."""
    pool = Pool(name="vf", device_info=True)
    broken = Published(device_info=DeviceInfoState("/dp", problem="device-info files cannot be written: /dp is not there"))
    assert refused(pool, vf(0), published=broken) == "device-info files cannot be written: /dp is not there"
    assert refused(Pool(name="vf"), vf(0), published=broken) == ""
    assert refused(pool, vf(0), published=broken, simulated="roce-16-vfs") == ""
    name = file_name("rdma/vf", "0000:3b:01.0")
    assert refused(pool, vf(0), published=Published(device_info=DeviceInfoState("/dp"))) == f"/dp/{name} is not written yet"
    assert refused(pool, vf(0), published=Published(device_info=DeviceInfoState("/dp", frozenset({name})))) == ""
