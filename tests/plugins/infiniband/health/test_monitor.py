"""The monitor over looks, polls and restarts: what it says, when it wants to be asked, and what others may do meanwhile."""

import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from supervisor_infiniband.config import ErrorRates, InfinibandConfig, Judgement, Pool
from supervisor_infiniband.health import Monitor
from supervisor_infiniband.report import Change, Counters, Link, Poll, Report
from supervisor_infiniband.units import Unit
from tests.plugins.infiniband.health.samples import ACTIVE, DISABLED, DOWN, INIT, Node, linked, pf, port, vf


def restarted(node: Node, now: float) -> Node:
    """The node under the monitor of the next process."""
    following = Node(*node.devices, judgement=node.judgement)
    assert following.monitor.recall(json.loads(json.dumps(node.monitor.remember())), now) == 0
    return following


def test_a_port_that_goes_down_is_looked_at_when_that_counts() -> None:
    """Not before: until then there is nothing to tell the kubelet."""
    node = Node(pf())
    node.look(0.0)
    assert node.verdict(0.0).healthy
    assert not node.seen(10.0, DOWN)
    assert node.monitor.wake_at() == 15.0
    assert not node.monitor.due(14.9)
    assert node.monitor.due(15.0)
    node.look(15.0)
    assert node.verdict(15.0).state == "PortDown"
    assert node.monitor.wake_at() is None
    assert not node.seen(20.0, ACTIVE)
    assert node.monitor.due(25.0)
    node.look(25.0)
    assert node.verdict(25.0).healthy


def test_flaps_are_shown_and_counted_and_ask_for_nothing() -> None:
    """Up and down each second for a minute: no look, and the same verdict, but metrics have them all."""
    node = Node(pf())
    node.look(0.0)
    node.verdict(0.0)
    for second in range(1, 61):
        assert not node.seen(float(second), ACTIVE if second % 2 == 0 else DOWN)
        assert node.verdict(float(second)).healthy
        assert not node.monitor.due(float(second))
    assert node.monitor.counts().changes == {("0000:3b:00.0", 1): 60}
    assert node.monitor.counts().polls == 60
    node.seen(61.0, DOWN)
    assert node.verdict(61.0).shown == ("port 1 is DOWN, physically without a link, not for long enough to count",)


def test_without_a_hold_down_a_poll_asks_for_a_look_at_once() -> None:
    """And only one that changes what is said."""
    node = Node(pf(), judgement=Judgement(hold_down=0))
    node.look(0.0)
    node.verdict(0.0)
    assert node.seen(1.0, DOWN)
    node.look(1.1)
    assert not node.verdict(1.1).healthy
    assert not node.seen(2.0, DISABLED)
    assert node.seen(3.0, ACTIVE)


def test_a_look_that_fails_is_not_asked_for_again() -> None:
    """The supervisor tries again by itself, and at its own pace."""
    node = Node(pf())
    node.look(0.0)
    node.seen(10.0, DOWN)
    assert node.monitor.due(15.0)
    assert not node.monitor.due(15.1)
    assert node.monitor.wake_at() is None


def test_a_poll_that_names_what_no_look_has_seen() -> None:
    """A device or a port that has come since: a look would tell."""
    monitor = Node(pf()).monitor
    assert monitor.poll(Poll((Change("0000:5e:00.0", 1, ACTIVE),)), 1.0)
    node = Node(pf())
    node.look(0.0)
    node.verdict(0.0)
    assert node.monitor.poll(Poll((Change("0000:3b:00.0", 2, ACTIVE),)), 1.0)
    assert not node.monitor.poll(Poll((Change("0000:3b:00.0", 0, Link()),)), 2.0), "it only answers"
    assert not node.monitor.poll(Poll(), 3.0)
    assert node.monitor.poll(Poll(structure=True), 4.0)


def test_a_device_that_stops_answering() -> None:
    """For longer than the hold-down; and what it says when it is back counts after it, too."""
    node = Node(pf())
    node.look(0.0)
    node.verdict(0.0)
    assert not node.seen(10.0, None)
    assert node.monitor.readings().links == {}
    node.look(15.0)
    assert node.verdict(15.0).state == "Unresponsive"
    assert not node.seen(20.0, ACTIVE)
    assert node.verdict(20.0).reason == "Unresponsive: it answers again, but not for 5 s yet"
    assert node.monitor.wake_at() == 25.0
    node.look(25.0)
    assert node.verdict(25.0).healthy
    assert node.monitor.readings().links == {("0000:3b:00.0", 1): ACTIVE}


