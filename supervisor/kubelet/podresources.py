"""Who holds which device, asked of the kubelet over its PodResources API, v1 (``List``; since Kubernetes 1.20).

It tells of app containers, and from 1.30 of restartable init containers; ordinary init containers are never listed, although they
may hold devices. Up to 1.33 it also lists pods that have ended, until they are deleted. In the first second after a kubelet start
the list is empty, without an error (seen on 1.31, 1.33 and 1.36).
"""

import stat
import time
from pathlib import Path
from urllib.parse import quote

import grpc
from google.protobuf.message import DecodeError

from supervisor.kubelet.protos import podresources_pb2
from supervisor.ledger import Holding, Reading

LIST = "/v1.PodResourcesLister/List"

RECEIVE_LIMIT = 16 * 1024 * 1024
"""Bytes of the longest answer that is taken: what the kubelet's own client allows."""

_OPTIONS = (
    ("grpc.max_receive_message_length", RECEIVE_LIMIT),
    # Else a channel inherits the connection backoff of an earlier one to the same path, up to two minutes of it.
    ("grpc.use_local_subchannel_pool", 1),
)

_EXPLANATIONS = {
    grpc.StatusCode.UNAVAILABLE: "does not answer",
    grpc.StatusCode.UNIMPLEMENTED: "has no PodResources API v1",
    grpc.StatusCode.DEADLINE_EXCEEDED: "did not answer in time",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "refused by its rate limit, or its answer is too long",
}


async def list_holdings(socket_path: str, timeout: float = 5.0) -> Reading:
    """Ask once, over a connection of its own, in the asyncio loop of the caller. Never raises for what the kubelet does."""
    at = time.monotonic()
    if problem := _socket_problem(socket_path):
        return _failed(at, problem)
    # A target is an URI: without quoting, a "%" or "?" in the path would name another file.
    async with grpc.aio.insecure_channel(f"unix:{quote(socket_path)}", options=_OPTIONS) as channel:
        # Bytes in, bytes out: for an answer that cannot be decoded grpc.aio logs a traceback and gives None.
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(LIST)
        try:
            answer = await call(podresources_pb2.ListPodResourcesRequest().SerializeToString(), timeout=timeout)
            response = podresources_pb2.ListPodResourcesResponse.FromString(answer)
        except grpc.aio.AioRpcError as error:
            explanation = _EXPLANATIONS.get(error.code(), "failed")
            return _failed(at, f"{socket_path} {explanation} ({error.code().name}: {(error.details() or '')[:200]})")
        except DecodeError as error:
            return _failed(at, f"{socket_path} answered nonsense ({error})")
    return Reading(at, "podresources", complete=True, holdings=_holdings(response))


def _socket_problem(path: str) -> str | None:
    try:
        return None if stat.S_ISSOCK(Path(path).stat().st_mode) else f"{path} is not a socket"
    except OSError as error:
        return f"{path}: {error.strerror}"


def _failed(at: float, reason: str) -> Reading:
    return Reading(at, "podresources", complete=False, reason=f"podresources: {reason}")


def _holdings(response: podresources_pb2.ListPodResourcesResponse) -> tuple[Holding, ...]:
    """One for each device and container: the kubelet names a device once for each of its NUMA nodes."""
    nodes: dict[tuple[str, str, str, str, str], set[int]] = {}
    for pod in response.pod_resources:
        for container in pod.containers:
            for entry in container.devices:
                for device_id in entry.device_ids:
                    key = (entry.resource_name, device_id, pod.namespace, pod.name, container.name)
                    nodes.setdefault(key, set()).update(node.ID for node in entry.topology.nodes)
    return tuple(Holding(*key, numa_nodes=tuple(sorted(found))) for key, found in nodes.items())
