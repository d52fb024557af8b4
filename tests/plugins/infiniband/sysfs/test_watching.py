"""Polls: what has changed since the newest look and what was told after it, once, and whether a look is worth it."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec import structs

from supervisor import Trouble
from supervisor.crew import STALL
from supervisor_infiniband.report import Change, Poll, PortState
from supervisor_infiniband.simulate import changes
from supervisor_infiniband.simulate.machine import Machine
from supervisor_infiniband.simulate.tree import Tree
from supervisor_infiniband.sysfs.survey import Key, Survey
from supervisor_infiniband.sysfs.watching import Watcher
from tests.plugins.infiniband.sysfs.conftest import survey, until
from tests.plugins.infiniband.trees import CARD, MACHINES, spoilt

Plant = Callable[[str | Machine], Tree]

DUAL = "dual-port-infiniband"


class Node:
    """A planted machine that was looked at, and who watches it."""

    def __init__(self, plant: Plant, machine: str | Machine = DUAL, patience: float = 20.0, turns: int = 1) -> None:
        self.tree = plant(machine)
        self.survey: Survey = survey(self.tree, patience=patience, hw_counters=("out_of_*",))
        self.survey.look()
        self.watcher = Watcher(self.survey, turns)

    def poll(self) -> Poll:
        return self.watcher.poll(with_counters=False).poll

    def become(self, change: Callable[[Machine], Machine]) -> None:
        self.tree.become(change(self.tree.machine))

    def until_back(self) -> None:
        """Until no read hangs any more."""
        assert self.survey.taken is not None
        known = self.survey.taken.known
        until(lambda: not any(self.survey.crew.waiting(key) for key in known))


def stuck(node: Node) -> Key:
    """The key of the device that hangs."""
    assert node.survey.taken is not None
    (key,) = [key for key, known in node.survey.taken.known.items() if known.id == CARD]
    return key


def links(poll: Poll) -> dict[tuple[str, int], PortState | None]:
    """The state that each change tells."""
    return {(one.device, one.port): one.link.state if one.link is not None else None for one in poll.changes}


@pytest.mark.parametrize("name", sorted(MACHINES.keys() - {"hangs"}))
def test_where_nothing_changes_nothing_is_told(plant: Plant, name: str) -> None:
    """Right after a look, and again."""
    node = Node(plant, name)
    assert [node.poll(), node.poll()] == [Poll(), Poll()]


def test_a_port_that_goes_down_is_told_once(plant: Plant) -> None:
    """With its interface's carrier; so is its coming back."""
    node = Node(plant)
    node.become(lambda machine: changes.port(machine, "mlx5_0", 1, "down"))
    poll = node.poll()
    assert links(poll) == {(CARD, 1): PortState.DOWN}
    assert poll.changes[0].link is not None
    assert [netdev.carrier for netdev in poll.changes[0].link.netdevs] == [False]
    assert not poll.structure
    assert node.poll() == Poll()
    node.become(lambda machine: changes.port(machine, "mlx5_0", 1, "up"))
    assert links(node.poll()) == {(CARD, 1): PortState.ACTIVE}


def test_each_listener_hears_what_is_newer_than_the_look(plant: Plant) -> None:
    """Also one that comes later; after the next look there is nothing to tell."""
    node = Node(plant)
    node.become(lambda machine: changes.port(machine, "mlx5_0", 1, "init"))
    assert links(node.poll()) == {(CARD, 1): PortState.INIT}
    assert links(Watcher(node.survey).poll(with_counters=False).poll) == {(CARD, 1): PortState.INIT}
    node.survey.look()
    assert node.poll() == Poll()


def test_before_the_first_look_a_look_is_asked_for(plant: Plant) -> None:
    """There is nothing to compare with."""
    told = Watcher(survey(plant(DUAL))).poll(with_counters=False)
    assert (told.poll, told.after) == (Poll(structure=True), 0)


@pytest.mark.parametrize(
    "change",
    [
        lambda machine: changes.without(machine, "mlx5_1"),
        lambda machine: changes.renamed(machine, "mlx5_0", "ibp59s0f0"),
        lambda machine: changes.with_vfs(machine, "mlx5_0", 2),
        lambda machine: changes.moved(machine, "mlx5_1", away=True),
        lambda machine: structs.replace(machine, modules=tuple(name for name in machine.modules if name != "rdma_ucm")),
        lambda machine: structs.replace(machine, netns_mode="exclusive"),
    ],
    ids=["removed", "renamed", "vfs", "moved", "without rdma_cm", "exclusive"],
)
def test_another_structure_is_told_once_without_any_event(plant: Plant, change: Callable[[Machine], Machine]) -> None:
    """By names and inodes, as long as no look has seen it."""
    node = Node(plant)
    node.become(change)
    assert node.poll().structure
    node.survey.look()
    assert node.poll() == Poll()


def test_interfaces_of_others_are_no_change(plant: Plant, tmp_path: Path) -> None:
    """Those of pods come and go; one on the function of a known device counts."""
    node = Node(plant)
    net = node.tree.sys / "class/net"
    (net / "veth0").symlink_to("../../devices/virtual/net/veth0")
    assert node.poll() == Poll()
    (net / "veth0").unlink()
    assert node.poll() == Poll()
    (net / "ib9").symlink_to(f"../../devices/pci0000:3a/{CARD}/net/ib9")
    assert node.poll().structure


