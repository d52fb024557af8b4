"""What a person is told who asks for an RDMA device by any of its names."""

import pytest

from supervisor_infiniband.explaining import explain
from supervisor_infiniband.health import Verdict
from supervisor_infiniband.report import RdmaDevice, Report
from supervisor_infiniband.rules import offer
from supervisor_infiniband.units import Unit
from tests.plugins.infiniband.functions import DOWN, config_of, guid, pf, port, rxe, sf, vf

RESOURCES = """
resources:
  - {name: vf, match: [{kind: [vf]}]}
  - {name: shared, mode: shared, replicas: 4, match: [{name: [mlx5_1]}]}
  - {name: all, mode: pool, replicas: 100, charDevices: [], match: [{kind: [sf]}]}
  - {name: intel, match: [{vendor: ['8086']}]}
"""


def well(unit: Unit) -> Verdict:
    return Verdict(healthy=True, state="Healthy")


def told(text: str, *devices: RdmaDevice, **facts: object) -> list[str]:
    report = Report(devices, **facts)  # type: ignore[arg-type]  # any field of a report
    return list(explain(text, report, offer(report, config_of(RESOURCES)), well))


@pytest.mark.parametrize(
    "text",
    [
        "0000:3b:00.1",
        "0000:3B:00.1",
        "3b:00.1",
        "0000:3b:00.1::3",
        " mlx5_1 ",
        "ib1",
        "uverbs1",
        "/dev/infiniband/uverbs1",
        "/dev/infiniband/umad1",
        "/dev/infiniband/issm1",
        guid(1),
        guid(1).replace(":", ""),
        f"0x{guid(0x101).replace(':', '').upper()}",
    ],
)
def test_a_device_by_any_of_its_names(text: str) -> None:
    """All that the kernel, the kubelet and people call it lead to the same sentences."""
    device = pf(1, vfs=2, firmware="9")
    neighbour = pf(0, ports=(port(interface="ib0", guid=guid(0x200)),))
    assert told(text, neighbour, device, vf(0, 1, ports=(), node_guid=guid(0x300))) == [
        "mlx5_1 (0000:3b:00.1): a physical function with 2 virtual ones, 15b3:101b, driver mlx5_core, firmware 9, NUMA node 1, uverbs1",
        f"port 1: ACTIVE (LINK_UP), InfiniBand, 200 Gb/s, ib1, GUID {guid(0x101)}, umad1, issm1",
        "rdma/vf refuses it: kind pf is not vf",
        "rdma/shared takes it: name mlx5_1",
        "rdma/shared offers it (shared), by the ids 0000:3b:00.1::0 to 0000:3b:00.1::3",
        "0000:3b:00.1 is healthy",
    ]


def test_a_device_that_nobody_takes() -> None:
    """Each rule has its word, and a port that is down shows no rate."""
    assert told("mlx5_0", pf(ports=(port(link=DOWN, interface="", guid=""),), uverbs=None, numa_node=None)) == [
        "mlx5_0 (0000:3b:00.0): a physical function, 15b3:101b, driver mlx5_core, firmware 20.31.1014, no uverbs",
        "port 1: DOWN (POLLING), InfiniBand, no interface seen",
        "rdma/vf refuses it: kind pf is not vf",
        "rdma/shared refuses it: name mlx5_0 is not mlx5_1",
        "rdma/all refuses it: kind pf is not sf",
        "rdma/intel refuses it: vendor 15b3 is not 8086",
    ]


@pytest.mark.parametrize(
    ("device", "function"),
    [
        (vf(5), "virtual function 5 of 0000:3b:00.0, ens1f0"),
        (vf(5, pf="", pf_netdevs=()), "virtual function 5 of a function that is not seen"),
        (sf(88), "sub-function 88 of 0000:3b:00.0, ens1f0"),
        (rxe(), "of no bus"),
    ],
)
def test_what_a_device_is(device: RdmaDevice, function: str) -> None:
    """VFs and SFs are told with their parent; soft RoCE has none."""
    assert told(device.name, device)[0].startswith(f"{device.name} ({device.id}): {function}, ")


def test_an_id_of_a_pool() -> None:
    """It means all devices, which are told by their titles; a device of a pool is told with the others."""
    pooled = (
        "rdma/all offers mlx5_44 (mlx5_core.sf.4), mlx5_45 (mlx5_core.sf.5) together, by the ids rdma.all::0 to rdma.all::99"
    )
    assert told("rdma.all::7", sf(4), sf(5)) == [pooled, "rdma.all is healthy"]
    assert told("mlx5_core.sf.5", sf(4), sf(5))[-2:] == [pooled, "rdma.all is healthy"]


def test_an_id_that_is_none_of_these() -> None:
    """A replica of before, when there were more, is told to be one."""
    gone = "0000:3b:00.1::4 is none of these: it was offered by another configuration, if ever"
    assert gone in told("0000:3b:00.1::4", pf(1))
    assert "rdma.all::100 is none of these" in told("rdma.all::100", sf(4))[1]


def test_the_address_of_a_pf_is_none_of_its_sfs() -> None:
    """Each of them has a name of its own, though the address is where it hangs."""
    assert [line for line in told("0000:3b:00.0", pf(), sf(4)) if line.startswith("mlx5_4")] == []


def test_what_is_no_end_point() -> None:
    """A name that the look has refused has its reason."""
    assert told("smi1", pf(), refused={"smi1": "it is no end point"}) == ["smi1 is not offered: it is no end point"]


def test_the_communication_manager() -> None:
    """One node for all devices: who gets it, and whether it is there."""
    assert told("/dev/infiniband/rdma_cm", pf(1), sf(4), nodes=frozenset({"rdma_cm"})) == [
        "/dev/infiniband/rdma_cm is one for the whole node; wanted by rdma/shared"
    ]
    assert told("rdma_cm") == [
        "/dev/infiniband/rdma_cm is not there, as without the module rdma_ucm; wanted by no resource that has devices"
    ]


def test_the_verdict_is_told_in_full() -> None:
    """With its reason, and with what does not count."""
    report = Report((vf(0),))
    verdict = Verdict(healthy=False, state="PortDown", reason="PortDown: port 1 is DOWN", shown=("its GUID is zero",))
    assert list(explain("mlx5_8", report, offer(report, config_of(RESOURCES)), lambda _: verdict))[-2:] == [
        "0000:3b:01.0 is not healthy: PortDown: port 1 is DOWN",
        "its GUID is zero",
    ]


@pytest.mark.parametrize("text", ["", "/dev/infiniband/", "mlx5_9", "uverbs9", "::1", "0000:3b:00.9", "0x", "banana"])
def test_nothing_is_known_of_what_is_not_there(text: str) -> None:
    """No sentence, so that the core can say that nobody knows it, even where a device lacks facts."""
    assert told(text, pf(), RdmaDevice("guid-1", "rxe0", "virtual")) == []
