"""The HTTP server answers what is asked properly, and bounds what is not. Real sockets throughout."""

import http.client
import socket
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest
import trio
import trio.testing

from supervisor.config import HttpConfig
from supervisor.events import Event, HttpListening, HttpUnavailable
from supervisor.observe.exchange import Page, Request, Response
from supervisor.observe.http import LINGER_SECONDS, MOST_ANSWERS, MOST_CONNECTIONS, MOST_QUEUED, REQUEST_SECONDS, serve
from supervisor.observe.listening import FIRST_RETRY

DEADLINE = 30.0
"""Seconds after which a test that waits has failed."""
LONG = 5_000_000
"""Bytes of a page that no socket buffer takes whole."""


async def _hello(request: Request) -> Response:
    return Response(200, f"hello {request.accept}\n".encode())


PAGES: Mapping[str, Page] = {"/hello": _hello}


@asynccontextmanager
async def _serving(pages: Mapping[str, Page] = PAGES) -> AsyncIterator[int]:
    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve, HttpConfig("127.0.0.1:0"), pages, lambda event: None)
        assert port is not None
        yield port
        nursery.cancel_scope.cancel()


async def _said(stream: trio.SocketStream) -> bytes:
    """All that the server says until it ends the connection."""
    heard = b""
    with trio.fail_after(DEADLINE):
        while data := await stream.receive_some():
            heard += data
    return heard


async def _raw(port: int, request: bytes) -> bytes:
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        await stream.send_all(request)
        return await _said(stream)


