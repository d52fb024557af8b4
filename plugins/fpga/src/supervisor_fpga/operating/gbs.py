"""The header of a bitstream in OPAE's format (``.gbs``): what it fits, what it makes of the region, and where its data begins.

Sixteen bytes that name the format, the length of a JSON text in four bytes (the lowest first), the text, the data.
"""

import re
import struct

import msgspec
from msgspec import Struct, field

MAGIC = b"XeonFPGA\xb7GBSv001"

MOST = 64 << 10
"""Bytes of the text."""

_LENGTH = struct.Struct("<I")
_ID = re.compile(r"[0-9a-f]{32}")


class Header(Struct, frozen=True):
    """``interface_id`` and ``afu_id`` have 32 digits without dashes, or are empty."""

    interface_id: str = ""
    afu_id: str = ""
    length: int = 0
    """Bytes before the data."""


class _Cluster(Struct):
    afu_id: str = field(default="", name="accelerator-type-uuid")


class _Image(Struct):
    interface_id: str = field(default="", name="interface-uuid")
    clusters: list[_Cluster] = field(default_factory=list, name="accelerator-clusters")


class _Text(Struct):
    image: _Image = field(name="afu-image")


def header(begin: bytes) -> Header:
    """Of a file's first bytes (``MOST`` and 20 are enough); without a header it is all data. Raises ``ValueError``, said in words."""
    if not begin.startswith(MAGIC):
        return Header()
    start = len(MAGIC) + _LENGTH.size
    if len(begin) < start:
        raise ValueError("it ends within its header")
    (length,) = _LENGTH.unpack_from(begin, len(MAGIC))
    if length > MOST or len(begin) < start + length:
        raise ValueError("its header is longer than it may be")
    try:
        image = msgspec.json.decode(begin[start : start + length].rstrip(b"\0"), type=_Text).image
    except msgspec.MsgspecError as error:
        raise ValueError(f"its header makes no sense: {error}") from error
    afu_id = image.clusters[0].afu_id if image.clusters else ""
    return Header(plain_id(image.interface_id), plain_id(afu_id), start + length)


def plain_id(text: str) -> str:
    """An id in 32 lower-case digits, without dashes; empty stays empty. Raises ``ValueError``."""
    plain = text.replace("-", "").lower()
    if plain and not _ID.fullmatch(plain):
        raise ValueError(f"{text[:60]!a} is no id of 32 hexadecimal digits")
    return plain
