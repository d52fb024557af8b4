"""A small HTTP/1.1 server that only shows: GET and HEAD of a few paths, bounded in time, connections and bytes.

The only importer of h11. It runs in the supervising thread, so that an answer also proves that this thread turns; a page that
takes time to draw does so in a thread of its own (``supervisor.observe.pages``).

Bounds against clients that mean harm or are broken: ``MOST_CONNECTIONS``, of which ``MOST_ANSWERS`` hold the bytes of a page;
``REQUEST_SECONDS`` for each request with all that belongs to it. A newcomer never waits for the slow: it takes the place of one.
"""

import email.utils
import ssl
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import NoReturn

import h11
import trio

from supervisor.config import HttpConfig
from supervisor.events import HttpListening, Observer
from supervisor.observe.exchange import Page, Request, Response, parameters, wants_gzip
from supervisor.observe.guard import Guard
from supervisor.observe.listening import listen_patiently
from supervisor.observe.rotation import Rotated
from supervisor.observe.tls import server_context

PUBLIC = frozenset({"/livez", "/readyz"})
"""Pages for everyone, since a kubelet's probe can show no token; they tell a stranger the verdict alone. They are drawn at once."""

MOST_CONNECTIONS = 128
MOST_ANSWERS = 8
"""Other pages that are drawn or sent at the same time: what clients can make us hold in memory is so many pages."""
MOST_QUEUED = 32
"""Requests that wait for such a page. With the answers they leave places for those whom a newcomer may replace."""
MOST_HEADER_BYTES = 8192
REQUEST_SECONDS = 10.0
"""For one request, from the first wait for it, with the TLS handshake, to the last byte of the answer."""
SLOW_SECONDS = 1.0
"""When all answers are taken for so long, the one that has been on its way for longest is given up for the next."""
LINGER_SECONDS = 1.0
LINGER_BYTES = 65536
"""What a client may still send after its last answer."""
CHUNK = 65536
"""Bytes that are encrypted and sent in one go."""

Scopes = OrderedDict[trio.CancelScope, None]
"""Requests, by the scope that ends them; the oldest first."""


