"""Whether devices have come, gone or been made anew, told by names and inodes: no event reaches a pod without the host's network."""

import os
from collections.abc import Collection, Mapping
from itertools import islice

from supervisor import Host
from supervisor_infiniband.sysfs import attributes

MAX_ENTRIES = 20_000
"""Of one directory."""

NET = "class/net"
_CLASSES = ("class/infiniband", "class/infiniband_verbs", "class/infiniband_mad", NET)

Fingerprint = Mapping[str, frozenset[tuple[str, int]]]
"""The entries of each directory: name and inode. In sysfs what is made anew has a new one."""


def take(host: Host) -> Fingerprint:
    """As everything is now."""
    found = {name: _entries(f"{host.sysfs}/{name}") for name in _CLASSES}
    found["nodes"] = frozenset((name, 0) for name, _ in _entries(f"{host.dev}/infiniband"))
    found["mode"] = frozenset({(netns_mode(host), 0)})
    return found


def netns_mode(host: Host) -> str:
    """The parameter as the kernel has it: ``Y`` for shared; empty without the module."""
    said = attributes.raw(f"{host.sysfs}/module/ib_core/parameters/netns_mode") or b""
    return said.decode(errors="replace").strip()


def differs(host: Host, now: Fingerprint, before: Fingerprint, interfaces: Collection[str], functions: Collection[str]) -> bool:
    """Whether a look is worth it. Of interfaces only those count that are known, or lie on a known function (by the last word of
    its path): on a busy node those of pods come and go all the time.
    """
    if now == before:
        return False
    if any(now[name] != before[name] for name in now if name != NET):
        return True
    return any(name in interfaces or _function(host, name) in functions for name, _ in now[NET] ^ before[NET])


def _function(host: Host, interface: str) -> str:
    """What an interface lies on: ``0000:3b:00.0``; empty where it is on nothing, or has gone."""
    try:
        words = os.readlink(f"{host.sysfs}/{NET}/{interface}").split("/")
    except OSError:
        return ""
    return words[-3] if len(words) >= 3 and words[-2] == "net" else ""


def _entries(directory: str) -> frozenset[tuple[str, int]]:
    try:
        with os.scandir(directory) as found:
            return frozenset((entry.name, entry.inode()) for entry in islice(found, MAX_ENTRIES))
    except OSError:
        return frozenset()
