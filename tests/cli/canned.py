"""A server that answers as a test wants, over plain HTTP or TLS, and reports to answer with."""

import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec

from supervisor.model import Health
from supervisor.report import (
    API_VERSION,
    AttributionReport,
    ConfigReport,
    DeviceReport,
    EventReport,
    Heartbeats,
    HolderReport,
    KubeletReport,
    NoticeReport,
    PluginReport,
    Report,
    ResourceReport,
)
from supervisor.status import NoticeOrigin, Phase, PluginState

NOW = "2026-03-01T12:00:00.000Z"
EARLIER = "2026-03-01T11:58:00.000Z"
LONG_AGO = "2026-02-27T09:00:00.000Z"

WIDGET = ResourceReport(
    name="acme.example/widget",
    plugin="widgets",
    phase=Phase.CONNECTED,
    since=LONG_AGO,
    healthy=1,
    unhealthy=2,
    tombstones=1,
    held=1,
    devices=(
        DeviceReport("widget-0", Health.HEALTHY, LONG_AGO, "", (1,), (HolderReport("default", "web-0", "main"),)),
        DeviceReport("widget-1", Health.UNHEALTHY, EARLIER, "its fan stands still"),
        DeviceReport(
            "gone-1", Health.UNHEALTHY, EARLIER, "vanished", holders=(HolderReport("", "1f3a", "init", certain=False),)
        ),
    ),
)
NOTICE = NoticeReport(NoticeOrigin.LOOK, "", "the driver is old", EARLIER)
EVENT = EventReport(EARLIER, EARLIER, "warning", "DeviceChanged", "acme.example/widget: widget-1 is unhealthy", 3)

READY = Report(
    api_version=API_VERSION,
    kind="Status",
    version="0.1.0",
    time=NOW,
    node="node-1",
    started_at=LONG_AGO,
    ready=True,
    live=True,
    active=True,
    active_reason="nobody else held the lock",
    active_since=LONG_AGO,
    started=True,
    reasons=("plugin widgets: the driver is old",),
    heartbeats=Heartbeats(0.1, 0.2),
    kubelet=KubeletReport(connected=True, since=LONG_AGO),
    config=ConfigReport(3),
    attribution=AttributionReport(known=True, source="podresources", read_at=NOW),
    resources=(WIDGET,),
    plugins=(PluginReport("widgets", "acme-widgets", "1.2", PluginState.UP, last_look=EARLIER, notices=(NOTICE,)),),
    events=(EVENT,),
)


def edited(report: Report = READY, **fields: Any) -> bytes:
    """The report's document, with other values for some of its fields, by their names in JSON."""
    return msgspec.json.encode(msgspec.to_builtins(report) | fields)


class Handler(BaseHTTPRequestHandler):
    """One request; what it is answered with is the server's ``answer``."""

    protocol_version = "HTTP/1.1"
    server: "Canned"

    def do_GET(self) -> None:
        self.server.seen.append({name.lower(): value for name, value in self.headers.items()} | {"path": self.path})
        self.close_connection = True
        self.server.answer(self)

    def send(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"content-length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its parent's name
        """Say nothing."""


Answer = Callable[[Handler], object]


class Canned(ThreadingHTTPServer):
    """Listens on a port of 127.0.0.1 that is free."""

    daemon_threads = True

    def __init__(self, answer: Answer, context: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = answer
        self.seen: list[dict[str, str]] = []
        """Headers and path of every request."""
        self.over = threading.Event()
        self._scheme = "https" if context else "http"
        if context is not None:
            # The handshake belongs to the thread of its connection, where a failed one disturbs nobody.
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away, or shakes no hands, is what these tests are about."""


@contextmanager
def canned(answer: Answer | bytes, context: ssl.SSLContext | None = None) -> Iterator[Canned]:
    """Serve until the end of the block. Bytes are sent as they are, with 200."""
    respond: Answer = answer if callable(answer) else (lambda handler: handler.send(answer))
    with Canned(respond, context) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()


class Certificate:
    """A certificate that vouches for itself, made by the command ``openssl``."""

    def __init__(self, folder: Path, name: str, alternatives: str = "DNS:localhost") -> None:
        """``alternatives`` are the names and addresses it is for; ``name`` those of its files."""
        self.cert, self.key = folder / f"{name}.pem", folder / f"{name}-key.pem"
        command = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ]
        names = ["-subj", f"/CN={name}", "-addext", f"subjectAltName={alternatives}", "-addext", "basicConstraints=CA:FALSE"]
        files = ["-keyout", str(self.key), "-out", str(self.cert)]
        subprocess.run([*command, *names, *files], check=True, capture_output=True)

    def context(self, clients: "Certificate | None" = None) -> ssl.SSLContext:
        """Of a server that shows it, and that wants to see the one of ``clients``."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert, self.key)
        if clients is not None:
            context.load_verify_locations(clients.cert)
            context.verify_mode = ssl.CERT_REQUIRED
        return context
