"""What a monitor does when the kernel drops events for it: `python -m tests.bed.overflow`, inside a bed.

It makes the socket's buffer small, sends more events than fit, and prints as JSON how polling fares before and after the
error of the socket is fetched.
"""

import errno
import json
import os
import socket

import pyudev

from tests.bed import inject

EVENTS = 300
SMALL = 20_000
"""Bytes of receive buffer: room for some dozens of events."""


def event() -> None:
    """Announce a change of a device that every machine has."""
    inject.kernel("change", "/devices/virtual/mem/null", "mem")


def polls(monitor: pyudev.Monitor) -> bool:
    """Whether a poll succeeds."""
    try:
        monitor.poll(timeout=0)
    except OSError:
        return False
    return True


def drained(monitor: pyudev.Monitor) -> int:
    """Read all that waits; return how many events that was."""
    events = 0
    while monitor.poll(timeout=0) is not None:
        events += 1
    return events


def main() -> None:
    """Overflow the socket, and recover."""
    monitor = pyudev.Monitor.from_netlink(pyudev.Context(), source="kernel")
    monitor.start()
    with socket.socket(fileno=os.dup(monitor.fileno())) as netlink:
        netlink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        for _ in range(EVENTS):
            event()
        before = [polls(monitor) for _ in range(5)]
        error = errno.errorcode[netlink.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)]
    kept = drained(monitor)
    event()
    print(json.dumps({"before": before, "error": error, "kept": kept, "after": drained(monitor)}))


if __name__ == "__main__":
    main()
