"""What ``Register`` does, era by era, with all faults that real kubelets have there.

Each class keeps the plugin clients of one kubelet life. The bugs are deliberate: they are what a plugin must survive.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import grpc

from supervisor.kubelet.protos import API_VERSION
from supervisor.kubelet.protos import deviceplugin_pb2 as pb
from supervisor.kubelet.simulator.clock import Clock
from supervisor.kubelet.simulator.eras import Era, RegisterStyle
from supervisor.kubelet.simulator.events import EventKind
from supervisor.kubelet.simulator.faults import Step
from supervisor.kubelet.simulator.manager import DeviceManager
from supervisor.kubelet.simulator.names import go_error, is_extended_resource
from supervisor.kubelet.simulator.plugin_client import DialError, Emit, PluginClient


class RegisterError(Exception):
    """Register is refused; the message is the kubelet's."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a registration needs of the kubelet life it belongs to."""

    directory: Path
    era: Era
    clock: Clock
    emit: Emit
    manager: DeviceManager
    reach: Callable[[Step, str], Awaitable[None]]
    """Called at each step; faults strike there. May raise :class:`DialError`."""
    spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
    """Starts a task that ends with the life."""
    clients: list[PluginClient]
    """Every client of the life, leaked ones included; the life closes them when it ends."""

    def client(self, request: pb.RegisterRequest) -> PluginClient:
        """Make a client for the endpoint a plugin named: joined below the directory and cleaned, as Go does it."""
        path = Path(os.path.normpath(f"{self.directory}/{request.endpoint}"))
        client = PluginClient(request.resource_name, path, self.era, self.clock, self.emit)
        self.clients.append(client)
        return client

    async def close(self, client: PluginClient) -> None:
        """Close a client and forget it."""
        await client.close()
        if client in self.clients:
            self.clients.remove(client)

    async def watch(self, client: PluginClient) -> None:
        """Run ListAndWatch to its end; it is called once and never again."""
        await self.reach(Step.BEFORE_FIRST_LIST, client.resource)
        lists = 0

        def received(message: bytes, at_ns: int) -> None:
            nonlocal lists
            lists += 1
            self.manager.listed(client, message, at_ns)
            if lists == 1:
                self.spawn(_reach(self.reach, client.resource))

        code, text = await client.watch(received)
        self.emit(EventKind.STREAM_ENDED, resource=client.resource, endpoint=client.endpoint, code=code, message=text)

    async def fetch_options(self, client: PluginClient) -> pb.DevicePluginOptions:
        """Ask for the options; raises :class:`RegisterError`, and the dialled connection then stays open."""
        await self.reach(Step.BEFORE_OPTIONS, client.resource)
        try:
            answer = await client.call("GetDevicePluginOptions", b"")
        except grpc.aio.AioRpcError as error:
            raise RegisterError(f"failed to get device plugin options: {go_error(error)}") from error
        await self.reach(Step.AFTER_OPTIONS, client.resource)
        return pb.DevicePluginOptions.FromString(answer)

    async def dial(self, client: PluginClient) -> None:
        """Dial back; raises :class:`RegisterError`."""
        try:
            await self.reach(Step.BEFORE_DIAL, client.resource)
            await client.dial()
        except DialError as error:
            await self.close(client)
            raise RegisterError(str(error)) from error


async def _reach(reach: Callable[[Step, str], Awaitable[None]], resource: str) -> None:
    await reach(Step.AFTER_FIRST_LIST, resource)


class Registration(Protocol):
    """Registers plugins in one era's way."""

    async def register(self, request: pb.RegisterRequest) -> None:
        """Do what happens before the answer; raises :class:`RegisterError`."""

    def clients(self, resource: str) -> list[PluginClient]:
        """Return the clients of a resource that still are known."""


def validate(request: pb.RegisterRequest) -> None:
    """Check version, then name; the endpoint is not checked. Raises :class:`RegisterError`."""
    if request.version != API_VERSION:
        raise RegisterError(
            f'requested API version "{request.version}" is not supported by kubelet. Supported version is ["{API_VERSION}"]'
        )
    if not is_extended_resource(request.resource_name):
        raise RegisterError(f'the ResourceName "{request.resource_name}" is invalid')


