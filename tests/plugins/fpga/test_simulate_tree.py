"""Trees of machines with FPGAs: true to the kernel's structure, and following what happens."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor import Trouble
from supervisor_fpga.simulate import changes
from supervisor_fpga.simulate.intel import A10_INTERFACE, NLB0, NLB3
from supervisor_fpga.simulate.machine import Machine
from supervisor_fpga.simulate.tree import Tree
from tests.bed.scratch import scratch
from tests.plugins.fpga import machines
from tests.plugins.fpga.machines import CARD, SECOND, VF
from tests.simulation.test_tree import listing

names = pytest.mark.parametrize("name", machines.MACHINES)
PORT = "bus/platform/devices/dfl-port.0"


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    """With two DFL cards."""
    tree = machines.planted("dfl_two_cards", tmp_path / "machine")
    yield tree
    tree.close()


@names
def test_links_lead_somewhere(name: str, tmp_path: Path) -> None:
    """Every link of every machine leads to something."""
    tree = machines.planted(name, tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_symlink() and not path.exists()] == []
    tree.close()


@names
def test_device_nodes(name: str, tmp_path: Path) -> None:
    """Each device with a number is found by that number, has a node by the name that its uevent tells, and nothing else is in /dev."""
    tree = machines.planted(name, tmp_path)
    told = set()
    for dev in (tree.sys / "devices").rglob("dev"):
        assert (tree.sys / "dev/char" / dev.read_text().strip()).resolve() == dev.parent.resolve()
        uevent = dict(line.split("=") for line in (dev.parent / "uevent").read_text().splitlines())
        told.add(uevent["DEVNAME"])
    present = {str(path.relative_to(tree.dev)) for path in tree.dev.rglob("*") if not path.is_dir()}
    assert present == told - ({"dfl-port.0"} if name == "dfl_no_node" else set())
    tree.close()


@names
def test_every_device_has_a_subsystem(name: str, tmp_path: Path) -> None:
    """The devices a tree tells are those with a uevent file, as libudev finds them, each found by its class or bus."""
    tree = machines.planted(name, tmp_path)
    assert set(tree.devices()) == {f"/{path.parent.relative_to(tree.sys)}" for path in tree.sys.rglob("devices/**/uevent")}
    for devpath, subsystem in tree.devices().items():
        path = tree.sys / devpath[1:]
        homes = [tree.sys / "class" / subsystem / path.name, tree.sys / "bus" / subsystem / "devices" / path.name]
        assert [home.resolve() for home in homes if home.exists()] == [path.resolve()]
    tree.close()


@names
def test_numbers_and_paths_are_of_one_device_each(name: str) -> None:
    """No two devices of a machine share a path with different contents, or a device number."""
    devices: dict[str, object] = {}
    numbers: dict[tuple[int, int], str] = {}
    for device in machines.MACHINES[name]().devices():
        assert devices.setdefault(device.path, device) == device
        if device.node is not None:
            assert numbers.setdefault((device.node.major, device.node.minor), device.path) == device.path


@settings(max_examples=30)
@given(st.sampled_from(sorted(machines.MACHINES)), st.sampled_from(sorted(machines.MACHINES)))
def test_becoming_another_machine(before: str, after: str) -> None:
    """A tree that has become another machine is as if it had been that from the start: nothing stays behind."""
    with scratch() as directory:
        changed = machines.planted(before, directory / "changed")
        changed.become(machines.MACHINES[after]())
        fresh = machines.planted(after, directory / "fresh")
        assert listing(changed.root) == listing(fresh.root)
        changed.close()
        fresh.close()


def test_a_card_of_dfl_hangs_together(tree: Tree) -> None:
    """Region, engine, manager, bridge and port of a card lie below its PCI function, where the kernel has them."""
    pci = (tree.sys / "bus/pci/devices" / SECOND).resolve()
    base = pci / "fpga_region/region2"
    assert (tree.sys / "class/fpga_region/region2").resolve() == base
    assert (base / "dfl-port.1/afu_id").read_text() == f"{NLB3}\n"
    assert (base / "dfl-fme.1/dfl-fme-region.1/fpga_region/region3/compat_id").exists()
    assert (tree.sys / "class/fpga_manager/fpga1/device").resolve().name == "dfl-fme-mgr.1"
    assert (tree.sys / "class/fpga_bridge/br1/state").read_text() == "enabled\n"


def test_a_vf_and_its_card_lead_to_each_other(tmp_path: Path) -> None:
    """By the links that the kernel makes; a VF that is seen alone has none."""
    tree = machines.planted("dfl_vf_of_card", tmp_path)
    pci = tree.sys / "bus/pci/devices"
    assert (pci / VF / "physfn").resolve() == (pci / CARD).resolve()
    assert (pci / CARD / "virtfn0").resolve() == (pci / VF).resolve()
    assert (pci / CARD / "sriov_numvfs").read_text() == "1\n"
    tree.become(machines.dfl_vf_alone())
    assert not (pci / VF / "physfn").exists()
    tree.close()


def test_members_of_an_iommu_group(tmp_path: Path) -> None:
    """A group knows its functions, and each its group."""
    tree = machines.planted("vfio_group_of_two", tmp_path)
    group = tree.sys / "kernel/iommu_groups/42"
    assert {path.name for path in (group / "devices").iterdir()} == {"0000:5e:00.1", "0000:5e:00.2"}
    assert (tree.sys / "bus/pci/devices/0000:5e:00.1/iommu_group").resolve() == group.resolve()
    tree.close()


def test_programming_changes_one_port(tmp_path: Path) -> None:
    """Of a card with two, by its id or by the kernel's name, and nothing else but that the manager has done it."""
    tree = machines.planted("dfl_two_ports", tmp_path)
    ports = [tree.sys / f"bus/platform/devices/dfl-port.{number}/afu_id" for number in (0, 1)]
    tree.become(changes.programmed(tree.machine, f"{CARD}/port1", "1" * 32))
    assert [port.read_text().strip() for port in ports] == [NLB0, "1" * 32]
    assert (tree.sys / "class/fpga_manager/fpga0/state").read_text() == "operating\n"
    tree.become(changes.programmed(tree.machine, "dfl-port.0", "2" * 32))
    assert [port.read_text().strip() for port in ports] == ["2" * 32, "1" * 32]
    tree.become(changes.programmed(tree.machine, CARD, "3" * 32))
    assert [port.read_text().strip() for port in ports] == ["3" * 32, "1" * 32]
    tree.close()


