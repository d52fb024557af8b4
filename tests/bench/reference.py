"""The least possible device plugin on grpc.aio: one resource, one process, no supervisor. What the bench compares with.

A program of its own that imports nothing but grpc and the generated messages, as its author would have it:
`reference.py MESSAGES_FOLDER DEVICE_PLUGINS_FOLDER RESOURCE DEVICES`. Each line of its input flips the health of one device,
whose number it is; the answer is the time at which the flip began, in nanoseconds of CLOCK_MONOTONIC.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
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


async def main(folder: str, resource: str, devices: int) -> None:
    plugin = Plugin(resource, devices)
    endpoint = f"reference-{os.getpid()}.sock"
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((plugin.handler(),))
    server.add_insecure_port(f"unix:{folder}/{endpoint}")
    await server.start()
    request = pb.RegisterRequest(version="v1beta1", endpoint=endpoint, resource_name=resource).SerializeToString()
    async with grpc.aio.insecure_channel(f"unix:{folder}/kubelet.sock") as channel:
        await channel.unary_unary("/v1beta1.Registration/Register")(request)
    ended = asyncio.Event()

    def command() -> None:
        line = os.read(0, 64)
        if not line:
            ended.set()
            return
        began = time.monotonic_ns()
        plugin.flip(int(line))
        os.write(1, b"%d\n" % began)

    asyncio.get_running_loop().add_reader(0, command)
    await ended.wait()
    await server.stop(None)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[2], sys.argv[3], int(sys.argv[4])))
