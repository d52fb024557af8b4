"""What Kubernetes' own end-to-end tests expect of a kubelet and its device plugins, held against the simulator."""

import grpc
import pytest

from supervisor.kubelet.simulator import EventKind, KubeletSimulator, Phase
from tests.kubelet.simulator.bare_plugin import BarePlugin, Script, device
from tests.kubelet.simulator.conftest import RESOURCE, Plug, Simulate

FAILED = (grpc.StatusCode.INTERNAL, "no such luck")
OVER_GRACE = 301.0


def calls(plugin: BarePlugin) -> list[str]:
    """Return the methods the kubelet called, in order."""
    return [method for method, _ in plugin.requests]


def expected_calls(era: str) -> list[str]:
    """Return what a registration calls; before 1.25 the options come with the request."""
    return ["ListAndWatch"] if era == "1.20" else ["GetDevicePluginOptions", "ListAndWatch"]


@pytest.mark.parametrize("newer", ["1.25", "1.36", "1.37"])
def test_failing_options_fail_the_registration(simulate: Simulate, plug: Plug, newer: str) -> None:
    """A plugin whose options fail is told so by Register, and its resource stays unknown."""
    kubelet = simulate(newer)
    plugin = plug(kubelet, script=Script(options_error=FAILED), register=False)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        plugin.register()
    text = "failed to get device plugin options: rpc error: code = Internal desc = no such luck"
    assert (refused.value.code(), refused.value.details()) == (grpc.StatusCode.UNKNOWN, text)
    assert calls(plugin) == ["GetDevicePluginOptions"]
    assert kubelet.node_status() == {}


def test_health_goes_and_comes(simulate: Simulate, plug: Plug, era: str) -> None:
    """One device that is Healthy, Unhealthy and Healthy again shows as (1,1), (0,1), (1,1)."""
    kubelet = simulate(era)
    plugin = plug(kubelet, 1)
    kubelet.wait_status(RESOURCE, 1, 1)
    for health, allocatable in (("Unhealthy", 0), ("Healthy", 1)):
        plugin.publish([device("d0", health)])
        kubelet.wait_status(RESOURCE, allocatable, 1)


def test_health_does_not_touch_a_running_pod(simulate: Simulate, plug: Plug, era: str) -> None:
    """A pod keeps running on a device that got sick, which stays (0,1) for as long as its plugin is connected."""
    kubelet = simulate(era)
    plugin = plug(kubelet, 1)
    assert kubelet.add_pod("p", {RESOURCE: 1}).phase is Phase.RUNNING
    plugin.publish([device("d0", "Unhealthy")])
    kubelet.wait_status(RESOURCE, 0, 1)
    assert kubelet.pod("p").phase is Phase.RUNNING
    kubelet.delete_pod("p")
    kubelet.advance(OVER_GRACE)
    assert kubelet.node_status() == {RESOURCE: (0, 1)}


@pytest.mark.parametrize(
    ("healths", "allocatable"),
    [
        (["Healthy"] * 4, 4),
        (["Healthy", "Unhealthy", "Healthy", "Unhealthy"], 2),
        (["Unhealthy"] * 4, 0),
        (["healthy", "", "Foo", "Healthy"], 1),
    ],
)
def test_allocatable_counts_the_healthy(simulate: Simulate, plug: Plug, healths: list[str], allocatable: int) -> None:
    """Of four devices exactly those with the health ``Healthy`` are allocatable; capacity is four."""
    kubelet = simulate()
    plug(kubelet, [device(f"d{number}", health) for number, health in enumerate(healths)])
    assert kubelet.node_status() == {RESOURCE: (allocatable, 4)}


def test_list_that_fails_at_once(simulate: Simulate, plug: Plug, era: str) -> None:
    """ListAndWatch that fails at once leaves (0,0), and is not called again."""
    kubelet = simulate(era)
    plugin = plug(kubelet, script=Script(send_list=False, list_error=FAILED))
    ended = kubelet.wait_event(EventKind.STREAM_ENDED, resource=RESOURCE)
    assert (ended["code"], ended["message"]) == ("Internal", "no such luck")
    kubelet.wait_status(RESOURCE, 0, 0)
    assert calls(plugin) == expected_calls(era)


def test_list_that_fails_later(simulate: Simulate, plug: Plug, era: str) -> None:
    """ListAndWatch that fails after a list of two leaves (0,2) for five minutes, then (0,0), and is not retried."""
    kubelet = simulate(era)
    plugin = plug(kubelet, 2, Script(list_error=FAILED))
    kubelet.wait_event(EventKind.LIST_RECEIVED, resource=RESOURCE, healthy=2)
    kubelet.wait_status(RESOURCE, 0, 2)
    assert calls(plugin) == expected_calls(era)
    after_grace(kubelet)


