"""Time: what it was when something happened, and which boot of the node this is."""

import ctypes
import time
from collections.abc import Callable, Iterator

from supervisor.doctor.site import Site
from supervisor.model import Finding

EARLIEST = 1_577_836_800
"""2020-01-01 as a Unix time: before it, no kubelet that this works with existed."""

_STA_UNSYNC = 0x40
"""``linux/timex.h``"""
_STATUS = 40
"""Where ``status`` is in ``struct timex`` of 64-bit Linux: after ``modes`` and four longs, padded."""
_TIMEX_BYTES = 256
"""More than ``struct timex`` has."""


def wall_clock(_: Site, now: Callable[[], float] = time.time) -> Iterator[Finding]:
    """A clock that is far off makes certificates invalid and dates in logs useless."""
    seconds = now()
    date = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))
    if seconds < EARLIEST:
        cure = "Set it, and let chrony or systemd-timesyncd keep it right: certificates of the cluster are not valid yet."
        yield Finding("failure", "clock", f"It says {date} UTC.", cure)
    else:
        yield Finding("ok", "clock", f"It says {date} UTC.")


def synchronised(_: Site, status: "Callable[[], int | None] | None" = None) -> Iterator[Finding]:
    """Does anything keep the clock right, by the kernel's own word?"""
    word = (status or clock_status)()
    if word is None:
        yield Finding("note", "clock synchronisation", "It is not known: the kernel does not answer adjtimex.")
    elif word & _STA_UNSYNC:
        cure = "Run chrony, ntpd or systemd-timesyncd on the node (virtual machines: chrony with the host's PTP clock)."
        yield Finding("warning", "clock synchronisation", "The kernel does not know that anybody keeps the clock right.", cure)
    else:
        yield Finding("ok", "clock synchronisation", "Somebody keeps the clock right.")


def clock_status() -> int | None:
    """The status word of ``adjtimex``, asked with no mode set, which changes nothing."""
    timex = ctypes.create_string_buffer(_TIMEX_BYTES)
    if ctypes.CDLL(None, use_errno=True).adjtimex(timex) < 0:
        return None
    return int.from_bytes(timex.raw[_STATUS : _STATUS + 4], "little")


def boot_id(site: Site) -> Iterator[Finding]:
    """What plugins remember is kept until the node boots, which is told by this."""
    if site.view.read("/proc/sys/kernel/random/boot_id"):
        yield Finding("ok", "boot id", "It can be read.")
    else:
        text = "It cannot be read: what plugins remember, such as broken devices, is lost at each restart of the supervisor."
        yield Finding("warning", "boot id", text, "Mount the host's /proc, or set host.proc to where it is.")


def time_namespace(site: Site) -> Iterator[Finding]:
    """In one of its own, times since boot differ from the host's."""
    lines = [line.split() for line in (site.view.read("/proc/self/timens_offsets") or "").splitlines()]
    if any(word.strip("-0") for line in lines for word in line[1:]):
        text = "One of its own: times since boot are not those of the host's logs."
        yield Finding("note", "time namespace", text, "Start the container without an offset of its clocks.")