def test_a_slow_answer_is_no_fault() -> None:
    """Firmware may be busy for a moment."""
    node = Node(pf())
    node.look(0.0)
    node.look(1.0, pf(unresponsive=True))
    assert node.verdict(1.0).healthy
    node.look(2.0, pf())
    assert node.verdict(2.0).healthy
    assert node.monitor.wake_at() is None


def test_a_device_that_was_away_keeps_its_verdict() -> None:
    """A driver reload makes it neither whole nor broken."""
    node = Node(linked(pf(), DOWN), pf(1))
    node.look(0.0)
    node.look(10.0, pf(1))
    node.look(12.0, pf(), pf(1))
    assert node.verdict(12.0, 0).reason == "PortDown: port 1 was down, and is not active for 5 s yet"
    assert node.monitor.wake_at() == 17.0
    node.look(17.0)
    assert node.verdict(17.0).healthy
    node.look(20.0, pf(1))
    node.look(21.0, linked(pf(), DOWN), pf(1))
    assert node.verdict(21.0).healthy, "for the hold-down"


def test_time_away_does_not_heal() -> None:
    """A port that was on its way back begins anew when it is seen again; meanwhile nothing is due."""
    node = Node(linked(pf(), DOWN), pf(1))
    node.look(0.0)
    node.seen(10.0, ACTIVE)
    node.look(12.0, pf(1))
    assert node.monitor.wake_at() is None
    node.look(16.0, pf(), pf(1))
    assert not node.verdict(16.0).healthy
    assert node.monitor.wake_at() == 21.0


def test_a_hanging_device_is_told_once() -> None:
    """Its port was down before it hung; nobody knows what it is now."""
    node = Node(linked(pf(), DOWN))
    node.look(0.0)
    node.look(1.0, linked(pf(unresponsive=True), DOWN))
    node.look(6.0)
    verdict = node.verdict(6.0)
    assert (verdict.state, verdict.reason.count(";")) == ("Unresponsive", 0)


def test_a_physical_function_elsewhere_says_nothing_of_its_vfs() -> None:
    """What was believed of its port when it moved is out of date."""
    node = Node(vf(0), linked(pf(), DOWN))
    node.look(0.0)
    assert not node.verdict(0.0).healthy
    node.look(1.0, vf(0), pf(elsewhere=True))
    assert node.verdict(1.0).healthy


def test_a_device_that_comes_back_from_elsewhere() -> None:
    """Nothing of it was seen there; its port has to be active for the hold-down again only where it was down before."""
    node = Node(pf())
    node.look(0.0)
    node.look(1.0, replace(linked(pf(), Link()), elsewhere=True))
    assert node.verdict(1.0).state == "InUseElsewhere"
    assert node.monitor.wake_at() is None
    assert node.monitor.readings().links == {}
    node.look(100.0, pf())
    assert node.verdict(100.0).state == "Healthy"


def test_a_report_that_lags_behind_a_poll_is_put_right() -> None:
    """The poll after it tells what differs from that look."""
    node = Node(pf())
    node.look(0.0)
    node.verdict(0.0)
    assert not node.monitor.poll(Poll((Change("0000:3b:00.0", 1, DOWN),)), 10.2)
    node.look(10.0)
    assert not node.monitor.poll(Poll((Change("0000:3b:00.0", 1, DOWN),)), 11.2)
    node.devices = (linked(pf(), DOWN),)
    assert node.monitor.wake_at() == pytest.approx(16.2)
    node.look(16.3)
    assert node.verdict(16.3).state == "PortDown"


def test_each_resource_has_its_own_hold_down() -> None:
    """Of the same port, which its VFs share."""
    fast, slow = Judgement(hold_down=1), Judgement(hold_down=30)
    pools = (Pool(name="vf", judgement=fast), Pool(name="hca", judgement=slow))
    monitor = Monitor(InfinibandConfig(resources=pools))
    monitor.look(Report((pf(), vf(0)), nodes=frozenset({"uverbs0", "uverbs8"})), 0.0)
    monitor.poll(Poll((Change(pf().id, 1, DOWN),)), 10.0)
    assert monitor.wake_at() == 11.0
    down = linked(pf(), DOWN)
    monitor.look(Report((down, vf(0)), nodes=frozenset({"uverbs0", "uverbs8"})), 11.0)
    assert not monitor.verdict(Unit(vf(0).id, pools[0], (vf(0),)), fast, 11.0).healthy
    assert monitor.verdict(Unit(down.id, pools[1], (down,)), slow, 11.0).healthy
    assert monitor.wake_at() == 40.0


