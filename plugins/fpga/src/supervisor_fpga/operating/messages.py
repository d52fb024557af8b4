"""What the plugin and the process that operates FPGAs say to each other."""

from typing import Literal

from msgspec import Struct

PROGRAM = "fpga-operate"
"""Its entry point in the group ``device_plugin_supervisor.programs``."""

GRACE = 0.8
"""Seconds after the deadline of a request that whoever asks should wait before the process is taken for one that hangs."""

BITSTREAMS = "/var/lib/device-plugin-supervisor/bitstreams"
"""Where the process finds bitstreams, and only there, unless its own environment says otherwise (``FPGA_BITSTREAMS``)."""


class Options(Struct, frozen=True):
    """What the process is started with. Which files and devices it may touch is not among it: a directory that is not the kernel's own
    sysfs does not count, and in the helper these are ``/sys`` and ``/dev``. Only its environment says otherwise (``settings``).
    """

    sysfs: str = "/sys"
    dev: str = "/dev"


class Bitstream(Struct, frozen=True):
    """A file, as the resource names it."""

    name: str
    """Below the directory of bitstreams."""
    sha256: str
    afu_id: str = ""
    interface_id: str = ""
    signature: str = ""


class Prepare(Struct, frozen=True):
    """Make a function ready for a container; answered with ``Prepared``. One request at a time for one region."""

    function: str
    """Its id: the process finds the device by itself."""
    region: str
    """As the plugin calls it, for people; the process finds out by itself which it is."""
    backend: str
    deadline: float
    """``time.monotonic()``, which all processes of a machine share. The answer comes ``GRACE`` seconds after it at the latest."""
    bitstream: Bitstream | None = None
    ways: tuple[str, ...] = ()
    """Of programming that may be used; the first that fits is."""
    reset: bool = False
    """There must be a reset, unless it is programmed. Where the driver has one for a single port, there is one in any case."""
    clear_errors: bool = True


class Prepared(Struct, frozen=True):
    """What came of it."""

    outcome: Literal["ready", "busy", "refused", "failed", "late"]
    """``busy``: it is open elsewhere; ``refused``: file or request are not allowed, the device is as it was; ``failed``: the hardware is."""
    text: str = ""
    """In one short sentence, for a person."""
    programmed: bool = False
    was_reset: bool = False
    afu_id: str = ""
    """What it says now."""
    seconds: float = 0.0
