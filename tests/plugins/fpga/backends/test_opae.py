"""Intel's cards by the drivers that came with OPAE: the same facts under other names."""

from msgspec import structs

from supervisor_fpga.report import Node
from supervisor_fpga.simulate import changes
from supervisor_fpga.simulate.intel import A10_INTERFACE, NLB0, Card, opae_machine
from supervisor_fpga.simulate.machine import Machine
from tests.plugins.fpga.looks import Plant, by_id, look
from tests.plugins.fpga.machines import CARD, MACHINES, SECOND, VF


def test_a_port_has_all_its_facts(plant: Plant) -> None:
    """As its files have them."""
    (port,) = look(plant, "opae_tree").functions
    assert (port.id, port.card, port.region, port.kind) == (CARD, CARD, f"{CARD}/region0", "pf")
    assert (port.backend, port.name, port.driver) == ("opae", "intel-fpga-port.0", "intel-fpga-pci")
    assert (port.interface_id, port.afu_id, port.shell) == (A10_INTERFACE, NLB0, "0x123000200000185")
    assert port.nodes == (Node("/dev/intel-fpga-port.0", "port"), Node("/dev/intel-fpga-fme.0", "fme"))
    assert (port.programmable, port.resettable, port.problem) == (("dfl-ioctl",), True, "")


def test_sensors_have_files_of_their_own(plant: Plant) -> None:
    """In whole degrees, and in watts, which are hexadecimal."""
    sensors = look(plant, "opae_tree").functions[0].evidence.sensors
    assert [(sensor.kind, sensor.value) for sensor in sensors] == [("temperature", 45.0), ("power", 53.0)]


def test_errors_have_the_names_that_the_kernel_gave_them_later(plant: Plant) -> None:
    """The engine's own ones are a directory deeper here."""
    machine = changes.failing(MACHINES["opae_tree"](), CARD, "port/errors", 1)
    machine = _with(machine, "intel-fpga-fme.0", {"errors/fme-errors/errors": "0x4", "errors/catfatal_errors": "0x2"})
    errors = look(plant, machine).functions[0].evidence.errors
    assert errors == {"port/errors": 1, "fme/fme_errors": 4, "fme/catfatal_errors": 2}


def test_an_empty_interface_id_quarantines_its_function_alone(plant: Plant) -> None:
    """The other card is well."""
    ports = by_id(look(plant, "opae_two_cards"))
    assert (ports[CARD].problem, ports[SECOND].problem) == ("", "the interface id of its region is empty")


def test_a_vf_has_a_port_and_no_engine(plant: Plant) -> None:
    """Where its card is not seen."""
    card = opae_machine((Card(VF, device="09c5"),)).functions[0]
    devices = tuple(device for device in card.devices if "fme" not in device.name)
    (port,) = look(plant, Machine((structs.replace(card, devices=devices),))).functions
    assert (port.id, port.interface_id, port.afu_id, port.problem) == (VF, "", NLB0, "")


def _with(machine: Machine, name: str, attributes: dict[str, object]) -> Machine:
    function = machine.find(name)
    devices = tuple(
        device.with_attributes(attributes) if device.name == name else device for device in function.devices
    )  # fmt: skip
    return machine.with_function(structs.replace(function, devices=devices))
