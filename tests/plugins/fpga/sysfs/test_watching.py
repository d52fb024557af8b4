"""Polls: what has changed since the newest look and what was told after it, once, and whether a look is worth it."""

import threading
from collections.abc import Callable

from supervisor import Trouble
from supervisor_fpga.report import Change, Poll
from supervisor_fpga.simulate import changes
from supervisor_fpga.simulate.intel import NLB0, NLB3
from supervisor_fpga.simulate.machine import Machine
from supervisor_fpga.sysfs.survey import Survey
from supervisor_fpga.sysfs.watching import Watcher
from tests.plugins.fpga.looks import Plant, by_id, survey, until
from tests.plugins.fpga.machines import CARD, MACHINES, SECOND, spoilt


class Node:
    """A planted machine that was looked at, and who watches it."""

    def __init__(self, plant: Plant, machine: str = "dfl_two_cards", patience: float = 20.0) -> None:
        self.tree = plant(machine)
        self.survey: Survey = survey(self.tree, patience=patience)
        self.survey.look()
        self.watcher = Watcher(self.survey)

    def poll(self) -> Poll:
        """What one poll has to say, which is nothing of a card that is late."""
        return self.watcher.poll().poll

    def heard(self) -> Poll:
        """The next poll that has something to say."""
        polls: list[Poll] = []

        def said() -> bool:
            polls.append(self.poll())
            return polls[-1] != Poll()

        until(said)
        return polls[-1]

    def become(self, change: Callable[[Machine], Machine]) -> None:
        self.tree.become(change(self.tree.machine))


def only(poll: Poll) -> Change:
    """The one change of a poll."""
    (change,) = poll.changes
    return change


def test_nothing_is_told_of_what_stays(plant: Plant) -> None:
    """However often it is asked, on machines of all families."""
    for machine in ("everything", "dfl_errors", "dfl_odd_afu_id", "dfl_two_ports", "nothing"):
        node = Node(plant, machine)
        assert [node.poll() for _ in range(3)] == [Poll()] * 3


def test_before_the_first_look_one_is_asked_for(plant: Plant) -> None:
    """There is nothing to compare with."""
    told = Watcher(survey(plant("dfl_a10"))).poll()
    assert (told.poll, told.after) == (Poll(structure=True), 0)


def test_errors_and_heat_are_told_once(plant: Plant) -> None:
    """With all that the function says now, and again when they are gone; that needs no look."""
    node = Node(plant)
    node.become(lambda machine: changes.failing(machine, CARD, "fme/catfatal_errors", 2))
    poll = node.heard()
    assert (poll.structure, only(poll).function, only(poll).afu_id) == (False, CARD, NLB0)
    assert only(poll).evidence.errors == {"fme/catfatal_errors": 2}
    assert node.poll() == Poll()
    node.become(lambda machine: changes.hot(machine, SECOND, 110))
    assert {sensor.value for sensor in only(node.heard()).evidence.sensors} == {110.0, 25.0}
    node.become(lambda machine: changes.cleared(machine, CARD))
    assert only(node.heard()).evidence.errors == {}


def test_what_others_have_programmed_is_noticed(plant: Plant) -> None:
    """No event tells of it; a look then tells the same, and nothing is told twice."""
    node = Node(plant)
    node.become(lambda machine: changes.programmed(machine, CARD, NLB3))
    poll = node.heard()
    assert (poll.structure, only(poll).function, only(poll).afu_id) == (True, CARD, NLB3)
    assert by_id(node.survey.look().report)[CARD].afu_id == NLB3
    assert node.poll() == Poll()


def test_the_state_of_a_manager_is_told(plant: Plant) -> None:
    """It changes without an event, too."""
    node = Node(plant, "kria")
    node.become(lambda machine: changes.in_state(machine, "fpga0", "write error", "reconfig CRC error"))
    change = only(node.heard())
    assert (change.evidence.state, change.evidence.status) == ("write error", ("reconfig CRC error",))


