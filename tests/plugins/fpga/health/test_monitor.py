"""The monitor over looks, polls, starts and restarts: what it says, when it wants to be asked, and what others may do meanwhile."""

import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from supervisor_fpga.config import Limits, Resource
from supervisor_fpga.operating.messages import Prepared
from supervisor_fpga.report import Change, Function, Node, Poll, Report
from tests.plugins.fpga.health.samples import (
    AFU,
    FAILED,
    ONES,
    OTHER_AFU,
    PROGRAM,
    PROGRAMMED,
    READY,
    REFUSED,
    RESET,
    Machine,
    fabric,
    hot,
    port,
    with_evidence,
)

HOT = with_evidence(port(), sensors=(hot(110),))


def restarted(machine: Machine, now: float) -> Machine:
    """The machine under the monitor of the next process."""
    following = Machine(*machine.functions, limits=machine.limits, rule=machine.rule)
    assert following.monitor.recall(json.loads(json.dumps(machine.monitor.remember())), now) == 0
    return following


def watching(*functions: Function, limits: Limits | None = None, rule: Resource | None = None) -> Machine:
    """A machine that was looked at once, at 0, of which the kubelet was told."""
    machine = Machine(*functions, limits=limits or Limits(), rule=rule)
    machine.look(0.0)
    for number in range(len(functions)):
        machine.verdict(number)
    return machine


# --- looks and polls -------------------------------------------------------------------------------------------------


def test_what_goes_wrong_is_looked_at_when_it_counts() -> None:
    """Not before: until then there is nothing to tell the kubelet. And back."""
    machine = watching(port())
    assert not machine.told(10.0, HOT)
    assert machine.verdict().shown == (
        "TooHot: temperature Core is at its limit of 100 °C, or beyond, not for long enough to count",
    )
    assert machine.monitor.wake_at() == 15.0
    assert not machine.monitor.due(14.9)
    assert machine.monitor.due(15.0)
    machine.look(15.0)
    assert machine.verdict().state == "TooHot"
    assert machine.monitor.wake_at() is None
    assert not machine.told(20.0, port())
    assert machine.verdict().reason.endswith("; that is over, but not for 5 s yet")
    assert machine.monitor.due(25.0)
    machine.look(25.0)
    assert machine.verdict().state == "Healthy"


def test_flaps_ask_for_nothing() -> None:
    """Hot and cool each second for a minute: no look, and the same verdict."""
    machine = watching(port())
    for second in range(1, 61):
        assert not machine.told(float(second), port() if second % 2 == 0 else HOT)
        assert machine.verdict().healthy
        assert not machine.monitor.due(float(second))
    assert machine.monitor.counts().polls == 60


def test_between_its_limit_and_relief_nothing_changes() -> None:
    """A card at 98 °C of 100 stays what it is, for ever."""
    machine = watching(port())
    machine.look(10.0, with_evidence(port(), sensors=(hot(98),)))
    machine.look(100.0)
    assert machine.verdict().healthy
    machine.look(200.0, HOT)
    machine.look(205.0, HOT)
    for now in (210.0, 300.0):
        machine.look(now, with_evidence(port(), sensors=(hot(98),)))
        assert not machine.verdict().healthy


def test_without_a_hold_down_a_poll_asks_for_a_look_at_once() -> None:
    """And only one that changes what is said."""
    machine = watching(port(), limits=Limits(hold_down=0))
    assert machine.told(1.0, HOT)
    machine.look(1.0)
    assert not machine.verdict().healthy
    assert not machine.told(2.0, HOT)


def test_asking_in_between_hides_no_change() -> None:
    """A scrape of the metrics sees it first; the kubelet has to hear of it all the same."""
    machine = watching(port(), limits=Limits(hold_down=0))
    offered = machine.unit()
    assert machine.told(1.0, HOT)
    assert not machine.monitor.verdict(offered).healthy
    assert machine.told(2.0, HOT)


