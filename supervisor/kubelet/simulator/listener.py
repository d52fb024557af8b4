"""gRPC servers whose socket files behave like those of a process: they outlive the server that made them.

A gRPC server unlinks its own socket when it stops, and a killed kubelet does not. So each server is bound under a name
nobody knows and only then renamed to its public name, which it never touches. Renaming is one step: a hard link and the end
of the first name would be two, and the socket's ctime, which tells kubelets apart, would move under the eyes of plugins.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import grpc


class Listener:
    """One gRPC server on one public socket path."""

    def __init__(self, path: Path, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Prepare; nothing is bound yet."""
        self._path = path
        self._server = grpc.aio.server()
        self._server.add_generic_rpc_handlers(tuple(handlers))
        self._relay: _Relay | None = None

    async def appear(self) -> None:
        """Serve, then let the socket appear under its name; raises ``OSError`` where that name is taken."""
        private = await self._bind()
        if os.path.lexists(self._path):  # nobody else makes this name: all kubelets of a node share this loop
            os.unlink(private)
            raise OSError(f"listen unix {self._path}: bind: address already in use")
        os.rename(private, self._path)

    async def rename(self) -> None:
        """Serve, then rename the socket over its public name, as podresources does it."""
        os.rename(await self._bind(), self._path)

    async def bind_then_listen(self, gap: float, bound: Callable[[], None]) -> None:
        """Let the socket appear and refuse for ``gap`` s before it serves, all on one inode.

        gRPC cannot be given a listening socket, so ours relays the bytes.
        """
        outer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            outer.bind(str(self._path))
        except OSError as error:
            outer.close()
            raise OSError(f"listen unix {self._path}: bind: {_reason(error)}") from error
        bound()
        try:
            await asyncio.sleep(gap)
            inner = await self._bind()
        except BaseException:
            outer.close()
            raise
        self._relay = _Relay(outer, inner)
        await self._relay.start()

    async def close(self) -> None:
        """End all connections and stop listening; the socket file stays and refuses."""
        if self._relay is not None:
            self._relay.close()
        await self._server.stop(None)

    async def _bind(self) -> Path:
        private = _private_directory(self._path.parent) / f".kubelet-{secrets.token_hex(4)}"
        try:
            self._server.add_insecure_port(f"unix:{private}")
        except RuntimeError as error:
            raise OSError(str(error)) from error
        await self._server.start()
        return private


def _private_directory(public: Path) -> Path:
    """Choose the directory above, where nobody watches, or the public one itself where links cannot cross."""
    above = public.parent
    linkable = above.stat().st_dev == public.stat().st_dev and not public.is_mount()
    return above if linkable and os.access(above, os.W_OK) else public


class _Relay:
    """Copies bytes between an outer listening socket and an inner one."""

    def __init__(self, outer: socket.socket, inner: Path) -> None:
        self._outer = outer
        self._inner = inner
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, sock=self._outer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_unix_connection(self._inner)
        self._writers |= {writer, inner_writer}
        try:
            await asyncio.gather(_copy(reader, inner_writer), _copy(inner_reader, writer))
        finally:
            self._writers -= {writer, inner_writer}

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        return
    finally:
        writer.close()


def _reason(error: OSError) -> str:
    if isinstance(error, FileExistsError):
        return "address already in use"
    return (error.strerror or str(error)).lower()
