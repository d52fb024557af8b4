"""Whether this node has what the configured matches look for, may be looked at, and can be opened by containers; with each cure."""

import os
import stat
from collections.abc import Iterator, Sequence

from supervisor import Finding, HostView
from supervisor_generic.config import Member
from supervisor_generic.identity import Identities
from supervisor_generic.rules import Found, Rule

_NAMED = 4
_WHY_NOTHING = (
    "Is the device plugged, and its module loaded? device-plugin-supervisor explain NODE says why a node does not fit."
)
_OTHERS = stat.S_IROTH | stat.S_IWOTH


def examine(view: HostView, identities: Identities, title: str, member: Member, rule: Rule) -> Iterator[Finding]:
    """One member of one match."""
    if (blind := rule.blind(view)) is not None:
        cure = "Mount /run/udev of the host read-only (host.runUdev), or match on what sysfs itself shows: attributes, driver, usb."
        yield Finding("failure", title, f"{rule.words}: {blind}."[:1000], cure)
        return
    found = rule.find(view, identities)
    broken = [thing for thing in found if thing.problem]
    if not found:
        yield Finding("note", title, f"Nothing fits {rule.words} now."[:1000], "" if member.optional else _WHY_NOTHING)
    elif broken:
        text = f"{len(broken)} of {len(found)} cannot be used: {broken[0].problem}."
        cure = "Make it a device node (udevadm trigger does for devices of the kernel), or narrow the pattern."
        yield Finding("warning", title, text[:1000], cure)
    else:
        yield Finding("ok", title, f"Found {len(found)} by {rule.words}."[:1000])
    if member.mount is None:
        yield from _permissions(view, title, [thing for thing in found if not thing.problem])


def _permissions(view: HostView, title: str, found: Sequence[Found]) -> Iterator[Finding]:
    """Containers see a node with the owner, group and mode that it has on the host."""
    closed = [(thing.path, status) for thing in found if (status := _status(view, thing.path)) and not status.st_mode & _OTHERS]
    if not closed:
        return
    paths = ", ".join(path for path, _ in closed[:_NAMED]) + (
        f" and {len(closed) - _NAMED} more" if len(closed) > _NAMED else ""
    )
    status = closed[0][1]
    mode = f"{stat.filemode(status.st_mode)} of uid {status.st_uid}, gid {status.st_gid}"
    yield Finding(
        "note",
        title,
        f"{paths}: {mode}, so containers that do not run as root cannot open it."[:1000],
        f'{_group(status)}set its mode by a udev rule on the host (MODE="0666").',
    )


def _group(status: os.stat_result) -> str:
    """Where the group may do both, the group is a cure."""
    both = status.st_mode & stat.S_IRGRP and status.st_mode & stat.S_IWGRP
    return f"Run them with supplementalGroups: [{status.st_gid}], or " if both and status.st_gid else "To change that, "


def _status(view: HostView, path: str) -> os.stat_result | None:
    local = view.host.local(path)
    try:
        return None if local is None else os.stat(local)
    except OSError:
        return None


def unseen(view: HostView) -> Iterator[Finding]:
    """What could not be looked at."""
    for problem in view.problems[:20]:
        cure = "Let this process read it: run as uid 0, and mount the host's directory where the configuration says (host)."
        yield Finding("warning", "host directories", f"{problem}."[:1000], cure)
