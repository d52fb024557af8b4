"""The HTTP server protected: tokens, certificates, and their rotation. Real sockets and real certificates."""

import http.client
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio
import trio.testing

from supervisor.config import AuthConfig, HttpConfig, TlsConfig
from supervisor.events import Event, HttpFileRead, HttpFileRefused, HttpListening
from supervisor.observe.exchange import Page, Request, Response
from supervisor.observe.http import LINGER_SECONDS, MOST_CONNECTIONS, REQUEST_SECONDS, serve
from supervisor.observe.rotation import CHECK_SECONDS
from tests.observe.certificates import Authority, Pair, publish, put

DEADLINE = 30.0
TOKEN = "a-token-of-some-length"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
LONG = 5_000_000
CLOSED = (ConnectionError, ssl.SSLError)
"""What a client sees of a connection that is closed in its handshake."""

secured = pytest.mark.requires("openssl")


async def _page(request: Request) -> Response:
    return Response(200, b"all there is\n" if request.authorized else b"ready\n")


async def _long(request: Request) -> Response:
    return Response(200, bytes(LONG))


PAGES: dict[str, Page] = {"/livez": _page, "/readyz": _page, "/status": _page, "/long": _long}


class Served:
    """A running server, what it told, and clients for it."""

    def __init__(self, port: int, told: list[Event]) -> None:
        self.port = port
        self.told = told

    async def ask(
        self, path: str, context: ssl.SSLContext | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body, over TLS with a ``context``."""
        return await trio.to_thread.run_sync(lambda: self._ask(path, context, headers or {}))

    def _ask(self, path: str, context: ssl.SSLContext | None, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        address = ("127.0.0.1", self.port)
        connection = http.client.HTTPConnection(*address, timeout=DEADLINE)
        if context is not None:
            connection = http.client.HTTPSConnection(*address, timeout=DEADLINE, context=context)
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    async def shown(self, context: ssl.SSLContext) -> bytes | None:
        """The server's certificate."""
        stream = await trio.open_ssl_over_tcp_stream("127.0.0.1", self.port, ssl_context=context, https_compatible=True)
        async with stream:
            await stream.do_handshake()
            certificate: bytes | None = stream.getpeercert(binary_form=True)
            return certificate

    def refusals(self) -> list[str]:
        """Why files were of no use."""
        return [event.reason for event in self.told if isinstance(event, HttpFileRefused)]


@asynccontextmanager
async def _serving(tls: TlsConfig | None = None, auth: AuthConfig | None = None) -> AsyncIterator[Served]:
    told: list[Event] = []
    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve, HttpConfig("127.0.0.1:0", tls, auth), PAGES, told.append)
        yield Served(port, told)
        nursery.cancel_scope.cancel()


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """A file with one token."""
    file = tmp_path / "tokens"
    file.write_text(f"{TOKEN}\n")
    return file


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Whom both sides trust."""
    return Authority(tmp_path)


@pytest.fixture
def pair(authority: Authority) -> Pair:
    """The server's certificate."""
    return authority.sign("server")


# --- tokens -----------------------------------------------------------------------------------------------------------


async def test_a_token_opens_everything(tokens: Path) -> None:
    """With it the pages, without it 401 and how to ask; what there is stays unknown, whatever is asked."""
    async with _serving(auth=AuthConfig(str(tokens))) as served:
        assert (await served.ask("/status", headers=BEARER))[::2] == (200, b"all there is\n")
        assert (await served.ask("/status", headers={"Authorization": f"bEARER  {TOKEN} "}))[0] == 200
        assert (await served.ask("/nothing", headers=BEARER))[0] == 404
        for path in ("/status", "/nothing", "/", "/status?" + "x" * 3000):
            status, headers, body = await served.ask(path)
            assert (status, headers["www-authenticate"]) == (401, 'Bearer realm="device-plugin-supervisor"')
            assert body == b"unauthorized: show a bearer token\n"


async def test_probes_are_answered_to_everyone(tokens: Path) -> None:
    """A kubelet's probe shows no token: it hears the verdict; who shows one hears all."""
    async with _serving(auth=AuthConfig(str(tokens))) as served:
        for path in ("/livez", "/readyz"):
            assert (await served.ask(path))[::2] == (200, b"ready\n")
            assert (await served.ask(path, headers=BEARER))[::2] == (200, b"all there is\n")


