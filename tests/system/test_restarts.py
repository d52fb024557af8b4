"""Whatever becomes of the kubelet, its directory and its connections: what it has is what the plugin says, soon and once."""

import shutil

import pytest

from supervisor.kubelet.simulator import EventKind, Fault, KubeletSimulator
from tests.system.conftest import Start
from tests.system.rig import HEALTHY, RESOURCE, Process, Puppet, assert_sound, ours, registered, wait_for

ERAS = ("1.20", "1.25", "1.37")
NEW = {"w0": "Healthy", "w1": "Unhealthy", "w2": "Healthy"}


@pytest.fixture(params=ERAS)
def era(request: pytest.FixtureRequest) -> str:
    """Every test here is run with a kubelet of each era."""
    name: str = request.param
    return name


def assert_served(
    kubelet: KubeletSimulator, puppet: Puppet, life: int | None = None, foreign: frozenset[str] = frozenset()
) -> None:
    """The kubelet has what the plugin says, also what it says next; registered once in this life, where one is named."""
    kubelet.wait_devices(RESOURCE, HEALTHY, timeout=20)
    puppet.show({"w0": "", "w1": "worn out", "w2": ""})
    kubelet.wait_devices(RESOURCE, NEW, timeout=20)
    if life is not None:
        assert registered(kubelet, life) == 1
    assert_sound(kubelet, foreign)


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


# --- the directory ----------------------------------------------------------------------------------------------------


def test_our_own_socket_is_deleted(kubelet: KubeletSimulator, served: Process, puppet: Puppet) -> None:
    """The connection lives on; the file is put back for people, and nothing is registered again."""
    before = ours(kubelet.paths.device_plugins)
    kubelet.inject(Fault.REMOVE_PLUGIN_SOCKET, resource=RESOURCE)
    wait_for(lambda: ours(kubelet.paths.device_plugins) == before, what="the socket's return")
    assert_served(kubelet, puppet, 1)


@pytest.mark.parametrize("fault", [Fault.RECREATE_DIRECTORY, Fault.REPLACE_DIRECTORY])
def test_the_directory_is_another_one(kubelet: KubeletSimulator, served: Process, puppet: Puppet, fault: Fault) -> None:
    """Removed and made again, or renamed over: everything is bound and registered in the new one, whose owner we are."""
    kubelet.inject(fault)
    assert_served(kubelet, puppet, 2)
    directory = kubelet.paths.device_plugins
    assert len(ours(directory)) == 1
    assert (directory / ".device-plugin-supervisor" / "owner.lock").exists()
    served.wait_ready("active")


def test_a_storm_of_files(kubelet: KubeletSimulator, served: Process, puppet: Puppet) -> None:
    """A thousand files that come and go are none of our business."""
    kubelet.inject(Fault.CREATE_STORM)
    assert_served(kubelet, puppet, 1)


# --- connections ------------------------------------------------------------------------------------------------------


def test_a_stream_is_reset(kubelet: KubeletSimulator, served: Process, puppet: Puppet) -> None:
    """The kubelet lives and will not dial again by itself: we register again, once."""
    kubelet.inject(Fault.RESET_CONNECTION, resource=RESOURCE)
    kubelet.wait_for(lambda: registered(kubelet, 1) == 2, what="the second registration")
    assert_served(kubelet, puppet)
    assert registered(kubelet, 1) == 2


def test_a_slow_dial_back(kubelet: KubeletSimulator, start: Start, puppet: Puppet) -> None:
    """A kubelet that takes a second to dial is waited for, not called again."""
    kubelet.inject(Fault.SLOW_DIAL_BACK, seconds=1.0)
    start()
    assert_served(kubelet, puppet, 1)
    assert len(kubelet.registrations(RESOURCE)) == 1


def test_a_refused_dial_back(kubelet: KubeletSimulator, start: Start, puppet: Puppet, era: str) -> None:
    """Where the kubelet says that it could not dial, we call again; to 1.24 it says nothing and has 11 s for it."""
    kubelet.inject(Fault.REFUSED_DIAL_BACK)
    process = start()
    if era == "1.20":
        kubelet.wait_event(EventKind.CONNECT_FAILED)
        kubelet.restart()  # what its operator would do; we would wait
        assert_served(kubelet, puppet, 2)
    else:
        process.wait_log("failed to dial device plugin")
        assert_served(kubelet, puppet, 1)


def test_slow_options(kubelet: KubeletSimulator, start: Start, puppet: Puppet) -> None:
    """A kubelet that waits between its steps is waited for."""
    kubelet.inject(Fault.SLOW_OPTIONS, seconds=0.5)
    start()
    kubelet.disarm()  # a kubelet that asks for no options does not meet it
    assert_served(kubelet, puppet, 1)


def test_a_late_answer(kubelet: KubeletSimulator, start: Start, puppet: Puppet) -> None:
    """The stream is what counts; the answer that comes a second later changes nothing."""
    kubelet.inject(Fault.LATE_ANSWER, seconds=1.0)
    start()
    kubelet.wait_event(EventKind.REGISTER_ANSWERED, error="")
    assert_served(kubelet, puppet, 1)


def test_a_slow_reader(kubelet: KubeletSimulator, served: Process, puppet: Puppet) -> None:
    """A kubelet that does not read for a second gets the newest list afterwards, on the same stream."""
    for number in range(50):
        puppet.show({f"old-{number}-{each}": "" for each in range(20)})
    kubelet.inject(Fault.SLOW_READER, resource=RESOURCE, seconds=1.0)
    assert registered(kubelet, 1) == 1
    puppet.show({"w0": "", "w1": ""})
    kubelet.wait_for(lambda: kubelet.devices(RESOURCE).items() >= HEALTHY.items(), what="the newest list")
    assert_sound(kubelet)
    assert served.get("/readyz")[0] == 200


def test_the_clock_jumps_over_the_grace(kubelet: KubeletSimulator, served: Process, puppet: Puppet) -> None:
    """A plugin that is connected loses nothing when the kubelet's clock is put forward."""
    kubelet.inject(Fault.CLOCK_JUMP)
    assert not kubelet.log(EventKind.RESOURCE_DROPPED)
    assert_served(kubelet, puppet, 1)


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