def test_what_others_have_written_counts(tree: Tree) -> None:
    """What was programmed and cleared by writing files, as drivers do it, is what the next change finds, and can happen again."""
    port = tree.sys / PORT
    tree.become(changes.failing(tree.machine, CARD, "port/errors", 0x21))
    (port / "afu_id").write_text("1" * 32 + "\n")
    (port / "errors/errors").write_text("0x0\n")
    tree.become(changes.hot(tree.machine, CARD, 50))
    assert (port / "afu_id").read_text() == "1" * 32 + "\n"
    assert (port / "errors/errors").read_text() == "0x0\n"
    tree.become(changes.failing(tree.machine, CARD, "port/errors", 0x21))
    assert (port / "errors/errors").read_text() == "0x21\n"
    tree.become(changes.programmed(tree.machine, CARD, NLB0))
    assert (port / "afu_id").read_text() == f"{NLB0}\n"


def test_errors_come_and_go(tree: Tree) -> None:
    """Registers have their values until they are cleared, and the other card never has any."""
    before = listing(tree.sys)
    tree.become(changes.failing(tree.machine, CARD, "port/errors", 0x21))
    tree.become(changes.failing(tree.machine, CARD, "fme/catfatal_errors", 2))
    assert (tree.sys / PORT / "errors/errors").read_text() == "0x21\n"
    assert (tree.sys / "bus/platform/devices/dfl-fme.0/errors/catfatal_errors").read_text() == "0x2\n"
    assert (tree.sys / "bus/platform/devices/dfl-fme.1/errors/catfatal_errors").read_text() == "0x0\n"
    tree.become(changes.without_errors(tree.machine, CARD))
    assert listing(tree.sys) == before


