"""Hardware that only the configuration knows: what fits a description is offered with its nodes, and nothing else is."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from msgspec import structs

from supervisor import Trouble
from supervisor_fpga.config import Declared
from supervisor_fpga.report import Function, Node
from supervisor_fpga.simulate import changes, pci
from supervisor_fpga.simulate.machine import Device, Machine
from supervisor_fpga.simulate.machine import Function as Simulated
from supervisor_fpga.simulate.machine import Node as SimulatedNode
from tests.plugins.fpga.looks import Plant, by_id, look, survey
from tests.plugins.fpga.machines import MACHINES, spoilt

CARD, SECOND = "0000:17:00.0", "0000:18:00.0"


def acme(**more: Any) -> Declared:
    """A description, as a configuration has it."""
    return msgspec.convert({"name": "acme", "subsystem": "acme", **more}, Declared)


def found(plant: Plant, machine: str | Machine, *declared: Declared) -> dict[str, Function]:
    """What fits."""
    return by_id(look(plant, machine, declared=declared))


def cards(*addresses: str, ports: int = 1) -> Machine:
    """Cards with several devices each, numbered over all of them."""
    functions = []
    for at, address in enumerate(addresses):
        itself = pci.function(address, "1bad", "f00d", "acme_fpga")
        numbers = range(at * ports, (at + 1) * ports)
        nodes = [SimulatedNode(f"acme/{number}_user", 236, number) for number in numbers]
        devices = [
            Device(f"{itself.path}/acme/acme{number}", "class/acme", node=node)
            for number, node in zip(numbers, nodes, strict=True)
        ]
        functions.append(Simulated(address, (itself, *devices)))
    return Machine(tuple(functions))


def test_a_device_has_all_its_facts(plant: Plant) -> None:
    """Those of the kernel; its shell is what the configuration calls it."""
    (function,) = found(plant, "declared_card", acme()).values()
    assert (function.id, function.pci, function.card, function.kind) == (CARD, CARD, CARD, "pf")
    assert (function.backend, function.name, function.shell) == ("declared", "acme0", "acme")
    assert (function.vendor, function.device, function.driver, function.numa_node) == ("1bad", "f00d", "acme_fpga", 0)
    assert function.nodes == (Node("/dev/acme0", "user"),)
    assert (function.programmable, function.resettable, function.region, function.problem) == ((), False, "", "")
    assert function.evidence.pci_link is not None


@pytest.mark.parametrize(
    "more",
    [
        {"vendor": "1BAD", "device": "F00D"},
        {"kernel_name": "ACME?"},
        {"attributes": {"model": "Turbo", "serial": "a-*"}},
    ],
)
def test_what_fits_is_found(plant: Plant, more: dict[str, object]) -> None:
    """Case does not count."""
    assert found(plant, "declared_card", structs.replace(acme(), **more)).keys() == {CARD}


@pytest.mark.parametrize(
    "more", [{"vendor": "1bae"}, {"device": "f00e"}, {"kernel_name": "acme"}, {"subsystem": "misc"}]
)  # fmt: skip
def test_what_does_not_fit_is_nothing(plant: Plant, more: dict[str, object]) -> None:
    """Nobody is told of it: it was not meant."""
    report = look(plant, "declared_card", declared=[structs.replace(acme(), **more)])
    assert (report.functions, report.refused) == ((), {})


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"model": "eco"}, "its model is 'turbo', and that of acme is 'eco'"),
        ({"serial": "*", "colour": "red"}, "it has no colour, as acme has"),
    ],
)
def test_what_says_something_else_is_refused(plant: Plant, attributes: dict[str, str], reason: str) -> None:
    """That is worth a word: only the device itself could tell."""
    report = look(plant, "declared_card", declared=[structs.replace(acme(), attributes=attributes)])
    assert (report.functions, report.refused) == ((), {"acme0": reason})


def test_the_first_description_that_fits_counts(plant: Plant) -> None:
    """With its nodes, also where only an attribute tells which one that is."""
    eco = acme(name="eco", attributes={"model": "eco"}, nodes=["/dev/eco{minor}"])
    turbo = acme(name="turbo", attributes={"model": "turbo"}, nodes=["/dev/{name}"])
    (function,) = found(plant, "declared_card", eco, turbo, acme()).values()
    assert (function.shell, function.nodes) == ("turbo", (Node("/dev/acme0", "user"),))
    (function,) = found(plant, "declared_card", acme(), turbo).values()
    assert function.shell == "acme"


def test_nodes_by_patterns(plant: Plant) -> None:
    """All that there are, each once; one that is missing is told."""
    machine = cards(CARD)
    patterns = ["{node}", "/dev/acme/{minor}_*", "/dev/acme/{minor}_user", "/dev/{name}_control", "/dev/acme"]
    (function,) = found(plant, machine, acme(nodes=patterns)).values()
    assert function.nodes == (
        Node("/dev/acme/0_user", "user"),
        Node("/dev/acme0_control", "user", present=False),
        Node("/dev/acme", "user", present=False),
    )


def test_a_link_is_no_node(plant: Plant) -> None:
    """What it leads to may be one; out of ``/dev`` nothing is given."""
    tree = plant("declared_card")
    (tree.dev / "first").symlink_to("acme0")
    (tree.dev / "second").symlink_to("../sys/devices")
    looks = survey(tree, declared=[acme(nodes=["/dev/first", "/dev/second"])])
    assert looks.look().report.functions[0].nodes == (
        Node("/dev/acme0", "user"),
        Node("/dev/second", "user", present=False),
    )


def test_a_number_that_is_not_known_is_no_part_of_a_name(plant: Plant) -> None:
    """Another device's node must not be given instead."""
    machine = cards(CARD)
    function = machine.functions[0]
    bare = structs.replace(function.devices[1], node=None)
    tree = plant(machine.with_function(structs.replace(function, devices=(function.devices[0], bare))))
    (tree.dev / "acme").write_bytes(b"")
    looks = survey(tree, declared=[acme(nodes=["/dev/acme{minor}", "{node}"])])
    assert [node.present for node in looks.look().report.functions[0].nodes] == [False, False]