def test_a_device_that_hangs_is_told_after_its_patience(plant: Plant) -> None:
    """The other one's changes are told meanwhile; when it is back, that is told with a look to be taken."""
    node = Node(plant, patience=0.1)
    node.become(lambda machine: changes.hanging(machine, "mlx5_0", hangs=True))
    node.become(lambda machine: changes.port(machine, "mlx5_1", 1, "down"))
    assert links(node.poll()) == {(f"{CARD[:-1]}1", 1): PortState.DOWN}
    assert node.watcher.expects
    polls = iter(node.poll, Poll())  # until there is one without a change
    until(lambda: node.survey.crew.waiting(stuck(node)) > 0.1)
    assert [poll.changes for poll in polls] == [(Change(CARD),)]
    assert not node.watcher.expects
    assert node.poll() == Poll()
    node.become(lambda machine: changes.hanging(machine, "mlx5_0", hangs=False))
    node.until_back()
    assert node.poll().structure
    assert node.poll() == Poll()


def test_a_device_with_slow_firmware_is_heard(plant: Plant) -> None:
    """Its answers take longer than it takes to begin with the next device, each time, and that is no reason to throw them away."""
    node = Node(plant)
    state = Path(node.tree.sys, "class/infiniband/mlx5_0/ports/1/state").resolve()
    fifo = state.with_name("slow")
    os.mkfifo(fifo)
    fifo.replace(state)
    with answering(state, b"1: DOWN\n", after=5 * STALL):
        until(lambda: links(node.poll()) == {(CARD, 1): PortState.DOWN})
        node.until_back()


@contextmanager
def answering(fifo: Path, text: bytes, after: float) -> Iterator[None]:
    """Answer each reader of a FIFO after so many seconds."""
    over = threading.Event()

    def answer() -> None:
        while True:
            with fifo.open("wb", buffering=0) as file:  # there is a reader
                if over.wait(after):
                    return
                file.write(text)

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield
    finally:
        over.set()
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)  # whom it waits for, if it does
        thread.join()
        os.close(reader)


def test_one_that_never_answered_is_told_when_it_does(plant: Plant) -> None:
    """Only a look can tell what it is."""
    node = Node(plant, "hangs", patience=0.1)
    assert node.poll() == Poll()
    node.become(lambda machine: changes.hanging(machine, "mlx5_0", hangs=False))
    node.until_back()
    assert node.poll().structure
    node.survey.look()
    assert node.poll() == Poll()


@pytest.mark.parametrize("trouble", [Trouble.FAILS, b"rubbish\n"], ids=["fails", "garbage"])
def test_a_device_that_makes_no_sense_is_told_once_and_when_it_is_well(plant: Plant, trouble: Trouble | bytes) -> None:
    """Whether a look has seen it in between or not."""
    well = MACHINES[DUAL]()
    node = Node(plant)
    for looks in (False, True):
        node.tree.become(spoilt(well, "mlx5_0", ports__1__state=trouble))
        assert node.poll() == Poll(structure=True)
        assert node.poll() == Poll()
        if looks:
            node.survey.look()
            assert node.poll() == Poll()
        node.tree.become(well)
        assert node.poll() == Poll(structure=True)
        assert node.poll() == Poll()


def test_carried_devices_take_turns(plant: Plant) -> None:
    """A VF's change is told within as many polls as there are turns, its function's in each."""
    node = Node(plant, "roce-16-vfs", turns=2)
    for state, wanted in (("up", PortState.ACTIVE), ("down", PortState.DOWN)):
        node.become(lambda machine, state=state: changes.port(machine, "mlx5_3", 1, state))  # type: ignore[misc]  # no type for a default of a lambda
        told = [links(node.poll()), links(node.poll())]
        assert sorted(told, key=len) == [{}, {("0000:5e:00.4", 1): wanted}]
    for state, wanted in (("down", PortState.DOWN), ("up", PortState.ACTIVE)):
        node.become(lambda machine, state=state: changes.port(machine, "mlx5_0", 1, state))  # type: ignore[misc]  # as above
        assert links(node.poll()) == {("0000:5e:00.0", 1): wanted}


def test_counters_are_read_when_they_are_wanted(plant: Plant) -> None:
    """Data in octets, chosen hardware counters, and nothing that is no number."""
    machine = MACHINES[DUAL]()
    _, hca = machine.find("mlx5_0")
    values = {"port_rcv_data": 25, "port_xmit_data": 2**64 - 1, "link_downed": 3, "symbol_error": "N/A (no PMA)"}
    port = structs.replace(hca.ports[0], counters=values, hw_counters={"out_of_buffer": 7, "lifespan": 10})
    node = Node(plant, machine.with_hca("mlx5_0", structs.replace(hca, ports=(port,), hw_counters={"out_of_sequence": 1})))
    assert node.poll() == Poll()
    own, whole = [one for one in node.watcher.poll(with_counters=True).poll.counters if one.device == CARD]
    assert (own.port, own.values, own.hw_values) == (1, {"port_rcv_data": 100, "link_downed": 3}, {"out_of_buffer": 7})
    assert (whole.port, whole.values, whole.hw_values) == (0, {}, {"out_of_sequence": 1})


def test_errors_of_the_pci_link_are_counted(plant: Plant) -> None:
    """The totals of Advanced Error Reporting, of functions that have a link of their own; a file that says none has none."""
    node = Node(plant, "roce-16-vfs")
    for function, _ in node.tree.machine.hcas():
        folder = node.tree.sys / function.path
        (folder / "aer_dev_correctable").write_text("RxErr 2\nBadTLP 0\nTOTAL_ERR_COR 2\n")
        (folder / "aer_dev_nonfatal").write_text("Undefined 0\n")
        (folder / "aer_dev_fatal").write_text("Undefined 0\nDLP 1\nTOTAL_ERR_FATAL 1\n")
    counted = [one for one in node.watcher.poll(with_counters=True).poll.counters if one.port == 0]
    assert [(one.device, one.values) for one in counted if one.values] == [
        ("0000:5e:00.0", {"aer_dev_correctable": 2, "aer_dev_fatal": 1})
    ]
