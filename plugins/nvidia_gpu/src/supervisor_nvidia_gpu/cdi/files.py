"""The directory of CDI specs: ours written whole or not at all, verified, and never taken away; nobody else's touched.

Runtimes watch the directory and read every ``.json`` and ``.yaml`` in it at once, so a file appears by a rename, under its final
name, from a name that they pass over. What is read back and found good is all that counts, whoever wrote it: a standby, which must
write nothing, knows by ``check`` what the owner has written. Nothing is kept between calls: a directory emptied by a reboot, or by
hand, is filled by the next ``publish``.

No file of ours is removed here, and no device taken out of one that a container may hold: who holds what is for those to know who
remove what is ``left``.
"""

import contextlib
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from supervisor_nvidia_gpu.cdi.keeping import keeping, says
from supervisor_nvidia_gpu.cdi.schema import Spec, decode, encode, host_paths

PREFIX = "device-plugin-supervisor-nvidia_"
"""Of our files' names; the kind follows. A file with it whose content is of another kind than its name says is not ours."""
MAX_BYTES = 4 << 20
MAX_FILES = 1000

_MODE = 0o644
_TEMPORARY = re.compile(rf"\.{re.escape(PREFIX)}.*\.[0-9a-f]{{8}}\.tmp")
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


def file_name(kind: str) -> str:
    return f"{PREFIX}{kind.replace('/', '-')}.json"


def publish(directory: str, specs: Sequence[Spec], present: Present, lacking: str = "") -> CdiState:
    """Make the directory say what the specs say, and tell what came of it. Only the owner of the node may call it.

    A file that says it already is left as it is, and what it says of other devices is kept. ``lacking`` is why there is no spec where there should be one. Raises nothing.
    """
    if problem := directory_problem(directory):
        return CdiState(directory, problem=problem)
    written, problem = 0, lacking
    try:
        for spec in specs:
            written += _renew(Path(directory, file_name(spec.kind)), spec)
        _sweep(Path(directory))
    except OSError as error:
        problem = f"{directory} cannot be written: {error.strerror or error}"
    found = check(directory, specs, present, problem)
    return msgspec.structs.replace(found, written=written)


def renew(directory: str, specs: Sequence[Spec]) -> str:
    """Bring up to date what lies of these specs in a directory of before; nothing is added. Why that cannot be done, or nothing.

    Of two directories that define one device runtimes take the later one.
    """
    try:
        ours = {name for name in _names(Path(directory)) if _is_ours(Path(directory), name)}
        for spec in specs:
            if file_name(spec.kind) in ours:
                _renew(Path(directory, file_name(spec.kind)), spec)
    except OSError as error:
        return f"{directory}, where specs of ours lie, cannot be looked after: {error.strerror or error}"
    return ""


def check(directory: str, specs: Sequence[Spec], present: Present, lacking: str = "") -> CdiState:
    """Read back what the directory says of these specs; nothing is written."""
    if problem := directory_problem(directory):
        return CdiState(directory, problem=problem)
    problems = [lacking] if lacking else []
    names: set[str] = set()
    for spec in specs:
        if problem := _verify(Path(directory, file_name(spec.kind)), spec, present):
            problems.append(problem)
        else:
            names.update(spec.names)
    conflicts = list(_conflicts(Path(directory), frozenset(spec.kind for spec in specs)))
    names -= {name for _, theirs in conflicts for name in theirs}
    return CdiState(directory, frozenset(names), "; ".join(problems), tuple(sentence for sentence, _ in conflicts))


def left(directory: str) -> Mapping[str, frozenset[str]]:
    """The path of each file of ours, with the CDI devices that it defines, without vendor and class; none of a broken one.

    Raises ``OSError`` where the directory is not there or cannot be read.
    """
    ours = (name for name in _names(Path(directory)) if _TEMPORARY.fullmatch(name) or _is_ours(Path(directory), name))
    return {str(Path(directory, name)): _defined(Path(directory, name)) for name in ours}


def _defined(path: Path) -> frozenset[str]:
    found = _foreign(_read(path) or b"")
    return frozenset() if found is None else frozenset(str(device.get("name")) for device in found.devices)


def directory_problem(directory: str) -> str:
    """Why no spec can be put there; empty if one can."""
    if not Path(directory).is_dir():
        return f"the CDI directory {directory} is not there"
    if not os.access(directory, os.W_OK | os.X_OK):
        return f"the CDI directory {directory} cannot be written"
    return ""


def _renew(path: Path, spec: Spec) -> bool:
    """Whether there was something to write. Raises ``OSError``."""
    try:
        before = decode(_read(path) or b"")
    except _UNREADABLE:
        before = None
    return _write(path, encode(keeping(spec, before)))


def _write(path: Path, data: bytes) -> bool:
    """Whether there was something to write. Raises ``OSError``."""
    if _read(path) == data:
        return False
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, _MODE)  # the runtime may be another user; the umask has no say
            file.write(data)
        os.rename(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    return True


def _read(path: Path) -> bytes | None:
    """A file of sensible size; ``None`` for anything else."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(MAX_BYTES + 1)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return data if len(data) <= MAX_BYTES else None


def _verify(path: Path, spec: Spec, present: Present) -> str:
    """Why a runtime could not use the file of a spec; empty if it can."""
    data = _read(path)
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


def _names(directory: Path) -> list[str]:
    with os.scandir(directory) as entries:
        return sorted(entry.name for entry in islice(entries, MAX_FILES))


def _sweep(directory: Path) -> None:
    """Remove what a killed process left half-written. Raises ``OSError``."""
    for name in _names(directory):
        if _TEMPORARY.fullmatch(name):
            os.unlink(directory / name)


def _is_ours(directory: Path, name: str) -> bool:
    """By the name and by the content; one of our name with content that is no spec at all can be nobody else's."""
    if not (name.startswith(PREFIX) and name.endswith(".json")):
        return False
    found = _foreign(_read(directory / name) or b"")
    return found is None or name == file_name(found.kind)


def _conflicts(directory: Path, kinds: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    """Sentences about files of others that define a kind of ours, and the names that they make unresolvable."""
    ours = {file_name(kind) for kind in kinds}
    try:
        names = _names(directory)
    except OSError:
        return
    for name in names:
        if name in ours or not name.endswith((".json", ".yaml", ".yml")):
            continue
        data = _read(directory / name) or b""
        found = _foreign(data) if name.endswith(".json") else _foreign_yaml(data)
        if found is not None and found.kind in kinds:
            devices = frozenset(f"{found.kind}={device.get('name')}" for device in found.devices)
            yield f"{directory / name}, which is not ours, defines devices of our kind {found.kind}", devices


def _foreign(data: bytes) -> _Foreign | None:
    try:
        return msgspec.json.decode(data, type=_Foreign)
    except _UNREADABLE:
        return None


def _foreign_yaml(data: bytes) -> _Foreign | None:
    """The kind alone: which devices such a file defines is not worth a parser for files of strangers."""
    match = _YAML_KIND.search(data)
    return None if match is None else _Foreign(match[1].decode(errors="replace"))
