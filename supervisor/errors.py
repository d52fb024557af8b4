"""Errors, split by who must act. Their text says what is wrong and what to do; it reaches people as it is."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from supervisor.model import Remark


class SupervisorError(Exception):
    """The root of every error that this program raises on purpose."""


class ConfigError(SupervisorError):
    """The operator must change the configuration. ``problems`` holds one line for each, with file, line and column."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class SourceRefused(SupervisorError):
    """A file that an importer cannot translate. ``problems`` says what is wrong, and at which keys (``supervisor.Remark``)."""

    def __init__(self, problems: "tuple[Remark, ...]") -> None:
        super().__init__("; ".join(each.text for each in problems))
        self.problems = problems


class PluginRefused(SupervisorError):
    """The author of a plugin package must act: it cannot be loaded or breaks the contract."""


class PluginFailed(SupervisorError):
    """Plugin code raised, ran out of its time or answered nonsense. The device's owner must look at the plugin."""


class BorderFailed(PluginFailed):
    """The process that was asked has ended, hangs, talks nonsense or was never there; or its code raised."""


class AllocationRefused(SupervisorError):
    """An ``Allocate`` or ``PreStartContainer`` cannot be granted. The short text ends up in the pod's status."""


class UnknownDevice(AllocationRefused):
    """The kubelet named an id that this resource does not have."""


class UnhealthyDevice(AllocationRefused):
    """The kubelet named a device that is not healthy now."""


class DeviceOccupied(AllocationRefused):
    """Another id has the hardware that this device shares with it (``Device.claim``)."""


class EditConflict(AllocationRefused):
    """Two devices of one container want different things at one path or under one annotation."""


class NodeError(SupervisorError):
    """The node must be put right (a directory, its permissions, its path length); the text names the cure."""
