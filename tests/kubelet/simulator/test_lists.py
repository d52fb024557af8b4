"""What the kubelet makes of the lists a plugin sends."""

from concurrent.futures import ThreadPoolExecutor

from supervisor.kubelet.simulator import EventKind
from tests.kubelet.simulator.bare_plugin import Script, device, devices
from tests.kubelet.simulator.conftest import RESOURCE, Plug, Simulate


def test_no_list_yet_means_unknown(simulate: Simulate, plug: Plug, era: str) -> None:
    """A registered plugin that has sent no list is no resource: a pod is let in without devices."""
    kubelet = simulate(era)
    plugin = plug(kubelet, 1, Script(send_list=False))
    kubelet.wait_event(EventKind.STREAM_OPENED, resource=RESOURCE)
    assert kubelet.node_status() == {}
    pod = kubelet.add_pod("p", {RESOURCE: 1})
    assert (pod.admitted, pod.device_ids, plugin.called("Allocate")) == (True, [], [])


def test_empty_list_stays_registered(simulate: Simulate, plug: Plug) -> None:
    """An empty list is 0/0, and the plugin stays connected."""
    kubelet = simulate()
    plugin = plug(kubelet, 0)
    assert kubelet.node_status() == {RESOURCE: (0, 0)}
    plugin.publish(devices(1))
    kubelet.wait_devices(RESOURCE, {"d0": "Healthy"})


def test_duplicate_ids(simulate: Simulate, plug: Plug) -> None:
    """An id listed twice counts once with one health, and in both sets with two."""
    kubelet = simulate()
    bad = [device("d2", "Unhealthy"), device("d3", "Foo")]
    plug(kubelet, [device("d0"), device("d0", "Unhealthy"), device("d1"), device("d1"), *bad])
    assert kubelet.node_status() == {RESOURCE: (2, 5)}


def test_oversized_list_ends_the_stream(simulate: Simulate, plug: Plug, era: str) -> None:
    """A list above 4 MiB ends the stream for good with RESOURCE_EXHAUSTED, and all devices are unhealthy."""
    kubelet = simulate(era)
    plugin = plug(kubelet, 2)
    plugin.publish([device(f"{number:0>94}") for number in range(45_000)])
    ended = kubelet.wait_event(EventKind.STREAM_ENDED, resource=RESOURCE)
    assert ended["code"] == "ResourceExhausted"
    assert "larger than max" in ended["message"]
    kubelet.wait_status(RESOURCE, 0, 2)
    assert len(plugin.called("ListAndWatch")) == 1


def test_large_list_below_the_limit(simulate: Simulate, plug: Plug) -> None:
    """Twenty thousand devices with long ids are one good list."""
    kubelet = simulate()
    plug(kubelet, [device(f"{number:0>94}") for number in range(20_000)])
    assert kubelet.node_status() == {RESOURCE: (20_000, 20_000)}


def test_topology(simulate: Simulate, plug: Plug) -> None:
    """NUMA nodes of the newest list are kept, several for one device, and node 0 is not no node."""
    kubelet = simulate()
    plugin = plug(kubelet, [device("a", numa=[0]), device("b", numa=[0, 1]), device("c")])
    assert kubelet.topology(RESOURCE) == {"a": (0,), "b": (0, 1), "c": ()}
    plugin.publish([device("a", numa=[1])])
    kubelet.wait_for(lambda: kubelet.topology(RESOURCE) == {"a": (1,)})


def test_vanished_id_of_a_pod_is_flagged(simulate: Simulate, plug: Plug) -> None:
    """Leaving an allocated id out of a list is a warning, since newer kubelets may panic over it."""
    kubelet = simulate("1.37")
    plugin = plug(kubelet, 2)
    held = kubelet.add_pod("p", {RESOURCE: 1}).device_ids
    plugin.publish([entry for entry in devices(2) if entry.ID not in held])
    warning = kubelet.wait_event(EventKind.WARNING, resource=RESOURCE)
    assert (warning["ids"], "may panic" in warning["text"]) == (held, True)


def test_id_that_vanishes_during_allocate_would_panic(simulate: Simulate, plug: Plug) -> None:
    """From 1.34 a kubelet whose id vanishes while its Allocate is under way would have panicked."""
    kubelet = simulate("1.37")
    plugin = plug(kubelet, 1)
    gate = plugin.set_gate()
    with ThreadPoolExecutor() as pool:
        pod = pool.submit(kubelet.add_pod, "p", {RESOURCE: 1})
        plugin.wait_called("Allocate")
        plugin.publish([])
        kubelet.wait_status(RESOURCE, 0, 0)
        plugin.open_gate(gate)
        assert pod.result().device_ids == ["d0"]
    assert [event["ids"] for event in kubelet.warnings() if "would have panicked" in event["text"]] == [["d0"]]
