"""The client over real sockets with TLS: what works, what is refused, and all the ways in which a server fails."""

import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from supervisor.cluster import client as client_module
from supervisor.cluster.account import Account
from supervisor.cluster.api import SERVER, ApiRefused, ApiUnavailable, Node, Stored, Troubles, path_of
from supervisor.cluster.client import ApiClient
from supervisor.cluster.patience import LONGEST, Patience
from supervisor.events import ClusterReachable, ClusterUnavailable, Event
from tests.cluster.apiserver import (
    NODE,
    TLS,
    TOKEN,
    Answer,
    ApiServer,
    Misbehaviour,
    StoredCluster,
    answers,
    cuts,
    hangs,
    mails,
    pours,
    status,
)

DEADLINE = 30.0
"""Seconds after which a test that waits has failed."""
PATH = path_of("nodes", NODE)


@asynccontextmanager
async def _client(account: Account, told: list[Event] | None = None) -> AsyncIterator[ApiClient]:
    """One whose own pauses are over at once, which is what this jitter does."""
    with trio.fail_after(DEADLINE):
        async with ApiClient(account, Troubles((told if told is not None else []).append), jitter=lambda: -1.0) as client:
            yield client


async def _failure(client: ApiClient) -> str:
    with pytest.raises(ApiUnavailable) as caught:
        await client.request("GET", PATH, Node)
    return str(caught.value)


async def test_an_object_is_read(account: Account, cluster: StoredCluster) -> None:
    """What the server has comes back as values, whatever else is in the object."""
    cluster.nodes[NODE]["status"]["nodeInfo"] = {"kubeletVersion": "v1.34.1", "bootID": "unread"}
    async with _client(account) as client:
        node = await client.request("GET", PATH, Node)
    assert (node.metadata.name, node.status.node_info.kubelet_version) == (NODE, "v1.34.1")


async def test_requests_share_one_connection(account: Account, server: ApiServer) -> None:
    """A TLS handshake for each Event would cost the server more than the Event."""
    async with _client(account) as client:
        for _ in range(3):
            await client.request("GET", PATH, Node)
        assert len(server.connections) == 1


async def test_a_refusal_is_told_in_the_servers_words(account: Account, cluster: StoredCluster) -> None:
    """What may not be done stops nothing else, and is no outage."""
    told: list[Event] = []
    async with _client(account, told) as client:
        for _ in range(3):
            with pytest.raises(ApiRefused, match=r'cannot get resource "events"') as caught:
                await client.request("GET", path_of("events", "one", "default"), Stored)
            assert caught.value.status == 403
        await client.request("GET", PATH, Node)
    assert told == []


async def test_a_new_token_is_used_at_once(account: Account, cluster: StoredCluster, secrets: Path) -> None:
    """The kubelet replaces the file; nobody has to tell us."""
    async with _client(account) as client:
        await client.request("GET", PATH, Node)
        cluster.tokens = {"another"}
        (secrets / "token").write_text("another")
        await client.request("GET", PATH, Node)


async def test_a_token_that_is_replaced_meanwhile_is_tried_at_once(
    account: Account, server: ApiServer, cluster: StoredCluster, secrets: Path
) -> None:
    """The server knows only the new one when the old one arrives: one more request, no failure."""

    def replaced(handler: object) -> None:
        cluster.tokens = {"newer"}
        (secrets / "token").write_text("newer")
        answers(status(401, "Unauthorized"))(handler)  # type: ignore[arg-type]  # the handler, passed on

    server.misbehave = [replaced]
    async with _client(account) as client:
        assert (await client.request("GET", PATH, Node)).metadata.name == NODE


async def test_an_expired_token_waits_for_a_new_one(account: Account, cluster: StoredCluster, secrets: Path) -> None:
    """Without a new one it is an outage that says why."""
    cluster.tokens = {"another"}
    async with _client(account) as client:
        assert await _failure(client) == "the API server does not know our token: Unauthorized"
        (secrets / "token").write_text("another")
        await client.request("GET", PATH, Node)


TOO_LONG = b"[" + b" " * client_module.MOST_BYTES + b"]"


