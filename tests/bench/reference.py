"""The least possible device plugin on grpc.aio: one process, no supervisor, one resource. What the bench compares with.

A program of its own that imports nothing but grpc and the generated messages, as its author would have it:
`reference.py MESSAGES_FOLDER DEVICE_PLUGINS_FOLDER RESOURCE DEVICES [COUNT]`. A line of its input that is a number flips the
health of that device; the answer is the time at which the flip began, in nanoseconds of CLOCK_MONOTONIC. With a COUNT it serves
so many resources, named RESOURCE0 and so on, and the line `register` registers them again: it supervises nothing itself.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
sys.path.insert(0, sys.argv[1])

import deviceplugin_pb2 as pb  # type: ignore[import-not-found]  # from the folder that is its first argument
import grpc


class Plugin:
    def __init__(self, resource: str, devices: int) -> None:
        self.resource = resource
        self.list = pb.ListAndWatchResponse(devices=[pb.Device(ID=f"d{n}", health="Healthy") for n in range(devices)])
        self.payload = self.list.SerializeToString()
        self.changed = asyncio.Event()

    def flip(self, number: int) -> None:
        device = self.list.devices[number]
        device.health = "Unhealthy" if device.health == "Healthy" else "Healthy"
        self.payload = self.list.SerializeToString()
        self.changed.set()
        self.changed = asyncio.Event()

    async def options(self, request: Any, context: Any) -> Any:
        return pb.DevicePluginOptions()

    async def list_and_watch(self, request: Any, context: Any) -> None:
        while True:
            changed = self.changed
            await context.write(self.payload)
            await changed.wait()

    async def allocate(self, request: Any, context: Any) -> Any:
        answers = []
        for container in request.container_requests:
            node = pb.DeviceSpec(host_path="/dev/null", container_path="/dev/null", permissions="rw")
            answers.append(pb.ContainerAllocateResponse(envs={"IDS": ",".join(container.devices_ids)}, devices=[node]))
        return pb.AllocateResponse(container_responses=answers)

    def handler(self) -> grpc.GenericRpcHandler:
        unary, stream = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
        return grpc.method_handlers_generic_handler(
            "v1beta1.DevicePlugin",
            {
                "GetDevicePluginOptions": unary(self.options, None, pb.DevicePluginOptions.SerializeToString),
                "ListAndWatch": stream(self.list_and_watch, None, None),
                "Allocate": unary(self.allocate, pb.AllocateRequest.FromString, pb.AllocateResponse.SerializeToString),
            },
        )


class Service:
    """One resource: a server for good, and a fresh link to its socket for each registration."""

    def __init__(self, folder: str, resource: str, devices: int) -> None:
        self.folder, self.resource = folder, resource
        self.plugin = Plugin(resource, devices)
        self.private = Path(folder, f"reference-{os.getpid()}", f"{resource.rpartition('/')[2]}.sock")
        self.registrations = 0

    async def start(self) -> None:
        self.private.parent.mkdir(exist_ok=True)
        self.server = grpc.aio.server()
        self.server.add_generic_rpc_handlers((self.plugin.handler(),))
        self.server.add_insecure_port(f"unix:{self.private}")
        await self.server.start()

    async def register(self, channel: grpc.aio.Channel) -> None:
        self.registrations += 1
        endpoint = f"reference-{os.getpid()}-{self.registrations}-{self.private.name}"
        os.link(self.private, f"{self.folder}/{endpoint}")
        request = pb.RegisterRequest(version="v1beta1", endpoint=endpoint, resource_name=self.resource).SerializeToString()
        await channel.unary_unary("/v1beta1.Registration/Register")(request)


async def register(folder: str, services: list[Service]) -> None:
    options = [("grpc.use_local_subchannel_pool", 1)]  # else it would wait out the dead kubelet's back-off
    async with grpc.aio.insecure_channel(f"unix:{folder}/kubelet.sock", options=options) as channel:
        await asyncio.gather(*(service.register(channel) for service in services))


async def main(folder: str, resource: str, devices: int, count: int | None = None) -> None:
    names = [resource] if count is None else [f"{resource}{number}" for number in range(count)]
    services = [Service(folder, name, devices) for name in names]
    for service in services:
        await service.start()
    await register(folder, services)
    ended = asyncio.Event()
    tasks = set()

    def command() -> None:
        line = os.read(0, 64)
        if not line:
            ended.set()
        elif line == b"register\n":
            task = asyncio.ensure_future(register(folder, services))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        else:
            began = time.monotonic_ns()
            services[0].plugin.flip(int(line))
            os.write(1, b"%d\n" % began)

    asyncio.get_running_loop().add_reader(0, command)
    await ended.wait()
    for service in services:
        await service.server.stop(None)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[2], sys.argv[3], *map(int, sys.argv[4:])))
