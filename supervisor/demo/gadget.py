"""A device that the demo makes, takes away and brings back, and that the kernel makes and unmakes each time.

Where it is permitted, a loop device with a number of its own; else a pseudo-terminal, which everybody may make.
"""

import errno
import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from supervisor.demo.hardware import Family
from supervisor.demo.place import PREFIX
from supervisor.errors import SupervisorError

PATIENCE = 5.0
"""Seconds for the kernel to make a node, or for others (udevd looks into every new disk) to close it."""

NUMBERS = range(100, 200)
"""Of loop devices: far above those that others take, who take the lowest."""

_LOOP_CONTROL = "/dev/loop-control"
_LOOP_CTL_ADD = 0x4C80  # linux/loop.h
_LOOP_CTL_REMOVE = 0x4C81
_LOOP_MAJOR = 7


class Gadget(Protocol):
    """A device that comes and goes."""

    what: str
    """In words, for the reader."""
    look_interval: int
    """Seconds between timed looks, with which it is seen soon also where no event tells of it."""
    subsystem: str
    """Of the kernel's events about it; empty where there are none."""

    @property
    def node(self) -> str:
        """The device node while it is plugged in."""

    def family(self) -> Family:
        """How it is offered."""

    def plug(self) -> None:
        """Make it. Raises ``OSError``."""

    def unplug(self) -> None:
        """Take it away if it is there. Raises ``OSError``."""

    def close(self) -> None:
        """Leave nothing of it behind. Raises ``OSError``."""


class LoopDevice:
    """A loop device without a file behind it."""

    what = "a loop device that was made just now, with nothing behind it"
    look_interval = 5
    subsystem = "block"

    def __init__(self, numbers: Sequence[int] = NUMBERS) -> None:
        """``numbers``: those to choose from. Raises ``OSError`` where loop devices cannot be made."""
        self._control = os.open(_LOOP_CONTROL, os.O_RDWR | os.O_CLOEXEC)
        self._plugged = False
        self._numbers = numbers

    @property
    def node(self) -> str:
        return f"/dev/loop{self._numbers[0]}"

    def family(self) -> Family:
        return Family("gadget", f"path: {self.node}")

    def plug(self) -> None:
        """The first time with the first number that is free. Raises ``OSError`` also where the node does not appear: in a container
        whose ``/dev`` is not the kernel's own.
        """
        for number in self._numbers:
            try:
                fcntl.ioctl(self._control, _LOOP_CTL_ADD, number)
            except FileExistsError:
                continue
            self._plugged, self._numbers = True, (number,)
            self._await_node()
            return
        raise FileExistsError(errno.EEXIST, "somebody else has such a device", self.node)

    def unplug(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while self._plugged:
            try:
                fcntl.ioctl(self._control, _LOOP_CTL_REMOVE, self._numbers[0])
                self._plugged = False
            except OSError as error:
                if error.errno != errno.EBUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def close(self) -> None:
        try:
            self.unplug()
        finally:
            os.close(self._control)

    def _await_node(self) -> None:
        deadline = time.monotonic() + PATIENCE / 5
        while not self._appeared():
            if time.monotonic() > deadline:
                self.unplug()
                raise FileNotFoundError(
                    errno.ENOENT, "the kernel made the device, but its node does not appear here", self.node
                )
            time.sleep(0.001)

    def _appeared(self) -> bool:
        try:
            status = os.stat(self.node)
        except OSError:
            return False
        return stat.S_ISBLK(status.st_mode) and status.st_rdev == os.makedev(_LOOP_MAJOR, self._numbers[0])


class PseudoTerminal:
    """A pseudo-terminal under a name that stays, as a udev rule would give it one."""

    what = "a pseudo-terminal that was made just now, under a name that stays"
    look_interval = 1
    subsystem = ""

    def __init__(self) -> None:
        """Make a place for the name. Raises ``OSError``."""
        self._directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir="/dev/shm"))
        self._name = self._directory / "pty"
        self._ends: tuple[int, ...] = ()
        self._node = ""

    @property
    def node(self) -> str:
        return self._node

    def family(self) -> Family:
        return Family("gadget", f"path: {self._name}, containerPath: /dev/gadget")

    def plug(self) -> None:
        self._ends = os.openpty()
        self._node = os.ttyname(self._ends[1])
        self._name.symlink_to(self._node)

    def unplug(self) -> None:
        self._name.unlink(missing_ok=True)
        ends, self._ends = self._ends, ()
        for end in ends:
            os.close(end)

    def close(self) -> None:
        self.unplug()
        shutil.rmtree(self._directory, ignore_errors=True)


def make_gadget() -> Gadget:
    """The best gadget of this machine, plugged in. Raises ``SupervisorError`` where there is none."""
    problems = []
    for kind in (LoopDevice, PseudoTerminal):
        try:
            gadget: Gadget = kind()
        except OSError as error:
            problems.append(f"{kind.__name__}: {error}")
            continue
        try:
            gadget.plug()
        except OSError as error:
            problems.append(f"{kind.__name__}: {error}")
            gadget.close()
        except BaseException:
            gadget.close()
            raise
        else:
            return gadget
    raise SupervisorError(f"no device can be made on this machine: {'; '.join(problems)}")