def test_a_program_that_has_changed_asks_for_a_look() -> None:
    """No event tells of it, and names may be made of it."""
    machine = watching(port())
    assert machine.told(1.0, port(afu_id=OTHER_AFU))
    assert not machine.told(2.0, port(afu_id=OTHER_AFU))
    assert machine.monitor.readings()[port().id].afu_id == OTHER_AFU


def test_strangers_and_structure_ask_for_a_look() -> None:
    """Only a look can tell what there is."""
    machine = watching(port())
    assert machine.monitor.poll(Poll(structure=True), 1.0)
    assert machine.monitor.poll(Poll((Change("0000:99:00.0"),)), 1.0)
    assert not machine.monitor.poll(Poll(), 1.0)
    assert machine.monitor.readings().keys() == {port().id}


def test_a_function_that_hangs_keeps_what_was_known() -> None:
    """Nobody can tell whether it is cool by now; when it answers again, it has to be seen."""
    machine = watching(HOT)
    machine.told(10.0, replace(port(), unresponsive=True, afu_id=""))
    assert machine.monitor.readings()[port().id] == replace(HOT, unresponsive=True)
    machine.look(15.0, replace(port(), unresponsive=True))
    verdict = machine.verdict()
    assert (verdict.state, "TooHot: " in verdict.reason) == ("Unresponsive", True)
    machine.told(20.0, port())
    machine.look(24.9)
    assert not machine.verdict().healthy
    machine.look(25.0)
    assert machine.verdict().healthy


@pytest.mark.parametrize(
    ("following", "reason"),
    [
        (port(problem="its AFU id is no id"), "Quarantined: its AFU id is no id"),
        (port(waiting_for="it has no driver"), "Waiting: it has no driver"),
    ],
)
def test_what_cannot_be_read_any_more_has_one_reason(following: Function, reason: str) -> None:
    """What was wrong before is of no use to anybody now, and is not forgotten."""
    machine = watching(HOT)
    machine.look(10.0, following)
    assert machine.verdict().reason == reason
    machine.look(20.0, port())
    assert machine.verdict().state == "TooHot"


def test_nodes_count_at_once() -> None:
    """An allocation would fail; and it would not when they are back."""
    machine = watching(port())
    machine.look(1.0, port(nodes=(Node("/dev/dfl-port.0", "port", present=False),)))
    assert machine.verdict().state == "NodeMissing"
    machine.look(2.0, port())
    assert machine.verdict().healthy


def test_one_function_costs_no_other_its_health() -> None:
    """Each has its own evidence."""
    machine = watching(port(0), port(1), limits=Limits(hold_down=0))
    machine.told(1.0, HOT)
    assert [machine.verdict(number).healthy for number in (0, 1)] == [False, True]


def test_a_function_that_comes_back_is_not_well_for_that() -> None:
    """What was wrong has to be over for the hold-down; what was well comes as something new."""
    machine = watching(HOT)
    machine.look_at_nothing(10.0)
    assert not machine.monitor.readings()
    machine.look(20.0, port())
    assert not machine.verdict().healthy
    machine.look(25.0)
    assert machine.verdict().healthy
    machine.look_at_nothing(30.0)
    assert machine.monitor.remember()["functions"] == {}


def test_a_look_that_changed_nothing_is_not_asked_for_again() -> None:
    """One that fails is not, either: the plugin will be asked later anyhow."""
    machine = watching(port())
    machine.told(10.0, HOT)
    assert machine.monitor.due(15.0)
    assert not machine.monitor.due(15.1)
    assert machine.monitor.wake_at() is None


# --- starts ----------------------------------------------------------------------------------------------------------


