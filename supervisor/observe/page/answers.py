"""What the paths of the page answer."""

from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Final

from supervisor.observe.exchange import Request, Response
from supervisor.observe.page.document import draw, tag
from supervisor.report import Report

ASSETS: Final = {"/page.css": "text/css; charset=utf-8", "/page.js": "text/javascript; charset=utf-8"}
"""The files that the page asks for, with their types."""

_POLICY: Final = {
    "default-src": "'none'",
    "style-src": "'self'",
    "script-src": "'self'",
    "connect-src": "'self'",
    "img-src": "'self' data:",
    "base-uri": "'none'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
}
_SAFE: Final = (
    ("Content-Security-Policy", "; ".join(f"{name} {sources}" for name, sources in _POLICY.items())),
    ("Referrer-Policy", "no-referrer"),
)
_ASK_AGAIN: Final = ("Cache-Control", "no-cache")
"""A copy may be kept, but not shown before the server has said that it is still good."""


def show(report: Report, request: Request) -> Response:
    """The page, or that the reader already has it. Takes milliseconds where there are thousands of devices."""
    etag = tag(report, request.query)
    if request.has(etag):
        return Response(304, b"", headers=(("ETag", etag), _ASK_AGAIN))
    return Response(200, draw(report, request.query), "text/html; charset=utf-8", (("ETag", etag), _ASK_AGAIN, *_SAFE))


def asset(request: Request) -> Response:
    """The stylesheet or the script. Raises ``KeyError`` for any other path."""
    content_type = ASSETS[request.path]
    body, etag = _read(request.path)
    if request.has(etag):
        return Response(304, b"", headers=(("ETag", etag), _ASK_AGAIN))
    return Response(200, body, content_type, (("ETag", etag), _ASK_AGAIN, *_SAFE))


@cache
def _read(path: str) -> tuple[bytes, str]:
    body = Path(__file__).with_name(path.removeprefix("/")).read_bytes()
    return body, f'W/"{blake2b(body, digest_size=12).hexdigest()}"'
