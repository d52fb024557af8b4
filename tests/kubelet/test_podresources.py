"""The podresources client against a small server on a real socket; each answer of the kubelet becomes a `Reading`."""

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from supervisor.kubelet.podresources import LIST, RECEIVE_LIMIT, list_holdings
from supervisor.kubelet.protos import podresources_pb2 as pb
from supervisor.ledger import Holding, Reading

Answer = Callable[[bytes, "grpc.aio.ServicerContext[bytes, bytes]"], Awaitable[bytes]]


def answering(response: bytes) -> Answer:
    """A `List` that always gives these bytes."""

    async def answer(_request: bytes, _context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
        await asyncio.sleep(0)
        return response

    return answer


def refusing(code: grpc.StatusCode, text: str) -> Answer:
    """A `List` that always fails."""

    async def answer(_request: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
        await context.abort(code, text)

    return answer


def ask(path: Path, answer: Answer | None, timeout: float = 5.0) -> Reading:
    """One reading from a server that answers `List` so; `None`: a server without the service."""

    async def session() -> Reading:
        server = grpc.aio.server()
        if answer is not None:
            service, name = LIST.strip("/").split("/")
            handlers: dict[str, Any] = {name: grpc.unary_unary_rpc_method_handler(answer)}
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        # Bound elsewhere, then renamed, as the kubelet does: so that the path of the test reaches the client alone.
        server.add_insecure_port(f"unix:{path.parent}/bound")
        await server.start()
        (path.parent / "bound").rename(path)
        try:
            return await list_holdings(str(path), timeout)
        finally:
            await server.stop(0)

    return asyncio.run(session())


def devices(resource: str, *device_ids: str, nodes: tuple[int, ...] | None = None) -> pb.ContainerDevices:
    """One entry of a container; `nodes=None`: the topology is unset."""
    topology = None if nodes is None else pb.TopologyInfo(nodes=[pb.NUMANode(ID=node) for node in nodes])
    return pb.ContainerDevices(resource_name=resource, device_ids=device_ids, topology=topology)


def pod(name: str, **containers: list[pb.ContainerDevices]) -> pb.PodResources:
    """A pod of the namespace `default`."""
    listed = [pb.ContainerResources(name=container, devices=held) for container, held in containers.items()]
    return pb.PodResources(name=name, namespace="default", containers=listed)


def test_each_device_of_each_container_is_a_holding(short_dir: Path) -> None:
    """Pods without devices are silent, and one device shared by two containers is held by both."""
    fuse = "example.com/fuse"
    response = pb.ListPodResourcesResponse(
        pod_resources=[
            pod("idle", main=[]),
            pod("busy", main=[devices(fuse, "a", "b")], sidecar=[devices(fuse, "a"), devices("example.com/tun", "t")]),
        ]
    )
    before = time.monotonic()
    reading = ask(short_dir / "s", answering(response.SerializeToString()))
    assert (reading.source, reading.complete, reading.reason) == ("podresources", True, "")
    assert before <= reading.at <= time.monotonic()
    assert reading.holdings == (
        Holding(fuse, "a", "default", "busy", "main"),
        Holding(fuse, "b", "default", "busy", "main"),
        Holding(fuse, "a", "default", "busy", "sidecar"),
        Holding("example.com/tun", "t", "default", "busy", "sidecar"),
    )


def test_a_device_of_several_numa_nodes_is_one_holding(short_dir: Path) -> None:
    """The kubelet names it once for each node; node 0 arrives as an empty message and is a node all the same."""
    entries = [devices("example.com/gpu", "g", nodes=(1,)), devices("example.com/gpu", "g", nodes=(0,))]
    response = pb.ListPodResourcesResponse(pod_resources=[pod("p", main=entries)])
    reading = ask(short_dir / "s", answering(response.SerializeToString()))
    assert reading.holdings == (Holding("example.com/gpu", "g", "default", "p", "main", (0, 1)),)


def test_the_wire_format_is_the_kubelets(short_dir: Path) -> None:
    """Bytes written by hand from the published field numbers, with fields of newer kubelets that nobody here reads."""
    gpu = b"\x0a\x05x.y/z" + b"\x12\x02id" + b"\x1a\x04\x0a\x02\x08\x03"  # resource_name, device_ids, topology{nodes{ID: 3}}
    container = b"\x0a\x01c" + b"\x12" + bytes([len(gpu)]) + gpu + b"\x1a\x02\x05\x06"  # name, devices, cpu_ids
    held = b"\x0a\x01p" + b"\x12\x01n" + b"\x1a" + bytes([len(container)]) + container + b"\x22\x01\x07"  # …, cpu_ids of HEAD
    reading = ask(short_dir / "s", answering(b"\x0a" + bytes([len(held)]) + held))
    assert reading.holdings == (Holding("x.y/z", "id", "n", "p", "c", (3,)),)


def test_an_empty_answer_is_complete(short_dir: Path) -> None:
    """No pod holds anything, or the kubelet has just started: the client cannot know, and says what it was told."""
    reading = ask(short_dir / "s", answering(b""))
    assert (reading.complete, reading.holdings) == (True, ())


@pytest.mark.parametrize(
    ("answer", "timeout", "reason"),
    [
        (refusing(grpc.StatusCode.RESOURCE_EXHAUSTED, "rejected by rate limit"), 5.0, "refused by its rate limit"),
        (refusing(grpc.StatusCode.UNAVAILABLE, "shutting down"), 5.0, "does not answer (UNAVAILABLE: shutting down)"),
        (refusing(grpc.StatusCode.UNKNOWN, "x" * 5000), 5.0, "failed (UNKNOWN: xxx"),
        (None, 5.0, "has no PodResources API v1 (UNIMPLEMENTED"),
        (answering(b"\xff\xff\xff"), 5.0, "answered nonsense"),
        (answering(b"\x0a\x01"), 5.0, "answered nonsense"),
        (answering(b"\x00" * (RECEIVE_LIMIT + 1)), 30.0, "its answer is too long"),
    ],
    ids=["rate-limit", "unavailable", "unknown", "unimplemented", "garbage", "truncated", "too-long"],
)
def test_a_failure_is_incomplete_and_says_why(short_dir: Path, answer: Answer | None, timeout: float, reason: str) -> None:
    """Whatever goes wrong is a reading that shows nothing, with a reason of bearable length."""
    reading = ask(short_dir / "s", answer, timeout)
    assert (reading.source, reading.complete, reading.holdings) == ("podresources", False, ())
    assert reason in reading.reason
    assert len(reading.reason) < 500


def test_an_answer_of_many_megabytes_is_taken(short_dir: Path) -> None:
    """A node full of devices exceeds gRPC's default limit of 4 MiB."""
    ids = [f"{each:060}" for each in range(100_000)]
    response = pb.ListPodResourcesResponse(pod_resources=[pod("p", main=[devices("example.com/many", *ids)])])
    reading = ask(short_dir / "s", answering(response.SerializeToString()), 30.0)
    assert reading.held("example.com/many") == set(ids)


def test_a_kubelet_that_never_answers_is_given_up(short_dir: Path) -> None:
    """The deadline ends the call."""

    async def hang(_request: bytes, _context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
        await asyncio.Event().wait()
        return b""

    assert "did not answer in time (DEADLINE_EXCEEDED" in ask(short_dir / "s", hang, timeout=0.1).reason


def test_what_is_no_socket_is_not_dialled(short_dir: Path) -> None:
    """No file, a regular file, a stale socket: all of them are incomplete readings at once."""
    path = short_dir / "s"
    assert "No such file" in asyncio.run(list_holdings(str(path))).reason
    path.touch()
    assert "is not a socket" in asyncio.run(list_holdings(str(path))).reason
    path.unlink()
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    reading = asyncio.run(list_holdings(str(path)))
    assert (reading.complete, "does not answer (UNAVAILABLE" in reading.reason) == (False, True)


def test_a_kubelet_that_came_back_is_asked_at_once(short_dir: Path) -> None:
    """Failures of the past leave no connection backoff behind: the next call succeeds as soon as somebody listens."""
    path = short_dir / "s"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    assert not any(asyncio.run(list_holdings(str(path))).complete for _ in range(5))
    assert ask(path, answering(b"")).complete


@pytest.mark.parametrize("name", ["with space", "100%25", "a?b#c", "ümlaut"])
def test_any_path_can_be_dialled(short_dir: Path, name: str) -> None:
    """A path is taken literally, whatever it would mean in a URI."""
    assert ask(short_dir / name, answering(b"")).complete


def test_a_reading_leaves_no_descriptor_behind(short_dir: Path) -> None:
    """Each call closes its own connection, and so does one that is cancelled half-way."""
    path = short_dir / "s"

    async def hang(_request: bytes, _context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
        await asyncio.Event().wait()
        return b""

    async def session() -> tuple[int, int]:
        server = grpc.aio.server()
        handlers: dict[str, Any] = {"List": grpc.unary_unary_rpc_method_handler(hang)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("v1.PodResourcesLister", handlers),))
        server.add_insecure_port(f"unix:{path}")
        await server.start()
        counts = []
        for rounds in (3, 10):
            for _ in range(rounds):
                await list_holdings(str(path), timeout=0.02)
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(list_holdings(str(path)), 0.02)
            counts.append(await settled_descriptors())
        await server.stop(0)
        return counts[0], counts[1]

    before, after = asyncio.run(session())
    assert after <= before


async def settled_descriptors() -> int:
    """The number of open descriptors once it has stopped falling: gRPC closes connections a moment after their channel."""
    count, deadline = len(os.listdir("/proc/self/fd")), time.monotonic() + 5
    lowest_since = time.monotonic()
    while time.monotonic() < min(deadline, lowest_since + 0.5):
        await asyncio.sleep(0.02)
        now = len(os.listdir("/proc/self/fd"))
        if now < count:
            count, lowest_since = now, time.monotonic()
    return count
