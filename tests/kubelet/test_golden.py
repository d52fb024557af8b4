"""Both ends of the wire against bytes written by hand."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import pytest

from supervisor.kubelet.protos import deviceplugin_pb2, podresources_pb2
from supervisor.kubelet.simulator import GrantedDevice, GrantedMount, KubeletSimulator, RunOptions
from tests.kubelet.golden import DEVICE_0, DEVICE_PLUGIN, POD_RESOURCES, Golden, example

EXAMPLES = [
    *((deviceplugin_pb2, golden) for golden in DEVICE_PLUGIN),
    *((podresources_pb2, golden) for golden in POD_RESOURCES),
]


@pytest.mark.parametrize(("module", "golden"), EXAMPLES)
def test_generated_classes(module: ModuleType, golden: Golden) -> None:
    """The generated classes write and read exactly the bytes written by hand."""
    message = getattr(module, golden.message)(**golden.fields)
    assert message.SerializeToString(deterministic=True) == golden.data
    assert type(message).FromString(golden.data) == message


@pytest.mark.parametrize(("module", "examples"), [(deviceplugin_pb2, DEVICE_PLUGIN), (podresources_pb2, POD_RESOURCES)])
def test_every_message_has_an_example(module: ModuleType, examples: tuple[Golden, ...]) -> None:
    """No message and no field of the protocol is left out."""
    for name, descriptor in module.DESCRIPTOR.message_types_by_name.items():
        shown = {field for golden in examples if golden.message == name for field in golden.fields}
        assert any(golden.message == name for golden in examples), name
        assert shown == set(descriptor.fields_by_name), name


@pytest.fixture
def root() -> Iterator[Path]:
    """Give a directory with a short name: socket paths end at 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="kg-", dir="/tmp") as name:
        yield Path(name)


OPTIONS = bytes.fromhex("08 01 10 01")
ONE_DEVICE = bytes.fromhex("0a 13") + bytes.fromhex(DEVICE_0)
PREFERRED = bytes.fromhex("0a 06 0a 02 64 30 18 01")
"""One container: d0 is available, nothing is a must, one is wanted."""


class BytePlugin:
    """A plugin that sends and records bytes, and knows no message class."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, bytes]] = []

    async def serve(self, path: Path) -> grpc.aio.Server:
        """Serve all methods under their literal paths."""
        answers = {
            "GetDevicePluginOptions": OPTIONS,
            "GetPreferredAllocation": bytes.fromhex("0a 04 0a 02 64 30"),
            "Allocate": example("AllocateResponse"),
            "PreStartContainer": b"",
        }
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            name: grpc.unary_unary_rpc_method_handler(self._answer(name, answer)) for name, answer in answers.items()
        }
        methods["ListAndWatch"] = grpc.unary_stream_rpc_method_handler(self._watch)
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("v1beta1.DevicePlugin", methods),))
        server.add_insecure_port(f"unix:{path}")
        await server.start()
        return server

    def _answer(self, name: str, answer: bytes) -> Any:
        async def handler(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
            self.requests.append((name, request))
            return answer

        return handler

    async def _watch(self, request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[bytes]:
        self.requests.append(("ListAndWatch", request))
        yield ONE_DEVICE
        await asyncio.Event().wait()


async def converse(kubelet: KubeletSimulator, plugin: BytePlugin) -> tuple[bytes, RunOptions, bytes]:
    """Register, place a pod and list its devices; return the two answers and what the pod got."""
    server = await plugin.serve(kubelet.paths.device_plugins / "a.sock")
    try:
        async with grpc.aio.insecure_channel(f"unix:{kubelet.paths.socket}") as channel:
            register: Any = channel.unary_unary("/v1beta1.Registration/Register")
            registered = await register(example("RegisterRequest"), timeout=10)
        await asyncio.to_thread(kubelet.wait_devices, "a.b/c", {"d0": "Healthy"})
        pod = await asyncio.to_thread(kubelet.add_pod, "p", {"a.b/c": 1})
        async with grpc.aio.insecure_channel(f"unix:{kubelet.paths.pod_resources_socket}") as channel:
            listing: Any = channel.unary_unary("/v1.PodResourcesLister/List")
            listed = await listing(b"", timeout=10)
    finally:
        await server.stop(None)
    return registered, pod.containers["main"].options, listed


def test_simulator_speaks_these_bytes(root: Path) -> None:
    """From Register to PreStartContainer the simulator sends and understands exactly the bytes written by hand."""
    plugin = BytePlugin()
    with KubeletSimulator(root, "1.37", sources_delay=0.0) as kubelet:
        registered, options, listed = asyncio.run(converse(kubelet, plugin))
    assert registered == b""
    assert listed == example("ListPodResourcesResponse", POD_RESOURCES)
    assert options == RunOptions(
        (GrantedDevice("/h", "/c", "rw"),),
        (GrantedMount("/h", "/c", read_only=True),),
        {"A": "1"},
        {"k": "v"},
        ("v/c=n",),
    )
    assert plugin.requests == [
        ("GetDevicePluginOptions", b""),
        ("ListAndWatch", b""),
        ("GetPreferredAllocation", PREFERRED),
        ("Allocate", example("AllocateRequest")),
        ("PreStartContainer", bytes.fromhex("0a 02 64 30")),
    ]
