"""The directory of CDI specs: ours written whole or not at all, verified, and never taken away; nobody else's touched.

Runtimes watch the directory and read every ``.json`` and ``.yaml`` in it at once. What is read back and found good is all that
counts, whoever wrote it: a standby, which must write nothing, knows by ``check`` what the owner has written. Nothing is kept between
calls: a directory emptied by a reboot, or by hand, is filled by the next ``publish``.

No device is taken out of a file of ours that a container may hold, but for those that the plugin knows to be stale; nor is a file
removed here that has any other: who holds what is for those to know who remove what is ``left``.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from supervisor.cdi.keeping import Stale, keeping, says
from supervisor.cdi.schema import CdiSpec, cdi_spec, decode, encode, host_paths
from supervisor.nodefiles import NodeFolder

_UNREADABLE = (ValueError, RecursionError)
"""What files of strangers may make the decoder raise."""
_YAML_KIND = re.compile(rb"""^kind:[ \t]*["']?([-./\w]+)["']?[ \t]*(?:#.*)?$""", re.MULTILINE)

Present = Callable[[str], bool]
"""Whether the host has what it calls so."""


class CdiState(Struct, frozen=True):
    """What container runtimes can do with the directory, as far as it concerns us."""

    directory: str = ""
    names: frozenset[str] = frozenset()
    """CDI devices, with vendor and class, that a runtime can resolve: what is verified, and defined by nobody else too."""
    problem: str = ""
    """Why our specs are not as they should be, in one sentence; empty when they are."""
    conflicts: tuple[str, ...] = ()
    """Files of others that define a kind of ours, in sentences."""
    written: int = 0
    """Files written by this call."""

    @property
    def usable(self) -> bool:
        return not self.problem


class _Foreign(Struct, frozen=True):
    """What is asked of a file of others; whatever else it has."""

    kind: str
    devices: tuple[dict[str, Any], ...] = ()

    @property
    def names(self) -> frozenset[str]:
        return frozenset(f"{self.kind}={device.get('name')}" for device in self.devices)


class CdiFiles(Struct, frozen=True):
    """The files of one plugin, whatever directory they are in."""

    prefix: str
    """Of their names; the kind follows. A file with it whose content is of another kind than its name says is not ours."""
    stale: Stale
    """What must not be kept of what a file has said before."""

    def file_name(self, kind: str) -> str:
        return f"{self.prefix}{kind.replace('/', '-')}.json"

    def publish(self, directory: str, specs: Sequence[CdiSpec], present: Present, lacking: str = "") -> CdiState:
        """Make the directory say what the specs say, and tell what came of it. Only the owner of the node may call it.

        A file that says it already is left as it is, and what it says of other devices is kept. ``lacking`` is why there is no spec
        where there should be one. Raises nothing.
        """
        folder = NodeFolder(directory)
        if folder.problem:
            return _unusable(folder)
        written, problem = 0, lacking
        try:
            for spec in specs:
                written += self._renew(folder, spec)
            folder.sweep(lambda name: name.startswith(self.prefix))
        except OSError as error:
            problem = f"{directory} cannot be written: {error.strerror or error}"
        return msgspec.structs.replace(self.check(directory, specs, present, problem), written=written)

    def renew(self, directory: str, specs: Sequence[CdiSpec]) -> str:
        """Bring up to date what lies of these specs in a directory; nothing is added. Why that cannot be done, or nothing.

        Of two directories that define one device runtimes take the later one. Of other specs of ours what is stale goes.
        """
        folder = NodeFolder(directory)
        wanted = {self.file_name(spec.kind): spec for spec in specs}
        try:
            for name in [name for name in folder.names() if self._is_ours(folder, name)]:
                if name in wanted:
                    self._renew(folder, wanted[name])
                else:
                    self._prune(folder, name)
        except OSError as error:
            return f"{directory}, where specs of ours lie, cannot be looked after: {error.strerror or error}"
        return ""

    def check(self, directory: str, specs: Sequence[CdiSpec], present: Present, lacking: str = "") -> CdiState:
        """Read back what the directory says of these specs; nothing is written. Raises nothing."""
        folder = NodeFolder(directory)
        if folder.problem:
            return _unusable(folder)
        problems = [lacking] if lacking else []
        names: set[str] = set()
        for spec in specs:
            if problem := self._verify(folder, spec, present):
                problems.append(problem)
            else:
                names.update(spec.names)
        conflicts = list(self._conflicts(folder, frozenset(spec.kind for spec in specs)))
        names -= {name for _, theirs in conflicts for name in theirs}
        return CdiState(directory, frozenset(names), "; ".join(problems), tuple(sentence for sentence, _ in conflicts))

    def left(self, directory: str) -> Mapping[str, frozenset[str]]:
        """The path of each file of ours, with the CDI devices that it defines, by full name; none of a broken one.

        Raises ``OSError`` where the directory is not there or cannot be read.
        """
        folder = NodeFolder(directory)
        return {
            folder.at(name): _defined(folder.read(name) or b"")
            for name in folder.names()
            if self._is_ours(folder, name) or folder.unfinished(name).startswith(self.prefix)
        }

    def _renew(self, folder: NodeFolder, spec: CdiSpec) -> bool:
        """Whether there was something to write. Raises ``OSError``."""
        name = self.file_name(spec.kind)
        return folder.write(name, encode(keeping(spec, _spec(folder.read(name)), self.stale)))

    def _prune(self, folder: NodeFolder, name: str) -> None:
        """Raises ``OSError``."""
        before = _spec(folder.read(name))
        if before is None:
            return
        kept = tuple(device for device in before.devices if not self.stale(before, device))
        if not kept:
            os.unlink(folder.at(name))
        elif kept != before.devices:
            folder.write(name, encode(cdi_spec(before.kind, kept, before.container_edits)))

    def _verify(self, folder: NodeFolder, spec: CdiSpec, present: Present) -> str:
        """Why a runtime could not use the file of a spec; empty if it can."""
        path = folder.at(self.file_name(spec.kind))
        data = folder.read(self.file_name(spec.kind))
        if data is None:
            return f"{path} is not there or cannot be read"
        try:
            found = decode(data)
        except _UNREADABLE as error:
            return f"{path} is no valid CDI spec: {error}"
        if not says(found, spec):
            return f"{path} does not say what it should"
        if missing := sorted(name for name in host_paths(spec) if not present(name)):
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            return f"{path} names what the host does not have: {missing[0]}{more}"
        return ""

    def _is_ours(self, folder: NodeFolder, name: str) -> bool:
        """By the name and by the content; one of our name with content that is no spec at all can be nobody else's."""
        if not (name.startswith(self.prefix) and name.endswith(".json")):
            return False
        found = _foreign(folder.read(name) or b"")
        return found is None or name == self.file_name(found.kind)

    def _conflicts(self, folder: NodeFolder, kinds: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
        """Sentences about files of others that define a kind of ours, and the names that they make unresolvable."""
        ours = {self.file_name(kind) for kind in kinds}
        try:
            names = folder.names()
        except OSError:
            return
        for name in names:
            if name in ours or not name.endswith((".json", ".yaml", ".yml")):
                continue
            data = folder.read(name) or b""
            found = _foreign(data) if name.endswith(".json") else _foreign_yaml(data)
            if found is not None and found.kind in kinds:
                yield f"{folder.at(name)}, which is not ours, defines devices of our kind {found.kind}", found.names


def _unusable(folder: NodeFolder) -> CdiState:
    return CdiState(folder.path, problem=f"the CDI directory {folder.path} {folder.problem}")


def _spec(data: bytes | None) -> CdiSpec | None:
    try:
        return decode(data or b"")
    except _UNREADABLE:
        return None


def _defined(data: bytes) -> frozenset[str]:
    """Also by a newer release, which may say more than can be written here."""
    found = _foreign(data)
    return frozenset() if found is None else found.names


def _foreign(data: bytes) -> _Foreign | None:
    try:
        return msgspec.json.decode(data, type=_Foreign)
    except _UNREADABLE:
        return None


def _foreign_yaml(data: bytes) -> _Foreign | None:
    """The kind alone: which devices such a file defines is not worth a parser for files of strangers."""
    match = _YAML_KIND.search(data)
    return None if match is None else _Foreign(match[1].decode(errors="replace"))
