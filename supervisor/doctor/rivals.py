"""Who else offers devices to this kubelet: supervisors like this one, and plugins of others."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from supervisor.doctor.site import Site, refusal
from supervisor.kubelet.checkpoint import read_registered
from supervisor.kubelet.questions import ask_options
from supervisor.kubelet.sockets import foreign_sockets
from supervisor.model import Finding
from supervisor.ownership import HIDDEN_NAME, locked

Offered = Mapping[str, frozenset[str]]
"""For each resource that the plugins here would offer, its ids."""

MOST_ASKED = 32
"""Foreign sockets."""
_PROCESS = re.compile(r"[0-9a-f]{8}")
_OWNER_LOCK, _LOCK = "owner.lock", "lock"


def supervisors(site: Site) -> Iterator[Finding]:
    """Is one of ours running, and do others wait for its end?"""
    if not site.directory.is_dir():
        yield Finding("note", "running supervisor", f"Who runs here cannot be told: {site.directory} cannot be seen.")
        return
    hidden = site.directory / HIDDEN_NAME
    every = _processes(hidden)
    living = [path for path in every if locked(path / _LOCK)]
    if locked(hidden / _OWNER_LOCK):
        others = f"; {len(living) - 1} more stand by" if len(living) > 1 else ""
        yield Finding("ok", "running supervisor", f"One owns the directory{others}.")
    elif living:
        yield Finding(
            "warning",
            "running supervisor",
            f"{len(living)} of them run, but none owns the directory.",
            f"If this stays so for a minute, somebody has removed {hidden / _OWNER_LOCK}: restart the pods of the supervisor.",
        )
    else:
        yield Finding("ok", "running supervisor", "None runs on this node.")
    if dead := len(every) - len(living):
        yield Finding("note", "ended supervisors", f"{dead} left their files behind; the next owner removes them.")


def foreign_plugins(site: Site) -> Iterator[Finding]:
    """Which sockets of others are there, and does anybody answer at them?"""
    if not site.directory.is_dir():
        return  # told already
    foreign = _foreign(site)
    if not foreign:
        yield Finding("ok", "other device plugins", "No socket of another one is there.")
    living = [path for path in foreign if not refusal(path)]
    for path in foreign:
        if path not in living:
            cure = f"Remove it, if its plugin does not come back: rm {path}"
            yield Finding("note", path.name, "A socket of a plugin that has ended: nobody listens.", cure)
    for path, why in ask_options(living[:MOST_ASKED]).items():
        if why:
            yield Finding("note", path.name, f"Somebody listens there who is no device plugin ({why}).")
        else:
            yield Finding("note", path.name, "Another device plugin answers there; that is fine while it has other resources.")


def registered(site: Site, offered: Offered) -> Iterator[Finding]:
    """Has the kubelet a resource of ours from somebody else?"""
    if not site.directory.is_dir():
        return  # told already
    try:
        known = read_registered(site.directory)
    except FileNotFoundError:
        yield Finding("note", "registered resources", "The kubelet has not noted any yet.")
        return
    except (OSError, ValueError) as error:
        cure = "See the kubelet's log. It writes the file anew whenever a plugin tells it something."
        yield Finding("warning", "registered resources", f"The kubelet's checkpoint cannot be read: {error}.", cure)
        return
    shared = sorted(known.keys() & offered.keys())
    if locked(site.directory / HIDDEN_NAME / _OWNER_LOCK):
        strange = [name for name in shared if known[name] - offered[name]]
        yield from (_disputed(name, known[name] - offered[name]) for name in strange)
    else:
        rivals = [path.name for path in _foreign(site) if not refusal(path)]
        strange = [name for name in shared if rivals and known[name]]
        yield from (_taken(name, known[name] - offered[name], rivals) for name in strange)
    if not strange:
        text = f"The kubelet has {len(known)}; none of ours from somebody else, as far as can be seen."
        yield Finding("ok", "registered resources", text)


def _disputed(resource: str, ids: frozenset[str]) -> Finding:
    return Finding(
        "note",
        resource,
        f"The kubelet has {len(ids)} ids of it that are not found now, such as {min(ids)}.",
        "That is right after a device has gone. Else another plugin offers the same resource: remove one of the two.",
    )


def _taken(resource: str, strange: frozenset[str], rivals: Sequence[str]) -> Finding:
    others = ", ".join(rivals[:4])
    whose = f"with ids that are not found here ({min(strange)})" if strange else "from an earlier run, or from somebody else"
    return Finding(
        "warning",
        resource,
        f"The kubelet has it {whose}, no supervisor runs, and another plugin answers at {others}.",
        "If that plugin offers this resource, remove its DaemonSet from this node or give the resource here another name: the kubelet "
        "takes the one that registers last, and the two would fight.",
    )


def _foreign(site: Site) -> list[Path]:
    try:
        names = foreign_sockets(site.directory, _ours(site.directory))
    except OSError:
        return []
    return [site.directory / name for name in names]


def _ours(directory: Path) -> frozenset[str]:
    """Public names of ours: links to a private socket of one of our processes, or noted by one that could not link."""
    inodes, noted = set(), set()
    for process in _processes(directory / HIDDEN_NAME):
        for name in _names(process):
            inodes.add(_inode(process / name))
            noted.add(name)
    return frozenset(name for name in _names(directory) if name in noted or _inode(directory / name) in inodes)


def _processes(hidden: Path) -> list[Path]:
    return [hidden / name for name in _names(hidden) if _PROCESS.fullmatch(name)]


def _names(directory: Path) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except OSError:
        return []


def _inode(path: Path) -> int:
    """Zero, which no file has, for what has gone."""
    try:
        return path.lstat().st_ino
    except OSError:
        return 0