def test_plugin_that_stops(simulate: Simulate, plug: Plug, era: str) -> None:
    """A plugin that goes away leaves (0,2), after five minutes (0,0); the key stays."""
    kubelet = simulate(era)
    plugin = plug(kubelet, 2)
    plugin.stop()
    kubelet.wait_status(RESOURCE, 0, 2)
    after_grace(kubelet)


def after_grace(kubelet: KubeletSimulator) -> None:
    """Let the grace period pass and see the resource dropped."""
    kubelet.advance(299)
    assert kubelet.node_status() == {RESOURCE: (0, 2)}
    kubelet.advance(2)
    assert kubelet.node_status() == {RESOURCE: (0, 0)}
    kubelet.wait_event(EventKind.RESOURCE_DROPPED, resource=RESOURCE)


def renew(kubelet: KubeletSimulator, plugin: BarePlugin, endpoint: str) -> None:
    """Let a plugin come back as a good one does: everything stopped, a new socket name, one Register."""
    plugin.stop()
    plugin.serve(endpoint)
    plugin.register()
    kubelet.wait_registered(plugin.resource)


@pytest.mark.parametrize("in_process", [True, False])
@pytest.mark.parametrize("version", ["1.20", "1.36", "1.37"])
def test_kubelet_restart_keeps_a_running_pod(simulate: Simulate, plug: Plug, version: str, in_process: bool) -> None:
    """A pod that runs over a kubelet restart keeps its device and is not started again."""
    kubelet = simulate(version)
    plugin = plug(kubelet, 4)
    before = kubelet.add_pod("p", {RESOURCE: 2})
    kubelet.restart(in_process=in_process)
    renew(kubelet, plugin, "again.sock")
    kubelet.wait_event(EventKind.PODS_ARRIVED, since=0, pods=1)
    assert kubelet.pod("p") == before
    assert kubelet.node_status() == {RESOURCE: (4, 4)}
    assert len(plugin.called("Allocate")) == 1


NEW_POD_TEXTS = {
    "1.20": "Pod Allocate failed due to requested number of devices unavailable for example.com/widget. "
    "Requested: 1, Available: 0, which is unexpected",
    "1.25": "Pod Allocate failed due to no healthy devices present; cannot allocate unhealthy devices "
    "example.com/widget, which is unexpected",
    "1.36": "Pod was rejected: Allocate failed due to no healthy devices present; cannot allocate unhealthy devices "
    "example.com/widget, which is unexpected",
}
NEW_POD_TEXTS["1.37"] = NEW_POD_TEXTS["1.36"]


def test_new_pod_before_the_plugin_is_back(simulate: Simulate, plug: Plug, era: str) -> None:
    """After a kubelet restart a new pod fails for good as long as the plugin has not registered again."""
    kubelet = simulate(era)
    plug(kubelet, 2)
    kubelet.restart()
    assert kubelet.node_status() == {RESOURCE: (0, 0)}
    pod = kubelet.add_pod("p", {RESOURCE: 1})
    assert (pod.phase, pod.reason, pod.message) == (Phase.FAILED, "UnexpectedAdmissionError", NEW_POD_TEXTS[era])


def test_plugin_restart_alone(simulate: Simulate, plug: Plug, era: str) -> None:
    """While only the plugin restarts, its pod keeps its device and its container may restart, without Allocate."""
    kubelet = simulate(era)
    plugin = plug(kubelet, 2)
    before = kubelet.add_pod("p", {RESOURCE: 1})
    plugin.stop()
    kubelet.wait_status(RESOURCE, 0, 2)
    after = kubelet.restart_container("p")
    assert after.device_ids == before.device_ids
    assert after.containers["main"].starts == 2
    plugin.serve("again.sock")
    plugin.register()
    kubelet.wait_status(RESOURCE, 2, 2)
    assert kubelet.pod("p").device_ids == before.device_ids
    assert len(plugin.called("Allocate")) == 1


@pytest.mark.parametrize("sigkill", [False, True])
def test_pods_deleted_while_the_kubelet_is_down(simulate: Simulate, plug: Plug, era: str, sigkill: bool) -> None:
    """The devices of pods that were deleted while the kubelet was down are free after its restart."""
    kubelet = simulate(era)
    plugin = plug(kubelet, 2)
    assert kubelet.add_pod("old", {RESOURCE: 2}).admitted
    if sigkill:
        kubelet.kill()
    else:
        kubelet.stop()
    kubelet.delete_pod("old")
    kubelet.start()
    renew(kubelet, plugin, "again.sock")
    pod = kubelet.add_pod("new", {RESOURCE: 2})
    assert pod.device_ids == ["d0", "d1"], pod.message
