"""Trees of simulated machines: true to the kernel's structure, and following what happens."""

import os
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from supervisor import Trouble
from supervisor_infiniband.report import PortState
from supervisor_infiniband.simulate import changes
from supervisor_infiniband.simulate.layouts import layout
from supervisor_infiniband.simulate.machine import Machine
from supervisor_infiniband.simulate.tree import Tree
from tests.bed.scratch import scratch
from tests.plugins.infiniband import trees

PATIENCE = 30
names = pytest.mark.parametrize("name", trees.MACHINES)


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    tree = Tree(tmp_path / "machine", layout("dual-port-infiniband"))
    yield tree
    tree.close()


def listing(root: Path) -> dict[str, str]:
    """All paths with what is there, as text."""
    found = {}
    for directory, folders, files in os.walk(root):
        for path in (Path(directory, name) for name in (*folders, *files)):
            if path.is_symlink():
                what = f"-> {path.readlink()}"
            elif path.is_fifo() or path.is_dir():
                what = "fifo" if path.is_fifo() else "directory"
            else:
                what = repr(path.read_bytes())
            found[str(path.relative_to(root))] = what
    return found


@names
def test_links_lead_somewhere(name: str, tmp_path: Path) -> None:
    """Every link of every machine leads to something, but for that of the device which is to dangle."""
    tree = trees.planted(name, tmp_path)
    broken = {path.name for path in tmp_path.rglob("*") if path.is_symlink() and not path.exists()}
    assert broken == ({"mlx5_0"} if name == "dangling" else set())
    tree.close()


@names
def test_character_devices(name: str, tmp_path: Path) -> None:
    """Each character device of a class is found by its numbers and by its name, and nothing else is in /dev."""
    tree = trees.planted(name, tmp_path)
    devices = list(tree.sys.glob("class/*/*/dev"))
    for dev in devices:
        assert (tree.sys / "dev/char" / dev.read_text().strip()).resolve() == dev.parent.resolve()
    assert {path.name for path in tree.dev.rglob("*") if not path.is_dir()} == {dev.parent.name for dev in devices}
    tree.close()


@names
def test_every_device_has_a_subsystem(name: str, tmp_path: Path) -> None:
    """The devices a tree tells are those with a uevent file, as libudev finds them."""
    tree = trees.planted(name, tmp_path)
    if name != "dangling":
        assert set(tree.devices()) == {f"/{path.parent.relative_to(tree.sys)}" for path in tree.sys.rglob("devices/**/uevent")}
    for devpath, subsystem in tree.devices().items():
        assert (tree.sys / devpath[1:] / "subsystem").resolve().name == subsystem
    tree.close()


@settings(max_examples=30)
@given(st.sampled_from(sorted(trees.MACHINES)), st.sampled_from(sorted(trees.MACHINES)))
@example("without-core", "odd-names")
def test_becoming_another_machine(before: str, after: str) -> None:
    """A tree that has become another machine is as if it had been that from the start: nothing stays behind."""
    with scratch() as directory:
        changed = trees.planted(before, directory / "changed")
        changed.become(trees.MACHINES[after]())
        fresh = trees.planted(after, directory / "fresh")
        assert listing(changed.root) == listing(fresh.root)
        changed.close()
        fresh.close()


def test_port_states(tree: Tree) -> None:
    """A port that goes down says so with its physical state and the carrier of its interface; the other does not change."""
    tree.become(changes.port(tree.machine, "mlx5_0", 1, "down"))
    ports = tree.sys / "class/infiniband"
    assert (ports / "mlx5_0/ports/1/state").read_text() == "1: DOWN\n"
    assert (ports / "mlx5_0/ports/1/phys_state").read_text() == "2: Polling\n"
    assert (tree.sys / "class/net/ibp59s0f0/carrier").read_text() == "0\n"
    assert (ports / "mlx5_1/ports/1/state").read_text() == "4: ACTIVE\n"
    tree.become(changes.port(tree.machine, "0000:3b:00.0", 1, "init"))
    assert (ports / "mlx5_0/ports/1/phys_state").read_text() == "5: LinkUp\n"
    tree.become(changes.port(tree.machine, "mlx5_0", 1, "up"))
    assert tree.machine == layout("dual-port-infiniband")


