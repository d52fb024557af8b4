"""Pods: which devices they get, with which calls, and how they fail."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from supervisor.kubelet.protos import deviceplugin_pb2 as pb
from supervisor.kubelet.simulator import EventKind, GrantedDevice, GrantedMount, KubeletDownError, Phase, RunOptions
from tests.kubelet.simulator.bare_plugin import Script, devices
from tests.kubelet.simulator.conftest import RESOURCE, Plug, Simulate

OTHER = "example.com/other"
BUSY = (grpc.StatusCode.INTERNAL, "no such luck: device is busy")

PREFIXES = {
    "1.20": "Pod Allocate failed due to ",
    "1.25": "Pod Allocate failed due to ",
    "1.36": "Pod was rejected: Allocate failed due to ",
    "1.37": "Pod was rejected: Allocate failed due to ",
}


def answer(**fields: object) -> pb.ContainerAllocateResponse:
    """Make one container's answer."""
    return pb.ContainerAllocateResponse(**fields)  # type: ignore[arg-type]  # the generated signature is one of many


FULL = answer(
    envs={"WIDGETS": "1"},
    mounts=[pb.Mount(container_path="/lib/w", host_path="/opt/w", read_only=True)],
    devices=[pb.DeviceSpec(container_path="/dev/w", host_path="/dev/w0", permissions="rw")],
    annotations={"example.com/w": "0"},
    cdi_devices=[pb.CDIDevice(name="example.com/widget=w0")],
)


def test_container_gets_the_answer(simulate: Simulate, plug: Plug, era: str) -> None:
    """All parts of an Allocate answer reach the container; CDI names only from 1.28."""
    kubelet = simulate(era)
    plug(kubelet, 1, Script(allocate={"d0": FULL}))
    pod = kubelet.add_pod("p", {RESOURCE: 1})
    assert pod.containers["main"].devices == {RESOURCE: ("d0",)}
    assert pod.containers["main"].options == RunOptions(
        (GrantedDevice("/dev/w0", "/dev/w", "rw"),),
        (GrantedMount("/opt/w", "/lib/w", read_only=True),),
        {"WIDGETS": "1"},
        {"example.com/w": "0"},
        ("example.com/widget=w0",) if era in {"1.36", "1.37"} else (),
    )


def test_requests_are_one_container_each_and_have_no_deadline(simulate: Simulate, plug: Plug) -> None:
    """Allocate is called once for each container and resource, with one container request and no deadline."""
    kubelet = simulate()
    plugin = plug(kubelet, 3)
    kubelet.add_pod("p", containers={"a": {RESOURCE: 1}, "b": {RESOURCE: 2}})
    sizes = [[len(wish.devices_ids) for wish in request.container_requests] for request in plugin.called("Allocate")]
    assert sizes == [[1], [2]]
    assert [left for method, left in plugin.deadlines if method == "Allocate"] == [None, None]


def test_ids_come_in_random_order(simulate: Simulate, plug: Plug) -> None:
    """The ids of a request are in no particular order, and the seed decides which."""
    kubelet = simulate(seed=1)
    plugin = plug(kubelet, 40)
    kubelet.add_pod("p", {RESOURCE: 40})
    ids = list(plugin.called("Allocate")[0].container_requests[0].devices_ids)
    assert len(set(ids)) == 40
    assert ids != sorted(ids)


def test_too_many_devices_asked_for(simulate: Simulate, plug: Plug, era: str) -> None:
    """A pod that asks for more than is free fails with the kubelet's text."""
    kubelet = simulate(era)
    plug(kubelet, 1)
    pod = kubelet.add_pod("p", {RESOURCE: 2})
    text = f"requested number of devices unavailable for {RESOURCE}. Requested: 2, Available: 1, which is unexpected"
    assert (pod.phase, pod.reason) == (Phase.FAILED, "UnexpectedAdmissionError")
    assert pod.message == PREFIXES[era] + text


def test_plugin_error_lands_in_the_pod(simulate: Simulate, plug: Plug, era: str) -> None:
    """An error of Allocate is the pod's message, and its devices are free again."""
    kubelet = simulate(era)
    plugin = plug(kubelet, 1, Script(allocate_error=BUSY))
    pod = kubelet.add_pod("p", {RESOURCE: 1})
    text = "rpc error: code = Internal desc = no such luck: device is busy, which is unexpected"
    assert pod.message == PREFIXES[era] + text
    plugin.script.allocate_error = None
    assert kubelet.add_pod("q", {RESOURCE: 1}).admitted


