"""A small HTTP/1.1 server that only shows: GET and HEAD of a few paths, bounded in time, connections and bytes.

The only importer of h11. It runs in the supervising thread, so that an answer also proves that this thread turns; a page that
takes time to draw does so in a thread of its own (``supervisor.observe.pages``).
"""

import email.utils
import errno
import socket
from collections import OrderedDict
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NoReturn

import h11
import trio

from supervisor.config import HttpConfig
from supervisor.events import HttpListening, HttpUnavailable, Observer
from supervisor.observe.exchange import Page, Request, Response, parameters, wants_gzip

MOST_CONNECTIONS = 64
MOST_HEADER_BYTES = 8192
REQUEST_SECONDS = 10.0
"""For one request, from the first wait for it to the last byte of the answer."""
LINGER_SECONDS = 1.0
LINGER_BYTES = 65536
"""What a client may still send after it got an early answer: closed at once, it would lose the answer to a reset."""

FIRST_RETRY = 1.0
LONGEST_RETRY = 30.0


async def serve(
    config: HttpConfig,
    pages: Mapping[str, Page],
    observe: Observer,
    *,
    task_status: trio.TaskStatus[int | None] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Answer until cancelled. Started with the bound port, or with ``None`` when it cannot be had yet: it is tried again for ever."""
    listener = await _patiently_listen(config, observe, task_status)
    address, port = listener.socket.getsockname()[:2]
    observe(HttpListening(f"[{address}]:{port}" if ":" in address else f"{address}:{port}"))
    await trio.serve_listeners(_Server(pages).accept, [listener])


async def _patiently_listen(
    config: HttpConfig, observe: Observer, task_status: trio.TaskStatus[int | None]
) -> trio.SocketListener:
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
        bare.listen(128)
        bare.setblocking(False)
        return trio.SocketListener(trio.socket.from_stdlib_socket(bare))
    except BaseException:
        bare.close()
        raise


class _Server:
    """The conversations that are going on."""

    def __init__(self, pages: Mapping[str, Page]) -> None:
        self._pages = pages
        self._open = 0
        self._waiting: OrderedDict[trio.CancelScope, None] = OrderedDict()
        """Those whose client has to speak, the longest silent one first."""

    async def accept(self, stream: trio.SocketStream) -> None:
        """One connection, from its acceptance to its end. A newcomer takes the place of the longest silent client.

        So a probe gets its answer whoever else holds connections open; it is refused only while all others are being answered.
        """
        crowded = self._open >= MOST_CONNECTIONS and not self._cut_one()
        self._open += 1
        try:
            async with stream:
                conversation = _Conversation(stream)
                if not crowded:
                    await self._converse(conversation)
                elif self._open < 2 * MOST_CONNECTIONS:
                    await conversation.refuse(Response(503, b"too many connections\n"))
        except trio.BrokenResourceError:
            pass  # the client is gone, and with it everybody who could be told
        finally:
            self._open -= 1

    def _cut_one(self) -> bool:
        if not self._waiting:
            return False
        scope, _ = self._waiting.popitem(last=False)
        scope.cancel()
        return True

    async def _converse(self, conversation: "_Conversation") -> None:
        goes_on = True
        while goes_on:
            with trio.move_on_after(REQUEST_SECONDS) as limit:
                goes_on = await self._one_request(conversation, limit)
            if limit.cancelled_caught:
                goes_on = False
                await conversation.give_up()

    async def _one_request(self, conversation: "_Conversation", limit: trio.CancelScope) -> bool:
        """Answer one request; whether the connection can carry another."""
        self._waiting[limit] = None
        try:
            request = await conversation.next_request()
        except h11.RemoteProtocolError as error:
            await conversation.refuse(Response(error.error_status_hint, f"bad request: {error}\n".encode()))
            return False
        finally:
            self._waiting.pop(limit, None)
        return request is not None and await conversation.answer(await self._draw(request))

    async def _draw(self, request: h11.Request) -> Response:
        if request.method not in {b"GET", b"HEAD"}:
            return Response(405, b"only GET and HEAD: nothing can be changed here\n")
        path, query = _split(request.target.decode("ascii", "replace"))
        page = self._pages.get(path)
        if page is None:
            return Response(404, f"not found; there is {', '.join(self._pages)}\n".encode())
        try:
            wanted = parameters(query)
        except ValueError as error:
            return Response(400, f"bad request: {error}\n".encode())
        accept, tags, encodings = (_header(request, name) for name in (b"accept", b"if-none-match", b"accept-encoding"))
        return await page(Request(path, wanted, accept, tags, wants_gzip(encodings)))


def _split(target: str) -> tuple[str, str]:
    """Path and query of a request target, which a proxy may have sent with scheme and host."""
    path, _, query = target.partition("?")
    return path if path.startswith("/") else "/" + path.partition("://")[2].partition("/")[2], query


def _header(request: h11.Request, name: bytes) -> str:
    """All lines of a header as one."""
    return b",".join(value for known, value in request.headers if known == name).decode("latin-1")


class _Conversation:
    """HTTP/1.1 on one connection."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MOST_HEADER_BYTES)
        self._begun = False
        """The client has sent a part of its request."""
        self._head = False

    async def next_request(self) -> h11.Request | None:
        """``None`` when the client has no more. Raises ``h11.RemoteProtocolError`` for what is no HTTP or too long."""
        while True:
            event = self._http.next_event()
            if isinstance(event, h11.Request):
                self._head = event.method == b"HEAD"
                self._http.next_event()  # the end of a request without a body; a body is never read
                return event
            if event is not h11.NEED_DATA:
                return None
            data = await self._stream.receive_some(4096)
            self._begun = True
            self._http.receive_data(data)

    async def answer(self, response: Response) -> bool:
        """Send it; whether the connection can carry another request."""
        last = self._http.their_state is not h11.DONE
        await self._stream.send_all(self._encode(response, last=last))
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            self._begun = bool(self._http.trailing_data[0])
            return True
        await self._linger()
        return False

    async def refuse(self, response: Response) -> None:
        """Send the last answer of this connection, unless one is on its way already."""
        if self._http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            await self._stream.send_all(self._encode(response, last=True))
            await self._linger()

    async def give_up(self) -> None:
        """Tell a client that has run out of its time. One that has asked for nothing is told nothing."""
        with trio.move_on_after(LINGER_SECONDS):
            if self._http.our_state is h11.SEND_RESPONSE:
                await self.refuse(Response(503, b"no answer in time\n"))
            elif self._begun:
                await self.refuse(Response(408, b"the request did not come in time\n"))

    async def _linger(self) -> None:
        with trio.move_on_after(LINGER_SECONDS):
            await self._stream.send_eof()
            unread = LINGER_BYTES
            while unread > 0 and (data := await self._stream.receive_some(4096)):
                unread -= len(data)

    def _encode(self, response: Response, *, last: bool) -> bytes:
        headers = [
            ("Date", email.utils.formatdate(usegmt=True)),
            ("X-Content-Type-Options", "nosniff"),
            *response.headers,
        ]
        if response.status != HTTPStatus.NOT_MODIFIED:
            headers += [("Content-Type", response.content_type), ("Content-Length", str(len(response.body)))]
        if all(name.lower() != "cache-control" for name, _ in response.headers):
            headers.append(("Cache-Control", "no-store"))
        if response.status == 405:
            headers.append(("Allow", "GET, HEAD"))
        if last:
            headers.append(("Connection", "close"))
        heading = h11.Response(status_code=response.status, headers=headers, reason=HTTPStatus(response.status).phrase)
        body = b"" if self._head or response.status == HTTPStatus.NOT_MODIFIED else response.body
        return b"".join(self._http.send(part) or b"" for part in (heading, h11.Data(data=body), h11.EndOfMessage()))
