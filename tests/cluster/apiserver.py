"""A small API server: keeps nodes, pods and Events, knows who may do what, and can be told to misbehave.

``StoredCluster`` is what it keeps, for tests in virtual time; ``ApiServer`` serves it over HTTPS at a real socket.
"""

import json
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import unquote

import msgspec
import trio

from supervisor.cluster.api import ApiRefused, ApiUnavailable

TLS = Path(__file__).parent / "tls"
TOKEN = "a-token"
NODE = "node-1"

NEEDED = frozenset({("create", "events"), ("patch", "events"), ("get", "pods"), ("get", "nodes"), ("patch", "nodes/status")})
"""What the documentation tells operators to permit."""

PAUSE = 10.0
"""Seconds, in virtual time, until a request without an answer is given up."""

_PATH = re.compile(r"/api/v1(?:/namespaces/(?P<namespace>[^/]+))?/(?P<kind>[a-z]+)(?:/(?P<name>[^/]+))?(?:/(?P<sub>[a-z]+))?")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_VERBS = {"GET": "get", "POST": "create", "PATCH": "patch"}

T = TypeVar("T")
Object = dict[str, Any]


class Answer(NamedTuple):
    status: int
    body: Any
    headers: Mapping[str, str] = {}


class Invalid(Exception):
    """The object breaks a rule of the API."""


def status(code: int, message: str, **headers: str) -> Answer:
    return Answer(code, {"kind": "Status", "status": "Failure", "message": message, "code": code}, headers)


class StoredCluster:
    """What the server keeps. ``asked`` lists every request that was understood, as verb and resource."""

    def __init__(self, allowed: frozenset[tuple[str, str]] = NEEDED) -> None:
        self.allowed = allowed
        self.tokens = {TOKEN}
        self.asked: list[tuple[str, str]] = []
        self.nodes: dict[str, Object] = {NODE: {"metadata": {"name": NODE, "uid": "a-uid"}, "status": {"conditions": []}}}
        self.pods: dict[tuple[str, str], Object] = {}
        self.events: dict[tuple[str, str], Object] = {}
        self.ending: set[str] = set()
        """Namespaces that are being deleted."""
        self.invalid: set[str] = set()
        """Words that no message may have."""
        self._lock = threading.Lock()

    def add_pod(self, namespace: str, name: str, uid: str, node: str = NODE) -> None:
        self.pods[namespace, name] = {"metadata": {"name": name, "uid": uid}, "spec": {"nodeName": node}}

    def told(self, kind: str = "Node") -> list[tuple[str, str, int]]:
        """Reason, message and count of all Events about objects of a kind, in the order of their creation."""
        with self._lock:
            events = [each for each in self.events.values() if each["involvedObject"]["kind"] == kind]
        return [(each["reason"], each["message"], each["count"]) for each in events]

    def answer(self, method: str, path: str, body: Any, content_type: str = "", token: str = TOKEN) -> Answer:
        with self._lock:
            found = _PATH.fullmatch(path)
            if token not in self.tokens:
                return status(401, "Unauthorized")
            if found is None:
                return status(404, "the server could not find the requested resource")
            resource = "/".join(filter(None, (found["kind"], found["sub"])))
            verb = _VERBS[method]
            self.asked.append((verb, resource))
            if (verb, resource) not in self.allowed:
                return status(403, f'{resource} is forbidden: User "dps" cannot {verb} resource "{resource}"')
            namespace, name = (unquote(found[part] or "") for part in ("namespace", "name"))
            try:
                return getattr(self, f"_{verb}_{resource.replace('/', '_')}")(namespace, name, body, content_type)  # type: ignore[no-any-return]  # one of those below
            except Invalid as error:
                return status(422, str(error))

    def _get_pods(self, namespace: str, name: str, body: Any, content_type: str) -> Answer:
        pod = self.pods.get((namespace, name))
        return status(404, f'pods "{name}" not found') if pod is None else Answer(200, pod)

    def _get_nodes(self, namespace: str, name: str, body: Any, content_type: str) -> Answer:
        node = self.nodes.get(name)
        return status(404, f'nodes "{name}" not found') if node is None else Answer(200, node)

    def _patch_nodes_status(self, namespace: str, name: str, body: Any, content_type: str) -> Answer:
        _is_merge(content_type)
        node = self.nodes.get(name)
        if node is None:
            return status(404, f'nodes "{name}" not found')
        if set(body) != {"status"}:
            raise Invalid("only the status can be patched here")
        conditions = {each["type"]: each for each in node["status"]["conditions"]}
        for changed in body["status"]["conditions"]:
            _is_time(changed["lastHeartbeatTime"])
            conditions[changed["type"]] = conditions.get(changed["type"], {}) | changed
        node["status"]["conditions"] = list(conditions.values())
        return Answer(200, node)

    def _create_events(self, namespace: str, name: str, body: Any, content_type: str) -> Answer:
        if content_type != "application/json":
            return status(415, "the body of the request was in an unknown format")
        if namespace in self.ending:
            return status(
                403,
                f"events is forbidden: unable to create new content in namespace {namespace} because it is being terminated",
            )
        _is_event(namespace, body)
        if any(word in body["message"] for word in self.invalid):
            raise Invalid("message: is not to the server's liking")
        key = (namespace, body["metadata"]["name"])
        if key in self.events:
            return status(409, f'events "{key[1]}" already exists')
        self.events[key] = body
        return Answer(201, body)

    def _patch_events(self, namespace: str, name: str, body: Any, content_type: str) -> Answer:
        _is_merge(content_type)
        event = self.events.get((namespace, name))
        if event is None:
            return status(404, f'events "{name}" not found')
        event.update(body)
        _is_event(namespace, event)
        return Answer(200, event)


