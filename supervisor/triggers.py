"""udev, reduced to "look again": one netlink socket for all plugins, read in the trio loop without a thread.

The kernel's own events are taken, not udevd's: those stay in the network namespace of the host, and libudev turns their
reception off without a word where it sees no udevd, as in an ordinary container. Of an event only its subsystem counts: events
get lost and come late, so what is there is told by a look, and a slow full look backs all of this up.
"""

import errno
import fcntl
import os
import socket
from collections.abc import Awaitable, Callable, Collection
from contextlib import closing
from typing import NamedTuple, NoReturn, Protocol

import trio

from supervisor.events import Observer, UdevImpaired, UeventReceived

EVERY = "*"
"""Stands for all subsystems: what a plugin may want, and what is woken when events were lost."""

BATCH = 64
"""Events taken in one turn of the loop, so that a storm of them (tens of thousands a second) starves nobody."""

FIRST_RETRY = 1.0
LAST_RETRY = 300.0
"""Seconds between attempts to open the socket: doubled from the first to the last."""

_NS_GET_USERNS = 0xB701  # linux/nsfs.h
_INITIAL_USER_NAMESPACE = 0xEFFFFFFD  # linux/proc_ns.h, PROC_USER_INIT_INO

Wake = Callable[[str], None]
"""Takes a subsystem, or ``EVERY``. Called in the trio thread; must be quick and must not raise."""


class Batch(NamedTuple):
    """What one turn gave."""

    events: list[UeventReceived]
    lost: bool = False
    """There were more events than the kernel could keep."""
    drained: bool = True
    """Nothing is left to take."""


def concerns(subsystem: str, wanted: Collection[str]) -> bool:
    """Whether a wake for ``subsystem`` is for someone who wants the subsystems ``wanted``."""
    return subsystem == EVERY or subsystem in wanted or EVERY in wanted


async def watch_udev(
    wake: Wake,
    observe: Observer,
    wanted: Callable[[], Collection[str]],
    *,
    connect: "Callable[[], Awaitable[Source]] | None" = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Call ``wake`` for each event of a subsystem that is wanted at that time; started after the first attempt to listen.

    Where it cannot listen (no libudev, a broken socket) it says so with ``UdevImpaired``, tries again later, and then wakes
    ``EVERY``. ``connect`` opens another source than the kernel's events.
    """
    said, retry, first = "", FIRST_RETRY, True
    while True:
        source, problem = await _open(connect or _connect)
        if problem not in {"", said}:
            observe(UdevImpaired(problem))
        said = problem
        if first:
            task_status.started()
        elif source is not None:
            wake(EVERY)
        first = False
        if source is not None:
            opened = trio.current_time()
            with closing(source):
                broken = await _forward(source, wake, observe, wanted)
            observe(UdevImpaired(f"the event socket broke ({broken}); it is opened again"))
            if trio.current_time() - opened > LAST_RETRY:
                retry = FIRST_RETRY
        await trio.sleep(retry)
        retry = min(2 * retry, LAST_RETRY)


async def _connect() -> "Source":
    return await trio.to_thread.run_sync(KernelEvents)  # a thread just for this: importing pyudev runs ldconfig


async def _open(connect: "Callable[[], Awaitable[Source]]") -> "tuple[Source | None, str]":
    try:
        source = await connect()
    except ImportError as error:
        return None, f"libudev cannot be loaded ({error}): install libudev1; until then only timed looks see changes"
    except OSError as error:
        return None, f"no event socket ({error}); only timed looks see changes"
    return source, source.warning


async def _forward(source: "Source", wake: Wake, observe: Observer, wanted: Callable[[], Collection[str]]) -> OSError:
    overflowed = False
    while True:
        await trio.lowlevel.wait_readable(source.fileno())
        try:
            batch = source.receive()
        except OSError as error:
            return error
        now_wanted = wanted()
        events = [event for event in batch.events if concerns(event.subsystem, now_wanted)]
        for event in events:
            observe(event)
        for subsystem in dict.fromkeys(event.subsystem for event in events):
            wake(subsystem)
        if batch.lost:
            observe(UdevImpaired("more events came than the kernel could keep; all plugins look again"))
        if batch.lost or (overflowed and batch.drained):  # what is lost until it is drained is not reported again
            wake(EVERY)
        overflowed = batch.lost or (overflowed and not batch.drained)


class Source(Protocol):
    """An open event socket."""

    @property
    def warning(self) -> str:
        """Why it may stay silent although it is open; empty when it should not."""

    def fileno(self) -> int:
        """The descriptor that is readable when there are events, or an overflow."""

    def receive(self) -> Batch:
        """Take what is there without waiting, at most ``BATCH`` events. Raises ``OSError`` when the socket is broken."""

    def close(self) -> None:
        """Give the socket back."""


class KernelEvents:
    """The kernel's uevents, received by libudev. Raises ``ImportError`` without libudev, ``OSError`` without a socket."""

    def __init__(self) -> None:
        import pyudev

        self._monitor = pyudev.Monitor.from_netlink(pyudev.Context(), source="kernel")
        self._monitor.start()
        self._socket = socket.socket(fileno=os.dup(self._monitor.fileno()))
        if self._socket.getsockname()[1] == 0:
            self.close()
            raise OSError("libudev listens to no event group")
        self.warning = _deafness()

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self) -> Batch:
        events: list[UeventReceived] = []
        for _ in range(BATCH):
            try:
                device = self._monitor.poll(timeout=0)
            except OSError as error:
                # An overflow stays on the socket, and pyudev fails on it again and again, until someone asks for it here.
                pending = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if errno.ENOBUFS in {error.errno, pending}:
                    return Batch(events, lost=True, drained=False)
                raise
            if device is None:
                return Batch(events)
            events.append(UeventReceived(device.subsystem or "", device.action or ""))
        return Batch(events, drained=False)

    def close(self) -> None:
        self._socket.close()
        del self._monitor  # libudev closes its descriptor with the last reference


def _deafness() -> str:
    """Why the kernel sends no events here: it leaves out network namespaces that a user namespace of their own owns."""
    try:
        namespace = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        owner = fcntl.ioctl(namespace, _NS_GET_USERNS)
    except OSError:  # not ours to see, so not one of our own
        return ""
    finally:
        os.close(namespace)
    try:
        if os.fstat(owner).st_ino == _INITIAL_USER_NAMESPACE:
            return ""
    finally:
        os.close(owner)
    return "the kernel sends no events into this user namespace: run the pod with hostUsers: true, or rely on timed looks"
