"""Doing the faults of the menu to a node."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from supervisor.kubelet.simulator.events import EventKind
from supervisor.kubelet.simulator.faults import ARMED, ArmedFault, Fault
from supervisor.kubelet.simulator.node import Node
from supervisor.kubelet.simulator.settings import StartOptions

_Strike = Callable[..., Awaitable[None]]


async def inject(node: Node, fault: Fault, parameters: Mapping[str, Any]) -> None:
    """Arm a fault or do it at once; returns when it is done. Unknown parameters raise ``TypeError``."""
    if fault in ARMED:
        node.arsenal.arm(ArmedFault(fault, **parameters))
        return
    node.emit(EventKind.FAULT, fault=fault.value, **parameters)
    await _STRIKES[fault](node, **parameters)


async def _double_restart(node: Node, seconds: float = 0.002) -> None:
    await node.restart()
    await asyncio.sleep(seconds)
    await node.restart()


async def _refuse_then_accept(node: Node, seconds: float) -> None:
    await node.restart(pause=seconds)


async def _bind_listen_gap(node: Node, seconds: float) -> None:
    await node.restart(StartOptions(listen_gap=seconds))


async def _slow_cleanup(node: Node, seconds: float) -> None:
    await node.restart(StartOptions(cleanup_pause=seconds))


async def _stale_socket(node: Node) -> None:
    await node.stop()


async def _socket_is_a_file(node: Node) -> None:
    await node.stop()
    socket = node.settings.paths.socket
    socket.unlink(missing_ok=True)
    socket.touch()


async def _two_kubelets(node: Node, times: int = 2, seconds: float = 0.05) -> None:
    for _ in range(times):
        await node.overtake(seconds)


async def _reset_connection(node: Node, resource: str) -> None:
    await node.client(resource).close()


async def _remove_plugin_socket(node: Node, resource: str) -> None:
    node.client(resource).path.unlink()


async def _recreate_directory(node: Node, *, restart: bool = True) -> None:
    directory = node.settings.paths.device_plugins
    with suppress(FileNotFoundError):
        while True:  # until it is gone: plugins may make files in it meanwhile
            shutil.rmtree(directory, ignore_errors=True)
            directory.lstat()
    directory.mkdir()
    if restart:
        await node.restart()


async def _replace_directory(node: Node, *, restart: bool = True) -> None:
    directory = node.settings.paths.device_plugins
    fresh, old = (Path(tempfile.mkdtemp(prefix=".replaced-", dir=directory.parent)) for _ in range(2))
    fresh.chmod(0o755)
    os.rename(directory, old / directory.name)
    os.rename(fresh, directory)
    if restart:
        await node.restart()
    shutil.rmtree(old)


async def _create_storm(node: Node, count: int = 1000) -> None:
    directory = node.settings.paths.device_plugins
    for number in range(count):
        path = directory / f".storm-{number}"
        path.touch()
        path.unlink()
        if number % 50 == 0:
            await asyncio.sleep(0)


async def _slow_reader(node: Node, resource: str, seconds: float) -> None:
    client = node.client(resource)
    client.pause()
    await asyncio.sleep(seconds)
    client.resume()


async def _clock_jump(node: Node, seconds: float = 301.0) -> None:
    node.clock.advance(seconds)
    node.kubelet.node_status()


_STRIKES: dict[Fault, _Strike] = {
    Fault.DOUBLE_RESTART: _double_restart,
    Fault.REFUSE_THEN_ACCEPT: _refuse_then_accept,
    Fault.BIND_LISTEN_GAP: _bind_listen_gap,
    Fault.SLOW_CLEANUP: _slow_cleanup,
    Fault.STALE_SOCKET: _stale_socket,
    Fault.SOCKET_IS_A_FILE: _socket_is_a_file,
    Fault.TWO_KUBELETS: _two_kubelets,
    Fault.RESET_CONNECTION: _reset_connection,
    Fault.REMOVE_PLUGIN_SOCKET: _remove_plugin_socket,
    Fault.RECREATE_DIRECTORY: _recreate_directory,
    Fault.REPLACE_DIRECTORY: _replace_directory,
    Fault.CREATE_STORM: _create_storm,
    Fault.SLOW_READER: _slow_reader,
    Fault.CLOCK_JUMP: _clock_jump,
}
