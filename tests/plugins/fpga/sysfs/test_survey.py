"""A look at machines of every sort: nothing is lost, nothing is there twice, and a card that hangs costs nobody else anything."""

from pathlib import Path

import pytest
from msgspec import structs

from supervisor import Trouble
from supervisor_fpga.report import Function
from supervisor_fpga.simulate.intel import NLB3
from supervisor_fpga.simulate.machine import Machine
from supervisor_fpga.sysfs.messages import NO_DRIVER, Options
from supervisor_fpga.sysfs.survey import Survey
from tests.plugins.fpga.looks import Plant, by_id, look, survey, until
from tests.plugins.fpga.machines import CARD, MACHINES, SECOND, spoilt

HANGS = {name for name in MACHINES if "hanging" in name}


@pytest.mark.parametrize("name", sorted(MACHINES.keys() - HANGS))
def test_every_look_is_in_order(plant: Plant, name: str) -> None:
    """Ids are there once, and none is empty; what is sound answers, and a second look says the same."""
    looks = survey(plant(name))
    report = looks.look().report
    ids = [function.id for function in report.functions]
    assert len(set(ids)) == len(ids)
    assert all(ids)
    assert not [function.id for function in report.functions if function.unresponsive]
    assert not set(ids) & report.refused.keys()
    assert looks.look().report == report


def test_sixteen_cards_are_sixteen_functions(plant: Plant) -> None:
    """In the order of the bus, each with its own node."""
    report = look(plant, "dfl_sixteen_cards")
    assert [function.id for function in report.functions] == [f"0000:{bus:02x}:00.0" for bus in range(16, 256, 15)]
    assert len({function.nodes[0].path for function in report.functions}) == 16


def test_a_card_that_hangs_is_listed_as_unresponsive(plant: Plant) -> None:
    """With what needs no answer of it; the other card is well. Once it answers, it is as all."""
    tree = plant("dfl_hanging")
    looks = survey(tree, patience=1.0)
    ports = by_id(looks.look().report)
    silent = ports[CARD]
    assert (silent.unresponsive, silent.numa_node, silent.driver, silent.afu_id) == (True, 0, "dfl-pci", "")
    assert (ports[SECOND].unresponsive, ports[SECOND].afu_id) == (False, NLB3)
    assert by_id(looks.look().report)[CARD].unresponsive
    tree.become(MACHINES["dfl_two_cards"]())
    until(lambda: looks.crew.waiting(CARD) == 0)
    assert look_again(looks)[CARD] == look_again(survey(tree))[CARD]


def test_one_that_begins_to_hang_keeps_its_facts(plant: Plant) -> None:
    """All that it said last; its nodes are as they are now."""
    tree = plant("dfl_two_cards")
    looks = survey(tree, patience=1.0)
    first = look_again(looks)[CARD]
    tree.become(MACHINES["dfl_hanging"]())
    assert look_again(looks)[CARD] == structs.replace(first, unresponsive=True)
    (tree.dev / "dfl-port.0").unlink()
    silent = look_again(looks)[CARD]
    assert (silent.afu_id, [node.present for node in silent.nodes]) == (first.afu_id, [False, True])
    tree.become(MACHINES["dfl_two_cards"]())


def test_a_port_that_only_its_card_could_name_is_refused_meanwhile(plant: Plant) -> None:
    """A card with several ports that has never answered."""
    machine = spoilt(MACHINES["dfl_two_ports"](), CARD, {"dfl-port.0/id": Trouble.HANGS})
    tree = plant(machine)
    report = survey(tree, patience=0.1).look().report
    assert report.functions == ()
    assert report.refused.keys() == {"dfl-port.0", "dfl-port.1"}
    tree.become(MACHINES["dfl_two_ports"]())


def test_what_another_back_end_has_is_refused(plant: Plant) -> None:
    """The first one has it, whatever the second one says."""
    machine = MACHINES["dfl_a10"]().joined(renamed(MACHINES["opae_tree"]()))
    report = look(plant, machine)
    assert [function.backend for function in report.functions] == ["dfl"]
    assert report.refused == {"intel-fpga-port.0": f"{CARD} is already a function of dfl, dfl-port.0"}


def test_no_driver_is_a_notice(plant: Plant) -> None:
    """That is no error; what looks like an FPGA is named."""
    report = look(plant, "nothing")
    assert (report.functions, report.notices, report.refused) == ((), (NO_DRIVER,), {})
    assert "no driver is bound" in look(plant, "unbound").refused["0000:5e:00.0"]


def test_without_sysfs_there_is_no_report(tmp_path: Path) -> None:
    """It must not look like a machine without FPGAs."""
    with pytest.raises(FileNotFoundError):
        Survey(Options(str(tmp_path), str(tmp_path))).look()


def look_again(looks: Survey) -> dict[str, Function]:
    """The functions by id."""
    return by_id(looks.look().report)


def renamed(machine: Machine) -> Machine:
    """Without what another machine with the same card has, too."""
    (function,) = machine.functions
    return Machine((structs.replace(function, id="other", devices=function.devices[1:]),))
