"""What the plugin and the process that reads sysfs say to each other."""

from msgspec import Struct

from supervisor_fpga.config import Declared, Vfio

PROGRAM = "fpga-sysfs"


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
    """Answered with a ``Report``."""


class Watch(Struct, frozen=True):
    """Turns the connection into a stream of ``Poll``."""

    poll: float = 5.0
