"""gRPC servers whose socket files behave like those of a process: they outlive the server that made them.

A gRPC server unlinks its socket by path when it stops; a killed kubelet does not. So each server binds through a symbolic
link to the directory, which is gone afterwards: the socket appears as any other (one CREATE, an identity that never moves),
and the path that the server would unlink leads nowhere.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import tempfile
import time
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

    async def appear(self) -> int:
        """Let the socket appear under its name, and serve; raises ``OSError`` where that name is taken.

        Returns the monotonic time in nanoseconds from which connections are accepted.
        """
        self._bind(self._path)
        accepting = time.monotonic_ns()
        await self._server.start()
        return accepting

    async def rename(self) -> None:
        """Serve under a passing name, then rename the socket to its public one, as podresources does it."""
        passing = self._path.with_name(f"{self._path.name}.{secrets.token_hex(4)}")
        self._bind(passing)
        await self._server.start()
        passing.rename(self._path)

    async def bind_then_listen(self, gap: float, bound: Callable[[], None]) -> int:
        """Let the socket appear and refuse for ``gap`` s before it serves, all on one inode.

        gRPC cannot be given a listening socket, so ours relays the bytes. Returns the time from which it accepts.
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
            inner = f"kubelet-{secrets.token_hex(8)}"
            self._server.add_insecure_port(f"unix-abstract:{inner}")
            await self._server.start()
        except BaseException:
            outer.close()
            raise
        self._relay = _Relay(outer, inner)
        return await self._relay.start()

    async def close(self) -> None:
        """End all connections and stop listening; the socket file stays and refuses."""
        if self._relay is not None:
            self._relay.close()
        await self._server.stop(None)

    def _bind(self, path: Path) -> None:
        """Bind and listen; raises ``OSError`` where the name is taken, as bind(2) does and gRPC does not."""
        if os.path.lexists(path):
            raise OSError(f"listen unix {path}: bind: address already in use")
        with tempfile.TemporaryDirectory(prefix="kubelet-") as passing:
            link = Path(passing, "d")
            link.symlink_to(path.parent)
            try:
                self._server.add_insecure_port(f"unix:{link / path.name}")
            except RuntimeError as error:
                raise OSError(f"listen unix {path}: {error}") from error


class _Relay:
    """Copies bytes between an outer listening socket and an inner abstract one."""

    def __init__(self, outer: socket.socket, inner: str) -> None:
        self._outer = outer
        self._inner = inner
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._serve, sock=self._outer)
        return time.monotonic_ns()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_unix_connection(f"\0{self._inner}")
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
