"""Intel's cards by the kernel's own drivers: each port is found as what it is, and an odd one costs nobody else anything."""

import pytest
from msgspec import structs

from supervisor import Trouble
from supervisor_fpga.report import Node
from supervisor_fpga.simulate import changes
from supervisor_fpga.simulate.intel import A10_INTERFACE, ALL_ONES, NLB0, NLB3, Card, dfl_machine
from supervisor_fpga.simulate.machine import Machine
from tests.plugins.fpga.looks import Plant, by_id, look
from tests.plugins.fpga.machines import CARD, MACHINES, SECOND, VF, spoilt


def test_a_port_has_all_its_facts(plant: Plant) -> None:
    """As its files have them."""
    (port,) = look(plant, "dfl_a10").functions
    assert (port.id, port.pci, port.card, port.region) == (CARD, CARD, CARD, f"{CARD}/region0")
    assert (port.backend, port.name, port.kind, port.driver) == ("dfl", "dfl-port.0", "pf", "dfl-pci")
    assert (port.vendor, port.device, port.numa_node) == ("8086", "09c4", 0)
    assert (port.interface_id, port.afu_id, port.shell) == (A10_INTERFACE, NLB0, "0x2300011001030f")
    assert port.nodes == (Node("/dev/dfl-port.0", "port"), Node("/dev/dfl-fme.0", "fme"))
    assert (port.programmable, port.resettable, port.waiting_for, port.problem) == (("dfl-ioctl",), True, "", "")
    assert port.path.endswith("/dfl-port.0")


def test_a_sound_card_speaks_for_its_health(plant: Plant) -> None:
    """The kernel's manager of these cards always says "unknown" before something is programmed."""
    evidence = look(plant, "dfl_a10").functions[0].evidence
    assert (evidence.state, evidence.status, evidence.errors, evidence.power_state) == ("unknown", (), {}, 0)
    assert list(evidence.bridges.values()) == ["enabled"]
    readings = {sensor.kind: (sensor.value, sensor.limit, sensor.alarm) for sensor in evidence.sensors}
    assert readings == {"temperature": (45.0, 95.0, False), "power": (25.0, 60.0, False)}
    assert evidence.pci_link is not None
    assert evidence.pci_link.width == evidence.pci_link.max_width


def test_several_ports_are_told_apart_by_their_number(plant: Plant) -> None:
    """Each with the region and the bridge of its own; their kernel names count over all cards."""
    ports = by_id(look(plant, dfl_machine((Card(CARD), Card(SECOND, afus=(NLB3, NLB0))))))
    assert {name: port.name for name, port in ports.items()} == {
        CARD: "dfl-port.0",
        f"{SECOND}/port0": "dfl-port.1",
        f"{SECOND}/port1": "dfl-port.2",
    }
    assert [port.region for port in ports.values()] == [f"{CARD}/region0", f"{SECOND}/region0", f"{SECOND}/region1"]
    assert [tuple(port.evidence.bridges) for port in ports.values()] == [("br0",), ("br1",), ("br2",)]


def test_an_id_outlives_the_release_of_another_port(plant: Plant) -> None:
    """The card still has two, of which one is nowhere."""
    report = look(plant, dfl_machine((Card(CARD, afus=(None, NLB3)),)))
    assert [port.id for port in report.functions] == [f"{CARD}/port1"]
    assert report.notices == (f"{CARD}: 1 of its 2 ports belong to no function: they are released",)


def test_a_card_without_ports_is_refused(plant: Plant) -> None:
    """Its only port is released, and no VF has it."""
    report = look(plant, "dfl_released_port")
    assert report.functions == ()
    assert "no virtual function has them" in report.refused[CARD]


def test_a_vf_is_programmed_in_the_region_of_its_card(plant: Plant) -> None:
    """Engine, interface id, sensors and link are the card's."""
    report = look(plant, "dfl_vf_of_card")
    (port,) = report.functions
    assert (port.id, port.kind, port.card, port.region) == (VF, "vf", CARD, f"{CARD}/region0")
    assert (port.interface_id, [node.role for node in port.nodes]) == (A10_INTERFACE, ["port", "fme"])
    assert port.evidence.pci_link is not None
    assert len(port.evidence.sensors) == 2
    assert (report.refused, report.notices) == ({}, ())