def test_a_judgement_of_another_configuration_is_a_mistake() -> None:
    """Nobody has kept its times."""
    node = Node(pf())
    node.look(0.0)
    with pytest.raises(KeyError):
        node.monitor.verdict(node.unit(), Judgement(hold_down=77), 0.0)


def test_errors_ask_for_a_look_when_they_change_a_verdict() -> None:
    """And when they have stopped for long enough: each reading is held against what was said."""
    node = Node(pf(), judgement=Judgement(error_rates=ErrorRates(action="unhealthy")))
    node.look(0.0)
    node.verdict(0.0)
    assert not node.counted(0.0, symbol_error=0)
    assert node.counted(15.0, symbol_error=100)
    node.look(15.1)
    assert node.verdict(15.1).state == "ErrorRate"
    readings = [node.counted(15.0 * count, symbol_error=100) for count in range(2, 20)]
    assert readings.index(True) > 5
    assert node.monitor.readings().counters[pf().id, 1].values == {"symbol_error": 100}


def test_counters_that_rose_out_of_sight_do_not_count() -> None:
    """A driver that is loaded anew counts anew, or goes on; nobody knows since when."""
    node = Node(pf(), judgement=Judgement(error_rates=ErrorRates(action="unhealthy")))
    node.look(0.0)
    node.counted(0.0, symbol_error=0)
    node.look(5.0, pf(1))
    node.look(10.0, pf())
    node.counted(15.0, symbol_error=500)
    assert node.verdict(15.0).healthy


def test_asking_in_between_hides_no_change() -> None:
    """A scrape of the metrics sees it first; the kubelet has to hear of it all the same."""
    node = Node(pf(), judgement=Judgement(error_rates=ErrorRates(action="unhealthy")))
    node.look(0.0)
    node.verdict(0.0)
    node.counted(0.0, symbol_error=0)
    node.counted(15.0, symbol_error=100)
    node.look(15.1)
    assert not node.verdict(15.1).healthy
    assert node.verdict(300.0).healthy
    assert node.counted(300.0, symbol_error=100)


def test_counters_of_strangers_are_not_kept() -> None:
    """What no look has seen has no metrics; what is gone has none any more."""
    node = Node(pf())
    node.look(0.0)
    node.counted(1.0, link_downed=1)
    node.monitor.poll(Poll(counters=(Counters("0000:5e:00.0", 1, {"link_downed": 1}),)), 1.0)
    assert [*node.monitor.readings().counters] == [("0000:3b:00.0", 1)]
    node.look(2.0, pf(1))
    assert not node.monitor.readings().counters
    assert not node.monitor.counts().changes


# --- restarts --------------------------------------------------------------------------------------------------------


def test_a_restart_launders_nothing() -> None:
    """What was down has to be active for the hold-down, under eyes."""
    node = Node(linked(pf(), DOWN))
    node.look(0.0)
    node.seen(100.0, ACTIVE)
    following = restarted(node, 103.0)
    following.look(103.0)
    assert following.verdict(103.0).state == "PortDown"
    following.look(107.9)
    assert not following.verdict(107.9).healthy
    following.look(108.0)
    assert following.verdict(108.0).healthy


def test_a_restart_condemns_nobody() -> None:
    """A flap during the restart is a flap; without memory it would be the first that was ever seen."""
    node = Node(pf())
    node.look(0.0)
    following = restarted(node, 100.0)
    following.look(100.0, linked(pf(), DOWN))
    assert following.verdict(100.0).healthy
    assert following.monitor.wake_at() == 105.0
    forgetful = Node(linked(pf(), DOWN))
    forgetful.look(100.0)
    assert not forgetful.verdict(100.0).healthy


def test_a_wait_goes_on_over_restarts() -> None:
    """A process that dies each twenty seconds still finds out that there is no subnet manager."""
    node = Node(linked(pf(), INIT))
    for now in (0.0, 20.0, 40.0):
        node.look(now)
        assert node.verdict(now).healthy
        node = restarted(node, now + 19.0)
    node.look(60.0)
    assert node.verdict(60.0).state == "NoSubnetManager"


def test_errors_that_count_are_remembered() -> None:
    """Others are not: they change nothing."""
    judgement = Judgement(error_rates=ErrorRates(action="unhealthy"))
    for rise, healthy in ((100, False), (99, True)):
        node = Node(pf(), judgement=judgement)
        node.look(0.0)
        node.counted(0.0, symbol_error=0)
        node.counted(15.0, symbol_error=rise)
        following = restarted(node, 20.0)
        following.look(20.0)
        assert following.verdict(20.0).healthy is healthy


