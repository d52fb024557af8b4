"""A listener, standing for any program that watches devices: `python -m tests.bed.monitor SOURCE [SUBSYSTEM[/DEVTYPE] ...]`.

It prints one JSON line with its netlink groups and the PCI devices it finds, then a line for each event, until its input
ends.
"""

import json
import socket
import sys

import pyudev
import trio


async def listen(monitor: pyudev.Monitor) -> None:
    """Print events as they come."""
    while True:
        await trio.lowlevel.wait_readable(monitor.fileno())
        while (device := monitor.poll(timeout=0)) is not None:
            say(action=device.action, subsystem=device.subsystem, name=device.sys_name, node=device.device_node)


def say(**facts: object) -> None:
    """Print one line of JSON."""
    print(json.dumps(facts), flush=True)


def groups(monitor: pyudev.Monitor) -> int:
    """The netlink groups that the monitor's socket listens to; 0 means that it will never hear a thing."""
    with socket.fromfd(monitor.fileno(), socket.AF_NETLINK, socket.SOCK_RAW) as netlink:
        bound: int = netlink.getsockname()[1]
    return bound


async def main(source: str, wanted: list[str]) -> None:
    """Listen until the input ends."""
    context = pyudev.Context()
    monitor = pyudev.Monitor.from_netlink(context, source=source)
    for subsystem, _, devtype in (filtered.partition("/") for filtered in wanted):
        monitor.filter_by(subsystem, devtype or None)
    monitor.start()
    say(groups=groups(monitor), pci=sorted(device.sys_name for device in context.list_devices(subsystem="pci")))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen, monitor)
        await trio.to_thread.run_sync(sys.stdin.read)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2:])
