"""Register in each era: what is checked, who waits for whom, and what goes wrong with two plugins."""

import dataclasses
import socket
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest

from supervisor.kubelet.protos import deviceplugin_pb2 as pb
from supervisor.kubelet.simulator import ERAS, EventKind, Fault, KubeletSimulator
from tests.kubelet.simulator.bare_plugin import BarePlugin, Script, devices
from tests.kubelet.simulator.conftest import RESOURCE, Plug, Simulate


def refusal(plugin: BarePlugin, **changes: Any) -> str:
    """Register and return the text of the refusal, whose code is always UNKNOWN."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        plugin.register(**changes)
    assert refused.value.code() is grpc.StatusCode.UNKNOWN
    return refused.value.details() or ""


def test_the_version_is_checked_before_the_name(simulate: Simulate, plug: Plug, era: str) -> None:
    """Any version but v1beta1 is refused with the kubelet's text, whatever the name."""
    plugin = plug(simulate(era), register=False)
    text = 'requested API version "v1alpha1" is not supported by kubelet. Supported version is ["v1beta1"]'
    assert refusal(plugin, version="v1alpha1", resource_name="foo") == text


@pytest.mark.parametrize(
    "name",
    [
        "foo",
        "",
        "example.com/",
        "/x",
        "kubernetes.io/foo",
        "a.kubernetes.io/foo",
        "example.com/-x",
        "example.com/x-",
        "example.com/x/y",
        "requests.example.com/foo",
        "UPPER.example.com/foo",
        "a..b/foo",
        "-a.com/foo",
        "example.com/" + "x" * 64,
        "a." * 121 + "bcd/x",
    ],
)
def test_names_that_are_refused(simulate: Simulate, plug: Plug, name: str) -> None:
    """Names that are no extended resources are refused by name."""
    assert refusal(plug(simulate(), register=False), resource_name=name) == f'the ResourceName "{name}" is invalid'


@pytest.mark.parametrize("name", ["example.com/foo_BAR", "a/b", "example.com/" + "x" * 63, "a." * 121 + "bc/x"])
def test_names_that_are_accepted(simulate: Simulate, plug: Plug, name: str) -> None:
    """The vendor domain may have 244 characters, the name 63, and the name may have upper case and underscores."""
    kubelet = simulate()
    plug(kubelet, 1, resource=name)
    assert kubelet.node_status() == {name: (1, 1)}


def test_before_1_25_register_answers_before_the_dial(simulate: Simulate, plug: Plug) -> None:
    """In 1.20 Register says OK although nobody listens on the endpoint; the failure shows nowhere."""
    kubelet = simulate("1.20")
    plugin = plug(kubelet, register=False)
    plugin.register(endpoint="nobody.sock")
    failed = kubelet.wait_event(EventKind.CONNECT_FAILED, resource=RESOURCE)
    assert failed["error"] == "failed to dial device plugin: context deadline exceeded"
    assert [event["error"] for event in kubelet.registrations(RESOURCE)] == [""]


@pytest.mark.parametrize("version", ["1.25", "1.36", "1.37"])
def test_from_1_25_register_waits_for_the_dial(simulate: Simulate, plug: Plug, version: str) -> None:
    """A plugin that cannot be reached is told so after the dial has been tried for its ten (scaled) seconds."""
    plugin = plug(simulate(version), register=False)
    assert refusal(plugin, endpoint="nobody.sock") == "failed to dial device plugin: context deadline exceeded"


def test_options_of_the_request_count_before_1_25(simulate: Simulate, plug: Plug, era: str) -> None:
    """1.20 believes the options in the request, later kubelets ask the plugin once and ignore them."""
    kubelet = simulate(era)
    plugin = plug(kubelet, script=Script(pb.DevicePluginOptions(pre_start_required=True)), register=False)
    plugin.register(options=pb.DevicePluginOptions(get_preferred_allocation_available=True))
    connected = kubelet.wait_event(EventKind.CONNECTED, resource=RESOURCE)
    assert connected["get_preferred_allocation_available"] is (era == "1.20")
    assert connected["pre_start_required"] is (era != "1.20")
    kubelet.wait_registered(RESOURCE)
    assert len(plugin.called("GetDevicePluginOptions")) == (0 if era == "1.20" else 1)


def test_kubelet_dials_itself(simulate: Simulate, plug: Plug) -> None:
    """An endpoint is not checked: ``kubelet.sock`` makes the kubelet ask itself for options."""
    text = refusal(plug(simulate("1.36"), register=False), endpoint="kubelet.sock")
    assert text.startswith("failed to get device plugin options: rpc error: code = Unimplemented desc = ")


