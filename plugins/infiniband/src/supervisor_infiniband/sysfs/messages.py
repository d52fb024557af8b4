"""What the plugin and the process that reads sysfs say to each other."""

from msgspec import Struct

PROGRAM = "infiniband-sysfs"
"""Its entry point in the group ``device_plugin_supervisor.programs``."""


class Options(Struct, frozen=True):
    """What the process is started with."""

    sysfs: str = "/sys"
    dev: str = "/dev"
    patience: float = 0.5
    """Seconds for one device, after which it is ``unresponsive`` until its read has come back."""
    hw_counters: tuple[str, ...] = ()
    """Shell patterns."""
    simulated: str = ""


class Look(Struct, frozen=True):
    """Answered with a ``Report``."""


class Watch(Struct, frozen=True):
    """Turns the connection into a stream of ``Poll``."""

    poll: float = 1.0
    counters: float = 15.0
