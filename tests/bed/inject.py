"""Send uevents on a real netlink socket, into the network namespace of the caller.

A message to the kernel's own port makes the kernel number it and broadcast it to its group, in this namespace only; that
takes CAP_SYS_ADMIN in the user namespace that owns it. A message to the second group is what udevd sends when its rules
are done. libudev accepts both from root.
"""

import os
import socket
import struct
from collections.abc import Mapping
from itertools import count

NETLINK_KOBJECT_UEVENT = 15
UDEV_GROUP = 2
NLMSG_MIN_TYPE = 0x10
NLM_F_REQUEST_AND_ACK = 0x1 | 0x4
HEADER = struct.Struct("=IHHII")
"""nlmsghdr: length, type, flags, sequence number, port."""

LIBUDEV_MAGIC = 0xFEEDCAFE

_numbers = count(1)


def kernel(action: str, devpath: str, subsystem: str, properties: Mapping[str, str] | None = None) -> None:
    """Have the kernel announce an event. Raises OSError where the kernel refuses."""
    fields = {"ACTION": action, "DEVPATH": devpath, "SUBSYSTEM": subsystem} | dict(properties or {})
    body = f"{action}@{devpath}\0".encode() + _lines(fields)
    header = HEADER.pack(HEADER.size + len(body), NLMSG_MIN_TYPE, NLM_F_REQUEST_AND_ACK, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_KOBJECT_UEVENT) as netlink:
        netlink.bind((0, 0))
        netlink.sendto(header + body, (0, 0))
        error: int = -struct.unpack_from("=i", netlink.recv(4096), HEADER.size)[0]
    if error:
        raise OSError(error, os.strerror(error))


def udev(action: str, devpath: str, subsystem: str, properties: Mapping[str, str] | None = None) -> None:
    """Announce an event as udevd does after its rules; a node's name is then a whole path."""
    fields = {"ACTION": action, "DEVPATH": devpath, "SUBSYSTEM": subsystem, "SEQNUM": str(next(_numbers))}
    fields |= dict(properties or {})
    if "DEVNAME" in fields:
        fields["DEVNAME"] = "/dev/" + fields["DEVNAME"].removeprefix("/dev/")
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_KOBJECT_UEVENT) as netlink:
        netlink.bind((0, 0))
        netlink.sendto(libudev_message(fields), (0, UDEV_GROUP))


def libudev_message(fields: Mapping[str, str]) -> bytes:
    """The datagram of udevd: a header with hashes, by which sockets filter without parsing, and the properties."""
    body = _lines(fields)
    devtype = fields.get("DEVTYPE")
    hashes = (murmur2(fields["SUBSYSTEM"].encode()), murmur2(devtype.encode()) if devtype else 0)
    sizes = struct.pack("!I", LIBUDEV_MAGIC) + struct.pack("=III", 40, 40, len(body))
    return b"libudev\0" + sizes + struct.pack("!IIII", *hashes, 0, 0) + body


def _lines(fields: Mapping[str, str]) -> bytes:
    return b"".join(f"{name}={value}\0".encode() for name, value in fields.items())


def murmur2(text: bytes) -> int:
    """MurmurHash2 with seed 0, in 32 bits: how libudev hashes the names of subsystem and device type."""
    prime, mask = 0x5BD1E995, 0xFFFFFFFF
    digest = len(text)
    whole = len(text) // 4 * 4
    for (word,) in struct.iter_unpack("<I", text[:whole]):
        mixed = word * prime & mask
        mixed = (mixed ^ mixed >> 24) * prime & mask
        digest = digest * prime & mask ^ mixed
    if rest := text[whole:]:
        digest = (digest ^ int.from_bytes(rest, "little")) * prime & mask
    digest = (digest ^ digest >> 13) * prime & mask
    return digest ^ digest >> 15
