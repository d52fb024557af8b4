"""Asks the API server: one request at a time, bounded in time and bytes, and patient with a server that is away or busy.

The only importer of httpx2, which is loaded with the first request. Whatever does not work makes all requests wait, longer each
time, as long as the server asked for at least; so an outage is a few requests and two events, whoever wants something.
"""

import random
import ssl
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

import msgspec
import trio
from msgspec import Struct

from supervisor.cluster.account import Access, Account
from supervisor.cluster.api import SERVER, ApiRefused, ApiUnavailable, Troubles
from supervisor.cluster.patience import Patience
from supervisor.status import printable

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")

REQUEST_SECONDS = 10.0
"""For one request, from the first packet of a connection to the last byte of the answer."""
MOST_BYTES = 4 << 20
"""Of one answer. etcd keeps objects of 1.5 MiB at most."""
OUTAGE = 2
"""Failures in a row that are told: one lost answer is nothing to know."""
USER_AGENT = "device-plugin-supervisor"

_BUSY = frozenset({408, 425, 429})
"""Statuses that say "later", besides all from 500 on."""


class _Answer(Struct, frozen=True):
    status: int
    retry_after: str
    body: bytes


class _Said(Struct, frozen=True):
    """The server's ``Status`` object."""

    message: str = ""


class _Later(ApiUnavailable):
    """The server answers, and wants us to wait for so many seconds."""

    def __init__(self, message: str, pause: float) -> None:
        super().__init__(message)
        self.pause = pause


class ApiClient:
    """An ``Api`` over HTTPS. Use it as an async context manager inside one trio loop."""

    def __init__(self, account: Account, troubles: Troubles, jitter: Callable[[], float] = random.random) -> None:
        self._account = account
        self._troubles = troubles
        self._jitter = jitter
        self._turn = trio.Lock()
        self._patience = Patience()
        self._client: httpx2.AsyncClient | None = None
        self._made_for = ("", "")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        await self._close()

    async def request(self, method: str, path: str, into: type[T], body: object = None) -> T:
        """As ``Api`` says. Waits first for its turn, and for the end of the pause after a failure."""
        async with self._turn:
            await trio.sleep_until(max(self._patience.until, trio.current_time()))
            try:
                answer = await self._ask(method, path, body)
                found = _decoded(answer, into)
            except ApiUnavailable as error:
                self._failed(error)
                await self._close()
                raise
            except ApiRefused:
                self._worked()
                raise
            self._worked()
            return found

    # --- patience -----------------------------------------------------------------------------------------------------

    def _worked(self) -> None:
        self._patience = Patience()
        self._troubles.over(SERVER)

    def _failed(self, error: ApiUnavailable) -> None:
        asked = error.pause if isinstance(error, _Later) else 0.0
        self._patience = self._patience.after_failure(trio.current_time(), asked, self._jitter())
        if self._patience.failures == OUTAGE:
            self._troubles.tell(SERVER, str(error))

    # --- one request --------------------------------------------------------------------------------------------------

    async def _ask(self, method: str, path: str, body: object) -> _Answer:
        access = await trio.to_thread.run_sync(self._account.read)
        answer = await self._send(access, method, path, body)
        if answer.status == 401:
            fresh = await trio.to_thread.run_sync(self._account.read)
            if fresh.token != access.token:  # replaced between our reading and the server's
                answer = await self._send(fresh, method, path, body)
        return answer

    async def _send(self, access: Access, method: str, path: str, body: object) -> _Answer:
        """Raises ``ApiUnavailable`` when nothing comes back, or too much, or too late."""
        with trio.move_on_after(REQUEST_SECONDS):
            client = await self._client_for(access)
            return await _exchange(client, method, access.url + path, access.token, body)
        raise ApiUnavailable(f"{access.url} has not answered within {REQUEST_SECONDS:g} s")

    async def _client_for(self, access: Access) -> "httpx2.AsyncClient":
        wanted = (access.url, access.authorities)
        if self._client is None or self._made_for != wanted:
            await self._close()
            self._client = await trio.to_thread.run_sync(_make_client, access.authorities)
            self._made_for = wanted
        return self._client

    async def _close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


def _make_client(authorities: str) -> "httpx2.AsyncClient":
    """In a thread, since the import takes 0.1 s. Raises ``ApiUnavailable`` when ``authorities`` are no certificates.

    A context made by hand has not VERIFY_X509_STRICT, which newer Pythons set by default and older clusters' CAs do not meet.
    """
    import httpx2

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cadata=authorities)
    except (ssl.SSLError, ValueError, TypeError) as error:  # the last for what is no ASCII
        raise ApiUnavailable(f"ca.crt holds no certificates: {error}") from error
    limits = httpx2.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=30.0)
    return httpx2.AsyncClient(verify=context, trust_env=False, timeout=None, limits=limits)


async def _exchange(client: "httpx2.AsyncClient", method: str, url: str, token: str, body: object) -> _Answer:
    import httpx2

    headers = {
        "Authorization": f"Bearer {token}",
        "Accept": "application/json",
        "Accept-Encoding": "identity",  # what is packed small has no bound
        "User-Agent": USER_AGENT,
    }
    if body is not None:
        headers["Content-Type"] = "application/strategic-merge-patch+json" if method == "PATCH" else "application/json"
    content = None if body is None else msgspec.json.encode(body)
    try:
        async with client.stream(method, url, content=content, headers=headers) as response:
            read = await _bounded(response)
            return _Answer(response.status_code, response.headers.get("Retry-After", ""), read)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise ApiUnavailable(f"{url.partition('/api/')[0]}: {_innermost(error)}") from error


async def _bounded(response: "httpx2.Response") -> bytes:
    """All of the body. Raises ``ApiUnavailable`` when it is too long."""
    import httpx2

    read = bytearray()
    try:
        async for part in response.aiter_raw():
            read += part
            if len(read) > MOST_BYTES:
                await response.aclose()  # not a break: the generators inside are to end by themselves
    except httpx2.HTTPError:
        if len(read) <= MOST_BYTES:
            raise
    if len(read) > MOST_BYTES:
        raise ApiUnavailable(f"an answer is longer than {MOST_BYTES} bytes")
    return bytes(read)


def _innermost(error: BaseException) -> str:
    """What the first in a chain of errors says: the outer ones often say nothing. Of several addresses, the first one's."""
    while True:
        inner = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error.__cause__ or error.__context__
        if inner is None:
            break
        error = inner
    return printable(str(error) or type(error).__name__, 256)


def _decoded(answer: _Answer, into: type[T]) -> T:
    """The object that was asked for. Raises ``ApiUnavailable`` or ``ApiRefused`` for every other answer."""
    status = answer.status
    if 200 <= status < 300:
        return _json(answer.body, into)
    said = printable(_message(answer.body), 512) or f"status {status}"
    if status in _BUSY or status >= 500:
        raise _Later(f"the API server says: {said}", _seconds(answer.retry_after))
    if status == 401:
        raise ApiUnavailable(f"the API server does not know our token: {said}")
    raise ApiRefused(status, said)


def _json(body: bytes, into: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=into)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise ApiUnavailable(f"the API server talks nonsense: {printable(str(error), 256)}") from error


def _message(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=_Said).message
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return ""


def _seconds(retry_after: str) -> float:
    """The server sends whole seconds; a date would need its clock."""
    known = retry_after.strip()
    return float(known) if known.isascii() and known.isdigit() else 0.0
