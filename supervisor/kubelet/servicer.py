"""The ``v1beta1.DevicePlugin`` service of one resource: it reads the feed and answers. Runs on the wire thread only."""

import asyncio
import functools
import itertools
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import grpc
import msgspec

from supervisor.allocation import healthy, merge, preferred, select
from supervisor.calls import PluginCalls
from supervisor.errors import AllocationRefused, PluginFailed
from supervisor.feed import Feed
from supervisor.hookspecs import Allocator
from supervisor.inventory import Inventory, checked_edits
from supervisor.kubelet.advice import advised
from supervisor.kubelet.encoding import ListEncoder, container_response
from supervisor.kubelet.failing import Context, abort, outcome_of
from supervisor.kubelet.plugin_calls import call_plugin
from supervisor.kubelet.protos import DEVICE_PLUGIN_SERVICE, MAX_MESSAGE_BYTES
from supervisor.kubelet.protos import deviceplugin_pb2 as pb
from supervisor.kubelet.tenancies import Tenancies
from supervisor.levels import ALLOCATION_BOUNDS, Counts, Level
from supervisor.model import ContainerEdits, Device
from supervisor.slots import Slots

Task = Coroutine[Any, Any, None]

_QUIET_TURNS = 2
_MOMENT = 0.001
"""Seconds in which grpc sends what a handler has returned."""


