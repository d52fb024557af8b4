"""The least possible device plugin on grpc.aio, scriptable: what the simulator is tested against."""

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import grpc

from supervisor.kubelet.protos import deviceplugin_pb2 as pb

Context = grpc.aio.ServicerContext[Any, Any]
Abort = tuple[grpc.StatusCode, str]

_numbers = itertools.count(1)


def device(name: str, health: str = "Healthy", numa: Sequence[int] = ()) -> pb.Device:
    """Make one device, without a topology message where there is none."""
    topology = pb.TopologyInfo(nodes=[pb.NUMANode(ID=node) for node in numa]) if numa else None
    return pb.Device(ID=name, health=health, topology=topology)


def devices(count: int) -> list[pb.Device]:
    """Make healthy devices d0, d1, …"""
    return [device(f"d{number}") for number in range(count)]


@dataclass
class Script:
    """How the plugin behaves; may be changed while it runs."""

    options: pb.DevicePluginOptions = field(default_factory=pb.DevicePluginOptions)
    options_error: Abort | None = None
    list_error: Abort | None = None
    """Ends ListAndWatch, at once or after the first list."""
    send_list: bool = True
    allocate: Mapping[str, pb.ContainerAllocateResponse] = field(default_factory=dict)
    """Device id → answer, merged over the ids."""
    allocate_error: Abort | None = None
    allocate_empty: bool = False
    allocate_gate: asyncio.Event | None = None
    preferred: Sequence[str] = ()
    preferred_error: Abort | None = None
    pre_start_error: Abort | None = None


