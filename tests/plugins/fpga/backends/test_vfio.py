"""Functions for VFIO: only those that are named, with their whole group or with the reason why not."""

import shutil

import pytest

from supervisor_fpga.config import Vfio
from supervisor_fpga.report import Function, Node
from supervisor_fpga.rules import offer
from supervisor_fpga.simulate import pci
from supervisor_fpga.simulate.intel import Card, dfl_vf
from supervisor_fpga.simulate.machine import Function as Simulated
from supervisor_fpga.simulate.machine import Machine
from supervisor_fpga.simulate.vfio import driven, passed, vfio_machine
from supervisor_fpga.sysfs.messages import NO_DRIVER
from tests.plugins.fpga.functions import config_of
from tests.plugins.fpga.looks import NAMED, Plant, by_id, look, survey
from tests.plugins.fpga.machines import CARD, MACHINES, VF

FIRST, SECOND = "0000:5e:00.1", "0000:5e:00.2"


def named(plant: Plant, machine: str | Machine) -> dict[str, Function]:
    """The functions of a machine, with the configuration that names them."""
    return by_id(look(plant, machine, vfio=NAMED))


def test_a_function_has_the_nodes_of_both_interfaces(plant: Plant) -> None:
    """That of its group and that of iommufd, each with what it needs."""
    function = named(plant, "vfio_vf")[FIRST]
    assert (function.backend, function.name, function.pci, function.card) == ("vfio", FIRST, FIRST, FIRST)
    assert (function.vendor, function.device, function.driver, function.iommu_group) == ("8086", "bccf", "vfio-pci", "42")
    assert (function.numa_node, function.waiting_for, function.programmable, function.resettable) == (0, "", (), False)
    assert function.nodes == (
        Node("/dev/vfio/42", "group"),
        Node("/dev/vfio/devices/vfio3", "group"),
        Node("/dev/vfio/vfio", "iommu"),
        Node("/dev/iommu", "iommu"),
    )
    assert function.evidence.pci_link is not None


def test_an_older_kernel_has_one_interface(plant: Plant) -> None:
    """Then the other one's nodes are none that are missing."""
    assert named(plant, "vfio_old_kernel")[FIRST].nodes == (Node("/dev/vfio/42", "group"), Node("/dev/vfio/vfio", "iommu"))


def test_a_kernel_may_have_the_new_interface_alone(plant: Plant) -> None:
    """As without ``CONFIG_VFIO_GROUP``."""
    function = passed(FIRST, 42, 3)
    alone = Simulated(FIRST, tuple(device for device in function.devices if device.home != "class/vfio"))
    nodes = named(plant, vfio_machine(alone))[FIRST].nodes
    assert [node.path for node in nodes] == ["/dev/vfio/devices/vfio3", "/dev/iommu"]


def test_nothing_is_taken_that_is_not_named(plant: Plant) -> None:
    """Whoever passes on something else would not like it."""
    report = look(plant, "vfio_vf")
    assert (report.functions, report.refused) == ((), {})
    assert NO_DRIVER in report.notices
    other = (Vfio("8086", "0d58"), Vfio("10ee", "bccf"))
    assert look(plant, "vfio_vf", vfio=other).functions == ()


def test_members_of_a_group_are_one_unit(plant: Plant) -> None:
    """A container gets both."""
    report = look(plant, "vfio_group_of_two", vfio=NAMED)
    (unit,) = offer(report, config_of("{}")).units
    assert (unit.id, [function.id for function in unit.functions]) == (FIRST, [FIRST, SECOND])


def test_a_member_without_a_driver_keeps_the_other_waiting(plant: Plant) -> None:
    """Both are named, so a container gets both or none."""
    report = look(plant, vfio_machine(passed(FIRST, 42, 3), driven(SECOND, "", 42, device="bccf")), vfio=NAMED)
    assert [bool(each.waiting_for) for each in report.functions] == [False, True]
    assert offer(report, config_of("{}")).units == ()


def test_a_bridge_in_a_group_does_not_count(plant: Plant) -> None:
    """It is nothing that anybody could reach memory with."""
    assert named(plant, "vfio_group_with_bridge")[FIRST].waiting_for == ""


@pytest.mark.parametrize("driver", ["", "pci-stub"])
def test_a_member_that_nothing_drives_does_not_count(plant: Plant, driver: str) -> None:
    """The kernel lets the group be used."""
    assert named(plant, vfio_machine(passed(FIRST, 42, 3), driven(SECOND, driver, 42)))[FIRST].waiting_for == ""


