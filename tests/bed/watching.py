"""The supervisor's own event source, run alone in a bed: `python -m tests.bed.watching [--overflow] [SUBSYSTEM ...]`.

It prints "ready" when it listens, then each thing it says as one line of JSON: a wake as its subsystem, an event as a list of
its kind and fields. With `--overflow` it first makes its buffer too small for the burst of events that it sends itself.
"""

import json
import socket
import sys

import trio

from supervisor.events import Event, UdevImpaired, UeventReceived
from supervisor.triggers import KernelEvents, watch_udev
from tests.bed import inject
from tests.bed.overflow import EVENTS, SMALL


class SmallKernelEvents(KernelEvents):
    def __init__(self) -> None:
        super().__init__()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)


async def connect_small() -> KernelEvents:
    """Open the real source with a small buffer."""
    return SmallKernelEvents()


def say(what: object) -> None:
    """Print one line of JSON."""
    print(json.dumps(what), flush=True)


def observe(event: Event) -> None:
    """Say an event."""
    match event:
        case UeventReceived(subsystem=subsystem, action=action):
            say(["event", subsystem, action])
        case UdevImpaired(reason=reason):
            say(["impaired", reason])


async def main(wanted: list[str], *, overflow: bool) -> None:
    """Watch until the input ends."""

    async def watch(*, task_status: trio.TaskStatus[None]) -> None:
        connect = connect_small if overflow else None
        await watch_udev(say, observe, lambda: wanted, connect=connect, task_status=task_status)

    async with trio.open_nursery() as nursery:
        await nursery.start(watch)
        say("ready")
        if overflow:
            for _ in range(EVENTS):  # without a pause, so that nothing is read in between
                inject.kernel("change", "/devices/virtual/mem/null", "mem")
        await trio.to_thread.run_sync(sys.stdin.read)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    arguments = sys.argv[1:]
    trio.run(lambda: main([name for name in arguments if name != "--overflow"], overflow="--overflow" in arguments))
