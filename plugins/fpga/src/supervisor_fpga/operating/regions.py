"""One operation at a time for each region: among the threads of this process, and among processes that share a directory.

A lock's file tells, too, whether its region was being programmed and never came to the end. The kernel gives up a lock when its process
ends, and not before: one that hangs in a driver keeps its region.
"""

import fcntl
import hashlib
import os
import re
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from supervisor_fpga.operating.outcome import Clock, Stopped

PAUSE = 0.01
"""Seconds between two tries for a lock that another process has."""

_HALF = b"programming has begun\n"


class Claim:
    """A region that is ours."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @property
    def lock(self) -> int:
        """A descriptor; while any process has it or a copy, the region is locked."""
        return self._descriptor

    @property
    def half_done(self) -> bool:
        """Whether its programming began once and was never seen to succeed: whatever it says of itself then proves nothing."""
        return os.fstat(self._descriptor).st_size > 0

    def begin(self) -> None:
        """Note that programming begins."""
        os.pwrite(self._descriptor, _HALF, 0)

    def succeed(self) -> None:
        """Note that it holds what it should, or what it held before."""
        os.ftruncate(self._descriptor, 0)


class Regions:
    """Those of this machine."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._change = threading.Condition()
        self._queues: dict[str, deque[Clock]] = {}
        """The one at work, then those who wait, in the order of their coming."""

    @contextmanager
    def held(self, region: str, clock: Clock) -> Iterator[Claim]:
        """Hold a region. Raises ``Stopped`` when that is not possible in time."""
        clock.begin("waiting for another operation in its region")
        self._enter(region, clock)
        try:
            with self._locked(region, clock) as claim:
                yield claim
        finally:
            self._leave(region, clock)

    def _enter(self, region: str, clock: Clock) -> None:
        with self._change:
            queue = self._queues.setdefault(region, deque())
            queue.append(clock)
            while queue[0] is not clock:
                now = time.monotonic()
                if now >= queue[0].deadline or now >= clock.deadline:
                    self._leave(region, clock)
                    raise self._occupied(queue[0], now)
                self._change.wait(min(clock.deadline, queue[0].deadline) - now)

    def _occupied(self, holder: Clock, now: float) -> Stopped:
        if now < holder.deadline:
            return Stopped("late", "other operations in its region took all the time")
        over = now - holder.deadline
        return Stopped("busy", f"the driver has not come back from {holder.step}, {over:.0f} s after its time")

    def _leave(self, region: str, clock: Clock) -> None:
        with self._change:
            queue = self._queues[region]
            queue.remove(clock)
            if not queue:
                del self._queues[region]
            self._change.notify_all()

    @contextmanager
    def _locked(self, region: str, clock: Clock) -> Iterator[Claim]:
        try:
            Path(self._folder).mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(f"{self._folder}/{_file(region)}", flags, 0o600)
        except OSError as error:
            raise Stopped(
                "refused", f"no lock can be made in {self._folder}: {(error.strerror or str(error)).lower()}"
            ) from error
        try:
            while not _try(descriptor):
                clock.check()
                time.sleep(min(PAUSE, clock.left))
            clock.check()
            yield Claim(descriptor)
        finally:
            os.close(descriptor)


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _file(region: str) -> str:
    """A name for people, and a checksum that keeps those apart which look alike."""
    return f"{re.sub('[^-.:_0-9A-Za-z]', '_', region)[:80]}-{hashlib.sha256(region.encode()).hexdigest()[:12]}.lock"