def test_a_hanging_read_is_let_go(tree: Tree) -> None:
    """Who reads an attribute of a device that hangs waits until it answers again, and then reads the value."""
    tree.become(changes.hanging(tree.machine, "mlx5_0", hangs=True))
    state = tree.sys / "class/infiniband/mlx5_0/ports/1/state"
    read: list[bytes] = []
    opened = threading.Event()

    def reader() -> None:
        opened.set()
        read.append(state.read_bytes())

    thread = threading.Thread(target=reader, daemon=True)
    thread.start()
    assert opened.wait(PATIENCE)
    assert state.is_fifo()
    assert (tree.sys / "class/infiniband/mlx5_0/node_guid").read_bytes()
    assert not read
    tree.become(changes.hanging(tree.machine, "mlx5_0", hangs=False))
    thread.join(PATIENCE)
    assert read == [b"4: ACTIVE\n"]


def test_closing_lets_hanging_reads_go(tmp_path: Path) -> None:
    """The end of a tree does not leave anybody behind who waits in it."""
    tree = trees.planted("hangs", tmp_path)
    fifo = os.open(tree.sys / "class/infiniband/mlx5_0/ports/1/state", os.O_RDONLY | os.O_NONBLOCK)
    tree.close()
    assert os.read(fifo, 100) == b""
    assert not tmp_path.exists()
    os.close(fifo)


def test_failing_read(tmp_path: Path) -> None:
    """What cannot be read fails with an error of the kernel, for root too."""
    tree = trees.planted("unreadable", tmp_path)
    with pytest.raises(OSError, match=r"Input/output error"):
        (tree.sys / "class/infiniband/mlx5_0/node_guid").read_bytes()
    tree.close()


def test_virtual_functions(tree: Tree) -> None:
    """New virtual functions hang together with their physical one by links both ways, and go without a trace."""
    before = listing(tree.root)
    tree.become(changes.with_vfs(tree.machine, "mlx5_0", 3))
    pf = tree.sys / "bus/pci/devices/0000:3b:00.0"
    assert (pf / "sriov_numvfs").read_text() == "3\n"
    vfs = [pf / f"virtfn{index}" for index in range(3)]
    assert [vf.resolve().name for vf in vfs] == ["0000:3b:00.2", "0000:3b:00.3", "0000:3b:00.4"]
    assert {(vf / "physfn").resolve() for vf in vfs} == {pf.resolve()}
    assert (vfs[0] / "infiniband/mlx5_2/node_guid").read_text() == "0000:0000:0000:0000\n"
    tree.become(changes.with_vfs(tree.machine, "mlx5_0", 0))
    assert listing(tree.root) == before


def test_virtual_functions_of_both_ports() -> None:
    """Those of the second function of a card come after those of the first; each has an address and a name of its own."""
    machine = changes.with_vfs(changes.with_vfs(layout("dual-port-infiniband"), "mlx5_0", 16), "mlx5_1", 16)
    assert len({function.id for function in machine.functions}) == len({hca.name for _, hca in machine.hcas()}) == 34
    assert next(function.id for function in machine.functions if function.pf == "0000:3b:00.1") == "0000:3b:02.2"


def test_more_virtual_functions_than_there_can_be() -> None:
    """A card has only so many."""
    with pytest.raises(ValueError, match="can have 16 virtual functions"):
        changes.with_vfs(layout("dual-port-infiniband"), "mlx5_0", 17)


def test_moving_away(tree: Tree) -> None:
    """A device in another network namespace leaves its character devices behind, and its function; it comes back whole."""
    before = listing(tree.root)
    tree.become(changes.moved(tree.machine, "mlx5_1", away=True))
    assert {path.name for path in (tree.sys / "class/infiniband").iterdir()} == {"mlx5_0"}
    ibdevs = [path.read_text() for path in tree.sys.glob("class/infiniband_verbs/*/ibdev")]
    assert sorted(ibdevs) == ["mlx5_0\n", "mlx5_1\n"]
    assert (tree.sys / "bus/pci/devices/0000:3b:00.1").exists()
    assert not (tree.sys / "class/net/ibp59s0f1").exists()
    tree.become(changes.moved(tree.machine, "0000:3b:00.1", away=False))
    assert listing(tree.root) == before