class Servicer:
    """Answers the kubelet for one resource.

    ``changed`` is called on the wire thread whenever ``level`` was replaced; ``start`` lets a coroutine run beside the answers.
    """

    def __init__(
        self,
        feed: Feed,
        calls: PluginCalls,
        changed: Callable[[], None],
        start: Callable[[Task], None],
        tenancies: Tenancies,
        *,
        life: int,
    ) -> None:
        self.feed = feed
        self.calls = calls
        self.level = Level(life)
        self.last_allocated: dict[str, float] = {}
        self.allocated_at = 0.0
        """The newest of these."""
        self._changed = changed
        self._start = start
        self._tenancies = tenancies
        self._inventory: Inventory | None = None
        self._payload = b""
        self._judged: Inventory | None = None
        self._encoder = ListEncoder()
        self._encoding = False
        self._news = asyncio.Event()
        self._epoch = 0
        self._late_others: set[object] = set()
        self._outcomes = Counter(dict.fromkeys(("ok", "refused", "failed", "timed_out"), 0))
        self._buckets = [0] * (len(ALLOCATION_BOUNDS) + 1)
        self._seconds = 0.0
        self.registrations: Counter[str] = Counter()
        self._under_way = 0
        """Questions that are being answered."""

    # --- the list -----------------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """The feed has news: encode them and wake the streams."""
        if not self._encoding:
            self._encoding = True
            self._start(self._encode_latest())

    async def _encode_latest(self) -> None:
        while (inventory := self.feed.current) is not None and inventory is not self._judged:
            self._judged = inventory
            payload = await self._encoder.encode(inventory.devices)
            if len(payload) > MAX_MESSAGE_BYTES:
                self._refuse(inventory, len(payload))
            else:
                self._accept(inventory, payload)
            await self._encoder.let_go()
        self._encoding = False

    def _refuse(self, inventory: Inventory, size: int) -> None:
        self.note(
            list_problem=f"the list of {len(inventory.devices)} devices is {size} bytes long and the kubelet takes at most "
            f"{MAX_MESSAGE_BYTES}; offer fewer devices or replicas, or shorter ids"
        )

    def _accept(self, inventory: Inventory, payload: bytes) -> None:
        self._inventory = inventory
        # Nobody asks of what is not listed: an id that may be held stays in the list.
        self.last_allocated = {known: at for known, at in self.last_allocated.items() if known in inventory.index}
        if payload != self._payload:  # edits and reasons may differ in what looks the same to the kubelet
            self._payload = payload
        self.note(listed=True, list_problem="", pre_start_required=inventory.pre_start_required)
        self._wake_streams()

    def repeat(self) -> None:
        """Send the newest list once more."""
        self._payload = bytes(memoryview(self._payload))  # streams send what is another object
        self._wake_streams()

    def _wake_streams(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    def note(self, *, quietly: bool = False, **facts: Any) -> None:
        """Replace the level where it differs. ``quietly``: nobody waits for this."""
        level = msgspec.structs.replace(self.level, **facts)
        if level != self.level:
            self.level = level
            if not quietly:
                self._changed()

    def end_streams(self) -> None:
        """End every open ``ListAndWatch``; the kubelet then forgets this registration."""
        self._epoch += 1
        self._wake_streams()

    async def list_and_watch(self, _: pb.Empty, context: Context) -> None:
        epoch = self._epoch
        self.note(streams=self.level.streams + 1, opened=self.level.opened + 1)
        try:
            sent: bytes | None = None
            while epoch == self._epoch:
                news, payload = self._news, self._payload
                if self.level.listed and payload is not sent:
                    await context.write(payload)
                    sent = payload
                else:
                    await news.wait()
        finally:
            self.note(streams=self.level.streams - 1, ended_at=time.monotonic())

    # --- questions ----------------------------------------------------------------------------------------------------

    async def quiet(self, timeout: float) -> None:
        """Until nothing is being answered, nor was a moment ago: the last answer has left. At most so many seconds."""
        deadline, turns = time.monotonic() + timeout, 0
        while turns < _QUIET_TURNS and time.monotonic() < deadline:
            turns = 0 if self._under_way else turns + 1
            await asyncio.sleep(_MOMENT)

    async def _answer(self, function: Callable[[Any, Context], Awaitable[Any]], request: Any, context: Context) -> Any:
        self._under_way += 1
        try:
            return await function(request, context)
        finally:
            self._under_way -= 1

    def options(self) -> pb.DevicePluginOptions:
        inventory = self._inventory
        return pb.DevicePluginOptions(
            pre_start_required=inventory is not None and inventory.pre_start_required,
            get_preferred_allocation_available=self.calls.preferred_allocator is not None,
        )

    async def get_options(self, _: pb.Empty, __: Context) -> pb.DevicePluginOptions:
        options = self.options()
        self.note(registered_pre_start=options.pre_start_required)
        return options

    async def allocate(self, request: pb.AllocateRequest, context: Context) -> pb.AllocateResponse:
        began = time.monotonic()
        outcome = "failed"
        try:
            if not request.container_requests:
                raise AllocationRefused("the request names no container")
            answers = await self._grant([self._asked(container.devices_ids) for container in request.container_requests])
            response = pb.AllocateResponse(container_responses=[container_response(edits) for edits in answers])
            outcome = "ok"
            return response
        except (AllocationRefused, PluginFailed, TimeoutError) as error:
            outcome = outcome_of(error)
            await abort(context, error)
            raise  # abort never returns
        finally:
            self._count(outcome, time.monotonic() - began)

    def _asked(self, device_ids: Sequence[str]) -> tuple[Device, ...]:
        if not device_ids:
            raise AllocationRefused("the request names no device")
        return healthy(self._current(), device_ids)

    async def _grant(self, asked: Sequence[tuple[Device, ...]]) -> list[ContainerEdits]:
        """What each container gets. Until claims are taken there is no await: of two calls the first has them."""
        claims = self._tenancies.take(self.feed.resource, itertools.chain.from_iterable(asked))
        if not claims:
            return [await self._allocate(devices) for devices in asked]
        granted = False
        try:
            await self._tenancies.written(claims)
            answers = [await self._allocate(devices) for devices in asked]
            granted = True
            return answers
        finally:
            self._tenancies.settle(claims, granted=granted)

    async def _allocate(self, devices: tuple[Device, ...]) -> ContainerEdits:
        edits = merge(device.edits for device in devices)
        self._allocated_now(devices)
        plugin = self.calls.allocator
        if plugin is not None:
            edits = await self._plugin_allocate(plugin, self.feed.resource, devices, edits)
            self._allocated_now(devices)  # again: the plugin may have taken seconds
        return edits

    def _allocated_now(self, devices: Sequence[Device]) -> None:
        now = self.allocated_at = time.monotonic()
        self.last_allocated.update((device.id, now) for device in devices)

    async def _plugin_allocate(
        self, plugin: Allocator, resource: str, devices: tuple[Device, ...], edits: ContainerEdits
    ) -> ContainerEdits:
        if self.calls.late_allocations:
            raise PluginFailed(f"the plugin of {resource} has not come back from an earlier Allocate")
        timeout = self.calls.allocate_timeout
        answer = await self._call(
            self.calls.slots, plugin.allocate, (resource, devices, edits), timeout, self.calls.late_allocations
        )
        try:
            return checked_edits(answer)
        except ValueError as error:
            raise PluginFailed(f"the plugin of {resource} answered Allocate with something unusable: {error}") from error

    async def preferred_allocation(self, request: pb.PreferredAllocationRequest, _: Context) -> pb.PreferredAllocationResponse:
        """Advice only, so nothing here is an error: the kubelet would reject the pod for one."""
        answers = []
        for container in request.container_requests:
            advice = await self._preferred(
                tuple(container.available_deviceIDs), tuple(container.must_include_deviceIDs), container.allocation_size
            )
            answers.append(pb.ContainerPreferredAllocationResponse(deviceIDs=advice))
        return pb.PreferredAllocationResponse(container_responses=answers)

    async def _preferred(self, available: tuple[str, ...], must_include: tuple[str, ...], size: int) -> list[str]:
        inventory = self._inventory
        if inventory is None:
            return []
        available = self._tenancies.open_to(inventory, available, size)
        plugin = self.calls.preferred_allocator
        if plugin is not None:
            timeout = self.calls.preferred_allocation_timeout
            arguments = (plugin, inventory.resource, available, must_include, size)
            try:
                advice: list[str] = await self._call(self.calls.slots, advised, arguments, timeout, self._late_others)
                return advice
            except (AllocationRefused, PluginFailed, TimeoutError):
                pass  # the default answer is right too, only less well informed
        return preferred(inventory, available, must_include, size)

    async def pre_start(self, request: pb.PreStartContainerRequest, context: Context) -> pb.PreStartContainerResponse:
        """Unhealthy devices are accepted: the kubelet tries again and again, and the plugin may bring them back."""
        try:
            inventory = self._current()
            devices = select(inventory, request.devices_ids)
            if claims := self._tenancies.take(inventory.resource, devices):
                await self._hold(claims)
            plugin = self.calls.pre_starter
            if plugin is not None and inventory.pre_start_required:
                arguments, timeout = (inventory.resource, devices), self.calls.pre_start_timeout
                await self._call(self.calls.starts, plugin.pre_start, arguments, timeout, self._late_others)
        except (AllocationRefused, PluginFailed, TimeoutError) as error:
            await abort(context, error)
        return pb.PreStartContainerResponse()

    async def _hold(self, claims: tuple[str, ...]) -> None:
        """Have these claims whatever becomes of the call: a pod holds what the kubelet wants to start with."""
        written = False
        try:
            await self._tenancies.written(claims)
            written = True
        finally:
            self._tenancies.settle(claims, granted=written)

    def _current(self) -> Inventory:
        if self._inventory is None:
            raise AllocationRefused(f"{self.feed.resource} has not been looked at yet")
        return self._inventory

    async def _call(
        self, slots: Slots, function: Callable[..., Any], arguments: tuple[Any, ...], timeout: float, late: set[object]
    ) -> Any:
        try:
            return await call_plugin(slots, function, arguments, timeout, late)
        except TimeoutError:
            raise TimeoutError(f"the plugin of {self.feed.resource} did not answer within {timeout:g} s") from None

    # --- counting -----------------------------------------------------------------------------------------------------

    def _count(self, outcome: str, seconds: float) -> None:
        self._outcomes[outcome] += 1
        self._buckets[bisect_left(ALLOCATION_BOUNDS, seconds)] += 1
        self._seconds += seconds

    def counts(self) -> Counts:
        """Callable from any thread: the copies are made while no bytecode of the wire thread runs."""
        return Counts(dict(self._outcomes), tuple(self._buckets), self._seconds, dict(self.registrations))

    # --- gRPC ---------------------------------------------------------------------------------------------------------

    def handler(self) -> grpc.GenericRpcHandler:
        def unary(function: Callable[[Any, Context], Awaitable[Any]], request: Any) -> "grpc.RpcMethodHandler[Any, Any]":
            answer = functools.partial(self._answer, function)
            return grpc.unary_unary_rpc_method_handler(answer, request.FromString, lambda answer: answer.SerializeToString())

        return grpc.method_handlers_generic_handler(
            DEVICE_PLUGIN_SERVICE,
            {
                "GetDevicePluginOptions": unary(self.get_options, pb.Empty),
                "ListAndWatch": grpc.unary_stream_rpc_method_handler(
                    self.list_and_watch,
                    pb.Empty.FromString,
                    None,  # the list is kept as bytes
                ),
                "Allocate": unary(self.allocate, pb.AllocateRequest),
                "GetPreferredAllocation": unary(self.preferred_allocation, pb.PreferredAllocationRequest),
                "PreStartContainer": unary(self.pre_start, pb.PreStartContainerRequest),
            },
        )
