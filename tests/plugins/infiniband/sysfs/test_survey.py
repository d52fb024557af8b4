"""A look at machines of every sort: each device is found as what it is, and a bad one costs nobody else anything."""

from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import structs

from supervisor_infiniband.report import PciLink, PhysState, PortState, RdmaDevice, Report
from supervisor_infiniband.simulate.machine import Machine
from supervisor_infiniband.simulate.tree import Tree
from supervisor_infiniband.sysfs.messages import Options
from supervisor_infiniband.sysfs.survey import Survey
from tests.plugins.infiniband.sysfs.conftest import survey, until
from tests.plugins.infiniband.trees import BROKEN, CARD, MACHINES

Plant = Callable[[str | Machine], Tree]


def look(plant: Plant, name: str, patience: float = 20.0) -> Report:
    """A first look at one of the machines."""
    return survey(plant(name), patience=patience).look().report


def only(report: Report, name: str) -> RdmaDevice:
    """The device of this kernel name."""
    (found,) = [device for device in report.devices if device.name == name]
    return found


def netdevs(device: RdmaDevice) -> list[list[str]]:
    """The interfaces of each port."""
    return [[netdev.name for netdev in port.link.netdevs] for port in device.ports]


@pytest.mark.parametrize("name", sorted(MACHINES.keys() - BROKEN.keys() - {"without-core"}))
def test_every_device_is_listed_or_refused(plant: Plant, name: str) -> None:
    """Under an id of its own, with nothing to complain about."""
    report = look(plant, name)
    there = {hca.name for _, hca in MACHINES[name]().hcas()}
    assert {device.name for device in report.devices} | report.refused.keys() == there
    assert len({device.id for device in report.devices}) == len(report.devices)
    assert not [device.problem for device in report.devices if device.problem or device.unresponsive]


def test_an_infiniband_port_has_all_its_facts(plant: Plant) -> None:
    """As its files have them."""
    machine = MACHINES["dual-port-infiniband"]()
    function, hca = machine.find("mlx5_1")
    device = only(look(plant, "dual-port-infiniband"), "mlx5_1")
    (port,), (wanted,) = device.ports, hca.ports
    assert (device.id, device.pci, device.kind, device.driver) == (function.id, function.id, "pf", "mlx5_core")
    assert device.path == f"/sys/{function.path}"
    assert (device.vendor, device.device, device.numa_node) == (function.vendor, function.device, function.numa_node)
    assert (device.node_guid, device.firmware, device.board_id) == (hca.node_guid, hca.firmware, hca.board_id)
    assert device.pci_link is not None
    assert not device.pci_link.degraded
    assert (port.lid, port.sm_lid, port.cap_mask, port.pkeys) == (wanted.lid, wanted.sm_lid, wanted.cap_mask, (0xFFFF,))
    assert (port.link.state, port.link.phys_state, port.rate) == (PortState.ACTIVE, PhysState.LINK_UP, 200.0)
    assert port.guid == wanted.gids[0].gid[20:]
    assert (device.uverbs, port.umad, port.issm) == (f"uverbs{hca.uverbs}", f"umad{wanted.umad}", f"issm{wanted.issm}")


def test_character_devices_are_joined_by_what_they_say(plant: Plant) -> None:
    """Their numbers are crossed here."""
    report = look(plant, "numbers-crossed")
    for _, hca in MACHINES["numbers-crossed"]().hcas():
        device = only(report, hca.name)
        assert device.uverbs == f"uverbs{hca.uverbs}"
        assert [port.umad for port in device.ports] == [f"umad{port.umad}" for port in hca.ports]
    assert {"uverbs0", "uverbs1", "rdma_cm"} <= report.nodes


def test_interfaces_belong_to_their_ports(plant: Plant) -> None:
    """By the port's GUID, by the driver's word, and by the GIDs where a bond has taken them over."""
    assert netdevs(only(look(plant, "two-ports-one-function"), "mlx4_0")) == [["ib0"], ["ens1d1"]]
    assert netdevs(only(look(plant, "bond"), "mlx5_bond_0")) == [["ens1f0np0", "bond0"]]
    assert netdevs(only(look(plant, "soft-roce"), "rxe0")) == [["eth0"]]
    assert netdevs(only(look(plant, "two-end-points"), "mlx5_1")) == [[]]


