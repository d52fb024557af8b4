"""An id that a pod may hold is never dropped: not when its device vanishes, nor over restarts and hand-overs of the process.

When it may go at last takes a minute of quiet, which the tests of the rules themselves let pass in no time.
"""

from pathlib import Path

import pytest

from supervisor.host import Host
from supervisor.kubelet.simulator import EventKind, KubeletSimulator, Paths
from tests.system.conftest import Start
from tests.system.rig import HEALTHY, RESOURCE, Process, Puppet, assert_sound, endpoints, registered

GONE = {"w0": "Unhealthy", "w1": "Healthy"}
ALL_GONE = {"w0": "Unhealthy", "w1": "Unhealthy"}


def hold(kubelet: KubeletSimulator, puppet: Puppet) -> None:
    """A pod gets w0, and no other id."""
    puppet.show({"w0": "", "w1": "busy elsewhere"})
    kubelet.wait_devices(RESOURCE, {"w0": "Healthy", "w1": "Unhealthy"})
    pod = kubelet.add_pod("holder", {RESOURCE: 1})
    assert pod.admitted, pod.message
    puppet.show({"w0": "", "w1": ""})
    kubelet.wait_devices(RESOURCE, HEALTHY)


def first_list(kubelet: KubeletSimulator, since: int) -> tuple[int, int]:
    """Healthy and unhealthy of the first list after this position."""
    event = kubelet.wait_event(EventKind.LIST_RECEIVED, since=since, resource=RESOURCE)
    return event["healthy"], event["unhealthy"]


@pytest.mark.parametrize("era", ["1.20", "1.25", "1.36", "1.37"])
def test_a_device_that_vanishes_under_a_pod_stays_listed(kubelet: KubeletSimulator, served: Process, puppet: Puppet) -> None:
    """Unhealthy, so that no other pod gets it; the pod runs on, and the device may come back as it was."""
    hold(kubelet, puppet)
    puppet.show({"w1": ""})
    kubelet.wait_devices(RESOURCE, GONE)
    assert "w0 is gone but may be allocated" in served.wait_log('"DeviceTombstoned"')
    assert not kubelet.add_pod("second", {RESOURCE: 2}).admitted
    assert kubelet.restart_container("holder").phase == "Running"
    puppet.show({"w0": "", "w1": ""})
    kubelet.wait_devices(RESOURCE, HEALTHY)
    assert_sound(kubelet)


def test_a_vanished_id_stays_when_its_pod_is_deleted(kubelet: KubeletSimulator, served: Process, puppet: Puppet) -> None:
    """One reading that shows it free proves nothing yet."""
    hold(kubelet, puppet)
    puppet.show({"w1": ""})
    kubelet.wait_devices(RESOURCE, GONE)
    kubelet.delete_pod("holder")
    kubelet.restart()
    kubelet.wait_devices(RESOURCE, GONE)
    assert_sound(kubelet)


def test_a_vanished_resource_stays_while_it_is_held(kubelet: KubeletSimulator, served: Process, puppet: Puppet) -> None:
    """All its ids become unhealthy; the stream stays open, and the resource may come back."""
    hold(kubelet, puppet)
    puppet.hide()
    kubelet.wait_devices(RESOURCE, ALL_GONE)
    puppet.show({"w0": "", "w1": ""})
    kubelet.wait_devices(RESOURCE, HEALTHY)
    assert registered(kubelet, 1) == 1
    assert_sound(kubelet)


def test_a_kubelet_restart_forgets_no_tombstone(kubelet: KubeletSimulator, served: Process, puppet: Puppet) -> None:
    """The very first list in the new life names the vanished id."""
    hold(kubelet, puppet)
    puppet.show({"w1": ""})
    kubelet.wait_devices(RESOURCE, GONE)
    position = kubelet.events.position
    kubelet.restart()
    assert first_list(kubelet, position) == (1, 1)
    kubelet.wait_devices(RESOURCE, GONE)
    assert_sound(kubelet)


@pytest.mark.parametrize("source", ["podresources", "checkpoint"])
@pytest.mark.parametrize("ended_by", ["stop", "kill"])
def test_a_new_process_adopts_what_is_held(
    kubelet: KubeletSimulator, start: Start, puppet: Puppet, short_dir: Path, tmp_path: Path, source: str, ended_by: str
) -> None:
    """What the kubelet says is held, and no look finds, is in its first list: from podresources, else from the checkpoint."""
    first = start()
    kubelet.wait_devices(RESOURCE, HEALTHY)
    hold(kubelet, puppet)
    getattr(first, ended_by)()
    puppet.show({"w1": ""})
    position = kubelet.events.position
    nowhere = Paths(kubelet.paths.device_plugins, short_dir / "nowhere")
    paths = kubelet.paths if source == "podresources" else nowhere
    with Process(paths, tmp_path, {"puppet": puppet.section()}, Host()):
        assert first_list(kubelet, position) == (1, 1)
        kubelet.wait_devices(RESOURCE, GONE)
    assert_sound(kubelet)


def test_a_standby_that_takes_over_keeps_the_tombstones(
    kubelet: KubeletSimulator, served: Process, start: Start, puppet: Puppet
) -> None:
    """Both saw the device vanish; the second one's first list names it."""
    hold(kubelet, puppet)
    standby = start()
    standby.wait_ready("standing by")
    puppet.show({"w1": ""})
    kubelet.wait_devices(RESOURCE, GONE)
    standby.wait_log('"DeviceTombstoned"')
    position, before = kubelet.events.position, endpoints(kubelet)
    served.kill()
    assert first_list(kubelet, position) == (1, 1)
    kubelet.wait_devices(RESOURCE, GONE)
    assert_sound(kubelet, before)


def test_a_retired_resource_ends_empty_and_closed(short_dir: Path, tmp_path: Path, puppet: Puppet) -> None:
    """Its ids become tombstones; when they may go, an empty list is sent and then the stream ends.

    Nobody can be asked who holds what on this node, so the setting for that case decides when they may go.
    """
    with KubeletSimulator(short_dir, sources_delay=0.0, checkpoints=False) as kubelet:
        paths = Paths(kubelet.paths.device_plugins, short_dir / "nowhere")
        process = Process(paths, tmp_path, {"puppet": puppet.section()}, Host(), ledger={"tombstoneSeconds": 0.5})
        with process:
            kubelet.wait_devices(RESOURCE, HEALTHY)
            puppet.hide()
            kubelet.wait_devices(RESOURCE, ALL_GONE)
            kubelet.wait_event(EventKind.LIST_RECEIVED, timeout=30, resource=RESOURCE, healthy=0, unhealthy=0)
            kubelet.wait_event(EventKind.STREAM_ENDED, resource=RESOURCE)
            process.wait_log('"ResourceRetired"')
            puppet.show({"w0": "", "w1": ""})
            kubelet.wait_devices(RESOURCE, HEALTHY)
        assert_sound(kubelet)