def test_removal_takes_along_what_a_function_carries() -> None:
    """A physical function goes with its virtual ones, and comes back with them."""
    beginning = layout("roce-16-vfs")
    gone = changes.without(beginning, "mlx5_0")
    assert gone.functions == ()
    assert changes.restored(gone, "0000:5e:00.0", beginning) == beginning


def test_removing_what_is_made_of_software() -> None:
    """A device without a function goes alone."""
    beginning = trees.soft_roce()
    gone = changes.without(beginning, "rxe0")
    assert list(gone.hcas()) == []
    assert [one.name for one in gone.functions[0].interfaces] == ["eth0"]
    assert changes.restored(gone, "rxe0", beginning) == beginning


def test_numbers_are_dealt_lowest_first() -> None:
    """A device that comes again gets the lowest numbers that are free, not those that it had."""
    beginning = layout("dual-port-infiniband")
    first_gone = changes.without(changes.without(beginning, "mlx5_0"), "mlx5_1")
    only_second = changes.restored(first_gone, "0000:3b:00.1", beginning)
    assert only_second.find("mlx5_1")[1].uverbs == 0
    both = changes.restored(only_second, "0000:3b:00.0", beginning)
    assert both.find("mlx5_0")[1].uverbs == 1
    assert both.find("mlx5_0")[1].ports[0].umad == 1


def test_renaming() -> None:
    """A device is known by its new name only, and two cannot have the same."""
    machine = changes.renamed(layout("dual-port-infiniband"), "mlx5_0", "ibp59s0f0")
    assert machine.find("ibp59s0f0")[0].id == "0000:3b:00.0"
    with pytest.raises(KeyError):
        machine.find("mlx5_0")
    with pytest.raises(ValueError, match="there is mlx5_1 already"):
        changes.renamed(machine, "ibp59s0f0", "mlx5_1")


def test_a_renamed_device_is_the_same_directory(tree: Tree) -> None:
    """A name is all that changes: the directory, its inode and what somebody has open in it stay."""
    link = tree.sys / "class/infiniband/mlx5_0"
    inode, state = link.resolve().stat().st_ino, (link / "ports/1/state").open()
    tree.become(changes.renamed(tree.machine, "mlx5_0", "a"))
    assert {path.name for path in (tree.sys / "class/infiniband").iterdir()} == {"a", "mlx5_1"}
    assert (tree.sys / "class/infiniband/a").resolve().stat().st_ino == inode
    assert state.read() == "4: ACTIVE\n"
    assert (tree.sys / "class/infiniband_verbs/uverbs0/ibdev").read_text() == "a\n"
    state.close()
    tree.become(layout("dual-port-infiniband"))
    with scratch() as directory:
        assert listing(tree.root) == listing(Tree(directory, tree.machine).root)


@pytest.mark.parametrize(
    "change",
    [
        partial(changes.port, word="mlx5_9", number=1, state="up"),
        partial(changes.port, word="mlx5_0", number=2, state="up"),
        partial(changes.without, word="mlx5_9"),
        partial(changes.moved, word="0000:00:00.0", away=True),
    ],
)
def test_unknown_devices(change: Callable[[Machine], Machine]) -> None:
    """A change of what is not there is refused."""
    with pytest.raises(KeyError):
        change(layout("dual-port-infiniband"))


def test_spoiling_keeps_the_others_well() -> None:
    """In every broken machine the second device is as it was."""
    well = layout("dual-port-infiniband").find("mlx5_1")
    assert all(builder().find("mlx5_1") == well for builder in trees.BROKEN.values())


def test_a_device_that_answers_again_keeps_its_other_troubles() -> None:
    """Only the attributes that hung become readable."""
    machine = trees.spoilt(layout("dual-port-infiniband"), "mlx5_0", fw_ver=Trouble.FAILS)
    hung = changes.hanging(machine, "mlx5_0", hangs=True)
    assert changes.hanging(hung, "mlx5_0", hangs=False) == machine


def test_a_port_without_a_manager_has_no_active_link() -> None:
    """What waits for a subnet manager is in the state that the kernel calls INIT."""
    assert trees.no_subnet_manager().find("mlx5_0")[1].ports[0].state is PortState.INIT
