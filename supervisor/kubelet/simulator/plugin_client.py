"""The kubelet's connection to one plugin socket: dial, options, the list stream and the other calls."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote

import grpc

from supervisor.kubelet.protos import DEVICE_PLUGIN_SERVICE, MAX_MESSAGE_BYTES
from supervisor.kubelet.simulator.clock import Clock
from supervisor.kubelet.simulator.eras import Era
from supervisor.kubelet.simulator.events import EventKind
from supervisor.kubelet.simulator.names import go_code

DIAL_SECONDS = 10.0
"""The kubelet gives up dialling a plugin after this many kubelet seconds; until then it tries again every 1-2 s."""
FIRST_BACKOFF_SECONDS = 1.0
LAST_BACKOFF_SECONDS = 10.0

CLOSING = "grpc: the client connection is closing"

Emit = Callable[..., None]
_UnaryCall: TypeAlias = "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]"
_StreamCall: TypeAlias = "grpc.aio.UnaryStreamMultiCallable[bytes, bytes]"


class DialError(Exception):
    """The plugin's socket was not READY in time."""


class PluginClient:
    """One connection to one plugin; the life that made it must close it."""

    def __init__(self, resource: str, path: Path, era: Era, clock: Clock, emit: Emit) -> None:
        """Prepare, without touching the socket."""
        self.resource = resource
        self.path = path
        self._clock = clock
        self._emit = emit
        self._reading = asyncio.Event()
        self._reading.set()
        self._channel: grpc.aio.Channel | None = None
        self._options = [
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", -1),
            ("grpc.initial_reconnect_backoff_ms", max(1, round(clock.real(FIRST_BACKOFF_SECONDS) * 1000))),
            ("grpc.max_reconnect_backoff_ms", max(1, round(clock.real(LAST_BACKOFF_SECONDS) * 1000))),
            ("grpc.default_authority", quote(str(path), safe="") if era.path_authority else "localhost"),
        ]

    @property
    def endpoint(self) -> str:
        """The socket's file name, as the plugin registered it."""
        return self.path.name

    async def dial(self) -> None:
        """Connect until HTTP/2 is READY; raises :class:`DialError` after 10 kubelet seconds."""
        started = time.perf_counter()
        channel = grpc.aio.insecure_channel(f"unix:{self.path}", options=self._options)
        try:
            await asyncio.wait_for(channel.channel_ready(), self._clock.real(DIAL_SECONDS))
        except BaseException as error:
            await channel.close()
            if isinstance(error, TimeoutError):
                raise DialError("failed to dial device plugin: context deadline exceeded") from error
            raise
        self._channel = channel
        seconds = time.perf_counter() - started
        self._emit(EventKind.DIALLED, resource=self.resource, endpoint=self.endpoint, seconds=seconds)

    async def call(self, method: str, request: bytes, timeout: float | None = None) -> bytes:
        """Make one unary call and log it; raises ``AioRpcError``. ``timeout`` is in real seconds, None is none."""
        started = time.perf_counter()
        code, message = "Canceled", "the kubelet died"
        try:
            answer = await self.quiet_call(method, request, timeout)
            code, message = "OK", ""
        except grpc.aio.AioRpcError as error:
            code, message = go_code(error.code()), error.details() or ""
            raise
        finally:
            seconds = time.perf_counter() - started
            self._emit(EventKind.CALL, resource=self.resource, method=method, code=code, message=message, seconds=seconds)
        return answer

    async def quiet_call(self, method: str, request: bytes, timeout: float | None = None) -> bytes:
        """Make one unary call without logging it, for measurements; raises ``AioRpcError``."""
        if self._channel is None:
            raise _closing()
        try:
            call: _UnaryCall = self._channel.unary_unary(f"/{DEVICE_PLUGIN_SERVICE}/{method}")
            answer: bytes = await call(request, timeout=timeout)
        except asyncio.CancelledError:
            if self._we_are_cancelled():
                raise
            raise _closing() from None
        return answer

    async def watch(self, received: Callable[[bytes, int], None]) -> tuple[str, str]:
        """Call ListAndWatch once and hand on each message with its arrival time until the stream ends.

        Returns Go's name of the final status and its text; end of stream without an error is OK.
        """
        if self._channel is None:
            return "Canceled", CLOSING
        call: _StreamCall = self._channel.unary_stream(f"/{DEVICE_PLUGIN_SERVICE}/ListAndWatch")
        stream = call(b"")
        self._emit(EventKind.STREAM_OPENED, resource=self.resource, endpoint=self.endpoint)
        try:
            while True:
                await self._reading.wait()
                message = await stream.read()
                if not isinstance(message, bytes):
                    return go_code(await stream.code()), await stream.details() or ""
                received(message, time.monotonic_ns())
        except grpc.aio.AioRpcError as error:
            return go_code(error.code()), error.details() or ""
        except asyncio.CancelledError:
            if self._we_are_cancelled():
                stream.cancel()
                raise
            return "Canceled", CLOSING

    @staticmethod
    def _we_are_cancelled() -> bool:
        """Tell the end of our own task from the end of the channel: grpc.aio raises CancelledError for both."""
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0

    def pause(self) -> None:
        """Stop reading lists; HTTP/2 flow control then holds the plugin back."""
        self._reading.clear()

    def resume(self) -> None:
        """Read again."""
        self._reading.set()

    async def close(self) -> None:
        """Close the connection; open calls end. May be called again."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()


def _closing() -> grpc.aio.AioRpcError:
    empty = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(grpc.StatusCode.CANCELLED, empty, empty, details=CLOSING)