async def serve(
    config: HttpConfig,
    pages: Mapping[str, Page],
    observe: Observer,
    *,
    task_status: trio.TaskStatus[int | None] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Answer until cancelled. Started with the bound port, or with ``None`` when it cannot be had yet: it is tried again for ever."""
    server = _Server(config, pages, observe)
    await server.prepare()
    listener = await listen_patiently(config, observe, task_status)
    address, port = listener.socket.getsockname()[:2]
    scheme = "http" if config.tls is None else "https"
    observe(HttpListening(f"[{address}]:{port}" if ":" in address else f"{address}:{port}", scheme))
    await trio.serve_listeners(server.accept, [listener])


class _Server:
    """The conversations that are going on."""

    def __init__(self, config: HttpConfig, pages: Mapping[str, Page], observe: Observer) -> None:
        self._pages = pages
        self._guard = Guard(config.auth, observe)
        self._certificate: Rotated[ssl.SSLContext] | None = None
        if (tls := config.tls) is not None:
            client_ca = None if config.auth is None else config.auth.client_ca_file
            paths = tuple(filter(None, (tls.cert_file, tls.key_file, client_ca)))
            self._certificate = Rotated("certificate", paths, lambda: server_context(tls, client_ca), observe, keep=True)
        self._open = 0
        self._silent: Scopes = OrderedDict()
        """Those whose client has to speak."""
        self._sending: Scopes = OrderedDict()
        self._answers = trio.CapacityLimiter(MOST_ANSWERS)

    async def prepare(self) -> None:
        """Read what protects the port, so that problems are told at the start."""
        await self._guard.prepare()
        if self._certificate is not None:
            await self._certificate.newest()

    async def accept(self, transport: trio.SocketStream) -> None:
        """One connection, from its acceptance to its end. A newcomer takes the place of the longest silent or the slowest client.

        So a probe gets its answer whoever else holds connections open. Those that gave way may still be ending; what comes while
        there are twice as many is closed at once.
        """
        if self._open >= MOST_CONNECTIONS:
            _ = _cut_oldest(self._silent) or _cut_oldest(self._sending)
        self._open += 1
        try:
            async with transport:
                if self._open <= 2 * MOST_CONNECTIONS:
                    await self._converse(transport)
        except trio.BrokenResourceError:
            pass  # the client is gone or speaks no TLS, and with it everybody who could be told
        finally:
            self._open -= 1

    async def _converse(self, transport: trio.SocketStream) -> None:
        context = None if self._certificate is None else await self._certificate.newest()
        if context is None and self._certificate is not None:
            return  # no certificate yet: the log says why
        conversation = _Conversation(transport, context)
        goes_on = True
        while goes_on:
            with trio.move_on_after(REQUEST_SECONDS) as limit:
                goes_on = await self._one_request(conversation, limit)
            if limit.cancelled_caught:
                goes_on = False
                late = trio.current_time() >= limit.deadline
                with trio.move_on_after(LINGER_SECONDS):
                    await conversation.give_up(late=late)
                if not late:
                    return
        with trio.move_on_after(LINGER_SECONDS) as limit, _listed(self._silent, limit):
            await conversation.linger()

    async def _one_request(self, conversation: "_Conversation", limit: trio.CancelScope) -> bool:
        """Answer one request; whether the connection can carry another."""
        try:
            with _listed(self._silent, limit):
                asked = await conversation.next_request()
        except h11.RemoteProtocolError as error:
            await conversation.refuse(Response(error.error_status_hint, f"bad request: {error}\n".encode()))
            return False
        if asked is None:
            return False
        request = await self._understand(asked, certified=conversation.certified)
        if isinstance(request, Response):
            return await self._send(conversation, request, limit)
        page = self._pages[request.path]
        if request.path in PUBLIC:
            return await self._send(conversation, await page(request), limit)
        if self._answers.statistics().tasks_waiting >= MOST_QUEUED:
            busy = Response(503, b"too many requests\n", headers=(("Retry-After", "1"),))
            return await self._send(conversation, busy, limit)
        await self._take_an_answer()
        try:
            return await self._send(conversation, await page(request), limit)
        finally:
            self._answers.release()

    async def _understand(self, asked: h11.Request, *, certified: bool) -> Request | Response:
        """What is wanted of a page, or why nothing is. A stranger does not even learn which pages there are."""
        path, query = _split(asked.target.decode("ascii", "replace"))
        authorized = await self._guard.admits(_header(asked, b"authorization").encode("latin-1"), certified=certified)
        if not authorized and path not in PUBLIC:
            return self._guard.refusal()
        if asked.method not in {b"GET", b"HEAD"}:
            allowed = (("Allow", "GET, HEAD"),)
            return Response(405, b"only GET and HEAD: nothing can be changed here\n", headers=allowed)
        if path not in self._pages:
            return Response(404, f"not found; there is {', '.join(self._pages)}\n".encode())
        try:
            wanted = parameters(query)
        except ValueError as error:
            return Response(400, f"bad request: {error}\n".encode())
        accept, tags, encodings = (_header(asked, name) for name in (b"accept", b"if-none-match", b"accept-encoding"))
        return Request(path, wanted, accept, tags, wants_gzip(encodings), authorized)

    async def _take_an_answer(self) -> None:
        while True:
            with trio.move_on_after(SLOW_SECONDS):
                await self._answers.acquire()
                return
            _cut_oldest(self._sending)

    async def _send(self, conversation: "_Conversation", response: Response, limit: trio.CancelScope) -> bool:
        with _listed(self._sending, limit):
            return await conversation.answer(response)


@contextmanager
def _listed(scopes: Scopes, scope: trio.CancelScope) -> Iterator[None]:
    scopes[scope] = None
    try:
        yield
    finally:
        scopes.pop(scope, None)


def _cut_oldest(scopes: Scopes) -> bool:
    if not scopes:
        return False
    scope, _ = scopes.popitem(last=False)
    scope.cancel()
    return True


def _split(target: str) -> tuple[str, str]:
    """Path and query of a request target, which a proxy may have sent with scheme and host."""
    path, _, query = target.partition("?")
    return path if path.startswith("/") else "/" + path.partition("://")[2].partition("/")[2], query


def _header(request: h11.Request, name: bytes) -> str:
    """All lines of a header as one."""
    return b",".join(value for known, value in request.headers if known == name).decode("latin-1")


class _Conversation:
    """HTTP/1.1 on one connection. With a ``context``, the handshake is a part of the first request."""

    def __init__(self, transport: trio.SocketStream, context: ssl.SSLContext | None) -> None:
        self._transport = transport
        self._secured = None if context is None else trio.SSLStream(transport, context, server_side=True, https_compatible=True)
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MOST_HEADER_BYTES)
        self._begun = False
        """The client has sent a part of its request."""
        self._head = False

    @property
    def certified(self) -> bool:
        """Whether the client has shown a certificate that was verified. Known once it has asked for something."""
        return self._secured is not None and bool(self._secured.getpeercert())

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
            data = await (self._secured or self._transport).receive_some(4096)
            self._begun = True
            self._http.receive_data(bytes(data))

    async def answer(self, response: Response) -> bool:
        """Send it; whether the connection can carry another request."""
        last = self._http.their_state is not h11.DONE
        await self._send(response, last=last)
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            self._begun = bool(self._http.trailing_data[0])
            return True
        return False

    async def refuse(self, response: Response) -> None:
        """Send the last answer of this connection, unless one is on its way already."""
        if self._http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            await self._send(response, last=True)

    async def give_up(self, *, late: bool) -> None:
        """Tell a client that has run out of its time, or of its place. One that has asked for nothing is told nothing."""
        if not late and self._begun:
            await self.refuse(Response(503, b"too many connections\n"))
        elif self._http.our_state is h11.SEND_RESPONSE:
            await self.refuse(Response(503, b"no answer in time\n"))
        elif self._begun:
            await self.refuse(Response(408, b"the request did not come in time\n"))

    async def linger(self) -> None:
        """Say that this was all, and take what the client may still send: closed at once, it would lose the answer to a reset."""
        await self._transport.send_eof()
        unread = LINGER_BYTES
        while unread > 0 and (data := await self._transport.receive_some(4096)):
            unread -= len(data)

    async def _send(self, response: Response, *, last: bool) -> None:
        heading = self._http.send(self._heading(response, last=last)) or b""
        has_body = not self._head and response.status != HTTPStatus.NOT_MODIFIED
        body = memoryview(self._http.send(h11.Data(data=response.body if has_body else b"")) or b"")
        self._http.send(h11.EndOfMessage())  # no bytes: the length was told
        stream = self._secured or self._transport
        await stream.send_all(heading + body[:CHUNK])
        for start in range(CHUNK, len(body), CHUNK):
            await stream.send_all(body[start : start + CHUNK])

    def _heading(self, response: Response, *, last: bool) -> h11.Response:
        headers = [
            ("Date", email.utils.formatdate(usegmt=True)),
            ("X-Content-Type-Options", "nosniff"),
            *response.headers,
        ]
        if response.status != HTTPStatus.NOT_MODIFIED:
            headers += [("Content-Type", response.content_type), ("Content-Length", str(len(response.body)))]
        if all(name.lower() != "cache-control" for name, _ in response.headers):
            headers.append(("Cache-Control", "no-store"))
        if last:
            headers.append(("Connection", "close"))
        return h11.Response(status_code=response.status, headers=headers, reason=HTTPStatus(response.status).phrase)
