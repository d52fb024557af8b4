"""Two supervisors on one directory: one owns it, the other is ready and silent, and takes over when the first has ended."""

import fcntl
import os
import shutil
import signal
from pathlib import Path

import pytest

from supervisor.kubelet.simulator import EventKind, Fault, KubeletSimulator
from tests.system import handover_campaign
from tests.system.conftest import Start
from tests.system.handover_campaign import SIGNALS, Relay, campaign, distribution
from tests.system.rig import HEALTHY, RESOURCE, Process, Puppet, assert_sound, endpoints, ours, wait_for

TIMES = 5
"""For each signal; ``make handover`` does it 200 times."""


def lock_of(directory: Path) -> Path:
    """The lock that makes an owner."""
    return directory / ".device-plugin-supervisor" / "owner.lock"


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock at this path."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def assert_takes_over(kubelet: KubeletSimulator, successor: Process, puppet: Puppet, before: frozenset[str]) -> None:
    """It owns the resource: what its plugin says next arrives, over its own socket, and nothing of the first one is left."""
    successor.wait_log("is the owner and registers")
    puppet.show({"w0": "", "w1": "", "w2": ""})
    kubelet.wait_devices(RESOURCE, HEALTHY | {"w2": "Healthy"})
    successor.wait_ready("active")
    assert len(ours(kubelet.paths.device_plugins)) == 1
    assert_sound(kubelet, before)


def test_a_standby_is_ready_and_silent(kubelet: KubeletSimulator, served: Process, start: Start) -> None:
    """It has loaded, looked and bound, its probe says so, and for the kubelet it is not there: also after a kubelet restart."""
    directory = kubelet.paths.device_plugins
    before = ours(directory)
    standby = start()
    standby.wait_ready("standing by")
    assert ours(directory) == before
    assert len(kubelet.registrations()) == 1
    kubelet.restart()
    kubelet.wait_devices(RESOURCE, HEALTHY)
    kubelet.inject(Fault.RESET_CONNECTION, resource=RESOURCE)
    kubelet.wait_for(lambda: len(kubelet.log(EventKind.LIST_RECEIVED)) == 3, what="the owner's third list")
    assert len(ours(directory)) == 1
    assert len(kubelet.registrations()) == 3
    assert '"Registered"' not in standby.log
    assert "device_plugin_active 0.0" in standby.get("/metrics")[1]
    assert "device_plugin_active 1.0" in served.get("/metrics")[1]
    assert_sound(kubelet)


@pytest.mark.parametrize("era", ["1.20", "1.25", "1.37"])
@pytest.mark.parametrize("number", SIGNALS.values(), ids=SIGNALS)
def test_the_second_takes_over(kubelet: KubeletSimulator, served: Process, start: Start, puppet: Puppet, number: int) -> None:
    """Whether the first one ends in good order or is killed."""
    standby = start()
    standby.wait_ready("standing by")
    before = endpoints(kubelet)
    served.signal(number)
    served.wait()
    assert_takes_over(kubelet, standby, puppet, before)


def test_a_third_waits_behind(kubelet: KubeletSimulator, served: Process, start: Start, puppet: Puppet) -> None:
    """One owner at a time, however many wait, and the last one gets its turn too."""
    waiting = [start(), start()]
    for each in waiting:
        each.wait_ready("standing by")
    served.kill()
    wait_for(lambda: any("is the owner" in each.log for each in waiting), what="the next owner")
    kubelet.wait_devices(RESOURCE, HEALTHY)
    second, third = sorted(waiting, key=lambda each: "is the owner" not in each.log)
    assert "is the owner" not in third.log
    third.wait_ready("standing by")
    before = endpoints(kubelet)
    second.signal(signal.SIGTERM)
    assert second.wait() == 0
    assert_takes_over(kubelet, third, puppet, before)


def test_a_lock_that_was_replaced_is_no_lock(kubelet: KubeletSimulator, served: Process, start: Start, puppet: Puppet) -> None:
    """Who waited at a file that is no longer the one at its path waits again, at the right one, and owns that."""
    standby = start()
    standby.wait_ready("standing by")
    path = lock_of(kubelet.paths.device_plugins)
    path.unlink()
    path.touch(0o600)
    before = endpoints(kubelet)
    served.kill()
    assert_takes_over(kubelet, standby, puppet, before)
    assert is_locked(path)


def test_the_lock_falls_only_with_its_process(kubelet: KubeletSimulator, start: Start, puppet: Puppet) -> None:
    """A child that a plugin's package runs in inherits it not: it outlives its killed parent, the lock does not."""
    first = start({"puppet": puppet.section(isolation="process")})
    kubelet.wait_devices(RESOURCE, HEALTHY)
    path = lock_of(kubelet.paths.device_plugins)
    assert is_locked(path)
    first.kill()
    wait_for(lambda: not is_locked(path), what="the end of the lock")


@pytest.mark.requires("namespaces")
def test_a_dead_bind_mount_ends_the_process(kubelet: KubeletSimulator, start: Start, short_dir: Path) -> None:
    """The directory was removed under the mount: only another mount can help, and that is said."""
    node = short_dir / "node"
    node.mkdir()
    script = f'mount --bind {kubelet.paths.device_plugins} {node} && exec "$@"'
    process = start(
        options=("--device-plugins-dir", str(node)),
        wrap=lambda command: ["unshare", "--mount", "sh", "-c", script, "sh", *command],
    )
    kubelet.wait_devices(RESOURCE, HEALTHY)
    kubelet.stop()
    shutil.rmtree(kubelet.paths.device_plugins)
    kubelet.start()
    assert process.wait() == 1
    last = process.log.splitlines()[-1]
    assert f"{node} was removed and this mount shows the old one; restart the container" in last


@pytest.mark.slow
@pytest.mark.requires("namespaces")
@pytest.mark.parametrize("name", SIGNALS)
def test_a_relay(kubelet: KubeletSimulator, puppet: Puppet, short_dir: Path, name: str) -> None:
    """Hand-overs between pods' namespaces under admission load, descriptors shuffled: every one succeeds and lasts."""
    with Relay.open(kubelet, puppet, short_dir) as relay:
        gaps = campaign(relay, TIMES, SIGNALS[name], quiet=0.0)
        relay.watch_quietly(handover_campaign.QUIET)
    print(name, distribution(gaps))
    assert len(gaps) == TIMES