def test_a_vf_needs_no_engine(plant: Plant) -> None:
    """In a virtual machine there is none: then nothing can be programmed, and nothing is wrong."""
    (port,) = look(plant, "dfl_vf_alone").functions
    assert (port.id, port.interface_id, port.afu_id) == (VF, "", NLB0)
    assert (port.programmable, port.resettable, port.problem) == ((), True, "")
    assert [node.role for node in port.nodes] == ["port"]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("dfl_empty_compat_id", "the interface id of its region is empty"),
        ("dfl_no_compat_id", "the interface id of its region cannot be read"),
    ],
)
def test_an_odd_id_quarantines_its_function_alone(plant: Plant, name: str, problem: str) -> None:
    """It keeps its id, with a reason; the other card is well."""
    ports = by_id(look(plant, name))
    assert (ports[CARD].problem, ports[SECOND].problem) == (problem, "")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("dfl_odd_afu_id", "its afu_id is '\\ufffd<script>', which is no id"),
        ("dfl_empty_afu_id", "its afu_id is empty"),
    ],
)
def test_an_odd_accelerator_is_a_problem_of_what_it_holds(plant: Plant, name: str, problem: str) -> None:
    """Nothing is wrong with the port: whoever programs it gets rid of that."""
    ports = by_id(look(plant, name))
    assert [(port.problem, port.content_problem) for port in ports.values()] == [("", problem), ("", "")]


@pytest.mark.parametrize("name", ["dfl_all_ones", "dfl_all_zero", "dfl_unreadable_afu_id"])
def test_what_a_sound_card_may_say_for_a_while_is_no_problem(plant: Plant, name: str) -> None:
    """All ones are a matter of health; a region may hold nothing, and a port that is reset says nothing."""
    ports = by_id(look(plant, name))
    assert [port.problem or port.content_problem for port in ports.values()] == ["", ""]
    assert ports[CARD].afu_id == (ALL_ONES if name == "dfl_all_ones" else "")


def test_what_cannot_be_programmed_must_hold_something(plant: Plant) -> None:
    """A VF without an engine whose accelerator is all zeros is of no use."""
    machine = changes.programmed(MACHINES["dfl_vf_alone"](), VF, "0" * 32)
    assert look(plant, machine).functions[0].content_problem == "its afu_id is all zeros"


def test_an_interface_id_of_zeros_is_none(plant: Plant) -> None:
    """Nothing fits it."""
    machine = spoilt(MACHINES["dfl_a10"](), CARD, {"region1/compat_id": b"0" * 32 + b"\n"})
    assert look(plant, machine).functions[0].problem == "the interface id of its region is all zeros"


def test_a_port_that_does_not_say_its_number_is_refused(plant: Plant) -> None:
    """On a card with several; a wrong id would be worse. The other port is there."""
    machine = spoilt(MACHINES["dfl_two_ports"](), CARD, {"dfl-port.0/id": Trouble.FAILS})
    report = look(plant, machine)
    assert [port.id for port in report.functions] == [f"{CARD}/port1"]
    assert report.refused == {"dfl-port.0": "it does not say which port of its card it is"}


def test_a_shell_for_one_purpose_cannot_be_programmed(plant: Plant) -> None:
    """Its engine has no region, and so it has no interface id; that is no mistake."""
    before = MACHINES["dfl_a10"]()
    function = before.find(CARD)
    parts = ("/dfl-fme-mgr.", "/dfl-fme-region.", "/dfl-fme-bridge.")
    devices = tuple(device for device in function.devices if not any(part in device.path for part in parts))
    (port,) = look(plant, before.with_function(structs.replace(function, devices=devices))).functions
    assert (port.programmable, port.interface_id, port.problem, port.afu_id) == ((), "", "", NLB0)
    assert (port.evidence.state, port.evidence.bridges) == ("", {})


def test_errors_heat_and_throttling_are_told(plant: Plant) -> None:
    """Of the card that has them."""
    ports = by_id(look(plant, "dfl_errors"))
    assert ports[CARD].evidence.errors == {"port/errors": 0x21, "fme/catfatal_errors": 2}
    assert ports[SECOND].evidence.errors == {}
    hot = next(one for one in look(plant, "dfl_hot").functions[0].evidence.sensors if one.kind == "temperature")
    assert (hot.value, hot.alarm) == (110.0, True)
    assert look(plant, "dfl_ap6").functions[0].evidence.power_state == 6


def test_a_missing_node_and_a_missing_driver_are_told(plant: Plant) -> None:
    """The function is there all the same."""
    assert [node.present for node in look(plant, "dfl_no_node").functions[0].nodes] == [False, True]
    machine = _without_driver(MACHINES["dfl_a10"](), "dfl-port.0")
    assert "dfl_afu" in look(plant, machine).functions[0].waiting_for


def test_a_card_that_no_driver_has_is_refused(plant: Plant) -> None:
    """That nothing drives it is no error."""
    report = look(plant, "dfl_no_driver")
    assert report.functions == ()
    assert "no driver is bound" in report.refused[CARD]
    assert "no driver for FPGAs" in report.notices[0]


def _without_driver(machine: Machine, name: str) -> Machine:
    function = machine.find(name)
    devices = tuple(structs.replace(device, driver="") if device.name == name else device for device in function.devices)
    return machine.with_function(structs.replace(function, devices=devices))