def test_virtual_functions_name_their_function(plant: Plant) -> None:
    """Their index is that of the link that leads to them; interfaces that are down have no carrier to tell."""
    report = look(plant, "roce-16-vfs")
    pf, vfs = report.devices[0], report.devices[1:]
    assert (pf.kind, pf.vfs, len(vfs)) == ("pf", 16, 16)
    assert [vf.index for vf in vfs] == list(range(16))
    assert {(vf.kind, vf.pf, vf.pf_netdevs, vf.pci_link) for vf in vfs} == {("vf", pf.id, ("ens1f0np0",), None)}
    assert {(netdev.up, netdev.carrier) for vf in vfs for port in vf.ports for netdev in port.link.netdevs} == {(False, None)}


def test_a_vf_without_guid_has_one_of_zeros(plant: Plant) -> None:
    """It is an end point all the same."""
    vfs = [device for device in look(plant, "infiniband-8-vfs-without-guid").devices if device.kind == "vf"]
    assert {(port.guid, port.endpoint) for vf in vfs for port in vf.ports} == {("0000:0000:0000:0000", True)}


def test_a_sub_function_has_its_auxiliary_name(plant: Plant) -> None:
    """It is carried by a PCI function, whose facts it shares."""
    report = look(plant, "sub-function")
    device = only(report, "mlx5_4")
    assert (device.id, device.kind, device.pci, device.pf, device.index) == ("mlx5_core.sf.4", "sf", CARD, CARD, 88)
    assert (device.vendor, netdevs(device)) == ("15b3", [["enp59s0f0s88"]])
    assert netdevs(only(report, "mlx5_0")) == [["ens1f0np0"]]


def test_devices_of_all_makers_are_found(plant: Plant) -> None:
    """Without umad, without interfaces, without a PCI function."""
    assert only(look(plant, "iwarp"), "cxgb4_0").ports[0].umad is None
    efa = only(look(plant, "efa"), "rdmap0s29")
    assert (netdevs(efa), efa.numa_node, efa.driver) == ([[]], None, "efa")
    rxe = only(look(plant, "soft-roce"), "rxe0")
    assert (rxe.kind, rxe.pci, rxe.id) == ("virtual", "", f"guid-{rxe.node_guid.replace(':', '')}")


def test_only_end_points_are_listed(plant: Plant) -> None:
    """The other RDMA device of the function is refused with the reason; two true ones are told apart."""
    report = look(plant, "connectx-8")
    assert [device.id for device in report.devices] == [CARD]
    assert "no port of it is an end point" in report.refused["smi1"]
    ids = [device.id for device in look(plant, "two-end-points").devices]
    assert len(set(ids)) == 2
    assert all(name.startswith(f"{CARD}-") for name in ids)


def test_a_device_that_moved_is_elsewhere(plant: Plant) -> None:
    """It keeps the id of its function, and its character devices are here; the other one is as always."""
    report = look(plant, "exclusive-away")
    assert report.netns_mode == "exclusive"
    away = [device for device in report.devices if device.elsewhere]
    assert [(device.kind, device.driver, device.uverbs is not None) for device in away] == [("pf", "mlx5_core", True)]
    assert away[0].id == away[0].pci
    assert away[0].ports[0].umad is not None
    assert len(report.devices) == 2


def test_in_shared_mode_nothing_is_elsewhere(plant: Plant) -> None:
    """What has a character device and no entry is then on its way out."""
    machine = structs.replace(MACHINES["exclusive-away"](), netns_mode="shared")
    report = survey(plant(machine)).look().report
    assert (report.netns_mode, len(report.devices)) == ("shared", 1)