def test_several_devices_of_one_card(plant: Plant) -> None:
    """They are counted on their card, since the kernel's numbers go on over all of them."""
    functions = found(plant, cards(CARD, SECOND, ports=2), acme())
    assert {name: function.name for name, function in functions.items()} == {
        f"{CARD}/port0": "acme0",
        f"{CARD}/port1": "acme1",
        f"{SECOND}/port0": "acme2",
        f"{SECOND}/port1": "acme3",
    }
    assert {function.card for function in functions.values()} == {CARD, SECOND}


def test_a_device_of_the_platform_goes_by_its_name(plant: Plant) -> None:
    """It has no address; its sensors are below itself."""
    itself = Device("platform/a0000000.acme", "bus/platform", driver="acme-of")
    fpga = Device(f"{itself.path}/acme/acme7", "class/acme", node=SimulatedNode("acme7", 236, 7))
    sensor = Device(f"{fpga.path}/hwmon/hwmon0", "class/hwmon", {"name": "acme", "temp1_input": 40_000})
    functions = found(plant, Machine((Simulated("acme7", (itself, fpga, sensor)),)), acme())
    function = functions["acme7"]
    assert (function.kind, function.pci, function.card, function.driver) == ("platform", "", "acme7", "acme-of")
    assert [reading.value for reading in function.evidence.sensors] == [40.0]
    assert function.evidence.pci_link is None


def test_a_function_on_the_bus_can_be_declared(plant: Plant) -> None:
    """With nodes that have nothing to do with its own."""
    (function,) = found(plant, "declared_card", acme(subsystem="pci", vendor="1bad", nodes=["/dev/acme0"])).values()
    assert (function.id, function.name, function.nodes) == (CARD, CARD, (Node("/dev/acme0", "user"),))


def test_what_another_back_end_has_stays_with_it(plant: Plant) -> None:
    """A description that is too wide costs nothing: neither a device nor a PCI function is offered twice."""
    report = look(plant, "ma35d", declared=[acme(subsystem="misc", kernelName="ama_*")])
    assert {function.backend for function in report.functions} == {"ma35"}
    assert report.refused.keys() == {"ama_transcoder0 (declared)", "ama_transcoder1 (declared)"}
    report = look(plant, "dfl_two_ports", declared=[acme(subsystem="pci", vendor="8086")])
    assert [function.backend for function in report.functions] == ["dfl", "dfl"]
    assert "already a function of dfl" in report.refused["0000:3b:00.0"]


def test_an_attribute_that_hangs_costs_that_device_alone(plant: Plant) -> None:
    """It is found at once, and known by its name."""
    machine = spoilt(MACHINES["everything"](), CARD, {"acme0/model": Trouble.HANGS})
    tree = plant(machine)
    looks = survey(tree, patience=1.0, declared=[acme(attributes={"model": "turbo"})])
    functions = by_id(looks.look().report)
    assert [name for name, function in functions.items() if function.unresponsive] == [CARD]
    assert functions["0000:65:00.1"].shell


def test_it_may_become_another(plant: Plant) -> None:
    """Its attributes are read at each look."""
    tree = plant("declared_card")
    looks = survey(tree, declared=[acme(attributes={"model": "turbo"})])
    assert len(looks.look().report.functions) == 1
    before: Sequence[Simulated] = tree.machine.functions
    itself, fpga = before[0].devices
    tree.become(tree.machine.with_function(structs.replace(before[0], devices=(itself, fpga.having(model="eco")))))
    report = looks.look().report
    assert (report.functions, [*report.refused]) == ((), ["acme0"])
    tree.become(changes.restored(tree.machine, CARD, MACHINES["declared_card"]()))
    assert len(looks.look().report.functions) == 1