class BarePlugin:
    """One resource's plugin on an asyncio loop in a thread of its own; a context manager."""

    def __init__(self, directory: Path, resource: str, listed: Sequence[pb.Device] = (), script: Script | None = None) -> None:
        """Nothing runs until the context is entered."""
        self.directory = directory
        self.resource = resource
        self.script = script or Script()
        self.endpoint = f"bare-{next(_numbers)}.sock"
        self.requests: list[tuple[str, Any]] = []
        self.deadlines: list[tuple[str, float | None]] = []
        self._list = pb.ListAndWatchResponse(devices=listed)
        self._changed = asyncio.Event()
        self._open_streams = 0
        self._noted = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="bare-plugin")
        self._server: grpc.aio.Server | None = None

    def __enter__(self) -> Self:
        """Serve on the socket, without registering."""
        self._thread.start()
        try:
            self.serve()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop serving and end the thread."""
        try:
            self.stop()
        finally:
            self._end()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def socket(self) -> Path:
        """The plugin's socket."""
        return self.directory / self.endpoint

    @property
    def open_streams(self) -> int:
        """How many ListAndWatch calls are open."""
        return self._open_streams

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run something on the plugin's loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def serve(self, endpoint: str | None = None) -> None:
        """Start a server, on a new socket name where one is given."""
        self.endpoint = endpoint or self.endpoint
        self.run(self._serve())

    def stop(self) -> None:
        """Stop the server; the socket goes with it."""
        self.run(self._stop())

    def register(self, timeout: float = 20.0, **changes: Any) -> None:
        """Register once and wait for the answer; raises ``AioRpcError``."""
        self.run(self._register(timeout, changes))

    def register_later(self, **changes: Any) -> "Future[Any]":
        """Register without waiting."""
        return asyncio.run_coroutine_threadsafe(self._register(20.0, changes), self._loop)

    def publish(self, listed: Sequence[pb.Device]) -> None:
        """Send a new list on every open stream."""
        self.run(self._publish(pb.ListAndWatchResponse(devices=listed)))

    def set_gate(self) -> asyncio.Event:
        """Make Allocate hang until the returned event is set on the loop."""
        gate = asyncio.Event()
        self.script.allocate_gate = gate
        return gate

    def open_gate(self, gate: asyncio.Event) -> None:
        """Let hanging Allocate calls go on."""
        self._loop.call_soon_threadsafe(gate.set)

    async def _serve(self) -> None:
        self._server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
        unary = grpc.unary_unary_rpc_method_handler
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "GetDevicePluginOptions": unary(self._options, pb.Empty.FromString, _bytes),
            "ListAndWatch": grpc.unary_stream_rpc_method_handler(self._watch, pb.Empty.FromString, _bytes),
            "GetPreferredAllocation": unary(self._preferred, pb.PreferredAllocationRequest.FromString, _bytes),
            "Allocate": unary(self._allocate, pb.AllocateRequest.FromString, _bytes),
            "PreStartContainer": unary(self._pre_start, pb.PreStartContainerRequest.FromString, _bytes),
        }
        handler = grpc.method_handlers_generic_handler("v1beta1.DevicePlugin", methods)
        self._server.add_generic_rpc_handlers((handler,))
        self._server.add_insecure_port(f"unix:{self.socket}")
        await self._server.start()

    async def _stop(self) -> None:
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    async def _register(self, timeout: float, changes: Mapping[str, Any]) -> None:
        request = pb.RegisterRequest(
            **{
                "version": "v1beta1",
                "endpoint": self.endpoint,
                "resource_name": self.resource,
                "options": self.script.options,
                **changes,
            }
        )
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(f"unix:{self.directory}/kubelet.sock", options=options) as channel:
            call: Any = channel.unary_unary("/v1beta1.Registration/Register")
            await call(request.SerializeToString(), timeout=timeout)

    async def _publish(self, message: pb.ListAndWatchResponse) -> None:
        self._list = message
        self._changed.set()
        self._changed = asyncio.Event()

    def _note(self, method: str, request: Any, context: Context) -> None:
        with self._noted:
            self.requests.append((method, request))
            self.deadlines.append((method, context.time_remaining()))
            self._noted.notify_all()

    async def _options(self, request: pb.Empty, context: Context) -> pb.DevicePluginOptions:
        self._note("GetDevicePluginOptions", request, context)
        await _raise(context, self.script.options_error)
        return self.script.options

    async def _watch(self, request: pb.Empty, context: Context) -> AsyncIterator[pb.ListAndWatchResponse]:
        self._note("ListAndWatch", request, context)
        self._count_streams(1)
        try:
            while True:
                changed = self._changed
                if self.script.send_list:
                    yield self._list
                await _raise(context, self.script.list_error)
                await changed.wait()
        finally:
            self._count_streams(-1)

    async def _preferred(self, request: pb.PreferredAllocationRequest, context: Context) -> pb.PreferredAllocationResponse:
        self._note("GetPreferredAllocation", request, context)
        await _raise(context, self.script.preferred_error)
        answer = pb.ContainerPreferredAllocationResponse(deviceIDs=self.script.preferred)
        return pb.PreferredAllocationResponse(container_responses=[answer])

    async def _allocate(self, request: pb.AllocateRequest, context: Context) -> pb.AllocateResponse:
        self._note("Allocate", request, context)
        if self.script.allocate_gate is not None:
            await self.script.allocate_gate.wait()
        await _raise(context, self.script.allocate_error)
        if self.script.allocate_empty:
            return pb.AllocateResponse()
        answer = pb.ContainerAllocateResponse()
        for name in request.container_requests[0].devices_ids:
            answer.MergeFrom(self.script.allocate.get(name, pb.ContainerAllocateResponse()))
        return pb.AllocateResponse(container_responses=[answer])

    async def _pre_start(self, request: pb.PreStartContainerRequest, context: Context) -> pb.PreStartContainerResponse:
        self._note("PreStartContainer", request, context)
        await _raise(context, self.script.pre_start_error)
        return pb.PreStartContainerResponse()

    def wait_called(self, method: str, times: int = 1) -> None:
        """Wait until the kubelet has called a method so many times."""
        with self._noted:
            assert self._noted.wait_for(lambda: len(self.called(method)) >= times, 10), f"no {method}"

    def _count_streams(self, change: int) -> None:
        with self._noted:
            self._open_streams += change
            self._noted.notify_all()

    def wait_streams(self, count: int) -> None:
        """Wait until so many ListAndWatch calls are open."""
        with self._noted:
            assert self._noted.wait_for(lambda: self._open_streams == count, 10), self._open_streams

    def called(self, method: str) -> list[Any]:
        """Return the requests of one method."""
        return [request for name, request in self.requests if name == method]


async def _raise(context: Context, error: Abort | None) -> None:
    if error is not None:
        await context.abort(*error)


def _bytes(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data
