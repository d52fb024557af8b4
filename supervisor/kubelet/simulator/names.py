"""Which resource names the kubelet accepts, and how it spells a gRPC error."""

from __future__ import annotations

import re

import grpc

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*\Z")
_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]\Z")
_QUOTA_PREFIX = "requests."


def is_extended_resource(name: str) -> bool:
    """Say whether ``name`` may be registered: a qualified name of a vendor, not of Kubernetes, not a quota's."""
    if "/" not in name or "kubernetes.io/" in name or name.startswith(_QUOTA_PREFIX):
        return False
    domain, _, rest = (_QUOTA_PREFIX + name).partition("/")
    if len(domain) > 253 or not 1 <= len(rest) <= 63:
        return False
    return _DOMAIN.match(domain) is not None and _NAME.match(rest) is not None


def go_error(error: grpc.aio.AioRpcError) -> str:
    """Spell a gRPC error as a Go program prints it."""
    return f"rpc error: code = {go_code(error.code())} desc = {error.details() or ''}"


def go_code(code: grpc.StatusCode) -> str:
    """Return Go's name of a status code, ``DeadlineExceeded`` for ``DEADLINE_EXCEEDED``."""
    if code is grpc.StatusCode.OK:
        return "OK"
    if code is grpc.StatusCode.CANCELLED:
        return "Canceled"
    return "".join(part.capitalize() for part in code.name.split("_"))
