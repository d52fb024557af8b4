"""Versions, to be quoted in a report of a mistake."""

import platform
from collections.abc import Iterator
from importlib import metadata

from supervisor import __version__
from supervisor.doctor.site import Site
from supervisor.model import Finding

_LIBRARIES = ("grpcio", "protobuf", "trio", "pyudev", "pluggy", "msgspec", "prometheus-client")


def versions(_: Site) -> Iterator[Finding]:
    """Of this program and what it stands on."""
    yield Finding("ok", "device-plugin-supervisor", __version__)
    system = f"Python {platform.python_version()}, {platform.system()} {platform.release()}, {platform.machine()}"
    yield Finding("ok", "platform", system)
    yield Finding("ok", "libraries", ", ".join(f"{name} {metadata.version(name)}" for name in _LIBRARIES))
