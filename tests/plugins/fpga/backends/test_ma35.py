"""AMD's media accelerators, whose devices hang on nothing, and say themselves where they are."""

from msgspec import structs

from supervisor_fpga.report import Node
from supervisor_fpga.simulate.machine import Machine
from tests.plugins.fpga.looks import Plant, by_id, look
from tests.plugins.fpga.machines import MACHINES, spoilt

FIRST, SECOND = "0000:c1:00.0", "0000:c2:00.0"


def test_both_chips_have_all_their_facts(plant: Plant) -> None:
    """Each is a card of its own, and the serial number joins them."""
    chips = by_id(look(plant, "ma35d"))
    assert chips.keys() == {FIRST, SECOND}
    chip = chips[SECOND]
    assert (chip.backend, chip.name, chip.pci, chip.card, chip.kind) == ("ma35", "ama_transcoder1", SECOND, SECOND, "pf")
    assert (chip.vendor, chip.device, chip.driver, chip.numa_node) == ("10ee", "5070", "ama_transcoder", 0)
    assert (chip.shell, chip.group) == ("MA35D", "XFL1MA35D001")
    assert chip.nodes == (Node("/dev/ama_transcoder1", "user"),)
    assert (chip.programmable, chip.resettable, chip.problem) == ((), False, "")
    assert chips[FIRST].group == chip.group
    assert chip.evidence.pci_link is not None


def test_one_that_does_not_say_where_it_is_is_refused(plant: Plant) -> None:
    """Its number is no id: after a reboot it may be another's."""
    report = look(plant, "ma35_silent")
    assert [function.id for function in report.functions] == [SECOND]
    assert report.refused == {"ama_transcoder0": "it does not say at which PCI address it is"}


def test_one_that_says_something_else_is_refused(plant: Plant) -> None:
    """An address that is not there, or none at all."""
    odd = spoilt(MACHINES["ma35d"](), FIRST, {"ama_transcoder0/bus_id": b"0000:77:00.0\n"})
    odd = spoilt(odd, SECOND, {"ama_transcoder1/bus_id": b"../../etc\n"})
    report = look(plant, odd)
    assert report.functions == ()
    assert report.refused == {
        "ama_transcoder0": "there is no 0000:77:00.0",
        "ama_transcoder1": "it does not say at which PCI address it is",
    }


def test_what_it_is_called_may_be_missing(plant: Plant) -> None:
    """It is offered all the same, in a group of its own."""
    for told in (b"", b"Product serial number\nProduct name=\n= =\n", b"\xff\x00 = \xff"):
        chip = by_id(look(plant, spoilt(MACHINES["ma35d"](), FIRST, {"ama_transcoder0/device_info": told})))[FIRST]
        assert (chip.shell, chip.group, chip.problem) == ("", "", "")


def test_a_missing_node_is_told(plant: Plant) -> None:
    """The function is there all the same."""
    assert look(plant, _without_node(MACHINES["ma35d"]())).functions[0].nodes == (
        Node("/dev/ama_transcoder0", "user", present=False),
    )


def _without_node(machine: Machine) -> Machine:
    function = machine.find(FIRST)
    devices = tuple(
        device if device.node is None else structs.replace(device, node=structs.replace(device.node, present=False))
        for device in function.devices
    )
    return machine.with_function(structs.replace(function, devices=devices))