@pytest.mark.parametrize(
    ("misbehaviour", "said"),
    [
        (answers(status(429, "too many requests")), "the API server says: too many requests"),
        (answers(status(503, "no leader")), "the API server says: no leader"),
        (answers(Answer(500, None), b"<html>"), "the API server says: status 500"),
        (answers(Answer(200, None), b"<html>"), "the API server talks nonsense: JSON is malformed"),
        (answers(Answer(200, {"metadata": {}})), "the API server talks nonsense: Object missing required field `name`"),
        (answers(Answer(200, None), b"[" * 100_000), "the API server talks nonsense: "),
        (answers(Answer(200, None), b"\xff\xfe"), "the API server talks nonsense: "),
        (answers(Answer(200, None, {"Content-Encoding": "gzip"}), b"\x1f\x8b"), "the API server talks nonsense: "),
        (answers(Answer(200, None), TOO_LONG), f"an answer is longer than {client_module.MOST_BYTES} bytes"),
        (cuts, "disconnected"),
        (pours, f"an answer is longer than {client_module.MOST_BYTES} bytes"),
        (mails, "illegal status line"),
    ],
    ids=["429", "503", "500", "html", "other-object", "deep", "no-text", "packed", "long", "cut", "endless", "no-http"],
)
async def test_a_server_that_misbehaves_is_asked_again(
    account: Account, server: ApiServer, misbehaviour: Misbehaviour, said: str
) -> None:
    """Whatever comes is one named failure, and the next request works."""
    server.misbehave = [misbehaviour]
    async with _client(account) as client:
        assert said in await _failure(client)
        assert (await client.request("GET", PATH, Node)).metadata.name == NODE


@pytest.mark.parametrize("code", [301, 400, 404, 405, 410, 422])
async def test_other_statuses_are_refusals(account: Account, server: ApiServer, code: int) -> None:
    """They are no outage, and a redirection is not followed: the token is for this server alone."""
    server.misbehave = [answers(status(code, "no", Location="https://evil.example/"))]
    async with _client(account) as client:
        with pytest.raises(ApiRefused, match="no") as caught:
            await client.request("GET", PATH, Node)
        assert caught.value.status == code


async def test_the_server_says_how_long_to_wait(account: Account, server: ApiServer) -> None:
    """``Retry-After`` is kept, whoever asks next."""
    server.misbehave = [answers(status(429, "busy", Retry_After="1"))]
    async with _client(account) as client:
        await _failure(client)
        began = trio.current_time()
        await client.request("GET", PATH, Node)
        assert trio.current_time() - began >= 0.74