def test_endpoint_is_joined_and_cleaned(simulate: Simulate, plug: Plug) -> None:
    """An absolute endpoint is taken below the directory, and dots in it are resolved."""
    kubelet = simulate()
    plugin = plug(kubelet, register=False)
    plugin.register(endpoint=f"/a/../{plugin.endpoint}")
    kubelet.wait_registered(RESOURCE)


@pytest.mark.parametrize("era_name", ["1.20", "1.25", "1.36", "1.37"])
def test_authority(simulate: Simulate, root: Path, era_name: str) -> None:
    """To 1.25 the ``:authority`` is the percent-encoded path of the socket, later it is ``localhost``."""
    kubelet = simulate(era_name)
    path = kubelet.paths.device_plugins / "spy.sock"
    with socket.socket(socket.AF_UNIX) as listener, BarePlugin(kubelet.paths.device_plugins, RESOURCE) as plugin:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(10)
        plugin.register_later(endpoint="spy.sock")
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(10)
            connection.sendall(b"\0\0\0\4\0\0\0\0\0" + b"\0\0\0\4\1\0\0\0\0")
            seen = b""
            wanted = b"device-plugins%2Fspy.sock" if ERAS[era_name].path_authority else b"localhost"
            while wanted not in seen:
                data = connection.recv(65536)
                assert data, seen
                seen += data


def test_late_server_is_still_reached(simulate: Simulate, plug: Plug) -> None:
    """A plugin that begins to serve after it called Register is dialled again and registers."""
    kubelet = simulate("1.36", time_scale=0.3)
    plugin = plug(kubelet, register=False)
    answer = plugin.register_later(endpoint="late.sock")
    kubelet.wait_event(EventKind.REGISTER_RECEIVED, endpoint="late.sock")
    plugin.stop()
    plugin.serve("late.sock")
    answer.result(10)
    kubelet.wait_status(RESOURCE, 2, 2)


@pytest.mark.parametrize(("version", "registers"), [("1.25", True), ("1.36", False)])
def test_plugin_that_stops_waiting(simulate: Simulate, plug: Plug, version: str, registers: bool) -> None:
    """Before 1.35 a registration whose caller has given up is completed all the same, later it is cancelled."""
    kubelet = simulate(version)
    plugin = plug(kubelet, register=False)
    kubelet.inject(Fault.SLOW_OPTIONS, seconds=0.5)
    with pytest.raises(grpc.aio.AioRpcError) as late:
        plugin.register(timeout=0.2)
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    if registers:
        kubelet.wait_status(RESOURCE, 2, 2)
    else:
        other = plug(kubelet, resource="example.com/other", register=False)
        kubelet.inject(Fault.SLOW_OPTIONS, seconds=0.6)
        other.register()
        assert plugin.requests == []


def newcomer(kubelet: KubeletSimulator, plug: Plug) -> BarePlugin:
    """Register a second plugin of the same resource, with three devices, while the first is connected."""
    position = kubelet.events.position
    second = plug(kubelet, 3, register=False)
    second.register()
    kubelet.wait_event(EventKind.LIST_RECEIVED, since=position, endpoint=second.endpoint)
    return second


def test_last_list_wins(simulate: Simulate, plug: Plug, era: str) -> None:
    """With two streams of one resource the last message counts, whoever sent it; Allocate goes to the newcomer."""
    kubelet = simulate(era)
    old = plug(kubelet, 2)
    new = newcomer(kubelet, plug)
    kubelet.wait_status(RESOURCE, 3, 3)
    old.publish(devices(1))
    kubelet.wait_status(RESOURCE, 1, 1)
    assert kubelet.add_pod("p", {RESOURCE: 1}).device_ids == ["d0"]
    assert [len(old.called("Allocate")), len(new.called("Allocate"))] == [0, 1]


def test_end_of_the_old_stream_before_1_25(simulate: Simulate, plug: Plug) -> None:
    """In 1.20 the end of an old stream does no harm."""
    kubelet = simulate("1.20")
    old = plug(kubelet, 2)
    new = newcomer(kubelet, plug)
    old.stop()
    kubelet.wait_event(EventKind.STREAM_ENDED, endpoint=old.endpoint)
    assert kubelet.node_status() == {RESOURCE: (3, 3)}
    new.publish(devices(4))
    kubelet.wait_status(RESOURCE, 4, 4)


