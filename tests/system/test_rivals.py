"""Others who want the same: a stranger's plugin, a supervisor that does not see our lock, and a list that is too long."""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from supervisor.kubelet.simulator import EventKind, Fault, KubeletSimulator
from tests.kubelet.simulator.bare_plugin import BarePlugin, devices
from tests.system.conftest import Start
from tests.system.rig import HEALTHY, RESOURCE, Process, Puppet, assert_sound, ours, registered, wait_for


@pytest.fixture
def strangers(kubelet: KubeletSimulator) -> Iterator[list[BarePlugin]]:
    """Four foreign plugins that serve our resource; none has registered yet."""
    with ExitStack() as stack:
        yield [stack.enter_context(BarePlugin(kubelet.paths.device_plugins, RESOURCE, devices(1))) for _ in range(4)]


@pytest.mark.parametrize("era", ["1.25"])
def test_a_rival_plugin_is_a_contest(
    kubelet: KubeletSimulator, strangers: list[BarePlugin], start: Start, puppet: Puppet
) -> None:
    """Each end of an older plugin's stream takes the newest one with it: after three such losses we say so and step back."""
    for stranger in strangers[:3]:
        stranger.register()
        kubelet.wait_event(EventKind.STREAM_OPENED, endpoint=stranger.endpoint)
    process = start()
    for losses, stranger in enumerate(strangers[:3]):
        wait_for(partial(_has_listed, kubelet, losses + 1), what="our list")
        stranger.stop()
    assert "contested" in process.wait_log('"ResourceContested"')
    status, reasons = process.get("/status")
    assert status == 200
    assert "rival" in reasons
    calls = len(kubelet.registrations(RESOURCE))
    kubelet.restart()  # who registers first at another kubelet is open
    kubelet.wait_for(lambda: len(kubelet.registrations(RESOURCE)) > calls, what="another try")
    kubelet.wait_devices(RESOURCE, HEALTHY)
    assert_sound(kubelet, frozenset(stranger.endpoint for stranger in strangers))


def _has_listed(kubelet: KubeletSimulator, count: int) -> bool:
    """Whether the kubelet has lists from so many registrations of supervisors."""
    listed = {event["endpoint"] for event in kubelet.log(EventKind.LIST_RECEIVED)}
    return len([endpoint for endpoint in listed if endpoint.startswith("dps-")]) >= count


@pytest.mark.requires("namespaces")
@pytest.mark.parametrize("era", ["1.25"])
def test_two_supervisors_that_do_not_share_the_lock_are_a_contest(
    kubelet: KubeletSimulator, served: Process, start: Start, short_dir: Path
) -> None:
    """The second sees another directory in the place of the one with the lock, and registers too; one of them steps back."""
    hidden, other = kubelet.paths.device_plugins / ".device-plugin-supervisor", short_dir / "other"
    other.mkdir()
    script = f'mount --bind {other} {hidden} && exec "$@"'
    second = start(wrap=lambda command: ["unshare", "--mount", "sh", "-c", script, "sh", *command])
    kubelet.wait_for(lambda: _has_listed(kubelet, 2), what="the second supervisor's list")

    def contested() -> bool:
        return any('"ResourceContested"' in process.log for process in (served, second))

    def next_one(count: int) -> bool:
        return contested() or _has_listed(kubelet, count)

    for losses in range(3):
        kubelet.inject(Fault.RESET_CONNECTION, resource=RESOURCE)
        wait_for(partial(next_one, losses + 3), what="the next one's turn")
    wait_for(contested, what="the contest")


@pytest.mark.parametrize("era", ["1.20", "1.25", "1.37"])
def test_our_socket_is_registered_by_a_stranger(
    kubelet: KubeletSimulator, served: Process, strangers: list[BarePlugin], puppet: Puppet
) -> None:
    """A kubelet that has the path already refuses it, and keeps nothing: with a name of its own each of our calls gets through."""
    (endpoint,) = ours(kubelet.paths.device_plugins)
    position = kubelet.events.position
    answer = strangers[0].register_later(endpoint=endpoint)
    refusal = answer.exception(10)
    assert refusal is None or "already connected" in str(refusal)
    if refusal is None:
        kubelet.wait_event(EventKind.STREAM_OPENED, since=position, endpoint=endpoint)
    kubelet.inject(Fault.RESET_CONNECTION, resource=RESOURCE)
    puppet.show({"w0": "", "w1": "", "w2": ""})
    kubelet.wait_devices(RESOURCE, HEALTHY | {"w2": "Healthy"}, timeout=20)
    assert not kubelet.warnings()


def test_a_list_that_is_too_long_is_not_sent(kubelet: KubeletSimulator, served: Process, puppet: Puppet) -> None:
    """No kubelet could read it: resource and size are named, the last good list stays, and the next good one is sent."""
    puppet.show({f"{number:063}": "" for number in range(60_000)})
    refusal = served.wait_log('"ListRefused"', timeout=30)
    assert RESOURCE in refusal
    assert "bytes long and the kubelet takes at most 4194304" in served.events("ListRefused")[0]["reason"]
    assert kubelet.devices(RESOURCE) == HEALTHY
    assert "older list" in served.get("/readyz")[1]
    puppet.show({"w0": "", "w1": "", "w2": ""})
    kubelet.wait_for(lambda: kubelet.devices(RESOURCE).get("w2") == "Healthy", what="the next list")
    assert registered(kubelet, 1) == 1
    assert_sound(kubelet)