def test_a_failure_of_the_hardware_counts_until_it_has_gone_well() -> None:
    """The kubelet tries again, on a device that is Unhealthy by now."""
    machine = watching(port())
    assert machine.started(1.0, FAILED)
    machine.look(1.1)
    verdict = machine.verdict()
    assert verdict.state == "ProgrammingFailed"
    assert verdict.reason.endswith(": programming ended with EIO")
    machine.look(1_000.0)
    assert not machine.verdict().healthy
    assert machine.started(1_001.0, PROGRAMMED)
    machine.look(1_001.1)
    assert machine.verdict().healthy


@pytest.mark.parametrize("prepared", [READY, RESET, PROGRAMMED])
def test_a_reset_or_a_check_that_went_well_ends_it_for_its_function(prepared: Prepared) -> None:
    """Another function of the region is as it was, unless the region was programmed."""
    both = (port(0, region="r"), port(1, region="r"))
    machine = watching(*both)
    machine.started(1.0, FAILED, 0)
    assert [machine.verdict(number).healthy for number in (0, 1)] == [False, False]
    machine.started(2.0, prepared, 1)
    assert machine.verdict(1).healthy is prepared.programmed
    machine.started(3.0, prepared, 0)
    assert [machine.verdict(number).healthy for number in (0, 1)] == [True, True]


@pytest.mark.parametrize("prepared", [REFUSED, Prepared("busy", "it is open"), READY])
def test_mistakes_of_the_resource_leave_the_device_alone(prepared: Prepared) -> None:
    """And there is nothing new to see."""
    machine = watching(port())
    assert not machine.started(1.0, prepared)
    assert machine.verdict().healthy
    assert machine.monitor.wake_at() is None


@pytest.mark.parametrize("prepared", [PROGRAMMED, Prepared("ready", afu_id=OTHER_AFU), FAILED, Prepared("late"), None])
def test_what_may_differ_now_is_looked_at(prepared: Prepared | None) -> None:
    """No event tells of it: not even of what nobody knows to have ended."""
    machine = watching(port())
    assert machine.started(1.0, prepared)
    assert machine.monitor.due(1.0)
    assert not machine.monitor.due(1.0)


def test_a_reset_of_what_is_well_asks_for_no_look() -> None:
    """It is as it was; of one that was not, the errors may be gone."""
    machine = watching(port(0), port(1, errors={"port/errors": 1}), port(2))
    assert not machine.started(1.0, replace(RESET, afu_id=AFU), 0)
    assert machine.started(1.0, replace(RESET, afu_id=AFU), 1)
    machine.look(1.1)
    machine.told(2.0, port(2, power_state=6))
    assert machine.started(3.0, RESET, 2)


def test_what_goes_wrong_in_the_making_and_lasts_is_seen() -> None:
    """A poll tells it once, and a look that began before the end makes the next poll tell nothing: neither is believed."""
    machine = watching(port(), limits=Limits(hold_down=0))
    machine.monitor.begin(port())
    machine.told(1.0, HOT)
    assert machine.monitor.end(port(), RESET, 2.0)
    machine.look(1.9, HOT)
    assert machine.monitor.due(2.1)
    machine.look(2.1, HOT)
    assert machine.verdict().state == "TooHot"
    assert machine.monitor.wake_at() is None


def test_what_is_seen_of_a_function_in_the_making_says_nothing() -> None:
    """Bridges are disabled, ids read anything, nodes go; whether before its end or by a look that began before it."""
    machine = watching(port(), limits=Limits(hold_down=0))
    broken = port(afu_id=ONES, nodes=(Node("/dev/dfl-port.0", "port", present=False),), bridges={"br0": "disabled"})
    machine.monitor.begin(port())
    machine.told(1.0, broken)
    assert machine.verdict().state == "Healthy"
    machine.look(2.0, broken)
    assert machine.verdict().state == "Healthy"
    machine.look(2.5, replace(broken, problem="its AFU id is no id"))
    assert machine.verdict().state == "Healthy"
    machine.monitor.end(port(), PROGRAMMED, 3.0)
    machine.look(2.9, with_evidence(port(), bridges={"br0": "disabled"}))
    assert machine.verdict().state == "Healthy"
    machine.look(3.1, broken)
    assert not machine.verdict().healthy