def test_a_degraded_link_of_pci_is_told(plant: Plant) -> None:
    """What it has, and what it could have."""
    found = [device.pci_link for device in look(plant, "pcie-degraded").devices]
    assert all(isinstance(link, PciLink) and link.degraded for link in found)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("half-gone", "it has no ports"),
        ("unreadable", "ports/1/state cannot be read: input/output error"),
        ("garbage", "node_guid says"),
    ],
)
def test_a_bad_device_is_quarantined_alone(plant: Plant, name: str, problem: str) -> None:
    """It keeps its id, with a reason; the other one is well."""
    bad, good = look(plant, name).devices
    assert problem in bad.problem
    assert (bad.id, bad.name, good.problem, good.ports[0].link.active) == (CARD, "mlx5_0", "", True)


@pytest.mark.parametrize(
    ("attribute", "problem"),
    [
        ("ports/1/state", "ports/1/state says 'rubbish', which is no port state"),
        ("ports/1/rate", "ports/1/rate says 'rubbish', which is no rate"),
        ("ports/1/gids/0", "ports/1/gids/0 says 'rubbish', which is no GID"),
        ("ports/1/pkeys/0", "ports/1/pkeys/0 says 'rubbish', which is no number"),
        ("ports/1/link_layer", "ports/1/link_layer says 'rubbish', which is no link layer"),
        ("device/current_link_speed", "current_link_speed says 'rubbish', which is no link speed"),
    ],
)
def test_garbage_is_told_by_its_name(plant: Plant, attribute: str, problem: str) -> None:
    """Wherever it stands."""
    machine = MACHINES["dual-port-infiniband"]()
    hca = structs.replace(machine.find("mlx5_0")[1], spoilt={attribute: b"rubbish\n"})
    bad, good = survey(plant(machine.with_hca("mlx5_0", hca))).look().report.devices
    assert (bad.problem, good.problem) == (problem, "")


def test_what_is_no_port_is_passed_over(plant: Plant) -> None:
    """Something else in the directory of ports, and a port 0."""
    assert [port.number for port in only(look(plant, "foreign-port"), "mlx5_0").ports] == [1]


def test_a_name_that_leads_nowhere_is_refused(plant: Plant) -> None:
    """The others are listed."""
    report = look(plant, "dangling")
    assert [device.name for device in report.devices] == ["mlx5_1"]
    assert "leads nowhere" in report.refused["mlx5_0"]


def test_a_device_that_hangs_is_listed_as_unresponsive(plant: Plant) -> None:
    """With what needs no answer of it; once it answers, it is as all."""
    tree = plant("hangs")
    looks = survey(tree, patience=0.2)
    silent, well = looks.look().report.devices
    assert (silent.unresponsive, silent.id, silent.numa_node, silent.driver) == (True, CARD, 0, "mlx5_core")
    assert not well.unresponsive
    assert [device.unresponsive for device in looks.look().report.devices] == [True, False]
    tree.become(MACHINES["dual-port-infiniband"]())
    known = looks.taken
    assert known is not None
    until(lambda: not any(looks.crew.waiting(key) for key in known.known))
    again = looks.look().report.devices[0]
    assert (again.unresponsive, again.ports[0].link.active) == (False, True)


def test_one_that_begins_to_hang_keeps_its_facts(plant: Plant) -> None:
    """At first it is as it was, and after its patience all but its state."""
    tree = plant("dual-port-infiniband")
    patient, strict = survey(tree), survey(tree, patience=0.0)
    first = [looks.look().report.devices[0] for looks in (patient, strict)]
    tree.become(MACHINES["hangs"]())
    assert patient.look().report.devices[0] == first[0]
    silent = strict.look().report.devices[0]
    assert (silent.unresponsive, silent.ports[0].guid, silent.ports[0].link.state) == (
        True,
        first[1].ports[0].guid,
        PortState.NOP,
    )


def test_a_machine_without_the_module_says_so(plant: Plant) -> None:
    """That is no error; to have no devices needs no word."""
    report = look(plant, "without-core")
    assert (report.devices, report.netns_mode) == ((), "")
    assert "ib_core is not loaded" in report.notices[0]
    assert "ib_uverbs is not loaded" in look(plant, "without-uverbs").notices[0]
    assert look(plant, "nothing").notices == ()


def test_without_sysfs_there_is_no_report(tmp_path: Path) -> None:
    """It must not look like a machine without devices."""
    with pytest.raises(FileNotFoundError):
        Survey(Options(str(tmp_path), str(tmp_path))).look()
