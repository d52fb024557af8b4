"""What the plugin and the process that reads sysfs say to each other."""

from msgspec import Struct

from supervisor_infiniband.report import Poll, Report

PROGRAM = "infiniband-sysfs"
"""Its entry point in the group ``device_plugin_supervisor.programs``."""


NO_MODULE = "the kernel module ib_core is not loaded: there is no /sys/class/infiniband"


class Options(Struct, frozen=True):
    """What the process is started with."""

    sysfs: str = "/sys"
    dev: str = "/dev"
    patience: float = 0.5
    """Seconds for one device, after which it is ``unresponsive`` until its read has come back."""
    hw_counters: tuple[str, ...] = ()
    """Shell patterns."""
    simulated: str = ""
    rtnetlink: bool = False
    """Poll at once when an interface goes up or down."""


class Look(Struct, frozen=True):
    """Answered with ``Seen``."""


class Seen(Struct, frozen=True):
    """A report, and when it was made: what was told of an older one is stale."""

    report: Report
    number: int
    """Nanoseconds of ``time.monotonic``; grows from process to process, too."""


class Compare(Struct, frozen=True):
    """Answered with ``Compared``: whether anything but ports may be another than at a look."""

    number: int
    """``Seen.number`` of that look."""


class Compared(Struct, frozen=True):
    """Told by names and inodes, without a question to any device."""

    same: bool


class Watch(Struct, frozen=True):
    """Turns the connection into a stream of ``Told``."""

    poll: float = 1.0
    counters: float = 30.0


class Told(Struct, frozen=True):
    """What has changed since the newest look, and since what was told after it."""

    poll: Poll
    after: int
    """``Seen.number`` of that look; 0 where there was none."""