@pytest.mark.parametrize("version", ["1.25", "1.36"])
def test_take_over_bug(simulate: Simulate, plug: Plug, version: str) -> None:
    """From 1.25 to 1.36 the end of the old stream disconnects the new plugin, until it registers again."""
    kubelet = simulate(version)
    old = plug(kubelet, 2)
    new = newcomer(kubelet, plug)
    old.stop()
    kubelet.wait_status(RESOURCE, 0, 3)
    kubelet.wait_event(EventKind.STREAM_ENDED, endpoint=new.endpoint)
    assert kubelet.connected() == {}
    new.register()
    kubelet.wait_status(RESOURCE, 3, 3)


def test_survivor_takes_over_in_1_37(simulate: Simulate, plug: Plug) -> None:
    """In 1.37 two sockets of a resource live side by side; when the newer one ends, the older takes its place."""
    kubelet = simulate("1.37")
    old = plug(kubelet, 2)
    new = newcomer(kubelet, plug)
    assert kubelet.connected() == {RESOURCE: [old.endpoint, new.endpoint]}
    new.stop()
    promoted = kubelet.wait_event(EventKind.SURVIVOR_PROMOTED, resource=RESOURCE)
    assert promoted["endpoint"] == old.endpoint
    assert kubelet.node_status() == {RESOURCE: (3, 3)}
    assert kubelet.add_pod("p", {RESOURCE: 1}).admitted
    assert len(old.called("Allocate")) == 1
    old.stop()
    kubelet.wait_status(RESOURCE, 0, 3)


def test_same_path_twice_in_1_37(simulate: Simulate, plug: Plug) -> None:
    """In 1.37 a connected path is refused, and refused for ever once the living stream behind it has ended."""
    kubelet = simulate("1.37")
    plugin = plug(kubelet, 2)
    text = f"device plugin already connected: {plugin.socket}"
    assert refusal(plugin) == text
    assert kubelet.node_status() == {RESOURCE: (2, 2)}
    plugin.stop()
    kubelet.wait_event(EventKind.STREAM_ENDED, endpoint=plugin.endpoint)
    plugin.serve()
    assert refusal(plugin) == text
    plugin.stop()
    plugin.serve("fresh.sock")
    plugin.register()
    kubelet.wait_event(EventKind.LIST_RECEIVED, endpoint="fresh.sock")


@pytest.mark.parametrize("version", ["1.20", "1.25", "1.36"])
def test_same_path_twice_before_1_37(simulate: Simulate, plug: Plug, version: str) -> None:
    """Before 1.37 the same path may register again and gets a second stream."""
    kubelet = simulate(version)
    plugin = plug(kubelet, 2)
    position = kubelet.events.position
    plugin.register()
    kubelet.wait_event(EventKind.LIST_RECEIVED, since=position, endpoint=plugin.endpoint)
    assert plugin.open_streams == 2


@pytest.mark.parametrize("version", ["1.25", "1.36"])
def test_failed_registration_orphans_the_living_plugin(simulate: Simulate, plug: Plug, version: str) -> None:
    """A failed second Register empties the slot: when the living stream ends nobody notices, and pods then fail."""
    kubelet = simulate(version)
    plugin = plug(kubelet, 2)
    assert "failed to dial" in refusal(plugin, endpoint="nobody.sock")
    plugin.stop()
    kubelet.wait_event(EventKind.STREAM_ENDED, endpoint=plugin.endpoint)
    assert kubelet.node_status() == {RESOURCE: (2, 2)}
    pod = kubelet.add_pod("p", {RESOURCE: 1})
    assert "rpc error: code = Unavailable" in pod.message


def test_switches_make_a_kubelet_between_two_eras(simulate: Simulate, plug: Plug) -> None:
    """A single switch of an era can be turned: a 1.25 kubelet that gives up with its caller."""
    era = dataclasses.replace(ERAS["1.25"], register_bounds_dial=True)
    kubelet = simulate(era)
    plugin = plug(kubelet, register=False)
    kubelet.inject(Fault.SLOW_OPTIONS, seconds=0.5)
    with pytest.raises(grpc.aio.AioRpcError):
        plugin.register(timeout=0.2)
    plugin.register()
    kubelet.wait_registered(RESOURCE)
    assert [method for method, _ in plugin.requests] == ["GetDevicePluginOptions", "ListAndWatch"]


def test_resources_register_in_parallel(simulate: Simulate, plug: Plug) -> None:
    """Many resources may register at once."""
    kubelet = simulate()
    plugins = [plug(kubelet, 1, resource=f"example.com/r{number}", register=False) for number in range(8)]
    threads = [threading.Thread(target=plugin.register) for plugin in plugins]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for plugin in plugins:
        kubelet.wait_status(plugin.resource, 1, 1)
