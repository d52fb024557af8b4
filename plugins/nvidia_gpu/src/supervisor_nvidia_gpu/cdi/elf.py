"""The name by which programs ask for a library: ``DT_SONAME``, read from its file (ELF, ``elf(5)``) in a few small reads."""

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec import Struct

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
"""Identity, type, machine, version, entry, segments' offset, sections' offset, flags, size, then segments' size and count, …"""
_SEGMENT = struct.Struct("<IIQQQQQQ")
_ENTRY = struct.Struct("<QQ")
_LOAD, _DYNAMIC = 1, 2
_END, _STRINGS, _SONAME = 0, 5, 14
BROKEN = (ValueError, OverflowError, struct.error)
"""What a damaged file makes reading it raise."""

_MAX_SEGMENTS = 256
_MAX_ENTRIES = 4096
_MAX_NAME = 256

TRIPLETS = {62: "x86_64-linux-gnu", 183: "aarch64-linux-gnu"}
"""The directories of libraries in Debian's family, by ELF machine. NVIDIA's driver is made for these two."""


class Soname(Struct, frozen=True):
    name: str
    triplet: str
    """The kind of machine that it is for."""


class _Segment(Struct, frozen=True):
    kind: int
    offset: int
    address: int
    size: int


_Read = Callable[[int, int], bytes]
"""So many bytes from an offset, at most."""


def soname(path: str) -> Soname | None:
    """The name of a 64-bit library; ``None`` for other files, for a library without a name, and for what cannot be read."""
    try:
        with Path(path).open("rb", buffering=0) as file:

            def read(offset: int, size: int) -> bytes:
                file.seek(offset)
                return file.read(size)

            return _soname(read)
    except (OSError, *BROKEN):
        return None


def _soname(read: _Read) -> Soname | None:
    ident, _, machine, _, _, table, _, _, _, _, count, *_ = _HEADER.unpack(read(0, _HEADER.size))
    if ident[:6] != b"\x7fELF\x02\x01" or machine not in TRIPLETS:
        return None
    head = read(table, _SEGMENT.size * min(count, _MAX_SEGMENTS))
    segments = [_Segment(kind, at, address, size) for kind, _, at, address, _, size, _, _ in _SEGMENT.iter_unpack(head)]
    dynamic = next((segment for segment in segments if segment.kind == _DYNAMIC), None)
    if dynamic is None:
        return None
    values = dict(_entries(read(dynamic.offset, min(dynamic.size, _ENTRY.size * _MAX_ENTRIES))))
    if _SONAME not in values or _STRINGS not in values:
        return None
    name = read(_offset(segments, values[_STRINGS]) + values[_SONAME], _MAX_NAME).partition(b"\0")[0].decode("ascii")
    return Soname(name, TRIPLETS[machine]) if name and "/" not in name else None


def _entries(table: bytes) -> Iterator[tuple[int, int]]:
    for tag, value in _ENTRY.iter_unpack(table[: len(table) // _ENTRY.size * _ENTRY.size]):
        if tag == _END:
            return
        yield tag, value


def _offset(segments: list[_Segment], address: int) -> int:
    """Where in the file lies what will be at an address in memory."""
    for segment in segments:
        if segment.kind == _LOAD and segment.address <= address < segment.address + segment.size:
            return address - segment.address + segment.offset
    raise ValueError("an address outside the file")