def test_answer_without_containers(simulate: Simulate, plug: Plug) -> None:
    """An Allocate answer without a container response rejects the pod."""
    kubelet = simulate()
    plug(kubelet, 1, Script(allocate_empty=True))
    assert "no containers return in allocation response" in kubelet.add_pod("p", {RESOURCE: 1}).message


def test_zero_devices(simulate: Simulate, plug: Plug, era: str) -> None:
    """A limit of 0 needs no Allocate, yet from 1.25 it needs a healthy device."""
    kubelet = simulate(era)
    plugin = plug(kubelet, 1)
    assert kubelet.add_pod("p", {RESOURCE: 0}).admitted
    plugin.publish([])
    kubelet.wait_status(RESOURCE, 0, 0)
    assert kubelet.add_pod("q", {RESOURCE: 0}).admitted is (era == "1.20")
    assert plugin.called("Allocate") == []


def test_unknown_resource_is_no_concern_of_the_device_manager(simulate: Simulate) -> None:
    """A pod with a resource nobody registered is let in without devices."""
    pod = simulate().add_pod("p", {"example.com/unknown": 1})
    assert (pod.phase, pod.device_ids) == (Phase.RUNNING, [])


def test_hanging_allocate_blocks_all_pods(simulate: Simulate, plug: Plug) -> None:
    """While an Allocate hangs no other pod of the node is admitted, and the kubelet can say for how long."""
    kubelet = simulate()
    plugin = plug(kubelet, 2)
    gate = plugin.set_gate()
    with ThreadPoolExecutor() as pool:
        hanging = pool.submit(kubelet.add_pod, "hanging", {RESOURCE: 1})
        plugin.wait_called("Allocate")
        bystander = pool.submit(kubelet.add_pod, "bystander", {})
        kubelet.wait_event(EventKind.STREAM_OPENED)
        assert kubelet.sync_loop_blocked_for > 0
        assert kubelet.log(EventKind.POD_ADMITTED) == []
        plugin.open_gate(gate)
        assert hanging.result(10).admitted
        assert bystander.result(10).admitted
    assert [event["pod"] for event in kubelet.log(EventKind.POD_ADMITTED)] == ["hanging", "bystander"]
    assert kubelet.sync_loop_blocked_for == 0


def test_kubelet_that_dies_during_admission(simulate: Simulate, plug: Plug) -> None:
    """A pod whose admission the kubelet did not survive is not Failed: the caller hears that the kubelet died."""
    kubelet = simulate()
    plugin = plug(kubelet, 1)
    plugin.set_gate()
    with ThreadPoolExecutor() as pool:
        pod = pool.submit(kubelet.add_pod, "p", {RESOURCE: 1})
        plugin.wait_called("Allocate")
        kubelet.stop()
        with pytest.raises(KubeletDownError):
            pod.result(10)
    assert kubelet.pods() == []


def test_plugin_that_dies_during_allocate(simulate: Simulate, plug: Plug) -> None:
    """A connection that breaks during Allocate rejects the pod."""
    kubelet = simulate()
    plugin = plug(kubelet, 1)
    plugin.set_gate()
    with ThreadPoolExecutor() as pool:
        pod = pool.submit(kubelet.add_pod, "p", {RESOURCE: 1})
        plugin.wait_called("Allocate")
        plugin.stop()
        assert "rpc error: code = " in pod.result(10).message


def preferring(*ids: str) -> Script:
    """Make a plugin that prefers these ids."""
    options = pb.DevicePluginOptions(get_preferred_allocation_available=True)
    return Script(options, preferred=ids)


def test_preferred_ids_are_taken(simulate: Simulate, plug: Plug) -> None:
    """The kubelet follows the plugin's preference, and asks with all free ids and the whole size."""
    kubelet = simulate()
    plugin = plug(kubelet, 8, preferring("d3", "d6"))
    assert kubelet.add_pod("p", {RESOURCE: 2}).device_ids == ["d3", "d6"]
    [request] = plugin.called("GetPreferredAllocation")
    [wish] = request.container_requests
    assert sorted(wish.available_deviceIDs) == [f"d{number}" for number in range(8)]
    assert (list(wish.must_include_deviceIDs), wish.allocation_size) == ([], 2)