@pytest.mark.parametrize(
    ("name", "word"),
    [(name, word) for name in ("dfl_hot", "dfl_errors", "dfl_ap6") for word in (CARD,)]
    + [("alveo_offline", "0000:65:00.1"), ("zynq write error", "fpga0")],
)
def test_clearing_makes_a_function_well(name: str, word: str) -> None:
    """After it, a machine that is broken is as it would have been without that."""
    well = {"dfl": "dfl_two_cards", "alveo": "u250", "zynq": "zynq operating"}[name.replace("_", " ").partition(" ")[0]]
    broken = changes.cleared(machines.MACHINES[name](), word)
    assert broken == changes.cleared(machines.MACHINES[well](), word)


def test_heat_raises_the_alarms_of_its_limits(tree: Tree) -> None:
    """Below a limit its alarm is off, from it on it is on."""
    sensor = tree.sys / "class/hwmon/hwmon0"
    for degrees, alarms in ((89.9, "00"), (90, "10"), (110, "11")):
        tree.become(changes.hot(tree.machine, CARD, degrees))
        assert (sensor / "temp1_input").read_text() == f"{round(degrees * 1000)}\n"
        assert "".join((sensor / f"temp1_{limit}_alarm").read_text().strip() for limit in ("max", "crit")) == alarms


def test_a_card_hangs_where_it_asks_its_hardware(tree: Tree) -> None:
    """What the kernel knows by itself can still be read, and another card in full; afterwards everything."""
    before = tree.machine
    tree.become(changes.hanging(before, CARD, hangs=True))
    assert (tree.sys / PORT / "afu_id").is_fifo()
    assert (tree.sys / PORT / "errors/errors").is_fifo()
    assert (tree.sys / "class/fpga_region/region1/compat_id").read_text() == f"{A10_INTERFACE}\n"
    assert not any(path.is_fifo() for path in (tree.sys / "bus/pci/devices" / SECOND).resolve().rglob("*"))
    tree.become(changes.hanging(tree.machine, CARD, hangs=False))
    assert tree.machine == before


def test_a_card_that_answers_again_keeps_its_other_troubles() -> None:
    """Only what hung becomes readable."""
    machine = machines.spoilt(machines.dfl_two_cards(), CARD, {"region1/compat_id": Trouble.FAILS})
    hung = changes.hanging(machine, CARD, hangs=True)
    assert changes.hanging(hung, CARD, hangs=False) == machine


def test_removal_takes_virtual_functions_along() -> None:
    """A card goes with its VFs, and comes back with them; a VF goes alone."""
    beginning = machines.dfl_vf_of_card()
    assert beginning.without(CARD).functions == ()
    assert [one.id for one in beginning.without(VF).functions] == [CARD]
    assert changes.restored(beginning.without(CARD), CARD, beginning) == beginning


@pytest.mark.parametrize(
    "change",
    [
        partial(changes.programmed, word="0000:00:00.0", program="0" * 32),
        partial(changes.in_state, word="0000:65:00.1", state="operating"),
        partial(changes.failing, word=CARD, register="port/nothing", value=1),
        partial(changes.offline, word=CARD),
        partial(changes.hot, word="0000:5e:00.1", degrees=90),
        partial(changes.hanging, word="fpga9", hangs=True),
    ],
)
def test_what_a_machine_has_not(change: Callable[[Machine], Machine]) -> None:
    """A change of what is not there is refused."""
    with pytest.raises(KeyError):
        change(machines.everything())


def test_no_such_state() -> None:
    """A manager says only what the kernel knows."""
    with pytest.raises(ValueError, match="there is no state 'fine'; there are unknown, power off"):
        changes.in_state(machines.zynqmp(), "fpga0", "fine")


@pytest.mark.parametrize("name", [name for name in machines.MACHINES if name.startswith("dfl_")])
def test_trouble_in_the_first_card_keeps_the_second_well(name: str) -> None:
    """In every broken machine with two cards, the second is as it was."""
    machine = machines.MACHINES[name]()
    if [one.id for one in machine.functions] == [CARD, SECOND]:
        assert machine.find(SECOND) == machines.dfl_two_cards().find(SECOND)