def _is_merge(content_type: str) -> None:
    if content_type != "application/strategic-merge-patch+json":
        raise Invalid(f"the body has the type {content_type}")


def _is_time(text: str) -> None:
    try:
        datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ")  # noqa: DTZ007  # only its form matters
    except ValueError as error:
        raise Invalid(str(error)) from error


def _is_event(namespace: str, event: Object) -> None:
    """What the real server asks of a core Event without an ``eventTime``."""
    involved = event["involvedObject"]
    if namespace != (involved["namespace"] or "default") or event["metadata"]["namespace"] != namespace:
        raise Invalid("involvedObject.namespace: does not match event.namespace")
    name = event["metadata"]["name"]
    if not _NAME.fullmatch(name) or len(name) > 253:
        raise Invalid(f"metadata.name: {name!r} is no lowercase RFC 1123 subdomain")
    if event["type"] not in {"Normal", "Warning"} or not event["reason"].isalnum() or event["count"] < 1:
        raise Invalid("type, reason or count is not valid")
    if len(event["message"]) > 1024:
        raise Invalid("message: can have at most 1024 bytes")
    for field in ("firstTimestamp", "lastTimestamp"):
        _is_time(event[field])


class MemoryApi:
    """The stored cluster as an ``Api``, without a socket: for tests in virtual time."""

    def __init__(self, cluster: StoredCluster) -> None:
        self.cluster = cluster
        self.down = False
        """Nothing arrives."""
        self.mute = False
        """Everything arrives, and no answer comes back."""

    async def request(self, method: str, path: str, into: type[T], body: object = None) -> T:
        await trio.lowlevel.checkpoint()
        answer = None if self.down else self._answer(method, path, body)
        if answer is None or self.mute:
            await trio.sleep(PAUSE)
            raise ApiUnavailable("no route to host")
        if answer.status >= 400:
            raise ApiRefused(answer.status, answer.body["message"])
        return msgspec.convert(answer.body, into)

    def _answer(self, method: str, path: str, body: object) -> Answer:
        content_type = "application/strategic-merge-patch+json" if method == "PATCH" else "application/json"
        content = None if body is None else msgspec.json.decode(msgspec.json.encode(body))
        return self.cluster.answer(method, path, content, content_type)


# --- at a socket ------------------------------------------------------------------------------------------------------

Misbehaviour = Callable[["_Handler"], None]


def answers(answer: Answer, raw: bytes | None = None) -> Misbehaviour:
    """Say this, whatever was asked."""
    return lambda handler: handler.say(answer, raw)


def cuts(handler: "_Handler") -> None:
    """End the connection without a word."""
    handler.close_connection = True


def hangs(handler: "_Handler") -> None:
    """Say nothing until the server ends."""
    handler.api.ended.wait()
    handler.close_connection = True


def mails(handler: "_Handler") -> None:
    """Be no HTTP server at all."""
    handler.wfile.write(b"220 mail.example ESMTP\r\n\r\n")
    handler.close_connection = True


def pours(handler: "_Handler") -> None:
    """Send a body without an end, until the client has had enough."""
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    with suppress(OSError):
        while True:
            handler.wfile.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Listener"

    @property
    def api(self) -> "ApiServer":
        return self.server.api

    def do_GET(self) -> None:  # the name that http.server looks for
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        misbehave = self.api.next_misbehaviour()
        if misbehave is not None:
            misbehave(self)
            return
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        content = json.loads(body) if body else None
        self.say(self.api.cluster.answer(self.command, self.path, content, self.headers.get("Content-Type", ""), token))

    do_POST = do_PATCH = do_GET  # noqa: N815  # the same

    def say(self, answer: Answer, raw: bytes | None = None) -> None:
        body = json.dumps(answer.body).encode() if raw is None else raw
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(OSError):  # a client may have heard enough
            self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """Nobody reads it."""


class _Listener(ThreadingHTTPServer):
    daemon_threads = False
    api: "ApiServer"

    def get_request(self) -> tuple[socket.socket, Any]:
        raw, address = super().get_request()
        connection = self.api.context.wrap_socket(raw, server_side=True, do_handshake_on_connect=False)
        self.api.connections.append(connection)
        return connection, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that does not trust us, or has gone."""


class ApiServer:
    """One server at 127.0.0.1. ``misbehave`` has what it does instead of answering, one for each of the next requests."""

    def __init__(self, cluster: StoredCluster) -> None:
        self.cluster = cluster
        self.misbehave: list[Misbehaviour] = []
        self.ended = threading.Event()
        self.connections: list[ssl.SSLSocket] = []
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(TLS / "server.crt", TLS / "server.key")
        self._port = 0
        self._listener: _Listener | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        return self._port

    def next_misbehaviour(self) -> Misbehaviour | None:
        return self.misbehave.pop(0) if self.misbehave else None

    def start(self) -> None:
        """At the same port as before, if it was there before."""
        self.ended.clear()
        self._listener = _Listener(("127.0.0.1", self._port), _Handler)
        self._listener.api = self
        self._port = self._listener.server_address[1]
        self._thread = threading.Thread(target=self._listener.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def stop(self) -> None:
        """As when its machine loses power: connections end, and no new one is accepted."""
        if self._listener is None or self._thread is None:
            return
        self.ended.set()
        self._listener.shutdown()
        self._thread.join()
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._listener.server_close()  # waits for the threads of the connections
        for connection in self.connections:
            connection.close()
        self.connections.clear()
        self._listener = None


@contextmanager
def serving(cluster: StoredCluster) -> Iterator[ApiServer]:
    server = ApiServer(cluster)
    server.start()
    try:
        yield server
    finally:
        server.stop()