@pytest.mark.parametrize(("preferred", "sure"), [(("d1",), {"d1"}), ((), set()), (("nonsense", "d2"), {"d2"})])
def test_poor_preference_is_filled_up(simulate: Simulate, plug: Plug, preferred: tuple[str, ...], sure: set[str]) -> None:
    """Too few or unknown preferred ids are completed by the kubelet's own choice."""
    kubelet = simulate()
    plug(kubelet, 4, preferring(*preferred))
    ids = set(kubelet.add_pod("p", {RESOURCE: 3}).device_ids)
    assert sure <= ids <= {"d0", "d1", "d2", "d3"}
    assert len(ids) == 3


def test_failing_preference_rejects_the_pod(simulate: Simulate, plug: Plug) -> None:
    """An error of GetPreferredAllocation is final for the pod."""
    kubelet = simulate()
    plugin = plug(kubelet, 2, preferring("d0"))
    plugin.script.preferred_error = BUSY
    text = "device plugin GetPreferredAllocation rpc failed with err: rpc error: code = Internal desc = no such luck"
    assert text in kubelet.add_pod("p", {RESOURCE: 1}).message


def test_preference_is_not_asked_for_without_the_option(simulate: Simulate, plug: Plug) -> None:
    """Without the option GetPreferredAllocation is never called."""
    kubelet = simulate()
    plugin = plug(kubelet, 2)
    kubelet.add_pod("p", {RESOURCE: 1})
    assert plugin.called("GetPreferredAllocation") == []


def test_init_containers_hand_their_devices_on(simulate: Simulate, plug: Plug, era: str) -> None:
    """The devices of an init container are used again by the containers, with an Allocate of their own."""
    kubelet = simulate(era)
    plugin = plug(kubelet, 3)
    containers = {"a": {RESOURCE: 1}, "b": {RESOURCE: 2}}
    pod = kubelet.add_pod("p", containers=containers, init_containers={"i": {RESOURCE: 2}})
    assert pod.admitted, pod.message
    held = {name: set(state.devices[RESOURCE]) for name, state in pod.containers.items()}
    assert held["a"] < held["i"]
    assert held["a"] | held["b"] == {"d0", "d1", "d2"}
    assert len(plugin.called("Allocate")) == 3


def test_sidecars_keep_their_devices(simulate: Simulate, plug: Plug) -> None:
    """A restartable init container does not hand its devices on."""
    kubelet = simulate()
    plug(kubelet, 2)
    pod = kubelet.add_pod("p", containers={"a": {RESOURCE: 1}}, sidecars={"s": {RESOURCE: 1}})
    assert pod.device_ids == ["d0", "d1"]
    assert pod.containers["s"].running


def test_must_include_holds_what_is_taken_over(simulate: Simulate, plug: Plug) -> None:
    """A container that reuses an init container's device and needs more asks with that device as a must."""
    kubelet = simulate()
    plugin = plug(kubelet, 3, preferring())
    kubelet.add_pod("p", containers={"a": {RESOURCE: 2}}, init_containers={"i": {RESOURCE: 1}})
    [_, request] = plugin.called("GetPreferredAllocation")
    [wish] = request.container_requests
    assert len(wish.must_include_deviceIDs) == 1
    assert set(wish.must_include_deviceIDs) <= set(wish.available_deviceIDs)
    assert wish.allocation_size == 2


def test_ended_pods_give_their_devices_back(simulate: Simulate, plug: Plug) -> None:
    """The devices of a deleted pod are free for the next one."""
    kubelet = simulate()
    plug(kubelet, 1)
    for name in ("p", "q"):
        assert kubelet.add_pod(name, {RESOURCE: 1}).device_ids == ["d0"]
        kubelet.delete_pod(name)


PRE_START = pb.DevicePluginOptions(pre_start_required=True)


