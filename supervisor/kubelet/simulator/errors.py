"""What can go wrong when a test or a demo asks something of the simulator."""

from __future__ import annotations

from typing import Any


class SimulatorError(Exception):
    """The simulator could not do what it was asked."""


class KubeletDownError(SimulatorError):
    """No kubelet is running, or it died while it was working on the request."""


class KubeletStartError(SimulatorError):
    """The kubelet could not start and has exited, as a real one does; the message is the kubelet's."""


class NotFoundError(SimulatorError):
    """No such pod, container, resource or operation."""


class PluginCallError(SimulatorError):
    """A raw call to a plugin ended with a gRPC error, ``code`` in upper case (``NOT_FOUND``)."""

    def __init__(self, message: str, code: str = "UNKNOWN") -> None:
        """Keep the gRPC status beside the plugin's text."""
        super().__init__(message)
        self.code = code


ERRORS: dict[str, type[SimulatorError]] = {
    error.__name__: error for error in (SimulatorError, KubeletDownError, KubeletStartError, NotFoundError, PluginCallError)
}
"""By name, as they travel over the control channel."""


def error_from_json(data: dict[str, Any]) -> SimulatorError:
    """Rebuild an error that came over the channel."""
    kind = ERRORS.get(data["type"], SimulatorError)
    if kind is PluginCallError:
        return PluginCallError(data["message"], data["code"])
    return kind(data["message"])
