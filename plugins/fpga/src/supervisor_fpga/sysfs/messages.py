"""What the plugin and the process that reads sysfs say to each other."""

from msgspec import Struct

from supervisor_fpga.config import Declared, Vfio
from supervisor_fpga.report import Poll, Report

PROGRAM = "fpga-sysfs"
"""Its entry point in the group ``device_plugin_supervisor.programs``."""

NO_DRIVER = "no driver for FPGAs is loaded, or none has found one"


class Options(Struct, frozen=True):
    """What the process is started with."""

    sysfs: str = "/sys"
    dev: str = "/dev"
    patience: float = 0.5
    """Seconds for one card, after which its functions are ``unresponsive`` until its read has come back."""
    vfio: tuple[Vfio, ...] = ()
    declared: tuple[Declared, ...] = ()
    simulated: str = ""


class Look(Struct, frozen=True):
    """Answered with ``Seen``."""


class Seen(Struct, frozen=True):
    """A report, and when it was made: what was told of an older one is stale."""

    report: Report
    number: int
    """Nanoseconds of ``time.monotonic``; grows from process to process, too."""


class Watch(Struct, frozen=True):
    """Turns the connection into a stream of ``Told``."""

    poll: float = 5.0
    """Seconds."""


class Told(Struct, frozen=True):
    """What has changed since the newest look, and since what was told after it."""

    poll: Poll
    after: int
    """``Seen.number`` of that look; 0 where there was none."""