@pytest.mark.parametrize(
    "shown", ["", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}, Bearer x", "Bearer \xff"]
)  # fmt: skip
async def test_anything_else_is_no_token(tokens: Path, shown: str) -> None:
    """Neither a part of it, nor more, nor another way to show it."""
    async with _serving(auth=AuthConfig(str(tokens))) as served:
        assert (await served.ask("/status", headers={"Authorization": shown}))[0] == 401


async def test_tokens_are_rotated(tokens: Path, mock_clock: trio.testing.MockClock) -> None:
    """A replaced file holds at once, with old and new tokens side by side as long as both are in it."""
    new = {"Authorization": "Bearer new"}
    async with _serving(auth=AuthConfig(str(tokens))) as served:
        put(tokens, f"\n {TOKEN} \nnew".encode())
        mock_clock.jump(CHECK_SECONDS)
        assert [(await served.ask("/status", headers=shown))[0] for shown in (BEARER, new)] == [200, 200]
        put(tokens, b"new\r\n")
        mock_clock.jump(CHECK_SECONDS)
        assert [(await served.ask("/status", headers=shown))[0] for shown in (BEARER, new)] == [401, 200]
        assert [event for event in served.told if not isinstance(event, HttpListening)] == [
            HttpFileRead("token file", str(tokens))
        ] * 3


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\n\n", "holds no token"),
        (b"good\ntwo words\n", "line 2 is no token"),
        (b"\xff\xfe\n", "line 1 is no token"),
        (b"x\n" * 129, "holds more than 128 tokens"),
        (b"x" * 65537, "is longer than 65536 bytes"),
    ],
)
async def test_a_bad_token_file_lets_nobody_in(
    tokens: Path, data: bytes, reason: str, mock_clock: trio.testing.MockClock
) -> None:
    """The reason is told once and names no token; when it is mended, who has a token is let in again."""
    async with _serving(auth=AuthConfig(str(tokens))) as served:
        assert (await served.ask("/status", headers=BEARER))[0] == 200
        put(tokens, data)
        for _ in range(3):
            mock_clock.jump(CHECK_SECONDS)
            assert (await served.ask("/status", headers=BEARER))[0] == 401
        (told,) = served.refusals()
        assert reason in told
        assert "words" not in told
        put(tokens, TOKEN.encode())
        mock_clock.jump(CHECK_SECONDS)
        assert (await served.ask("/status", headers=BEARER))[0] == 200
        assert isinstance(served.told[-1], HttpFileRead)


async def test_a_token_file_that_is_not_there_yet(tmp_path: Path, mock_clock: trio.testing.MockClock) -> None:
    """Neither is a directory or a named pipe one; the server runs, and waits for the file without hanging."""
    file = tmp_path / "tokens"
    async with _serving(auth=AuthConfig(str(file))) as served:
        assert served.refusals() == [f"{file}: No such file or directory"]
        file.mkdir()
        mock_clock.jump(CHECK_SECONDS)
        assert (await served.ask("/status", headers=BEARER))[0] == 401
        file.rmdir()
        os.mkfifo(file)
        mock_clock.jump(CHECK_SECONDS)
        assert (await served.ask("/status", headers=BEARER))[0] == 401
        assert served.refusals()[1:] == [f"{file}: is not a regular file"]
        put(file, TOKEN.encode())
        mock_clock.jump(CHECK_SECONDS)
        assert (await served.ask("/status", headers=BEARER))[0] == 200


# --- TLS --------------------------------------------------------------------------------------------------------------


@secured
async def test_pages_come_over_tls(authority: Authority, pair: Pair) -> None:
    """A long page too, whole; the address is told with its scheme."""
    async with _serving(pair.config) as served:
        assert HttpListening(f"127.0.0.1:{served.port}", "https") in served.told
        assert (await served.ask("/status", authority.context()))[::2] == (200, b"all there is\n")
        assert len((await served.ask("/long", authority.context()))[2]) == LONG


