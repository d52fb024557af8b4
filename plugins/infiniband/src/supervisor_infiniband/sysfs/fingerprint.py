"""Whether devices have come, gone or been made anew, told by names and inodes: no event reaches a pod without the host's network."""

import os
from collections.abc import Collection, Mapping

from supervisor import Host
from supervisor_infiniband.sysfs import attributes

DEVICES, NET = "class/infiniband", "class/net"
_CLASSES = ("class/infiniband_verbs", "class/infiniband_mad", NET)

Fingerprint = Mapping[str, frozenset[str] | frozenset[tuple[str, int]]]
"""The entries of each directory: the names, and of the devices themselves the inodes, too. In sysfs what is made anew has a new one."""


def take(host: Host) -> Fingerprint:
    """As everything is now."""
    found = {name: _names(f"{host.sysfs}/{name}") for name in _CLASSES}
    return found | {
        DEVICES: _entries(f"{host.sysfs}/{DEVICES}"),
        "nodes": _names(f"{host.dev}/infiniband"),
        "mode": frozenset({netns_mode(host)}),
    }


def netns_mode(host: Host) -> str:
    """The parameter as the kernel has it: ``Y`` for shared; empty without the module."""
    said = attributes.raw(f"{host.sysfs}/module/ib_core/parameters/netns_mode") or b""
    return said.decode(errors="replace").strip()


def same_devices(now: Fingerprint, before: Fingerprint) -> bool:
    """Whether everything but interfaces is as it was."""
    return all(now[name] == before[name] for name in now if name != NET)


def differs(host: Host, now: Fingerprint, before: Fingerprint, interfaces: Collection[str], functions: Collection[str]) -> bool:
    """Whether a look is worth it. Of interfaces only those count that are known, or lie on a known function (by the last word of
    its path): on a busy node those of pods come and go all the time.
    """
    if now == before:
        return False
    if not same_devices(now, before):
        return True
    return any(name in interfaces or _function(host, str(name)) in functions for name in now[NET] ^ before[NET])


def _function(host: Host, interface: str) -> str:
    """What an interface lies on: ``0000:3b:00.0``; empty where it is on nothing, or has gone."""
    try:
        words = os.readlink(f"{host.sysfs}/{NET}/{interface}").split("/")
    except OSError:
        return ""
    return words[-3] if len(words) >= 3 and words[-2] == "net" else ""


def _names(directory: str) -> frozenset[str]:
    try:
        return frozenset(os.listdir(directory))
    except OSError:
        return frozenset()


def _entries(directory: str) -> frozenset[tuple[str, int]]:
    try:
        with os.scandir(directory) as found:
            return frozenset((entry.name, entry.inode()) for entry in found)
    except OSError:
        return frozenset()
