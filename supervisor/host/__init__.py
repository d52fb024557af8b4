"""The host seen under the configured roots: bounded reads, devices, NUMA, PCI, USB, the udev database.

One code path serves the real roots and any other: nothing here asks libudev, which knows no root. Names are the host's own
(``/dev/fuse``, ``/sys/class/tty``) everywhere; ``Host`` alone knows where this process sees them.
"""

from supervisor.host.device import HostDevice, UsbFacts
from supervisor.host.names import glob_pattern, natural_order
from supervisor.host.roots import Host
from supervisor.host.udevdb import UdevRecord, parse_record
from supervisor.host.view import HostNode, HostView

__all__ = [
    "Host",
    "HostDevice",
    "HostNode",
    "HostView",
    "UdevRecord",
    "UsbFacts",
    "glob_pattern",
    "natural_order",
    "parse_record",
]