async def test_a_server_that_hangs_is_given_up(account: Account, server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request ends in time whatever the server does."""
    monkeypatch.setattr(client_module, "REQUEST_SECONDS", 0.2)
    server.misbehave = [hangs]
    async with _client(account) as client:
        assert "has not answered within 0.2 s" in await _failure(client)


async def test_a_request_can_be_cancelled(account: Account, server: ApiServer) -> None:
    """The end of the process does not wait for a server that hangs; another request is free to go."""
    asked = trio.Event()
    token = trio.lowlevel.current_trio_token()

    def hang(handler: object) -> None:
        token.run_sync_soon(asked.set)
        hangs(handler)  # type: ignore[arg-type]  # the handler, passed on

    server.misbehave = [hang]
    async with _client(account) as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.request, "GET", PATH, Node)
            await asked.wait()
            nursery.cancel_scope.cancel()
        await client.request("GET", PATH, Node)


async def test_an_outage_is_told_once(account: Account, server: ApiServer) -> None:
    """The second failure in a row tells it, the first success that it is over; nothing between them does."""
    told: list[Event] = []
    async with _client(account, told) as client:
        await client.request("GET", PATH, Node)
        server.stop()
        await _failure(client)
        assert told == []
        for _ in range(2):
            assert (await _failure(client)).endswith("Connection refused")
        (outage,) = told
        assert isinstance(outage, ClusterUnavailable)
        assert outage.about == SERVER
        server.start()
        await client.request("GET", PATH, Node)
    assert told == [outage, ClusterReachable(SERVER)]


async def test_a_server_that_nobody_vouches_for_gets_no_token(account: Account, server: ApiServer, secrets: Path) -> None:
    """It is signed by another authority: the connection ends before anything is said. A repaired ca.crt is read by itself."""
    shutil.copy(TLS / "other-ca.crt", secrets / "ca.crt")
    async with _client(account) as client:
        assert "certificate verify failed" in await _failure(client)
        assert server.cluster.asked == []
        shutil.copy(TLS / "ca.crt", secrets / "ca.crt")
        await client.request("GET", PATH, Node)


def _unlink(name: str) -> Callable[[Path], object]:
    return lambda secrets: (secrets / name).unlink()


def _write(name: str, text: bytes) -> Callable[[Path], object]:
    return lambda secrets: (secrets / name).write_bytes(text)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_unlink("token"), "token cannot be read (No such file or directory): the pod needs a service account"),
        (_unlink("ca.crt"), "ca.crt cannot be read"),
        (_write("token", b""), "token holds no token"),
        (_write("token", b"one\r\nEvil: yes"), "token holds no token"),
        (_write("token", b"x" * (1 << 21)), "token is longer than"),
        (_write("ca.crt", b"no certificate"), "ca.crt holds no certificates"),
        (_write("ca.crt", b""), "ca.crt holds no certificates"),
        (_write("ca.crt", b"\xff\xfe"), "ca.crt holds no certificates"),
    ],
    ids=["no-token", "no-ca", "empty", "lines", "long", "no-pem", "empty-ca", "no-text"],
)
async def test_a_spoilt_service_account_is_named(
    account: Account, secrets: Path, spoil: Callable[[Path], object], said: str
) -> None:
    """What is wrong with which file, and nothing is asked."""
    spoil(secrets)
    async with _client(account) as client:
        assert said in await _failure(client)


@pytest.mark.parametrize(
    ("host", "port"), [("", ""), ("127.0.0.1", ""), ("", "443"), ("a b", "443"), ("[::1]", "443"), ("a/b", "443"), ("a", "4x")]
)
async def test_without_a_cluster_there_is_a_reason(secrets: Path, host: str, port: str) -> None:
    """A process that runs outside of a cluster says what is missing."""
    account = Account(secrets, {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port})
    async with _client(account) as client:
        assert (await _failure(client)).startswith("no cluster: KUBERNETES_SERVICE_HOST")


def test_addresses_of_both_families_become_urls(secrets: Path) -> None:
    """An IPv6 address stands in brackets."""
    urls = [
        Account(secrets, {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": "443"}).read().url
        for host in ("fd00::1", "10.0.0.1")
    ]
    assert urls == ["https://[fd00::1]:443", "https://10.0.0.1:443"]


def test_the_token_is_stripped(secrets: Path) -> None:
    """Editors and shells end files with a line feed."""
    account = Account(secrets, {"KUBERNETES_SERVICE_HOST": "::1", "KUBERNETES_SERVICE_PORT": "443"})
    assert account.read().token == TOKEN


@pytest.mark.parametrize(
    ("name", "namespace", "path"),
    [
        ("a/b?c", "", "/api/v1/nodes/a%2Fb%3Fc"),
        ("", "default", "/api/v1/namespaces/default/nodes"),
        ("..", "a b", "/api/v1/namespaces/a%20b/nodes/.."),
    ],
)
def test_names_stay_names_in_paths(name: str, namespace: str, path: str) -> None:
    """A name that is none leads to no other object."""
    assert path_of("nodes", name, namespace) == path


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1e6)), min_size=1, max_size=40))
def test_patience_grows_and_ends(failures: list[tuple[float, float]]) -> None:
    """At least what the server asked for, never more than a little above five minutes, and never nothing."""
    patience = Patience()
    for number, (jitter, asked) in enumerate(failures):
        patience = patience.after_failure(100.0, asked, jitter)
        pause = patience.until - 100.0
        assert min(asked, LONGEST) <= pause + 1e-9
        assert 0.5 * min(LONGEST, 2.0**number) <= pause <= LONGEST * 1.25
        assert patience.failures == number + 1
