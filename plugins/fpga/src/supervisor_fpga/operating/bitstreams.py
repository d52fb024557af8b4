"""Bitstreams: files of one directory that an administrator fills, and nothing but these."""

import hashlib
import os
import re
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec import Struct

from supervisor_fpga.operating import gbs, signatures
from supervisor_fpga.operating.messages import Bitstream
from supervisor_fpga.operating.outcome import Clock, Stopped

MOST = 512 << 20
"""Bytes of a bitstream."""
MOST_LOADED = 128 << 20
"""Bytes of one that has to be in memory as a whole: for an ioctl, and to check a signature."""
LOADED = 3
"""How many may be in memory at once."""
KEY = "key.pem"
"""In the directory of bitstreams: the public key. Where it is, nothing is programmed without a signature."""

_PIECE = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9_][-+._A-Za-z0-9]*(/[A-Za-z0-9_][-+._A-Za-z0-9]*){0,15}")
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK

Stamp = tuple[int, int, int, int, int]
"""Of a file as it is: device, inode, size, times of its change in nanoseconds."""


class Checked(Struct, frozen=True):
    """A bitstream that may be used."""

    wanted: Bitstream
    path: str
    size: int
    interface_id: str
    afu_id: str
    header: int
    """Bytes before its data."""


class Bitstreams:
    """What is in the directory. All methods may be called from any thread, and raise ``Stopped``."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._loading = threading.BoundedSemaphore(LOADED)
        self._lock = threading.Lock()
        self._checked: dict[tuple[Bitstream, Stamp, Stamp | None], Checked] = {}

    def check(self, wanted: Bitstream, clock: Clock) -> Checked:
        """Check everything; a file that is as it was when it was checked is not read again."""
        clock.begin(f"checking the bitstream {wanted.name}")
        with self._opened(wanted.name, MOST) as descriptor:
            key = (wanted, _stamp(descriptor), self._stamp_of_key())
            with self._lock:
                known = self._checked.get(key)
            if known is not None:
                return known
            checked = self._check(wanted, descriptor, clock, signed=key[2] is not None)
            if _stamp(descriptor) != key[1]:
                raise _refused(wanted.name, "was changed while it was read")
        with self._lock:
            if len(self._checked) >= 256:
                self._checked.clear()
            self._checked[key] = checked
        return checked

    @contextmanager
    def loaded(self, checked: Checked, clock: Clock) -> Iterator[bytearray]:
        """The whole file in memory, and four zeros that can fill its last word; the very bytes that were checked."""
        with self._memory(clock):
            with self._opened(checked.wanted.name, MOST_LOADED) as descriptor:
                content = self._load(checked.wanted, descriptor, clock)
            content.extend(bytes(4))
            yield content

    def _check(self, wanted: Bitstream, descriptor: int, clock: Clock, *, signed: bool) -> Checked:
        if signed or wanted.signature:
            with self._memory(clock):
                self._check_signature(wanted, self._load(wanted, descriptor, clock))
        else:
            self._compare(wanted, _digest(descriptor, clock))
        try:
            header = gbs.header(os.pread(descriptor, gbs.MOST + 20, 0))
            interface_id, afu_id = gbs.plain_id(wanted.interface_id), gbs.plain_id(wanted.afu_id)
        except ValueError as error:
            raise _refused(wanted.name, str(error)) from error
        for what, given, own in (("fits", interface_id, header.interface_id), ("makes", afu_id, header.afu_id)):
            if given and own and given != own:
                raise _refused(wanted.name, f"{what} {own} by its header, and {given} by the configuration")
        path = f"{self._folder}/{wanted.name}"
        size = os.fstat(descriptor).st_size
        if size <= header.length:
            raise _refused(wanted.name, "has no data")
        return Checked(wanted, path, size, interface_id or header.interface_id, afu_id or header.afu_id, header.length)

    def _compare(self, wanted: Bitstream, digest: str) -> None:
        if digest != wanted.sha256:
            raise _refused(wanted.name, f"has the SHA-256 {digest[:12]}…, and {wanted.sha256[:12]}… is asked for")

    def _load(self, wanted: Bitstream, descriptor: int, clock: Clock) -> bytearray:
        """All of it, compared with its checksum."""
        size = os.fstat(descriptor).st_size
        if size > MOST_LOADED:
            raise _refused(wanted.name, f"has {size >> 20} MiB; the most is {MOST_LOADED >> 20}")
        content = bytearray(size)
        view, at, digest = memoryview(content), 0, hashlib.sha256()
        while at < size:
            clock.check()
            if (got := os.preadv(descriptor, [view[at : at + _PIECE]], at)) == 0:
                raise _refused(wanted.name, "became shorter while it was read")
            digest.update(view[at : at + got])
            at += got
        view.release()
        self._compare(wanted, digest.hexdigest())
        return content

    def _check_signature(self, wanted: Bitstream, content: bytearray) -> None:
        if not wanted.signature:
            raise _refused(wanted.name, f"has no signature, and {KEY} in its directory asks for one")
        try:
            key = signatures.public_key(self._small(KEY))
        except ValueError as error:
            raise _refused(KEY, str(error)[3:]) from error
        try:
            valid = signatures.is_valid(key, self._small(wanted.signature), content)
        except OSError as error:
            raise _refused(wanted.name, f"is signed, which cannot be checked here: {error}") from error
        if not valid:
            raise _refused(wanted.name, f"is not what {wanted.signature} signs with the key in {KEY}")

    def _small(self, name: str) -> bytes:
        with self._opened(name, 4096) as descriptor:
            return os.pread(descriptor, 4096, 0)

    def _stamp_of_key(self) -> Stamp | None:
        if not os.path.lexists(f"{self._folder}/{KEY}"):
            return None
        with self._opened(KEY, 4096) as descriptor:
            return _stamp(descriptor)

    @contextmanager
    def _memory(self, clock: Clock) -> Iterator[None]:
        if not self._loading.acquire(timeout=clock.left):
            raise clock.late()
        try:
            yield
        finally:
            self._loading.release()

    @contextmanager
    def _opened(self, name: str, most: int) -> Iterator[int]:
        """A file that only root, or the user that this process has, can have made or changed: each directory on its way, too."""
        if not _NAME.fullmatch(name):
            raise Stopped("refused", f"{name[:60]!a} is no name of a bitstream")
        descriptor = -1
        try:
            *folders, file = name.split("/")
            descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            for folder in folders:
                _trust(name, os.fstat(descriptor))
                descriptor = _next(folder, descriptor, os.O_DIRECTORY)
            _trust(name, os.fstat(descriptor))
            descriptor = _next(file, descriptor, 0)
            _trust(name, os.fstat(descriptor))
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise _refused(name, "is no regular file")
            if (size := os.fstat(descriptor).st_size) > most:
                raise _refused(name, f"has {size >> 20} MiB; the most is {most >> 20}")
            yield descriptor
        except OSError as error:
            raise _refused(name, f"cannot be read: {(error.strerror or str(error)).lower()}") from error
        finally:
            if descriptor >= 0:
                os.close(descriptor)


def _next(name: str, folder: int, flags: int) -> int:
    """One step down; the directory is closed. On an error it stays open."""
    descriptor = os.open(name, _READ | flags, dir_fd=folder)
    os.close(folder)
    return descriptor


def _trust(name: str, found: os.stat_result) -> None:
    if found.st_uid not in {0, os.geteuid()} or stat.S_IMODE(found.st_mode) & 0o022:
        raise _refused(name, "can be changed by others than root: it, or its directory")


def _digest(descriptor: int, clock: Clock) -> str:
    digest, at = hashlib.sha256(), 0
    while piece := os.pread(descriptor, _PIECE, at):
        clock.check()
        digest.update(piece)
        at += len(piece)
    return digest.hexdigest()


def _stamp(descriptor: int) -> Stamp:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _refused(name: str, why: str) -> Stopped:
    return Stopped("refused", f"the bitstream {name} {why}")
