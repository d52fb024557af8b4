"""Will hotplug be noticed at once? The kernel's events, udev's database, and which network namespace this is."""

from collections.abc import Callable, Iterator

from supervisor.doctor.site import Site, number
from supervisor.model import Finding
from supervisor.triggers import KernelEvents, Source

_POLL = "Until then changes are noticed by timed looks alone, every lookInterval seconds."
_WHOLE = 1 << 32
"""Ids that a user namespace maps when it is none of its own."""


def kernel_events(_: Site, connect: Callable[[], Source] = KernelEvents) -> Iterator[Finding]:
    """Opens the very socket that the supervisor listens at."""
    subject = "kernel events"
    try:
        source = connect()
    except ImportError as error:
        yield Finding("warning", subject, f"libudev cannot be loaded: {error}.", f"Install libudev1 (systemd-libs). {_POLL}")
        return
    except OSError as error:
        cure = f"Let the security profile allow netlink sockets (NETLINK_KOBJECT_UEVENT). {_POLL}"
        yield Finding("warning", subject, f"No event socket can be had: {error}.", cure)
        return
    try:
        warning = source.warning
    finally:
        source.close()
    if warning:
        yield Finding("warning", subject, f"The socket opens, but stays silent: {warning}.", f"Set hostUsers: true. {_POLL}")
    else:
        yield Finding(
            "ok", subject, "The kernel sends its events here; those of udevd, which stay on the host, are not needed."
        )


def user_namespace(site: Site) -> Iterator[Finding]:
    """A user namespace of our own takes away more than events: host files belong to nobody in it."""
    lines = [line.split() for line in (site.view.read("/proc/self/uid_map") or "").splitlines()]
    whole = any(len(line) == 3 and line[0] == line[1] == "0" and (number(line[2]) or 0) >= _WHOLE - 1 for line in lines)
    if not lines:
        yield Finding("note", "user namespace", "It is not known: /proc/self/uid_map cannot be read.")
    elif whole:
        yield Finding("ok", "user namespace", "The node's own: uid 0 here is uid 0 there.")
    else:
        cure = "Run the pod with hostUsers: true (the default)."
        yield Finding("warning", "user namespace", "One of its own: the kubelet's directories belong to others.", cure)


def network_namespace(site: Site) -> Iterator[Finding]:
    """Events of network and RDMA interfaces stay in the network namespace of the interface."""
    view = site.view
    ours, first = view.link_name("/proc/self/ns/net"), view.link_name("/proc/1/ns/net")
    if view.read("/proc/1/comm") not in {"systemd", "init"} or ours is None or first is None:
        yield Finding("note", "network namespace", "Whether it is the host's cannot be seen from here.")
    elif ours == first:
        yield Finding("ok", "network namespace", "The host's: events of network interfaces arrive, too.")
    else:
        text = "Not the host's: events of network and InfiniBand interfaces do not arrive, all others do."
        yield Finding("note", "network namespace", f"{text} Timed looks see them.")


def udev_database(site: Site) -> Iterator[Finding]:
    """Are udev's properties and tags there to match on?"""
    view = site.view
    if view.udev_database_available():
        runs = view.node("/run/udev/control") is not None
        text = "It is there" + (", and udevd runs." if runs else "; that udevd runs cannot be seen (no /run/udev/control).")
        yield Finding("ok" if runs else "note", "udev database", text)
    else:
        yield Finding(
            "note",
            "udev database",
            f"{site.host.run_udev} holds none: matches on udev's own properties and tags find nothing.",
            "Where you need those: mount /run/udev of the host, read-only, and set host.runUdev if it is mounted elsewhere.",
        )
