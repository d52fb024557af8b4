"""Questions to sockets that others have bound: each is asked once, over a connection of its own, in a thread that may block."""

import asyncio
from collections.abc import Collection, Mapping
from pathlib import Path
from urllib.parse import quote

import grpc

from supervisor.kubelet.checkpoint import read_checkpoint
from supervisor.kubelet.podresources import list_holdings
from supervisor.kubelet.protos import DEVICE_PLUGIN_SERVICE, MAX_MESSAGE_BYTES
from supervisor.ledger import Read, Reading, both

OPTIONS = f"/{DEVICE_PLUGIN_SERVICE}/GetDevicePluginOptions"

_CHANNEL_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
)


def ask_options(paths: Collection[Path], timeout: float = 2.0) -> Mapping[Path, str]:
    """Ask each socket, all at the same time, what every device plugin answers at every registration.

    For each: why it is no device plugin, or empty, if it is one. ``timeout``: seconds for each.
    """

    async def ask_all() -> list[str]:
        return await asyncio.gather(*(_ask_options(path, timeout) for path in paths))

    return dict(zip(paths, asyncio.run(ask_all()), strict=True))


async def _ask_options(path: Path, timeout: float) -> str:
    async with grpc.aio.insecure_channel(f"unix:{quote(str(path))}", options=_CHANNEL_OPTIONS) as channel:
        # Bytes in, bytes out: what a stranger answers is not worth decoding.
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(OPTIONS)
        try:
            await call(b"", timeout=timeout)
        except grpc.aio.AioRpcError as error:
            return error.code().name
    return ""


def ask_holders(socket_path: str, directory: Path, timeout: float = 5.0) -> Reading:
    """Who holds which device: podresources, else the checkpoint in this device-plugins directory. Never raises."""

    async def podresources() -> Reading:
        return await list_holdings(socket_path, timeout)

    async def checkpoint() -> Reading:
        return read_checkpoint(directory)

    return asyncio.run(_read(both(podresources, checkpoint)))


async def _read(source: Read) -> Reading:
    return await source()


def ask_pod_resources(socket_path: str, timeout: float = 5.0) -> Reading:
    """The kubelet's list of who holds which device. Never raises for what the kubelet does."""
    return asyncio.run(list_holdings(socket_path, timeout))
