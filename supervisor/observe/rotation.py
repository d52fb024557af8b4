"""What small files say, read again after they were replaced: certificates and tokens are rotated while the server runs."""

import os
import stat
from collections.abc import Callable
from typing import Generic, TypeVar

import trio
from msgspec import Struct

from supervisor.events import HttpFileRead, HttpFileRefused, Observer

CHECK_SECONDS = 1.0
"""A replaced file is seen by the first connection after this time since the last check."""
PATIENCE = 1.0
"""Seconds for one check, which is a few reads of a local file."""
LARGEST = 65536
"""Bytes of one file."""

T_ = TypeVar("T_")
Identity = tuple[int, int, int, int, int]


class _Found(Struct, Generic[T_], frozen=True):
    """What a check found: a value, or a problem."""

    identities: tuple[Identity | None, ...]
    value: T_ | None
    problem: str = ""


class Rotated(Generic[T_]):
    """The value that ``load`` makes of files. Nothing watches them: they are checked when the value is wanted.

    ``load`` runs in a thread and raises ``OSError`` or ``ValueError`` where the files are of no use; then the last value holds on
    if it is to be kept, and there is none otherwise.
    """

    def __init__(self, what: str, paths: tuple[str, ...], load: Callable[[], T_], observe: Observer, *, keep: bool) -> None:
        self._what = what
        self._paths = paths
        self._load = load
        self._observe = observe
        self._keep = keep
        self._limiter = trio.CapacityLimiter(1)
        """A check that hangs holds one thread, and no second one is begun."""
        self._checked = float("-inf")
        self._identities: tuple[Identity | None, ...] = ()
        self._value: T_ | None = None
        self._problem = ""

    async def newest(self) -> T_ | None:
        """The value; after a replacement the new one. Takes ``PATIENCE`` at most."""
        if trio.current_time() - self._checked >= CHECK_SECONDS:
            self._checked = trio.current_time()  # others who come meanwhile take what there is
            await self._check()
        return self._value

    async def _check(self) -> None:
        with trio.move_on_after(PATIENCE) as limit:
            # After a failure again, whether a file changed or not: some failures are not the file's.
            seen = () if self._problem else self._identities
            found = await trio.to_thread.run_sync(self._look, seen, abandon_on_cancel=True, limiter=self._limiter)
            if found is not None:
                self._settle(found)
        if limit.cancelled_caught:
            self._settle(_Found((), None, f"no answer from the file system within {PATIENCE:g} s"))

    def _look(self, seen: tuple[Identity | None, ...]) -> _Found[T_] | None:
        identities = tuple(_identity(path) for path in self._paths)  # first: a later change will be seen as one
        if identities == seen:
            return None
        try:
            return _Found(identities, self._load())
        except (OSError, ValueError) as error:
            return _Found(identities, None, _reason(error))

    def _settle(self, found: _Found[T_]) -> None:
        self._identities = found.identities
        if not found.problem:
            self._value = found.value
            self._problem = ""
            self._observe(HttpFileRead(self._what, ", ".join(self._paths)))
            return
        if not self._keep:
            self._value = None
        if found.problem != self._problem:
            self._problem = found.problem
            self._observe(HttpFileRefused(self._what, found.problem, in_use=self._value is not None))


def read_small(path: str) -> bytes:
    """The bytes of a regular file. Raises ``OSError``, and ``ValueError`` for what is too large or no file."""
    # Without O_NONBLOCK a named pipe would hold us up for ever.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ValueError(f"{path}: is not a regular file")
        data = b""
        while len(data) <= LARGEST and (more := os.read(fd, LARGEST + 1 - len(data))):
            data += more
    finally:
        os.close(fd)
    if len(data) > LARGEST:
        raise ValueError(f"{path}: is longer than {LARGEST} bytes")
    return data


def _identity(path: str) -> Identity | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)