@secured
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_connection_carries_many_requests_over_tls(authority: Authority, pair: Pair, version: ssl.TLSVersion) -> None:
    """With either version, and an early answer arrives although the client sends more than is read."""
    context = authority.context()
    context.maximum_version = version
    good = b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n"
    async with _serving(pair.config) as served:
        stream = await trio.open_ssl_over_tcp_stream("127.0.0.1", served.port, ssl_context=context, https_compatible=True)
        async with stream:
            await stream.send_all(good * 3 + b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n")
            heard = b""
            with trio.fail_after(DEADLINE):
                while data := await stream.receive_some():
                    heard += data
    assert heard.count(b"HTTP/1.1 200 OK") == 3
    assert heard.count(b"HTTP/1.1 431 ") == 1


@secured
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # that TLS 1.1 is old is what this is about
async def test_old_tls_is_refused(authority: Authority, pair: Pair) -> None:
    """Below 1.2 there is no handshake."""
    context = authority.context()
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    async with _serving(pair.config) as served:
        with pytest.raises(CLOSED):
            await served.ask("/status", context)
        assert (await served.ask("/status", authority.context()))[0] == 200


@secured
async def test_plain_http_on_the_tls_port_is_closed(authority: Authority, pair: Pair) -> None:
    """Without a word of HTTP; so is any other noise, and a client that trusts somebody else."""
    async with _serving(pair.config) as served:
        for noise in (b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"x" * 70_000, b"\x00" * 10):
            async with await trio.open_tcp_stream("127.0.0.1", served.port) as stream:
                heard = b""
                with trio.fail_after(DEADLINE), suppress(trio.BrokenResourceError):  # a reset says the same as an end
                    await stream.send_all(noise)
                    while data := await stream.receive_some():
                        heard += data
                assert b"HTTP" not in heard
        with pytest.raises(ssl.SSLError):
            await served.ask("/livez", ssl.create_default_context())
        assert (await served.ask("/livez", authority.context()))[0] == 200


@secured
async def test_a_handshake_that_stalls_is_cut(authority: Authority, pair: Pair, mock_clock: trio.testing.MockClock) -> None:
    """Half a ClientHello keeps a connection no longer than a request may take."""
    async with _serving(pair.config) as served, await trio.open_tcp_stream("127.0.0.1", served.port) as stream:
        await stream.send_all(b"\x16\x03\x01\x02\x00\x01\x00")
        assert (await served.ask("/livez", authority.context()))[0] == 200  # the stalled one was accepted before
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(REQUEST_SECONDS)
        with trio.fail_after(DEADLINE):
            assert await stream.receive_some() == b""


@secured
async def test_stalled_handshakes_keep_no_probe_out(authority: Authority, pair: Pair) -> None:
    """Two hundred of them, and a newcomer is answered; only so many are kept."""
    ended = trio.Semaphore(0)

    async def stall(port: int, *, task_status: trio.TaskStatus[None]) -> None:
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(b"\x16\x03\x01\x02\x00")
            task_status.started()
            with suppress(trio.BrokenResourceError):  # a reset says the same as an end
                assert await stream.receive_some() == b""
            ended.release()

    async with _serving(pair.config) as served, trio.open_nursery() as nursery:
        for _ in range(200):
            await nursery.start(stall, served.port)
        assert (await served.ask("/livez", authority.context()))[0] == 200
        with trio.fail_after(DEADLINE):
            for _ in range(200 - MOST_CONNECTIONS):
                await ended.acquire()
        nursery.cancel_scope.cancel()


@secured
async def test_a_slow_reader_over_tls_is_cut(authority: Authority, pair: Pair, mock_clock: trio.testing.MockClock) -> None:
    """A long answer that nobody takes ends with the time of its request, encrypted or not."""
    async with _serving(pair.config) as served:
        stream = await trio.open_ssl_over_tcp_stream("127.0.0.1", served.port, ssl_context=authority.context())
        stream.transport_stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await stream.send_all(b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n")
        heard = len(await stream.receive_some(1))
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(REQUEST_SECONDS)
        mock_clock.jump(LINGER_SECONDS)
        await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(DEADLINE), suppress(trio.BrokenResourceError):  # an end without a farewell is what is wanted
            while data := await stream.receive_some():
                heard += len(data)
        await trio.aclose_forcefully(stream)
        assert heard < LONG


# --- certificates -----------------------------------------------------------------------------------------------------


@secured
async def test_a_certificate_of_a_known_authority_is_enough(tmp_path: Path, authority: Authority, pair: Pair) -> None:
    """With it the pages, without it the probes; one of a stranger gets no answer at all."""
    auth = AuthConfig(client_ca_file=str(authority.certificate))
    stranger = Authority(tmp_path, "stranger").sign("client")
    async with _serving(pair.config, auth) as served:
        assert (await served.ask("/status", authority.context(authority.sign("client"))))[0] == 200
        assert (await served.ask("/livez", authority.context()))[::2] == (200, b"ready\n")
        status, headers, body = await served.ask("/status", authority.context())
        assert (status, body) == (403, b"forbidden: show a certificate of a known authority\n")
        assert "www-authenticate" not in headers
        for bad in (stranger, authority.sign("server", "not-a-client")):
            with pytest.raises(CLOSED):
                await served.ask("/livez", authority.context(bad))


@secured
async def test_either_way_is_enough(authority: Authority, pair: Pair, tokens: Path) -> None:
    """Where tokens and authorities are given, one of the two is shown."""
    async with _serving(pair.config, AuthConfig(str(tokens), str(authority.certificate))) as served:
        assert (await served.ask("/status", authority.context(), BEARER))[0] == 200
        assert (await served.ask("/status", authority.context(authority.sign("client"))))[0] == 200
        assert (await served.ask("/status", authority.context()))[0] == 401


@secured
async def test_a_rotated_secret_is_picked_up(
    tmp_path: Path, authority: Authority, pair: Pair, mock_clock: trio.testing.MockClock
) -> None:
    """The kubelet swaps a Secret's link: the next connection sees the new certificate; open ones go on."""
    folder = tmp_path / "secret"
    pairs = {"1": pair, "2": authority.sign("server", "second")}
    for version, each in pairs.items():
        if version == "1":
            publish(folder, version, {"tls.crt": each.certificate.read_bytes(), "tls.key": each.key.read_bytes()})
    async with _serving(TlsConfig(str(folder / "tls.crt"), str(folder / "tls.key"))) as served:
        opened = await trio.open_ssl_over_tcp_stream(
            "127.0.0.1", served.port, ssl_context=authority.context(), https_compatible=True
        )
        async with opened:
            await opened.do_handshake()
            first = opened.getpeercert(binary_form=True)
            publish(folder, "2", {"tls.crt": pairs["2"].certificate.read_bytes(), "tls.key": pairs["2"].key.read_bytes()})
            mock_clock.jump(CHECK_SECONDS)
            second = await served.shown(authority.context())
            await opened.send_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await opened.receive_some()).startswith(b"HTTP/1.1 200 OK")
    assert second == ssl.PEM_cert_to_DER_cert(pairs["2"].certificate.read_text())
    assert first == ssl.PEM_cert_to_DER_cert(pair.certificate.read_text())
    assert not served.refusals()


@secured
async def test_a_bad_new_pair_keeps_the_old_one(
    tmp_path: Path, authority: Authority, pair: Pair, mock_clock: trio.testing.MockClock
) -> None:
    """A key of another certificate, and no key at all: told once each, and the port stays as it was until it is mended."""
    good = pair.key.read_bytes()
    async with _serving(pair.config) as served:
        put(pair.key, authority.sign("server", "other").key.read_bytes())
        for _ in range(2):
            mock_clock.jump(CHECK_SECONDS)
            assert (await served.ask("/livez", authority.context()))[0] == 200
        put(pair.key, b"nothing")
        mock_clock.jump(CHECK_SECONDS)
        assert (await served.ask("/livez", authority.context()))[0] == 200
        mismatch, nothing = served.refusals()
        assert mismatch == f"the key in {pair.key} does not belong to the certificate in {pair.certificate}"
        assert "no certificate and key in PEM" in nothing
        assert all(event.in_use for event in served.told if isinstance(event, HttpFileRefused))
        put(pair.key, good)
        mock_clock.jump(CHECK_SECONDS)
        assert (await served.ask("/livez", authority.context()))[0] == 200
        assert isinstance(served.told[-1], HttpFileRead)


@secured
async def test_a_certificate_that_is_not_there_yet(
    tmp_path: Path, authority: Authority, pair: Pair, mock_clock: trio.testing.MockClock
) -> None:
    """The port is open and closes every connection, until the files come."""
    late = TlsConfig(str(tmp_path / "late.crt"), str(tmp_path / "late.key"))
    async with _serving(late) as served:
        with pytest.raises(CLOSED):
            await served.ask("/livez", authority.context())
        assert served.refusals() == [f"{late.cert_file}: No such file or directory"]
        put(Path(late.key_file), pair.key.read_bytes())
        put(Path(late.cert_file), pair.certificate.read_bytes())
        mock_clock.jump(CHECK_SECONDS)
        assert (await served.ask("/livez", authority.context()))[0] == 200