def test_a_card_that_goes_asks_for_a_look(plant: Plant) -> None:
    """And so does its return; where the host's events do not come, nobody else would tell."""
    node = Node(plant)
    before = node.tree.machine
    node.become(lambda machine: machine.without(CARD))
    assert node.heard().structure
    assert by_id(node.survey.look().report).keys() == {SECOND}
    assert node.poll() == Poll()
    node.become(lambda _: before)
    assert node.heard().structure


def test_a_node_that_vanishes_asks_for_a_look(plant: Plant) -> None:
    """Something else that comes and goes in its place does not."""
    node = Node(plant)
    (node.tree.dev / "foreign").touch()
    assert node.poll() == Poll()
    (node.tree.dev / "dfl-port.0").unlink()
    assert node.heard() == Poll(structure=True)


def test_an_id_that_becomes_odd_asks_for_a_look(plant: Plant) -> None:
    """It is quarantined there, and comes back."""
    node = Node(plant)
    sound = node.tree.machine
    node.become(lambda machine: spoilt(machine, CARD, {"dfl-port.0/afu_id": b"rubbish\n"}))
    assert node.heard().structure
    assert "no id" in by_id(node.survey.look().report)[CARD].content_problem
    node.become(lambda _: sound)
    assert node.heard().structure


def test_a_card_that_falls_silent_is_told_once(plant: Plant) -> None:
    """With what was known last; the other one is read all the while, and it is told when it answers again."""
    node = Node(plant, patience=1.0)
    sound = node.tree.machine
    node.become(lambda machine: changes.hanging(machine, CARD, hangs=True))
    silent = only(node.heard())
    assert (silent.function, silent.unresponsive, silent.afu_id) == (CARD, True, NLB0)
    assert len(silent.evidence.sensors) == 2
    node.become(lambda machine: changes.failing(machine, SECOND, "port/errors", 1))
    assert only(node.heard()).function == SECOND
    node.become(lambda _: sound)
    until(lambda: node.survey.crew.waiting(CARD) == 0)
    back: dict[str, bool] = {}
    while back.keys() != {CARD, SECOND}:
        back |= {change.function: change.unresponsive for change in node.heard().changes}
    assert back == {CARD: False, SECOND: False}


def test_one_that_is_slow_is_waited_for(plant: Plant) -> None:
    """Its controller may take long for all of its sensors, again and again; what it says counts all the same."""
    node = Node(plant)
    spoilt_once = changes.hanging(node.tree.machine, CARD, hangs=True)
    for register in (1, 2):
        sound = changes.failing(node.tree.machine, CARD, "port/errors", register)
        node.tree.become(spoilt_once)
        answering = threading.Thread(target=answer, args=(node, sound))
        answering.start()
        assert only(node.heard()).evidence.errors == {"port/errors": register}
        answering.join()


def answer(node: Node, sound: Machine) -> None:
    """Let a card that hangs answer, a moment after it was asked."""
    until(lambda: node.survey.crew.waiting(CARD) > 0.1)
    node.tree.become(sound)


def test_one_that_never_answered_asks_for_a_look_when_it_does(plant: Plant) -> None:
    """Nothing of it was known."""
    node = Node(plant, "dfl_hanging", patience=1.0)
    assert node.poll() == Poll()
    node.become(lambda _: MACHINES["dfl_two_cards"]())
    until(lambda: node.survey.crew.waiting(CARD) == 0)
    poll = node.heard()
    assert (poll.structure, only(poll).function, only(poll).unresponsive) == (True, CARD, False)


def test_a_port_without_an_id_asks_for_a_look_when_it_has_one(plant: Plant) -> None:
    """Of a port that nobody can name there is no change to tell."""
    machine = spoilt(MACHINES["dfl_two_ports"](), CARD, {"dfl-port.0/id": Trouble.FAILS})
    node = Node(plant, "dfl_two_ports")
    node.become(lambda _: machine)
    node.survey.look()
    assert node.poll() == Poll()
    node.become(lambda _: MACHINES["dfl_two_ports"]())
    assert node.heard().structure