def _fetch(port: int, method: str, path: str, **headers: str) -> tuple[int, Mapping[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


async def _ask(port: int, method: str, path: str, **headers: str) -> tuple[int, Mapping[str, str], bytes]:
    return await trio.to_thread.run_sync(lambda: _fetch(port, method, path, **headers))


async def test_a_page_is_drawn_and_sent() -> None:
    """GET gives the page with its type and length, and nobody may keep it."""
    async with _serving() as port:
        status, headers, body = await _ask(port, "GET", "/hello?x=1", Accept="text/odd")
    assert (status, body) == (200, b"hello text/odd\n")
    assert headers["content-type"] == "text/plain; charset=utf-8"
    assert headers["content-length"] == "15"
    assert headers["cache-control"] == "no-store"
    assert headers["date"].endswith(" GMT")


async def test_head_gives_the_headers_alone() -> None:
    """HEAD says how long the body would be, and sends none."""
    async with _serving() as port:
        answer = await _raw(port, b"HEAD /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"content-length: 7\r\n" in answer.lower()
    assert answer.endswith(b"\r\n\r\n")


async def test_a_page_says_how_it_may_be_kept() -> None:
    """Its own headers go out, its Cache-Control in place of ours; who has it already gets a 304 without a body."""
    asked: list[Request] = []

    async def kept(request: Request) -> Response:
        asked.append(request)
        headers = (("ETag", 'W/"1"'), ("Cache-Control", "no-cache"))
        return Response(304, b"", headers=headers) if request.has('W/"1"') else Response(200, b"new\n", headers=headers)

    async with _serving({"/kept": kept}) as port:
        status, headers, body = await _ask(port, "GET", "/kept?since=1&what=a%20b", **{"Accept-Encoding": "br, gzip;q=0.5"})
        assert (status, body, headers["etag"], headers["cache-control"]) == (200, b"new\n", 'W/"1"', "no-cache")
        again = b"GET /kept HTTP/1.1\r\nHost: x\r\nIf-None-Match: %s\r\n\r\n" % headers["etag"].encode()
        last = b"GET /kept HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        answers = await _raw(port, again + last)
    assert answers.startswith(b"HTTP/1.1 304 Not Modified\r\n")
    assert answers.count(b"HTTP/1.1 200 OK\r\n") == 1
    assert answers.endswith(b"\r\n\r\nnew\n")
    assert asked[0] == Request("/kept", {"since": "1", "what": "a b"}, accepts_gzip=True)


@pytest.mark.parametrize("query", ["&".join("abcdefghijklmnopq"), "x" * 3000, "&" * 16])
async def test_a_query_flood_is_refused(query: str) -> None:
    """More parameters or bytes than anybody needs: 400, and the page is not asked."""
    async with _serving() as port:
        status, _, body = await _ask(port, "GET", f"/hello?{query}")
    assert status == 400
    assert b"query" in body


async def test_an_unknown_path_is_told_the_known_ones() -> None:
    """404 lists what there is."""
    async with _serving() as port:
        status, _, body = await _ask(port, "GET", "/metricz")
    assert (status, body) == (404, b"not found; there is /hello\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "MADE-UP"])
async def test_nothing_can_be_changed(method: str) -> None:
    """Any method but GET and HEAD is refused, on every path, with what is allowed."""
    async with _serving() as port:
        for path in ("/hello", "/other"):
            status, headers, _ = await _ask(port, method, path)
            assert (status, headers["allow"]) == (405, "GET, HEAD")


async def test_a_connection_carries_many_requests() -> None:
    """Keep-alive and pipelining, each request with its own answer."""
    async with _serving() as port:
        asked = b"GET /hello HTTP/1.1\r\nHost: x\r\nAccept: %d\r\n\r\n"
        last = b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        answer = await _raw(port, b"".join(asked % number for number in range(5)) + last)
    assert [number for number in range(5) if b"hello %d\n" % number in answer] == list(range(5))
    assert answer.count(b"HTTP/1.1 200") == 6


async def test_an_old_client_is_served_once() -> None:
    """HTTP/1.0 gets its answer and the end of the connection."""
    async with _serving() as port:
        answer = await _raw(port, b"GET /hello HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"hello \n")


@pytest.mark.parametrize("target", [b"http://node:9410/hello?x", b"//hello", b"*", b"http://node", b"/%00\xff"])
async def test_odd_targets_harm_nobody(target: bytes) -> None:
    """A target as a proxy sends it finds its page; nonsense finds none or is refused."""
    async with _serving() as port:
        answer = await _raw(port, b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % target)
    status = answer.split(b" ")[1]
    assert status in ({b"200"} if target.startswith(b"http://node:") else {b"400", b"404"})


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),
        (b"GET /hello HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /hello HTTP/1.1\r\nHost: x\r\nBad header\r\n\r\n", b"400"),
        (b"GET /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", b"400"),
        (b"GET /hello HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: odd\r\n\r\n", b"501"),
        (b"GET /hello HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", b"431"),
        (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"431"),
        (b"GET /hello HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n", b"431"),
    ],
)
async def test_bad_requests_get_a_clear_status(request_bytes: bytes, status: bytes) -> None:
    """What is no HTTP, or too much of it, is refused with its own status, which arrives although more was sent."""
    async with _serving() as port:
        answer = await _raw(port, request_bytes)
        assert answer.split(b" ")[:2] == [b"HTTP/1.1", status]
        assert b"connection: close\r\n" in answer.lower()
        assert (await _ask(port, "GET", "/hello"))[0] == 200


async def test_a_body_is_never_read() -> None:
    """A request with a body gets its answer, and the connection ends: what follows is no second request."""
    async with _serving() as port:
        smuggled = b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"
        for heading in (b"Content-Length: %d" % len(smuggled), b"Content-Length: 1000000", b"Transfer-Encoding: chunked"):
            answer = await _raw(port, b"GET /hello HTTP/1.1\r\nHost: x\r\n" + heading + b"\r\n\r\n" + smuggled)
            assert answer.count(b"HTTP/1.1 ") == 1
            assert b"connection: close\r\n" in answer.lower()


async def test_a_client_that_says_nothing_is_cut(mock_clock: trio.testing.MockClock) -> None:
    """An idle connection is closed without a word when its time is up."""
    async with _serving() as port, await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in await stream.receive_some()
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(REQUEST_SECONDS)
        assert await stream.receive_some() == b""


async def test_a_request_that_drips_is_cut(mock_clock: trio.testing.MockClock) -> None:
    """A part of a request is answered with 408 when its time is up, however many drops fell."""
    async with _serving() as port, await trio.open_tcp_stream("127.0.0.1", port) as stream:
        # One packet: when the first request is answered, the beginning of the second has been seen.
        await stream.send_all(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\nGET /hello HTTP/1.1\r\nHo")
        assert b"200 OK" in await stream.receive_some()
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(REQUEST_SECONDS)
        heard = await stream.receive_some()
        assert heard.startswith(b"HTTP/1.1 408 ")


async def test_a_client_that_goes_away_harms_nobody() -> None:
    """Half a request and a reset, or a request and a reset before the answer: the next client is served."""
    async with _serving() as port:
        for sent in (b"GET /hel", b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n", b""):
            with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as bare:
                bare.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close means reset
                bare.sendall(sent)
            assert (await _ask(port, "GET", "/hello"))[0] == 200


async def test_a_half_closed_client_still_gets_its_answer() -> None:
    """A client may end its own direction after the request."""
    async with _serving() as port, await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
        await stream.send_eof()
        assert (await _said(stream)).endswith(b"hello \n")


async def test_a_page_that_takes_too_long_is_given_up(mock_clock: trio.testing.MockClock) -> None:
    """The client hears 503 when the time of its request is up."""
    drawing = trio.Event()

    async def forever(request: Request) -> Response:
        drawing.set()
        await trio.sleep_forever()
        raise AssertionError

    async with _serving({"/slow": forever}) as port, await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        await drawing.wait()
        mock_clock.jump(REQUEST_SECONDS)
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 503 ")


async def test_a_client_that_does_not_read_is_cut(mock_clock: trio.testing.MockClock) -> None:
    """A long answer that nobody takes ends with the request's time; the server is free again."""
    drawn = trio.Event()

    async def long(request: Request) -> Response:
        drawn.set()
        return Response(200, b"x" * 50_000_000)

    async with _serving({"/long": long, **PAGES}) as port, await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n")
        await drawn.wait()
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(REQUEST_SECONDS)
        mock_clock.jump(LINGER_SECONDS)
        await trio.testing.wait_all_tasks_blocked()
        heard = 0
        with suppress(trio.BrokenResourceError):  # a reset says the same as an end
            while data := await stream.receive_some():
                heard += len(data)
        assert heard < 50_000_000


async def test_silent_clients_keep_no_probe_out() -> None:
    """With hundreds of silent connections a newcomer is served at once, and only so many are kept."""
    async with _serving() as port:
        silent = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(200)]
        for _ in range(3):
            assert (await _ask(port, "GET", "/hello"))[0] == 200
        kept = 0
        for stream in silent:
            with trio.move_on_after(0.01) as wait:
                assert await stream.receive_some() == b""
            kept += wait.cancelled_caught
            await stream.aclose()
        assert 0 < kept <= MOST_CONNECTIONS


@asynccontextmanager
async def _connected(port: int, count: int) -> AsyncIterator[list[trio.SocketStream]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(await trio.open_tcp_stream("127.0.0.1", port)) for _ in range(count)]


async def test_answers_under_way_are_bounded_and_probes_are_not() -> None:
    """More than so many pages are not drawn at the same time; some wait their turn, others hear 503, a probe waits for nobody."""
    drawing = most = 0
    go_on = trio.Event()

    async def slow(request: Request) -> Response:
        nonlocal drawing, most
        drawing += 1
        most = max(most, drawing)
        await go_on.wait()
        drawing -= 1
        return Response(200, b"done\n")

    async with _serving({"/slow": slow, "/livez": _hello}) as port, _connected(port, MOST_CONNECTIONS) as streams:
        for stream in streams:
            await stream.send_all(b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        await trio.testing.wait_all_tasks_blocked()
        assert (await _ask(port, "GET", "/livez"))[0] == 200
        go_on.set()
        answers = Counter([(await _said(stream)).partition(b"\r\n")[0] for stream in streams])
    taken = MOST_ANSWERS + MOST_QUEUED
    assert most == MOST_ANSWERS
    assert answers == {b"HTTP/1.1 200 OK": taken, b"HTTP/1.1 503 Service Unavailable": MOST_CONNECTIONS - taken}


async def test_slow_readers_keep_no_page_from_others(autojump_clock: trio.testing.MockClock) -> None:
    """With every answer held by a client that does not read, the next page comes as soon as one of them is given up."""
    drawn = 0

    async def long(request: Request) -> Response:
        nonlocal drawn
        drawn += 1
        return Response(200, bytes(50_000_000))

    async with _serving({"/long": long, **PAGES}) as port, _connected(port, MOST_ANSWERS) as streams:
        for stream in streams:
            await stream.send_all(b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n")
        await trio.testing.wait_all_tasks_blocked()
        assert drawn == MOST_ANSWERS
        asked_at = trio.current_time()
        answer = await _raw(port, b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert answer.endswith(b"hello \n")
        assert (
            trio.current_time() - asked_at < REQUEST_SECONDS
        )  # by the clock of the test, which stands still while anyone works


async def test_a_reader_that_drips_is_cut(autojump_clock: trio.testing.MockClock) -> None:
    """One byte a second of five million keeps an answer no longer than the time of a request."""

    async def long(request: Request) -> Response:
        return Response(200, bytes(LONG))

    async with _serving({"/long": long}) as port, _connected(port, 1) as (stream,):
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await stream.send_all(b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n")
        started = trio.current_time()
        heard = 0
        with suppress(trio.BrokenResourceError):  # a reset says the same as an end
            while trio.current_time() - started < REQUEST_SECONDS + 2 * LINGER_SECONDS:
                heard += len(await stream.receive_some(1))
                await trio.sleep(1)
            while data := await stream.receive_some():
                heard += len(data)
        assert heard < LONG


async def test_pipelining_without_reading_is_bounded(mock_clock: trio.testing.MockClock) -> None:
    """Who asks on and on and reads nothing is not read from either, and is cut."""
    asked = 0

    async def counted(request: Request) -> Response:
        nonlocal asked
        asked += 1
        return Response(200, bytes(LONG // 10))

    async def flood(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):  # its end
            await stream.send_all(b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n" * 1_000_000)
        assert asked < 1000

    async with _serving({"/page": counted, **PAGES}) as port, _connected(port, 1) as (stream,):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood, stream)
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(REQUEST_SECONDS)
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(LINGER_SECONDS)
        assert (await _ask(port, "GET", "/hello"))[0] == 200


async def test_a_busy_port_is_tried_again(autojump_clock: trio.testing.MockClock) -> None:
    """It is told with the next try, does not keep the caller waiting, and is had as soon as it is free."""
    told: list[Event] = []
    told_one = trio.Event()

    def observe(event: Event) -> None:
        told.append(event)
        told_one.set()

    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        async with trio.open_nursery() as nursery:
            assert await nursery.start(serve, HttpConfig(f"127.0.0.1:{port}"), PAGES, observe) is None
            assert told == [HttpUnavailable(f"cannot listen on 127.0.0.1:{port}: Address already in use", FIRST_RETRY)]
            await trio.sleep(10 * FIRST_RETRY)
            retries = [event.retry_in for event in told if isinstance(event, HttpUnavailable)]
            assert retries == [1.0, 2.0, 4.0, 8.0]
            busy.close()
            while not isinstance(told[-1], HttpListening):
                told_one = trio.Event()
                await told_one.wait()
            assert told[-1] == HttpListening(f"127.0.0.1:{port}")
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("listen", [":0", "127.0.0.1:0", "localhost:0"])
async def test_it_listens_where_it_was_told(listen: str) -> None:
    """With and without an address, the loopback address is served and the address is told."""
    told: list[Event] = []
    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve, HttpConfig(listen), PAGES, told.append)
        (listening,) = told
        assert isinstance(listening, HttpListening)
        assert listening.address.endswith(f":{port}")
        if listen != "localhost:0":
            assert (await _ask(port, "GET", "/hello"))[0] == 200
        nursery.cancel_scope.cancel()
