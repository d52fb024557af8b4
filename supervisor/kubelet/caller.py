"""The caller of ``Register``: one connection to each kubelet life, shared by all resources. Lives on the wire thread's loop."""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio

from supervisor.kubelet.protos import REGISTRATION_SERVICE
from supervisor.kubelet.sockets import FileIdentity
from supervisor.levels import Outcome

REGISTER_TIMEOUT = 15.0
"""Seconds. The kubelet dials back for up to 10 s inside the call."""
CONNECT_TIMEOUT = 5.0
"""Seconds until a kubelet that listens must have answered the connection."""

_CHANNEL_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),  # else a new channel waits out an old one's back-off
    ("grpc.enable_http_proxy", 0),
)
_DOWN = (grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN)


@dataclass(eq=False)
class _Line:
    """A channel to one kubelet life."""

    identity: FileIdentity
    channel: grpc.aio.Channel
    users: int = 0
    broken: bool = False


class Caller:
    """Calls kubelets. All resources that register at once share a channel, which ends with the last of their calls.

    An idle channel makes gRPC's threads wake up twice a second for nothing.
    """

    def __init__(self) -> None:
        self._line: _Line | None = None

    async def register(self, request: bytes, kubelet: Path, identity: FileIdentity) -> tuple[Outcome, str]:
        """Call ``Register`` once, at the kubelet whose socket this is and at no other; how it ended, and why."""
        line = self._line_to(kubelet, identity)
        line.users += 1
        try:
            if problem := await _reach(line.channel, kubelet, identity):
                line.broken = True
                return Outcome.UNREACHABLE, problem
            return await self._call(line, request)
        finally:
            line.users -= 1
            await self._hang_up(line)

    async def close(self) -> None:
        """End the connection."""
        line, self._line = self._line, None
        if line is not None:
            await line.channel.close()

    async def _call(self, line: _Line, request: bytes) -> tuple[Outcome, str]:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = line.channel.unary_unary(f"/{REGISTRATION_SERVICE}/Register")
        try:
            await call(request, timeout=REGISTER_TIMEOUT)
        except grpc.aio.AioRpcError as error:
            detail = error.details() or error.code().name
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                return Outcome.TIMED_OUT, f"the kubelet did not answer Register within {REGISTER_TIMEOUT:g} s"
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):  # it dies, or is dying
                line.broken = True  # its back-off would outlast the kubelet's absence
                return Outcome.UNREACHABLE, detail
            return Outcome.REFUSED, detail
        return Outcome.ANSWERED, ""

    def _line_to(self, kubelet: Path, identity: FileIdentity) -> _Line:
        if self._line is None or self._line.broken or self._line.identity != identity:
            self._line = _Line(identity, grpc.aio.insecure_channel(f"unix:{kubelet}", options=_CHANNEL_OPTIONS))
        return self._line

    async def _hang_up(self, line: _Line) -> None:
        """Close a channel that nobody uses any more. Closing it earlier would cancel another resource's call."""
        if line.users == 0:
            if line is self._line:
                self._line = None  # before the wait: nobody may get a channel that is closing
            await line.channel.close()


async def _reach(channel: grpc.aio.Channel, kubelet: Path, identity: FileIdentity) -> str:
    """Connect, and make sure that it is this very kubelet: a newer one has deleted the socket that it would be told of.

    Returns why not, or nothing.
    """
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            while (state := channel.get_state(try_to_connect=True)) is not grpc.ChannelConnectivity.READY:
                if state in _DOWN:
                    return "kubelet.sock refuses connections"
                await channel.wait_for_state_change(state)
        there = FileIdentity.of(os.lstat(kubelet))
    except TimeoutError:
        return f"the kubelet took the connection and said nothing for {CONNECT_TIMEOUT:g} s"
    except OSError as error:
        return f"{kubelet}: {error.strerror}"
    return "" if there == identity else "kubelet.sock is another one by now"
