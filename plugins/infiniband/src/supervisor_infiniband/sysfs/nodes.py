"""Character devices, joined to RDMA devices and ports by what they say themselves: their numbers mean nothing."""

import re
from collections.abc import Iterator, Mapping

from msgspec import Struct

from supervisor import Host
from supervisor_infiniband.sysfs import attributes

_UVERBS = re.compile(r"uverbs[0-9]+")
_MAD = re.compile(r"(umad|issm)[0-9]+")


class Nodes(Struct, frozen=True):
    """Those of one look."""

    uverbs: Mapping[str, str]
    """By the name of the RDMA device."""
    umad: Mapping[tuple[str, int], str]
    """By the name of the RDMA device and the number of the port."""
    issm: Mapping[tuple[str, int], str]
    present: frozenset[str]
    """What lies below ``/dev/infiniband``."""


def look(host: Host) -> Nodes:
    """The classes ``infiniband_verbs`` and ``infiniband_mad``: what is there, without asking any device."""
    verbs, mad = f"{host.sysfs}/class/infiniband_verbs", f"{host.sysfs}/class/infiniband_mad"
    uverbs: dict[str, str] = {}
    for name in filter(_UVERBS.fullmatch, attributes.names(verbs)):
        uverbs.setdefault(_said(f"{verbs}/{name}/ibdev"), name)
    of_ports: dict[str, dict[tuple[str, int], str]] = {"umad": {}, "issm": {}}
    for name, match in _matched(mad):
        if (port := _said(f"{mad}/{name}/port")).isdecimal():
            of_ports[match[1]].setdefault((_said(f"{mad}/{name}/ibdev"), int(port)), name)
    uverbs.pop("", None)
    present = frozenset(attributes.names(f"{host.dev}/infiniband"))
    return Nodes(uverbs, of_ports["umad"], of_ports["issm"], present)


def _matched(directory: str) -> Iterator[tuple[str, re.Match[str]]]:
    return ((name, match) for name in attributes.names(directory) if (match := _MAD.fullmatch(name)))


def _said(path: str) -> str:
    return (attributes.raw(path) or b"").decode(errors="replace").strip()


def ports_of(nodes: Nodes, device: str) -> list[int]:
    """The ports of a device that have a character device."""
    return sorted({port for name, port in (*nodes.umad, *nodes.issm) if name == device})