def test_pre_start_precedes_every_start(simulate: Simulate, plug: Plug, era: str) -> None:
    """PreStartContainer is called for each start with the container's ids and within thirty (scaled) seconds."""
    kubelet = simulate(era)
    plugin = plug(kubelet, 2, Script(PRE_START))
    held = kubelet.add_pod("p", {RESOURCE: 2}).device_ids
    kubelet.restart_container("p")
    assert [sorted(request.devices_ids) for request in plugin.called("PreStartContainer")] == [held, held]
    assert len(plugin.called("Allocate")) == 1
    allowed = [left for method, left in plugin.deadlines if method == "PreStartContainer"]
    assert all(left is not None and left < 4 for left in allowed), allowed


def test_failing_pre_start_keeps_the_container_waiting(simulate: Simulate, plug: Plug) -> None:
    """A container whose PreStartContainer fails waits and may be started later; its pod is not Failed."""
    kubelet = simulate()
    plugin = plug(kubelet, 1, Script(PRE_START, pre_start_error=BUSY))
    pod = kubelet.add_pod("p", {RESOURCE: 1})
    main = pod.containers["main"]
    assert (pod.phase, main.waiting_reason) == (Phase.PENDING, "CreateContainerConfigError")
    assert main.waiting_message == (
        "device plugin PreStartContainer rpc failed with err: rpc error: code = Internal desc = no such luck: device is busy"
    )
    plugin.script.pre_start_error = None
    assert kubelet.start_container("p").phase is Phase.RUNNING


def test_pre_start_needs_its_plugin(simulate: Simulate, plug: Plug) -> None:
    """While a plugin with PreStartContainer is away, its containers cannot restart."""
    kubelet = simulate()
    plugin = plug(kubelet, 1, Script(PRE_START))
    kubelet.add_pod("p", {RESOURCE: 1})
    plugin.stop()
    kubelet.wait_status(RESOURCE, 0, 1)
    waiting = kubelet.restart_container("p").containers["main"]
    assert waiting.waiting_message.endswith("has been stopped")


def test_conflicts_between_resources_are_recorded(simulate: Simulate, plug: Plug) -> None:
    """Of two values for one key the first in a random order wins, and the loser is recorded."""
    kubelet = simulate()
    plug(kubelet, 1, Script(allocate={"d0": answer(envs={"SAME": "x", "KEY": "one"})}))
    plug(kubelet, 1, Script(allocate={"d0": answer(envs={"SAME": "x", "KEY": "two"})}), resource=OTHER)
    kept = kubelet.add_pod("p", {RESOURCE: 1, OTHER: 1}).containers["main"].options.envs
    conflict = kubelet.conflicts()[-1]
    assert (conflict["kind"], conflict["key"], conflict["kept"]) == ("env", "KEY", kept["KEY"])
    assert {conflict["kept"], conflict["dropped"]} == {"one", "two"}
    assert {event["key"] for event in kubelet.conflicts()} == {"KEY"}


def test_conflicts_fall_either_way(simulate: Simulate, plug: Plug) -> None:
    """Which of two values wins is a toss that differs between starts."""
    kubelet = simulate(seed=3)
    plug(kubelet, 1, Script(allocate={"d0": answer(envs={"KEY": "one"})}))
    plug(kubelet, 1, Script(allocate={"d0": answer(envs={"KEY": "two"})}), resource=OTHER)
    kubelet.add_pod("p", {RESOURCE: 1, OTHER: 1})
    winners = {kubelet.restart_container("p").containers["main"].options.envs["KEY"] for _ in range(20)}
    assert winners == {"one", "two"}


def test_cdi_names_are_deduplicated(simulate: Simulate, plug: Plug) -> None:
    """The same CDI name from two resources reaches the runtime once."""
    kubelet = simulate()
    shared = answer(cdi_devices=[pb.CDIDevice(name="example.com/widget=all")])
    plug(kubelet, 1, Script(allocate={"d0": shared}))
    plug(kubelet, 1, Script(allocate={"d0": shared}), resource=OTHER)
    pod = kubelet.add_pod("p", {RESOURCE: 1, OTHER: 1})
    assert pod.containers["main"].options.cdi_devices == ("example.com/widget=all",)


def test_many_devices_in_one_pod(simulate: Simulate, plug: Plug) -> None:
    """Ten thousand ids fit into one Allocate."""
    kubelet = simulate()
    plugin = plug(kubelet, devices(10_000))
    assert len(kubelet.add_pod("p", {RESOURCE: 10_000}).device_ids) == 10_000
    assert len(plugin.called("Allocate")) == 1
