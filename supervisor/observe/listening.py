"""A listening TCP socket for the HTTP server, however long it takes to get it."""

import errno
import socket
from typing import Any

import trio

from supervisor.config import HttpConfig
from supervisor.events import HttpUnavailable, Observer

FIRST_RETRY = 1.0
LONGEST_RETRY = 30.0
BACKLOG = 128
"""Connections that the kernel accepts before us."""


async def listen_patiently(
    config: HttpConfig, observe: Observer, task_status: trio.TaskStatus[int | None]
) -> trio.SocketListener:
    """The socket. The task is told to have started with its port, or with ``None`` as soon as the first try has failed."""
    retry = FIRST_RETRY
    while True:
        try:
            listener = await _listen(*config.address)
        except OSError as error:
            if retry == FIRST_RETRY:
                task_status.started(None)
            observe(HttpUnavailable(f"cannot listen on {config.listen}: {error.strerror or error}", retry))
            await trio.sleep(retry)
            retry = min(2 * retry, LONGEST_RETRY)
        else:
            if retry == FIRST_RETRY:
                task_status.started(listener.socket.getsockname()[1])
            return listener


async def _listen(host: str, port: int) -> trio.SocketListener:
    """One listening socket. All addresses means one socket for both families, or IPv4 where the node has no IPv6."""
    if not host or host == "::":
        try:
            return _bound(socket.AF_INET6, ("::", port), both=True)
        except OSError as error:
            if host or error.errno not in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}:
                raise
            return _bound(socket.AF_INET, ("0.0.0.0", port))  # noqa: S104  # all addresses is what was asked for
    found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = found[0]
    return _bound(family, address)


def _bound(family: int, address: Any, *, both: bool = False) -> trio.SocketListener:
    bare = socket.socket(family, socket.SOCK_STREAM)
    try:
        bare.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bare.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if both else 1)
        bare.bind(address)
        bare.listen(BACKLOG)
        bare.setblocking(False)
        return trio.SocketListener(trio.socket.from_stdlib_socket(bare))
    except BaseException:
        bare.close()
        raise