def test_a_member_with_another_driver_is_waited_for(plant: Plant) -> None:
    """With its name; the group cannot be used."""
    report = look(plant, "vfio_group_with_other_driver", vfio=NAMED)
    reason = f"{SECOND} of its IOMMU group 42 has the driver dfl-pci: all of them need vfio-pci"
    assert [(each.id, each.waiting_for, each.nodes) for each in report.functions] == [(FIRST, reason, ())]
    found = offer(report, config_of("{}"))
    assert found.units == ()
    assert any(reason in why for why in found.reasons[FIRST])


def test_a_member_that_is_not_named_does_not_go_with_the_others(plant: Plant) -> None:
    """Who is given the group could use it, too."""
    machine = vfio_machine(passed(FIRST, 42, 3), passed(SECOND, 42, 4, device="0d58"))
    assert "the configuration does not name that" in named(plant, machine)[FIRST].waiting_for


@pytest.mark.parametrize("other", [driven(SECOND, "dfl-pci", 42), passed(SECOND, 42, 4, device="0d58")])
def test_members_are_known_where_groups_are_not_seen(plant: Plant, other: Simulated) -> None:
    """A pod sees parts of /sys, and ``kernel`` is none of them; each function tells its group."""
    tree = plant(vfio_machine(passed(FIRST, 42, 3), other))
    seen = [each.waiting_for for each in survey(tree, vfio=NAMED).look().report.functions]
    shutil.rmtree(tree.sys / "kernel")
    assert [each.waiting_for for each in survey(tree, vfio=NAMED).look().report.functions] == seen
    assert seen[0].startswith(f"{SECOND} of its IOMMU group 42 ")


def test_a_function_without_a_driver_is_waited_for(plant: Plant) -> None:
    """It has its id already."""
    function = named(plant, "vfio_unbound")[FIRST]
    assert (function.waiting_for, function.driver, function.nodes) == ("no driver is bound to it: it needs vfio-pci", "", ())


def test_a_function_with_another_driver_is_waited_for(plant: Plant) -> None:
    """Somebody has to bind it."""
    function = named(plant, vfio_machine(driven(FIRST, "dfl-pci", 42, device="bccf")))[FIRST]
    assert function.waiting_for == "it has the driver dfl-pci: it needs vfio-pci"


def test_vendors_drivers_for_vfio_are_as_good(plant: Plant) -> None:
    """Their names say what they are."""
    assert named(plant, vfio_machine(driven(FIRST, "acme_vfio_pci", 42, device="bccf")))[FIRST].waiting_for == ""


def test_without_an_iommu_nothing_is_passed_on(plant: Plant) -> None:
    """Neither where it is off, nor where VFIO was told to do without: that gives away all memory."""
    off = vfio_machine(driven(FIRST, "vfio-pci", device="bccf"))
    assert "the IOMMU is switched off" in named(plant, off)[FIRST].waiting_for
    tree = plant("vfio_vf")
    (tree.sys / "kernel/iommu_groups/42/name").write_text("vfio-noiommu\n")
    (function,) = survey(tree, vfio=NAMED).look().report.functions
    assert "no IOMMU that keeps it" in function.waiting_for
    shutil.rmtree(tree.sys / "kernel")
    (tree.sys / "class/vfio/42").rename(tree.sys / "class/vfio/noiommu-42")
    (function,) = survey(tree, vfio=NAMED).look().report.functions
    assert "no IOMMU that keeps it" in function.waiting_for


def test_what_another_back_end_has_stays_with_it(plant: Plant) -> None:
    """The operator is told, and ids are there once."""
    card = MACHINES["dfl_a10"]()
    report = look(plant, card, vfio=(Vfio("8086", "09C4"),))
    assert [(each.id, each.backend) for each in report.functions] == [(CARD, "dfl")]
    assert report.refused == {f"{CARD} (vfio)": f"{CARD} is already a function of dfl, dfl-port.0"}


def test_a_vf_belongs_to_the_card_of_its_physical_function(plant: Plant) -> None:
    """As all VFs do."""
    pf = MACHINES["dfl_a10"]().find(CARD)
    itself = pci.function(VF, "8086", "bccf", "vfio-pci", iommu_group=7)
    virtual = Simulated(VF, (itself,), pf=dfl_vf(Card(CARD), VF).pf)
    function = named(plant, Machine((pf, virtual)))[VF]
    assert (function.kind, function.card, function.iommu_group) == ("vf", CARD, "7")
    assert function.nodes[0] == Node("/dev/vfio/7", "group", present=False)
