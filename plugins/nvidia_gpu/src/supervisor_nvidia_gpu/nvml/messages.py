"""What the plugin and the process with NVML say to each other."""

from msgspec import Struct

from supervisor_nvidia_gpu.report import Report

PROGRAM = "nvidia-nvml"
"""Its entry point in the group ``device_plugin_supervisor.programs``."""


class Options(Struct, frozen=True):
    """What the process is started with."""

    mount: str = ""
    """Where it sees the host's root; empty: by convention."""
    root: str | None = None
    """The driver's root as the host names it; ``None``: the usual ones."""
    proc: str = "/proc"


class Look(Struct, frozen=True):
    """Answered with ``Seen``."""

    usage: bool = False
    patience: float = 1.0
    """Seconds to wait for NVML while it is starting, which may take seconds for each GPU."""


class Seen(Struct, frozen=True):
    """A report, or why there is none."""

    report: Report | None = None
    why: str = ""
    gone: bool = False
    """Whether that is because there is no driver, or no library of one."""
    starting: float | None = None
    """For so many seconds NVML has been starting; then it is worth asking again. Otherwise the process is of no use any more."""


class Watch(Struct, frozen=True):
    """Turns the connection into a stream of ``tuple[GpuEvent, ...]``."""
