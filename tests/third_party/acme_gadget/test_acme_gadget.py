"""How an author tests the gadgets: on a machine made of files, then against a kubelet."""

import os
from pathlib import Path

import pytest
from acme_gadget import RESOURCE, Config, Gadgets

from supervisor import Leftover, Sample
from supervisor.testing import FakeHost, FakeMemory, KubeletSimulator, Supervise, check_plugin


@pytest.fixture
def machine(fake_host: FakeHost) -> FakeHost:
    """Two gadgets on one board, and the driver's pipe of events."""
    for name, serial in (("gadget0", "A-0"), ("gadget1", "A-1")):
        attributes = {"serial": serial, "status": "ok", "numa_node": "0", "reset": ""}
        fake_host.add_device("acme", name, attributes, node=name)
    os.mkfifo(fake_host.path("/dev/acme-events"))
    return fake_host


def test_the_contract(machine: FakeHost) -> None:
    """The gadgets keep every promise that a plugin makes."""
    report = check_plugin(Gadgets(Config(reset_at_start=True), machine.host, FakeMemory()))
    assert report.problems == (), report
    assert report.devices == {RESOURCE: 2}


def test_a_fault_is_the_devices_reason(machine: FakeHost) -> None:
    """What the driver says is what the operator reads."""
    machine.write("/sys/class/acme/gadget0/status", "overheated\n")
    first, second = Gadgets(Config(), machine.host, FakeMemory()).discover()[RESOURCE]
    assert (first.healthy, first.reason) == (False, "the driver reports overheated")
    assert second.healthy


def test_a_restart_forgets_no_fault(machine: FakeHost) -> None:
    """The next process goes on counting, and does not count a fault twice."""
    memory = FakeMemory()
    machine.write("/sys/class/acme/gadget0/status", "overheated\n")
    Gadgets(Config(), machine.host, memory).discover()
    successor = Gadgets(Config(), machine.host, memory)
    successor.take_over()
    successor.discover()
    assert successor.collect_metrics()[0].samples == (Sample({"gadget": "A-0"}, 1), Sample({"gadget": "A-1"}, 0))


def test_the_list_stays_while_a_gadget_is_held(machine: FakeHost, tmp_path: Path) -> None:
    """Only the owner writes it; a process without its configuration still knows where it is, and who needs it."""
    memory, file = FakeMemory(), tmp_path / "gadgets"
    gadgets = Gadgets(Config(list_file=str(file)), machine.host, memory)
    gadgets.discover()
    assert not file.exists()
    gadgets.take_over()
    gadgets.discover()
    assert file.read_text().split() == ["A-0", "A-1"]
    later = Gadgets(Config(), machine.host, memory)
    assert later.leftovers({RESOURCE: ("A-1",), "acme.example/board": ("A",)}) == [Leftover(str(file), ("A-1",))]


def test_a_pod_gets_its_gadget(machine: FakeHost, kubelet: KubeletSimulator, supervised: Supervise) -> None:
    """The whole way: entry point, registration, pod; then a fault and the driver's event."""
    supervised({"acme-gadget": {}}, machine.host)
    kubelet.wait_devices(RESOURCE, {"A-0": "Healthy", "A-1": "Healthy"})
    pod = kubelet.add_pod("first", {RESOURCE: 2})
    assert pod.admitted, pod.message
    machine.write("/sys/class/acme/gadget0/status", "overheated\n")
    machine.path("/dev/acme-events").write_text("fault")
    kubelet.wait_devices(RESOURCE, {"A-0": "Unhealthy", "A-1": "Healthy"})