def test_two_at_work_on_one_region() -> None:
    """The end of one is not that of the other, nor of another region."""
    both = (port(0, region="r"), port(1, region="r"), port(2))
    machine = watching(*both, limits=Limits(hold_down=0))
    machine.monitor.begin(both[0])
    machine.monitor.begin(both[1])
    machine.monitor.end(both[0], READY, 1.0)
    machine.look(2.0, *(replace(each, afu_id=ONES) for each in both))
    assert [machine.verdict(number).healthy for number in range(3)] == [True, True, False]
    machine.monitor.end(both[1], READY, 3.0)
    machine.look(4.0)
    assert not any(machine.verdict(number).healthy for number in range(3))


def test_what_was_wrong_before_counts_while_it_is_operated() -> None:
    """Nobody has seen otherwise yet."""
    machine = watching(HOT)
    machine.monitor.begin(port())
    machine.look(100.0, port())
    assert machine.verdict().state == "TooHot"


def test_somebody_else_mends_it() -> None:
    """A tool on the host has programmed it: the manager operates again."""
    rule = Resource(name="fpga.example.com/r", program=PROGRAM)
    machine = watching(fabric("write error"), rule=rule)
    machine.started(1.0, FAILED)
    machine.look(2.0, fabric("write error"))
    machine.look(10.0, fabric("operating"))
    assert machine.verdict().state == "ManagerError"
    machine.look(15.0)
    assert machine.verdict().state == "Healthy"


def test_who_takes_a_function_away_and_back_has_seen_to_it() -> None:
    """A driver that is bound anew, or a card that was reset as a whole."""
    machine = watching(port())
    machine.started(1.0, FAILED)
    machine.look_at_nothing(2.0)
    machine.look(3.0, port())
    assert machine.verdict().healthy


def test_a_look_that_began_before_the_failure_mends_nothing() -> None:
    """It may have seen what was there before."""
    machine = watching(port())
    machine.started(10.0, FAILED)
    machine.look(9.0, port(afu_id=OTHER_AFU))
    machine.look(11.0, port(afu_id=AFU))
    machine.look(12.0, port(afu_id=AFU))
    assert machine.verdict().state == "ProgrammingFailed"


# --- restarts --------------------------------------------------------------------------------------------------------


def test_a_restart_launders_nothing() -> None:
    """What was wrong has to be over for the hold-down, under eyes; a failure of the hardware lasts."""
    machine = watching(HOT, port(1))
    machine.started(1.0, FAILED, 1)
    machine.told(100.0, port())
    following = restarted(machine, 103.0)
    following.look(103.0)
    assert [following.verdict(number).state for number in (0, 1)] == ["TooHot", "ProgrammingFailed"]
    following.look(107.9)
    assert not following.verdict(0).healthy
    following.look(108.0)
    assert following.verdict(0).healthy
    assert not following.verdict(1).healthy


def test_a_restart_condemns_nobody() -> None:
    """A flap during the restart is a flap; without memory it would be the first that was ever seen."""
    machine = watching(port())
    following = restarted(machine, 100.0)
    following.look(100.0, HOT)
    assert following.verdict().healthy
    assert following.monitor.wake_at() == 105.0
    forgetful = watching(HOT)
    assert not forgetful.verdict().healthy


def test_taking_over_believes_the_owner_before() -> None:
    """A standby that saw its first sight later than the owner; it looks again at once."""
    owner, standby = watching(HOT), Machine(port())
    standby.look(50.0)
    assert standby.verdict().healthy
    standby.monitor.recall(owner.monitor.remember(), 52.0)
    assert standby.monitor.due(52.0)
    assert not standby.monitor.due(52.0)
    standby.look(52.0)
    assert not standby.verdict().healthy
    standby.look(55.0)
    assert standby.verdict().healthy


