"""What is asked of the kernel, all of it: opening a device, an ioctl, a write into sysfs, and running a vendor's tool."""

import contextlib
import fcntl
import os
import posixpath
import signal
import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from supervisor_fpga.operating.outcome import Clock, Stopped


class Node(Struct, frozen=True):
    """A character device that sysfs knows."""

    path: str
    folder: str
    """Its directory in sysfs."""
    number: tuple[int, int]
    """Major and minor, as sysfs says: what lies at ``path`` must have them."""


class Kernel(Protocol):
    """Every method may hang, and raises ``OSError``."""

    def opened(self, node: Node, *, exclusive: bool) -> AbstractContextManager[int]:
        """A descriptor for a device. ``exclusive``: nobody else has it, EBUSY otherwise."""

    def ioctl(self, descriptor: int, request: int, argument: bytes = b"") -> None: ...

    def write(self, path: str, text: str) -> None:
        """Into an attribute that is there."""

    def run(self, arguments: Sequence[str], clock: Clock, lock: int) -> None:
        """Run a program to its end. It inherits ``lock``: what that keeps locked stays so until the program, too, is gone.

        Raises ``Stopped``, too.
        """


class Linux:
    """The kernel of this machine."""

    @contextmanager
    def opened(self, node: Node, *, exclusive: bool) -> Iterator[int]:
        """A file at a device's path is opened only when it is that device. Raises ``Stopped``, too.

        DFL's drivers take ``O_EXCL`` (since 5.4) as "and nobody else"; older ones let only one open it in any case.
        """
        seen = os.open(node.path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            found = os.fstat(seen)
            if not stat.S_ISCHR(found.st_mode) or (os.major(found.st_rdev), os.minor(found.st_rdev)) != node.number:
                raise Stopped("failed", f"{node.path} is not the device that sysfs names")
            flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY | (os.O_EXCL if exclusive else 0)
            descriptor = os.open(f"/proc/self/fd/{seen}", flags)
        finally:
            os.close(seen)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def ioctl(self, descriptor: int, request: int, argument: bytes = b"") -> None:
        if argument:
            fcntl.ioctl(descriptor, request, argument)
        else:
            fcntl.ioctl(descriptor, request)

    def write(self, path: str, text: str) -> None:
        write(path, text)

    def run(self, arguments: Sequence[str], clock: Clock, lock: int) -> None:
        run(arguments, clock, (lock,))


def write(path: str, text: str) -> None:
    """In one write, as sysfs wants it; creates nothing and follows no link."""
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def run(
    arguments: Sequence[str], clock: Clock, inherited: Collection[int] = (), environ: Mapping[str, str] = os.environ
) -> None:
    """Run a program; past the deadline it is killed with all it started, and waited for: a driver may keep it for long.

    Raises ``Stopped``, with the last line that it said.
    """
    import subprocess  # not at the top: most nodes never need it, and it is large

    name = posixpath.basename(arguments[0])
    # In memory: a container whose root cannot be written has no place for a file.
    with os.fdopen(os.memfd_create("output"), "w+b") as output:
        try:
            process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=tuple(inherited),
                start_new_session=True,
                env=dict(environ),
            )
        except FileNotFoundError as error:
            raise Stopped("refused", f"{name} is not installed where FPGAs are operated") from error
        try:
            code = process.wait(clock.left)
        except subprocess.TimeoutExpired as error:
            raise clock.late() from error
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if code != 0:
            output.seek(max(0, output.tell() - 500))
            said = output.read(500).decode(errors="replace").strip().rpartition("\n")[2][:200]
            raise Stopped("failed", f"{name} ended with {code}" + (f": {said}" if said else ""))


def is_sysfs(path: str) -> bool:
    """Whether a directory is the kernel's, all of it, and not made by somebody who wants files to be written."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    fields = [line.split(" ") for line in mounts.splitlines()]
    newest = next((field for field in reversed(fields) if field[4] == path), None)
    return newest is not None and newest[3] == "/" and newest[newest.index("-") + 1] == "sysfs"
