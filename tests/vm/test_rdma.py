"""The InfiniBand plugin on Debian's kernel: devices that the kernel makes itself, its uevents, and udevd."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vm.guest import Guest
from tests.vm.kernel import build_module

pytestmark = [
    pytest.mark.requires("qemu", "patience"),
    pytest.mark.slow,
    pytest.mark.checkout,
    pytest.mark.timeout(420),
]

HCA = Path(__file__).parent / "hca"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """One machine for all tests, with a function for the RDMA device that moves."""
    module = build_module(HCA, tmp_path_factory.mktemp("module") / HCA.name)
    with Guest("tests.vm.rdma", devices=["edu"], files=[module]) as guest:
        yield guest


def test_a_machine_without_rdma(machine: Guest) -> None:
    """The resource is there, with no device, and it is said which module is not."""
    assert "ib_core is not loaded" in machine.told("empty")["status"]


def test_a_soft_roce_device_is_found(machine: Guest) -> None:
    """By the kernel's events alone, with its GUID as its id since it has no function."""
    found = machine.told("found")
    assert found["devices"] == {found["device"]: "Healthy"}
    assert found["device"].startswith("guid-")
    assert found["uevents"]["infiniband"] >= 1
    assert found["uevents"]["infiniband_verbs"] >= 1


def test_its_own_nodes_can_be_opened(machine: Guest) -> None:
    """What a container gets are devices of the kernel, the one for verbs among them."""
    allocated = machine.told("allocated")
    nodes = allocated["nodes"]
    assert set(nodes) == {"/dev/infiniband/uverbs0", "/dev/infiniband/umad0", "/dev/infiniband/rdma_cm"}
    assert nodes["/dev/infiniband/uverbs0"] == "231:192"
    assert all(numbers.replace(":", "").isdecimal() for numbers in nodes.values())
    assert allocated["envs"]["RDMA_DEVICES"] == "rxe0"
    assert '"netdevs":["eth9"]' in allocated["envs"]["RDMA_DEVICE_INFO"].replace(" ", "")


def test_a_port_goes_down_and_comes_back(machine: Guest) -> None:
    """No uevent tells of it; rtnetlink does, for this is the network namespace of the host."""
    down = machine.told("down")
    assert [*down["devices"].values()] == ["Unhealthy"]
    assert "DOWN" in down["status"]
    assert "rtnetlink" not in down["status"]  # no notice that it cannot be heard
    assert down["uevents"] == down["before"]
    assert [*machine.told("up")["devices"].values()] == ["Healthy"]


def test_a_deleted_device_stays_listed_while_it_is_held(machine: Guest) -> None:
    """Its pod may still run."""
    assert [*machine.told("deleted")["devices"].values()] == ["Unhealthy"]


def test_a_device_of_a_function(machine: Guest) -> None:
    """Its address is its id, whatever its name, and the state of its port is asked of its driver."""
    assert machine.told("plugged")["device"] == "0000:00:03.0"
    renamed = machine.told("renamed")
    assert renamed["names"] == ["storage0"]
    assert renamed["devices"]["0000:00:03.0"] == "Healthy"
    down = machine.told("silently down")
    assert down["devices"]["0000:00:03.0"] == "Unhealthy"
    assert down["uevents"] == down["before"]


def test_a_device_in_another_network_namespace(machine: Guest) -> None:
    """The kernel shows its node for verbs on; it stays listed, is given to nobody else, and comes back when the namespace ends."""
    moved = machine.told("moved")
    assert moved["names"] == []
    assert len(moved["nodes"]) == 1
    assert moved["devices"]["0000:00:03.0"] == "Healthy"
    assert "another network namespace" in moved["refused"]
    assert machine.told("returned")["devices"]["0000:00:03.0"] == "Healthy"


def test_what_nobody_holds_is_dropped_at_last(machine: Guest) -> None:
    """When the kubelet has been seen to hold it no more, for long enough."""
    assert machine.told("gone")["devices"] == {}