def test_without_memory_nothing_is_due() -> None:
    """An empty one recalls nothing."""
    machine = Machine(port())
    assert machine.monitor.recall({}, 0.0) == 0
    assert machine.monitor.wake_at() is None


def test_what_is_kept_is_the_same_while_nothing_changes() -> None:
    """Temperatures that come and go are no change."""
    machine = watching(port(0), port(1, sensors=(hot(110),)))
    kept = machine.monitor.remember()
    for now in range(1, 10):
        machine.look(float(now), port(0, sensors=(hot(40.0 + now),)), port(1, sensors=(hot(110.0 + now),)))
        assert machine.monitor.remember() == kept


FUNCTIONS = st.sampled_from([
    port(),
    HOT,
    port(afu_id=ONES),
    port(unresponsive=True),
    port(errors={"fme/catfatal_errors": 1, "port/errors": 1}),
    port(waiting_for="it has no driver"),
    port(afu_id=OTHER_AFU, power_state=1),
])  # fmt: skip
STEPS = st.lists(
    st.tuples(st.floats(0.1, 30), FUNCTIONS, st.sampled_from(["look", "poll", "fail", "program"])), min_size=1, max_size=30
)


@given(STEPS)
def test_verdicts_survive_a_restart_at_any_time(steps: list[tuple[float, Function, str]]) -> None:
    """The next process says the same of the same look, whatever has been before it."""
    machine, now = watching(port()), 0.0
    for pause, function, action in steps:
        now += pause
        match action:
            case "look":
                machine.look(now, function)
            case "poll":
                machine.told(now, function)
            case "fail":
                machine.started(now, FAILED)
            case _:
                machine.started(now, PROGRAMMED)
    machine.look(now)
    following = restarted(machine, now)
    following.look(now)
    before, after = machine.verdict(), following.verdict()
    assert (after.healthy, after.state) == (before.healthy, before.state)


@given(STEPS)
def test_everything_recovers(steps: list[tuple[float, Function, str]]) -> None:
    """Made ready once, and seen to be well for the hold-down: healthy, whatever has been before."""
    machine, now = watching(port()), 0.0
    for pause, function, action in steps:
        now += pause
        machine.look(now, function) if action == "look" else machine.told(now, function)
        if action in {"fail", "program"}:
            machine.started(now, FAILED if action == "fail" else PROGRAMMED)
    now += 1
    machine.started(now, PROGRAMMED)
    machine.look(now, port())
    machine.look(now + machine.limits.hold_down + 0.01)
    assert machine.verdict().state == "Healthy"


def test_any_thread_may_ask() -> None:
    """Looks, polls, starts, verdicts and metrics at the same time: nobody sees anything half done."""
    machine = watching(port(0), port(1))
    functions = (port(0), port(1))
    units = [machine.unit(0), machine.unit(1)]
    failed: list[BaseException] = []
    begin = threading.Barrier(5)

    def many(action: str) -> None:
        try:
            begin.wait(10)
            for number in range(200):
                match action:
                    case "look":
                        machine.monitor.look(Report(functions[: 1 + number % 2]), float(number))
                    case "poll":
                        machine.monitor.poll(
                            Poll((Change(port().id, HOT.evidence if number % 2 else port().evidence),)), float(number)
                        )
                    case "start":
                        machine.monitor.begin(functions[number % 2])
                        machine.monitor.end(functions[number % 2], FAILED if number % 3 else PROGRAMMED, float(number))
                    case "verdict":
                        machine.monitor.verdict(units[number % 2])
                    case _:
                        machine.monitor.remember(), machine.monitor.readings(), machine.monitor.wake_at()
        except BaseException as error:
            failed.append(error)
            raise

    threads = [threading.Thread(target=many, args=(action,)) for action in ("look", "poll", "start", "verdict", "rest")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not failed
    assert not any(thread.is_alive() for thread in threads)
