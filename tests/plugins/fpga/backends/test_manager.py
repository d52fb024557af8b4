"""Embedded FPGAs: what their managers say, and the nodes of the fabric's drivers."""

import pytest
from msgspec import structs

from supervisor_fpga.report import Function, Node
from supervisor_fpga.simulate.embedded import STATES, Fabric, embedded_machine
from supervisor_fpga.simulate.machine import Device, Machine
from supervisor_fpga.simulate.machine import Function as Simulated
from supervisor_fpga.simulate.machine import Node as SimulatedNode
from tests.plugins.fpga.looks import Plant, by_id, look
from tests.plugins.fpga.machines import MACHINES, spoilt


def only(plant: Plant, machine: str | Machine) -> Function:
    """The one function of a machine."""
    (found,) = look(plant, machine).functions
    return found


@pytest.mark.parametrize("state", STATES)
def test_the_state_is_told_as_it_is(plant: Plant, state: str) -> None:
    """With what went wrong, line by line."""
    evidence = only(plant, f"zynq {state}").evidence
    assert evidence.state == state
    assert evidence.status == (("reconfig CRC error",) if state.endswith("error") else ())


def test_a_fabric_has_all_its_facts(plant: Plant) -> None:
    """It is a region of its own; what is programmed, nothing says."""
    fabric = only(plant, "zynqmp")
    assert (fabric.id, fabric.name, fabric.region, fabric.kind, fabric.pci) == ("fpga0", "fpga0", "fpga0", "platform", "")
    assert (fabric.driver, fabric.shell) == ("zynqmp_fpga_manager", "Xilinx ZynqMP FPGA Manager")
    assert (fabric.interface_id, fabric.afu_id, fabric.resettable, fabric.problem) == ("", "", False, "")
    assert fabric.nodes == (Node("/dev/dri/renderD128", "user"),)
    assert fabric.evidence.bridges == {"br0": "enabled"}


def test_files_can_be_loaded_by_vendors_kernels_alone(plant: Plant) -> None:
    """``fpgad`` finds a way with any."""
    assert only(plant, "zynqmp").programmable == ("fpgad",)
    assert only(plant, "kria").programmable == ("fpga-manager", "fpgad")


def test_a_closed_bridge_is_told(plant: Plant) -> None:
    """The fabric is cut off."""
    assert only(plant, "zynqmp_bridge_disabled").evidence.bridges == {"br0": "disabled"}


def test_a_manager_needs_nothing_else(plant: Plant) -> None:
    """No region, no bridge, no node."""
    fabric = only(plant, "manager_without_region")
    assert (fabric.nodes, fabric.evidence.bridges, fabric.problem) == ((), {}, "")


def test_nodes_below_a_region_belong_to_the_fabric(plant: Plant) -> None:
    """Others of the same sort do not."""
    machine = embedded_machine(Fabric(render=None))
    region = next(device.path for device in machine.devices() if device.name == "fpga-region0")
    uio = [(f"{region}/a0000000.adder/uio/uio0", 0), ("platform/ff000000.serial/uio/uio1", 1)]
    devices = tuple(Device(path, "class/uio", node=SimulatedNode(f"uio{at}", 237, at)) for path, at in uio)
    assert only(plant, structs.replace(machine, common=devices)).nodes == (Node("/dev/uio0", "user"),)


def test_of_several_managers_each_has_what_is_certain(plant: Plant) -> None:
    """Nobody says to which of them a bridge elsewhere belongs."""
    second = Fabric(index=1, platform="platform/soc/ff900000.fpga", driver="stratix10-soc", state="write error", render=None)
    fabrics = by_id(look(plant, embedded_machine(Fabric(), second)))
    assert {name: fabric.evidence.state for name, fabric in fabrics.items()} == {"fpga0": "operating", "fpga1": "write error"}
    assert [fabric.evidence.bridges for fabric in fabrics.values()] == [{}, {}]
    assert [fabric.nodes for fabric in fabrics.values()] == [(), ()]


def test_a_manager_on_a_card_has_its_address(plant: Plant) -> None:
    """Its number in the kernel may be another after a reboot."""
    address = "0000:05:00.0"
    card = Device(
        f"pci0000:00/{address}", "bus/pci", {"vendor": "0x1172", "device": "0x0100", "class": "0x120000"}, "altera-cvp"
    )
    manager = Device(f"{card.path}/fpga_manager/fpga3", "class/fpga_manager", {"name": "Altera CvP", "state": "operating"})
    fabric = only(plant, Machine((Simulated(address, (card, manager)),)))
    assert (fabric.id, fabric.name, fabric.card, fabric.pci, fabric.kind) == (address, "fpga3", address, address, "pf")
    assert (fabric.vendor, fabric.device, fabric.driver) == ("1172", "0100", "altera-cvp")


def test_an_odd_interface_id_quarantines_the_fabric(plant: Plant) -> None:
    """Most say none, which is none of that."""
    machine = MACHINES["zynqmp"]()
    path = next(device for device in machine.devices() if device.home == "class/fpga_region").name
    odd = spoilt(machine, "fpga0", {f"{path}/compat_id": b"what?\n"})
    assert "'what?', which is no id" in only(plant, odd).problem


def test_the_managers_of_dfl_cards_are_none(plant: Plant) -> None:
    """They are read with their card."""
    assert {function.backend for function in look(plant, "dfl_two_cards").functions} == {"dfl"}
