"""The podresources service, over its real socket."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest

from supervisor.kubelet.protos import podresources_pb2 as pb
from supervisor.kubelet.simulator import EventKind, KubeletSimulator
from tests.kubelet.simulator.bare_plugin import Script, device
from tests.kubelet.simulator.conftest import RESOURCE, Plug, Simulate


def call(kubelet: KubeletSimulator, method: str, request: bytes, parse: Callable[[bytes], Any]) -> Any:
    """Make one call on a connection of its own."""
    target = f"unix:{kubelet.paths.pod_resources_socket}"
    with grpc.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        rpc: Any = channel.unary_unary(f"/v1.PodResourcesLister/{method}")
        return parse(rpc(request, timeout=10))


def listed(kubelet: KubeletSimulator) -> dict[str, dict[str, list[tuple[str, list[int] | None]]]]:
    """Return pod → container → (id, NUMA nodes)."""
    answer = call(kubelet, "List", b"", pb.ListPodResourcesResponse.FromString)
    return {
        pod.name: {
            container.name: [
                (
                    ",".join(entry.device_ids),
                    [node.ID for node in entry.topology.nodes] if entry.HasField("topology") else None,
                )
                for entry in container.devices
            ]
            for container in pod.containers
        }
        for pod in answer.pod_resources
    }


def test_list(simulate: Simulate, plug: Plug, era: str) -> None:
    """Each device is an entry of its own, once for each NUMA node; without topology the field is unset from 1.23."""
    kubelet = simulate(era)
    plug(kubelet, [device("a", numa=[0, 1]), device("b")])
    kubelet.add_pod("p", {RESOURCE: 2})
    nowhere = [0] if era == "1.20" else None
    assert sorted(listed(kubelet)["p"]["main"], key=str) == sorted([("a", [0]), ("a", [1]), ("b", nowhere)], key=str)


def test_list_is_empty_after_a_start(simulate: Simulate, plug: Plug) -> None:
    """For about a second after a start List is empty, without an error, although pods hold devices."""
    kubelet = simulate(sources_delay=1000.0)
    plug(kubelet, 1)
    kubelet.advance(1000)
    kubelet.add_pod("p", {RESOURCE: 1})
    kubelet.restart()
    assert listed(kubelet) == {}
    kubelet.advance(1000)
    kubelet.wait_event(EventKind.PODS_ARRIVED, pods=1)
    assert listed(kubelet) == {"p": {"main": [("d0", None)]}}


def test_init_containers_are_not_listed(simulate: Simulate, plug: Plug, era: str) -> None:
    """Ordinary init containers are never listed, sidecars from 1.30."""
    kubelet = simulate(era)
    plug(kubelet, 3)
    wanted = {RESOURCE: 1}
    kubelet.add_pod("p", containers={"a": wanted}, init_containers={"i": wanted}, sidecars={"s": wanted})
    assert set(listed(kubelet)["p"]) == ({"a", "s"} if era in {"1.36", "1.37"} else {"a"})


def test_ended_pods(simulate: Simulate, plug: Plug, era: str) -> None:
    """Pods that have failed are listed before 1.34, then only active ones."""
    kubelet = simulate(era)
    plug(kubelet, 1)
    assert not kubelet.add_pod("p", {RESOURCE: 2}).admitted
    assert set(listed(kubelet)) == (set() if era in {"1.36", "1.37"} else {"p"})


def test_allocatable(simulate: Simulate, plug: Plug, era: str) -> None:
    """GetAllocatableResources names the healthy devices, also those in use; 1.20 does not know it."""
    kubelet = simulate(era)
    plug(kubelet, [device("a"), device("b", numa=[1]), device("c", "Unhealthy")])
    kubelet.add_pod("p", {RESOURCE: 1})
    parse = pb.AllocatableResourcesResponse.FromString
    if era == "1.20":
        with pytest.raises(grpc.RpcError) as unknown:
            call(kubelet, "GetAllocatableResources", b"", parse)
        assert isinstance(unknown.value, grpc.Call)
        assert unknown.value.code() is grpc.StatusCode.UNIMPLEMENTED
        return
    answer = call(kubelet, "GetAllocatableResources", b"", parse)
    assert sorted(name for entry in answer.devices for name in entry.device_ids) == ["a", "b"]


def test_get(simulate: Simulate, plug: Plug) -> None:
    """Get finds one pod, and an unknown one is UNKNOWN with the kubelet's text."""
    kubelet = simulate("1.37")
    plug(kubelet, 1)
    kubelet.add_pod("p", {RESOURCE: 1})
    parse = pb.GetPodResourcesResponse.FromString
    request = pb.GetPodResourcesRequest(pod_name="p", pod_namespace="default")
    answer = call(kubelet, "Get", request.SerializeToString(), parse)
    assert answer.pod_resources.containers[0].devices[0].device_ids == ["d0"]
    request.pod_name = "q"
    with pytest.raises(grpc.RpcError) as missing:
        call(kubelet, "Get", request.SerializeToString(), parse)
    assert isinstance(missing.value, grpc.Call)
    assert missing.value.code() is grpc.StatusCode.UNKNOWN
    assert missing.value.details() == "pod q in namespace default not found"


@pytest.mark.parametrize("version", ["1.25", "1.36"])
def test_rate_limit(simulate: Simulate, version: str) -> None:
    """From 1.27 calls beyond 100 a second and a burst of ten are refused."""
    kubelet = simulate(version, time_scale=1000.0, sources_delay=0.0)
    for _ in range(10):
        listed(kubelet)
    if version == "1.25":
        listed(kubelet)
        return
    with pytest.raises(grpc.RpcError) as limited:
        listed(kubelet)
    assert isinstance(limited.value, grpc.Call)
    assert limited.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert limited.value.details() == "rejected by rate limit"


def test_grants_without_a_list(simulate: Simulate, plug: Plug) -> None:
    """A pod that was let in before its plugin sent a list holds nothing."""
    kubelet = simulate()
    plug(kubelet, 1, Script(send_list=False))
    kubelet.add_pod("p", {RESOURCE: 1})
    assert listed(kubelet) == {"p": {"main": []}}