def test_taking_over_believes_the_rates_of_the_owner_before() -> None:
    """Errors that it counted before the standby began to; once, however often they are recalled."""
    judgement = Judgement(error_rates=ErrorRates(action="unhealthy"))
    owner, standby = Node(pf(), judgement=judgement), Node(pf(), judgement=judgement)
    owner.look(0.0)
    owner.counted(0.0, symbol_error=0)
    owner.counted(15.0, symbol_error=100)
    standby.look(20.0)
    standby.counted(20.0, symbol_error=100)
    standby.counted(35.0, symbol_error=250)
    kept = standby.monitor.remember()
    for _ in range(3):
        standby.monitor.recall(owner.monitor.remember(), 40.0)
    assert standby.monitor.remember()["rates"] == {"0000:3b:00.0/1": {"symbol_error": [[100, 135], [150, 155]]}}
    assert kept["rates"] == {"0000:3b:00.0/1": {"symbol_error": [[150, 155]]}}


def test_devices_that_come_and_go_leave_nothing_behind() -> None:
    """But what is believed of their ports, which is bounded, and rates for as long as they count."""
    node = Node(pf(), judgement=Judgement(error_rates=ErrorRates(action="unhealthy")))
    node.look(0.0)
    node.seen(1.0, DOWN)
    node.counted(1.0, symbol_error=0)
    node.counted(16.0, symbol_error=100)
    node.look(20.0, pf(1))
    assert node.monitor.counts().changes == {}
    assert node.monitor.remember()["rates"] == {"0000:3b:00.0/1": {"symbol_error": [[100, 136]]}}
    node.look(136.0)
    assert node.monitor.remember()["rates"] == {}


def test_taking_over_believes_the_owner_before() -> None:
    """A standby that saw its first sight later than the owner; it looks again at once."""
    owner = Node(linked(pf(), DOWN))
    owner.look(0.0)
    standby = Node(pf())
    standby.look(50.0)
    assert standby.verdict(50.0).healthy
    standby.monitor.recall(owner.monitor.remember(), 52.0)
    assert standby.monitor.due(52.0)
    assert not standby.monitor.due(52.0)
    standby.look(52.0)
    assert not standby.verdict(52.0).healthy
    standby.look(55.0)
    assert standby.verdict(55.0).healthy


def test_without_memory_nothing_is_due() -> None:
    """An empty one recalls nothing."""
    node = Node(pf())
    assert node.monitor.recall({}, 0.0) == 0
    assert node.monitor.wake_at() is None


LINKS = st.sampled_from([ACTIVE, DOWN, INIT, DISABLED, None])


@given(st.lists(st.tuples(st.floats(0.1, 30), LINKS, st.booleans()), min_size=1, max_size=30))
def test_verdicts_survive_a_restart_at_any_time(steps: list[tuple[float, Link | None, bool]]) -> None:
    """The next process says the same of the same look, whatever has been before it."""
    node, now = Node(linked(pf(ports=(port(), port(2))), ACTIVE, DOWN)), 0.0
    node.look(now)
    for pause, link, look in steps:
        now += pause
        node.seen(now, link)
        if look:
            node.look(now)
    node.look(now)
    following = restarted(node, now)
    following.look(now)
    before, after = node.verdict(now), following.verdict(now)
    assert (after.healthy, after.state) == (before.healthy, before.state)
    assert following.monitor.remember().keys() == node.monitor.remember().keys()


def test_any_thread_may_ask() -> None:
    """Looks, polls, verdicts and metrics at the same time: nobody sees anything half done."""
    node = Node(pf(), vf(0))
    node.look(0.0)
    units = [node.unit(0), node.unit(1)]
    failed: list[BaseException] = []
    begin = threading.Barrier(4)

    def many(action: str) -> None:
        try:
            begin.wait(10)
            for number in range(300):
                match action:
                    case "look":
                        node.look(float(number), *(node.devices[: 1 + number % 2] or node.devices))
                    case "poll":
                        node.monitor.poll(Poll((Change(pf().id, 1, DOWN if number % 2 else ACTIVE),)), float(number))
                    case "verdict":
                        node.monitor.verdict(units[number % 2], node.judgement, float(number))
                    case _:
                        node.monitor.remember(), node.monitor.readings(), node.monitor.counts(), node.monitor.wake_at()
        except BaseException as error:
            failed.append(error)
            raise

    threads = [threading.Thread(target=many, args=(action,)) for action in ("look", "poll", "verdict", "rest")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not failed
    assert not any(thread.is_alive() for thread in threads)
