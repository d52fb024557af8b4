"""The directories of CDI specs: can they be written, and can a runtime use every file in them?

A runtime merges all files. Of two directories that define one device, the later one counts; of two files in one directory, neither
does, and no container gets that device (``tags.cncf.io/container-device-interface``, ``pkg/cdi``).
"""

import os
import stat
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from supervisor.doctor.site import Site, processes, reason
from supervisor.host import HostView
from supervisor.model import Finding
from supervisor.yamltext import read as read_yaml

MAX_FILES = 200
MAX_BYTES = 4 << 20
MAX_YAML_BYTES = 1 << 20
"""YAML takes a thousand times as long to read as JSON does."""
_MAX_NAMED = 3
_OURS = "device-plugin-supervisor-"
"""How the files of the supervisor's own plugins begin."""


class _Spec(Struct, frozen=True):
    """What is asked of a spec; whatever else it holds."""

    version: str = msgspec.field(name="cdiVersion")
    kind: str
    devices: list[dict[str, Any]] = []
    edits: dict[str, Any] = msgspec.field(name="containerEdits", default_factory=dict)

    @property
    def names(self) -> frozenset[str]:
        return frozenset(f"{self.kind}={device.get('name')}" for device in self.devices)

    @property
    def nodes(self) -> Iterator[str]:
        """The device nodes that it names, as the host does."""
        for edits in (self.edits, *(device.get("containerEdits") or {} for device in self.devices)):
            for node in (isinstance(edits, dict) and edits.get("deviceNodes")) or ():
                name = isinstance(node, dict) and (node.get("hostPath") or node.get("path"))
                if isinstance(name, str) and name.startswith("/dev/"):
                    yield name


def directories(site: Site) -> Iterator[Finding]:
    """Where specs go. One that is missing is made by the first who needs it."""
    for name in site.cdi:
        if not os.path.lexists(name):
            text = "It is not there, or not mounted here. Where a plugin injects devices by CDI, it has to be."
            yield Finding(
                "note", name, text, f"If you use CDI: mkdir -p {name}; in a pod, mount it as hostPath (DirectoryOrCreate)."
            )
        elif not Path(name).is_dir():
            yield Finding("warning", name, "It is no directory.", f"Remove it, and mkdir -p {name}.")
        elif not os.access(name, os.R_OK | os.W_OK | os.X_OK):
            cure = "Mount it without readOnly where a plugin is to write specs (deviceListStrategy cdi-…); else this is fine."
            yield Finding("note", name, "It cannot be written.", cure)
        else:
            yield Finding("ok", name, "It is there and can be written.")


def specs(site: Site) -> Iterator[Finding]:
    """Can every file be read, and do no two of them, or the host, contradict them?"""
    view, total = site.view, 0
    for directory in site.cdi:
        owners: dict[str, str] = {}
        for path in _files(directory):
            total += 1
            found = _decoded(path)
            if isinstance(found, Finding):
                yield found
                continue
            if twice := sorted(found.names & owners.keys()):
                yield _conflict(path, twice, owners[twice[0]])
            owners |= dict.fromkeys(found.names, path)
            if gone := [node for node in dict.fromkeys(found.nodes) if view.node(node) is None]:
                yield _stale(path, gone)
    if total:
        yield Finding("ok", "CDI specs", f"{total} files were read.")
        yield from _runtimes(view)


def _files(directory: str) -> list[str]:
    try:
        names = sorted(islice(os.listdir(directory), MAX_FILES))
    except OSError:
        return []
    return [os.path.join(directory, name) for name in names if name.endswith((".json", ".yaml", ".yml"))]  # noqa: PTH118  # texts for people


def _decoded(path: str) -> _Spec | Finding:
    cure = "Write it anew with the tool that made it (nvidia-ctk cdi generate), or remove it."
    try:
        data = _content(path)
        if path.endswith(".json"):
            return msgspec.json.decode(data, type=_Spec)
        if len(data) > MAX_YAML_BYTES:
            return Finding("note", path, f"It has {len(data)} bytes; longer YAML files than 1 MiB are not looked into.")
        root, problems = read_yaml(data)
        if root is None or problems:
            raise ValueError(problems[0].text if problems else "it is empty")
        return msgspec.convert(root.value, _Spec)
    except OSError as error:
        return Finding("warning", path, f"It cannot be read: {reason(error)}.", "Make it readable (chmod 0644), or remove it.")
    except (ValueError, RecursionError) as error:
        return Finding("warning", path, f"It is no CDI spec, and runtimes complain of it: {str(error)[:300]}.", cure)


def _content(path: str) -> bytes:
    """Raises ``OSError``, and ``ValueError`` for what is no regular file of sensible size."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is no regular file")
        if status.st_size > MAX_BYTES:
            raise ValueError(f"it has {status.st_size} bytes")
        return file.read(MAX_BYTES)


def _conflict(path: str, names: Sequence[str], other: str) -> Finding:
    text = f"It defines {_several(names)}, which {other} defines, too: a runtime refuses both."
    return Finding("warning", path, text, "Remove one of the two files, or let one tool alone write specs of that kind.")


def _stale(path: str, nodes: Sequence[str]) -> Finding:
    text = f"It names {_several(nodes)}, which the host does not have: containers with that device do not start."
    if Path(path).name.startswith(_OURS):
        cure = (
            "It is kept for containers that may hold the device; once the supervisor has gone, the command cleanup removes it."
        )
        return Finding("note", path, text, cure)
    return Finding(
        "warning", path, text, "Write it anew with the tool that made it, or remove it if the device is gone for good."
    )


def _several(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return ", ".join(names[:_MAX_NAMED]) + more


def _runtimes(view: HostView) -> Iterator[Finding]:
    found = processes(view, ("containerd", "crio", "dockerd"))
    if "containerd" in found:
        text = "containerd reads CDI specs by default from 2.0 on; 1.7 needs enable_cdi = true in its CRI section."
        yield Finding("note", "container runtime", text)
    elif found:
        yield Finding("ok", "container runtime", f"{min(found)} runs; CRI-O reads CDI specs since 1.23, Docker since 25.")
