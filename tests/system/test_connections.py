"""Whatever becomes of the directory and the connections: what the kubelet has is what the plugin says, soon and registered once."""

import pytest

from supervisor.kubelet.simulator import EventKind, Fault, KubeletSimulator
from tests.system.conftest import Start
from tests.system.rig import ERAS, HEALTHY, RESOURCE, Process, Puppet, assert_served, assert_sound, ours, registered, wait_for

pytestmark = pytest.mark.parametrize("era", ERAS)


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