class AnswerFirst(Registration):
    """1.20-1.24: everything happens after the answer, and the request's options count."""

    def __init__(self, life: Surroundings) -> None:
        """Begin without clients."""
        self._life = life

    async def register(self, request: pb.RegisterRequest) -> None:
        """Start the dial-back and return."""
        self._life.spawn(self._connect(request))

    def clients(self, resource: str) -> list[PluginClient]:
        """Return all open clients of the resource; a new one does not close the old."""
        return [client for client in self._life.clients if client.resource == resource]

    async def _connect(self, request: pb.RegisterRequest) -> None:
        life, resource = self._life, request.resource_name
        client = life.client(request)
        try:
            await life.dial(client)
        except RegisterError as error:
            life.emit(EventKind.CONNECT_FAILED, resource=resource, endpoint=request.endpoint, error=str(error))
            return
        life.manager.connected(resource, client, request.options)
        await life.watch(client)
        await life.close(client)
        endpoint = life.manager.endpoints.get(resource)
        if endpoint is not None and endpoint.client is client:
            life.manager.disconnected(resource)


class SlotPerResource(Registration):
    """1.25-1.36: one slot for each resource name, which every newcomer overwrites."""

    def __init__(self, life: Surroundings) -> None:
        """Begin with empty slots."""
        self._life = life
        self._slots: dict[str, PluginClient] = {}

    async def register(self, request: pb.RegisterRequest) -> None:
        """Dial, ask for options, store. A failure empties the slot, whoever was in it before."""
        life, resource = self._life, request.resource_name
        client = self._slots[resource] = life.client(request)
        try:
            await life.dial(client)
            options = await life.fetch_options(client)
        except (RegisterError, asyncio.CancelledError):
            self._slots.pop(resource, None)
            raise
        life.manager.connected(resource, client, options)
        life.spawn(self._run(client))

    def clients(self, resource: str) -> list[PluginClient]:
        """Return the client in the slot."""
        return [self._slots[resource]] if resource in self._slots else []

    async def _run(self, client: PluginClient) -> None:
        """The take-over bug: at the end of *any* stream, whoever is in the slot now is disconnected."""
        await self._life.watch(client)
        current = self._slots.pop(client.resource, None)
        if current is not None:
            await self._life.close(current)
            self._life.manager.disconnected(client.resource)


class SlotPerSocket(Registration):
    """1.37: clients by resource and path; a survivor takes over, a second registration of a path is refused."""

    def __init__(self, life: Surroundings) -> None:
        """Begin with empty slots."""
        self._life = life
        self._slots: dict[str, list[PluginClient]] = {}
        self._connected: dict[tuple[str, Path], tuple[PluginClient, pb.DevicePluginOptions]] = {}

    async def register(self, request: pb.RegisterRequest) -> None:
        """Dial, ask for options, store unless the path is connected already.

        A failure throws all clients of that path out of the slots, a living one too. Its path then stays refused for
        as long as this kubelet lives, because nobody clears the manager's entry when its stream ends.
        """
        life, resource = self._life, request.resource_name
        client = life.client(request)
        self._slots.setdefault(resource, []).append(client)
        try:
            await life.dial(client)
            options = await life.fetch_options(client)
            if (resource, client.path) in self._connected:
                await life.close(client)
                raise RegisterError(f"device plugin already connected: {client.path}")
        except (RegisterError, asyncio.CancelledError):
            self._slots[resource] = [other for other in self._slots[resource] if other.path != client.path]
            raise
        self._connected[resource, client.path] = client, options
        life.manager.connected(resource, client, options)
        life.spawn(self._run(client))

    def clients(self, resource: str) -> list[PluginClient]:
        """Return all clients of the resource that are in the slots."""
        return list(self._slots.get(resource, []))

    async def _run(self, client: PluginClient) -> None:
        await self._life.watch(client)
        slot = self._slots.get(client.resource, [])
        if client not in slot:
            return
        slot.remove(client)
        await self._life.close(client)
        self._connected.pop((client.resource, client.path), None)
        survivors = [entry for (resource, _), entry in self._connected.items() if resource == client.resource]
        endpoint = self._life.manager.endpoints.get(client.resource)
        if endpoint is None or endpoint.client is not client:
            return
        if survivors:
            endpoint.client, endpoint.options = survivors[-1]
            name = survivors[-1][0].endpoint
            self._life.emit(EventKind.SURVIVOR_PROMOTED, resource=client.resource, endpoint=name)
        else:
            self._life.manager.disconnected(client.resource)


def registration(life: Surroundings) -> Registration:
    """Return the registration of the life's era."""
    styles: dict[RegisterStyle, Callable[[Surroundings], Registration]] = {
        RegisterStyle.ANSWER_FIRST: AnswerFirst,
        RegisterStyle.SLOT_PER_RESOURCE: SlotPerResource,
        RegisterStyle.SLOT_PER_SOCKET: SlotPerSocket,
    }
    return styles[life.era.register](life)
