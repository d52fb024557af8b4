"""Whatever becomes of the kubelet: what it has is what the plugin says, soon and registered once."""

import shutil

import pytest

from supervisor.kubelet.simulator import EventKind, Fault, KubeletSimulator
from tests.system.conftest import Start
from tests.system.rig import ERAS, HEALTHY, RESOURCE, Process, Puppet, assert_served, assert_sound, registered, wait_for

pytestmark = pytest.mark.parametrize("era", ERAS)


def wait_accepting(kubelet: KubeletSimulator, life: int) -> None:
    """Wait until the kubelet of this life listens."""
    kubelet.wait_for(lambda: any(event.life == life for event in kubelet.log(EventKind.SOCKET_ACCEPTING)), what=f"life {life}")


# --- the kubelet dies -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault", [Fault.DIE_BEFORE_DIAL, Fault.DIE_AFTER_OPTIONS, Fault.DIE_BEFORE_FIRST_LIST, Fault.DIE_AFTER_FIRST_LIST]
)
def test_the_kubelet_dies_during_registration(
    kubelet: KubeletSimulator, start: Start, puppet: Puppet, fault: Fault, era: str
) -> None:
    """At whichever step it dies, the next one gets everything."""
    if fault is Fault.DIE_AFTER_OPTIONS and era == "1.20":
        fault = Fault.DIE_BEFORE_FIRST_LIST  # that kubelet asks for no options
    kubelet.inject(fault, restart_after=0.05)
    start()
    wait_accepting(kubelet, 2)
    assert_served(kubelet, puppet, 2)


def test_the_kubelet_is_killed_and_comes_back(kubelet: KubeletSimulator, served: Process, puppet: Puppet) -> None:
    """SIGKILL, a while without anybody, and a new process."""
    kubelet.kill()
    wait_for(lambda: "kubelet.sock refuses connections" in served.get("/readyz")[1] or "StreamLost" in served.log)
    kubelet.start()
    assert_served(kubelet, puppet, 2)


def test_restarts_within_milliseconds(kubelet: KubeletSimulator, served: Process, puppet: Puppet) -> None:
    """Ten lives, each as short as a registration, and the last one stays."""
    for life in range(2, 12):
        kubelet.restart()
        kubelet.wait_devices(RESOURCE, HEALTHY)
        assert registered(kubelet, life) == 1
    assert_served(kubelet, puppet, 11)


def test_the_socket_is_made_anew_twice_within_milliseconds(kubelet: KubeletSimulator, served: Process, puppet: Puppet) -> None:
    """The middle life is over before it was seen; the last one is served once."""
    kubelet.inject(Fault.DOUBLE_RESTART)
    assert_served(kubelet, puppet, 3)


def test_the_socket_is_bound_before_it_listens(kubelet: KubeletSimulator, served: Process, puppet: Puppet) -> None:
    """A socket that refuses for a moment costs nothing but that moment."""
    kubelet.inject(Fault.BIND_LISTEN_GAP, seconds=0.2)
    assert_served(kubelet, puppet, 2)


def test_a_stale_socket(kubelet: KubeletSimulator, served: Process, puppet: Puppet) -> None:
    """A dead kubelet's socket lies there for a while, and is told of."""
    kubelet.inject(Fault.STALE_SOCKET)
    assert "no kubelet listens" in served.wait_log('"KubeletAwaited"')
    kubelet.start()
    assert_served(kubelet, puppet, 2)
    served.wait_log('"KubeletFound"')


def test_the_kubelet_refuses_for_a_while(kubelet: KubeletSimulator, served: Process, puppet: Puppet) -> None:
    """The old socket refuses until the next life makes its own."""
    kubelet.inject(Fault.REFUSE_THEN_ACCEPT, seconds=0.3)
    assert_served(kubelet, puppet, 2)


def test_a_clean_up_that_takes_its_time(kubelet: KubeletSimulator, served: Process, puppet: Puppet) -> None:
    """Our socket is gone long before there is a kubelet to register at."""
    kubelet.inject(Fault.SLOW_CLEANUP, seconds=0.1)
    assert_served(kubelet, puppet, 2)


def test_two_kubelets_alternate(kubelet: KubeletSimulator, served: Process, puppet: Puppet) -> None:
    """Each starts beside the one before; the last one standing is served."""
    kubelet.inject(Fault.TWO_KUBELETS, times=2, seconds=0.3)
    assert_served(kubelet, puppet, 3)


# --- no kubelet -------------------------------------------------------------------------------------------------------


def test_no_kubelet_at_the_start(kubelet: KubeletSimulator, start: Start, puppet: Puppet) -> None:
    """A supervisor waits for its kubelet, says so, and is there when it comes."""
    kubelet.stop()
    kubelet.paths.socket.unlink()
    process = start()
    assert "kubelet.sock" in process.wait_log('"KubeletAwaited"')
    kubelet.start()
    assert_served(kubelet, puppet, 2)


def test_no_directory_at_the_start(kubelet: KubeletSimulator, start: Start, puppet: Puppet) -> None:
    """Where no kubelet ever ran there is no directory; it is waited for, too, and never made by us."""
    kubelet.stop()
    shutil.rmtree(kubelet.paths.device_plugins)
    process = start()
    assert "no kubelet has run here" in process.wait_log('"KubeletAwaited"')
    assert not kubelet.paths.device_plugins.exists()
    kubelet.start()
    assert_served(kubelet, puppet, 2)


def test_something_else_in_the_kubelets_place(kubelet: KubeletSimulator, served: Process, puppet: Puppet) -> None:
    """A regular file named ``kubelet.sock`` is told of, and what follows is a kubelet again."""
    kubelet.inject(Fault.SOCKET_IS_A_FILE)
    assert "is not a socket" in served.wait_log('"KubeletAwaited"')
    kubelet.paths.socket.unlink()
    kubelet.start()
    assert_served(kubelet, puppet, 2)


def test_many_resources_come_back_together(kubelet: KubeletSimulator, start: Start, puppet: Puppet) -> None:
    """After a restart each of twenty resources is registered once, without another look at the hardware."""
    names = [f"example.com/r{number}" for number in range(20)]
    for name in names:
        puppet.show({name.replace("example.com/", "device-"): ""}, name)
    start()
    for name in names:
        kubelet.wait_devices(name, {name.replace("example.com/", "device-"): "Healthy"})
    looks = puppet.calls("discover")
    kubelet.restart()
    for name in names:
        kubelet.wait_devices(name, {name.replace("example.com/", "device-"): "Healthy"})
        assert registered(kubelet, 2, name) == 1
    assert puppet.calls("discover") == looks
    assert_served(kubelet, puppet, 2)


def test_a_kubelet_that_was_away_for_long(kubelet: KubeletSimulator, served: Process, puppet: Puppet) -> None:
    """Three seconds are hours to it: every pause has grown to its longest, and changes meanwhile are not lost."""
    kubelet.stop()
    served.wait_log('"KubeletAwaited"')
    puppet.show({"w0": "broken", "w1": ""})
    served.wait_log("broken")
    kubelet.start()
    kubelet.wait_devices(RESOURCE, {"w0": "Unhealthy", "w1": "Healthy"})
    assert registered(kubelet, 2) == 1
    assert_sound(kubelet)
