"""Asking a running supervisor for its status. The only importer of httpx2 among the commands.

A question has one deadline for the whole, and a bound on its answer; what went wrong comes with what to do about it.
"""

import queue
import ssl
import threading
import time
from collections.abc import Iterator

import httpx2

from supervisor.cli.door import Door
from supervisor.errors import SupervisorError
from supervisor.status import printable

PATIENCE = 10.0
"""Seconds."""
MOST_BYTES = 64 << 20
"""5 000 devices take about 1 MiB."""


def ask(door: Door, patience: float = PATIENCE) -> bytes:
    """The document as it comes. Blocks. Raises ``SupervisorError`` when there is none, ``ConfigError`` for a file of ours."""
    context = door.context() if door.secure else False
    answers: queue.SimpleQueue[bytes | SupervisorError] = queue.SimpleQueue()
    # A peer that sends a byte now and then would keep each single wait short: a thread is left behind as a whole.
    threading.Thread(target=lambda: answers.put(_answer(door, context, patience)), daemon=True).start()
    try:
        answer = answers.get(timeout=patience)
    except queue.Empty:
        raise _late(door, patience) from None
    if isinstance(answer, SupervisorError):
        raise answer
    return answer


def _answer(door: Door, context: ssl.SSLContext | bool, patience: float) -> bytes | SupervisorError:
    headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {door.token}"} if door.token else {})
    try:
        # No proxy of the environment: it could read the token, and 127.0.0.1 is another machine there.
        with (
            httpx2.Client(verify=context, timeout=patience, trust_env=False) as client,
            client.stream("GET", f"{door.url}/status", headers=headers) as response,
        ):
            return _refused(door, response) or b"".join(_bounded(door, response, patience))
    except SupervisorError as error:
        return error
    except httpx2.TimeoutException:
        return _late(door, patience)
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
        return _unanswered(door, error)


def _bounded(door: Door, response: httpx2.Response, patience: float) -> Iterator[bytes]:
    size, deadline = 0, time.monotonic() + patience
    for chunk in response.iter_bytes():
        size += len(chunk)
        if time.monotonic() > deadline:
            raise _late(door, patience)
        if size > MOST_BYTES:
            raise _failed(door, f"its answer does not end, {size >> 20} MiB so far", "is it a supervisor?")
        yield chunk


def _refused(door: Door, response: httpx2.Response) -> SupervisorError | None:
    """Any other answer than a document."""
    code = response.status_code
    if code == httpx2.codes.OK:
        return None
    what = f"it answers {code} {response.reason_phrase}".rstrip()
    if code in {401, 403}:
        sent = "another token, with --token-file" if door.token else "--token-file FILE sends a token"
        return _failed(door, what, f"{sent}, --cert FILE shows a client certificate")
    if response.is_redirect:
        place = response.headers.get("location", "a place it does not name")
        return _failed(door, f"{what}: it is at {place}", "name that with --address, if you trust it")
    if code == httpx2.codes.SERVICE_UNAVAILABLE:
        return _failed(door, what, "it, or the proxy before it, is too busy now: ask again")
    return _failed(door, what, "is it a supervisor? --address names another")


def _unanswered(door: Door, error: Exception) -> SupervisorError:
    words = (str(error) or type(error).__name__).partition(" (_ssl.c")[0]
    if "CERTIFICATE_VERIFY_FAILED" in words:
        cure = "--ca FILE names who vouches for it, --address the name in its certificate"
        return _failed(door, words.rpartition("] ")[2], cure)
    if isinstance(error, httpx2.ConnectError) and "SSL" in words:
        return _failed(door, words, "does it speak TLS there? if not, begin the address with http://")
    if isinstance(error, httpx2.ConnectError):
        cure = "is one running there? --address names another place, --config its configuration"
        return _failed(door, words.rpartition("] ")[2], cure)
    if isinstance(error, httpx2.NetworkError | httpx2.ProtocolError):
        other = "client certificate (--cert FILE)" if door.secure else "https:// address"
        return _failed(door, f"it does not answer properly: {words}", f"is it a supervisor? does it want a {other}?")
    return _failed(door, words, "is the address right?")


def _late(door: Door, patience: float) -> SupervisorError:
    return _failed(door, f"no whole answer within {patience:g} s", "is it a supervisor? its /livez says whether it is alive")


def _failed(door: Door, what: str, cure: str) -> SupervisorError:
    return SupervisorError(printable(f"{door.url}: {what}; {cure}"))
