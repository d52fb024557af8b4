"""The supervisor's own files in a device-plugins directory: which they are, whether anybody uses them, and their end."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from supervisor.errors import NodeError
from supervisor.kubelet.sockets import census, remains
from supervisor.memories import FOLDER
from supervisor.nodefiles import NodeFolder
from supervisor.ownership import HIDDEN_NAME, Ownership, locked
from supervisor.tenancy_file import NAME

_MEMORY = re.compile(r"[^/]+\.(json|new)")


def owner(directory: Path, proc: str) -> str:
    """Who uses the directory now, in a few words; empty if nobody does. Never creates anything."""
    living, _ = census(directory)
    lock = directory / HIDDEN_NAME / Ownership.FILE
    if locked(lock):
        return f"a supervisor runs{_process(lock, proc)}"
    return "a supervisor is about to take over" if living else ""


def take(directory: Path, proc: str) -> Ownership | None:
    """Own the directory until this process ends, so that no supervisor begins meanwhile; ``None``: there is nothing of ours.

    Raises ``NodeError`` where a supervisor runs, or waits to run.
    """
    if not (directory / HIDDEN_NAME).is_dir():
        return None
    if who := owner(directory, proc):
        raise in_use(who, directory)
    lock = Ownership.open(directory)
    if lock is not None and not lock.try_take():
        raise in_use("a supervisor has just started", directory)
    give_way(directory)
    return lock


def give_way(directory: Path) -> None:
    """Let a supervisor that has come meanwhile have the node: it waits for our lock. Raises ``NodeError``."""
    if census(directory)[0]:
        raise in_use("a supervisor is about to take over", directory)


def in_use(who: str, directory: Path) -> NodeError:
    """Why nothing is removed, with the cure."""
    return NodeError(f"{who} in {directory}: delete its DaemonSet (kubectl delete, helm uninstall) or stop it first")


def _process(lock: Path, proc: str) -> str:
    """The process that holds a lock, where it can be seen from here: not from another pod."""
    try:
        status = lock.stat()
        lines = Path(proc, "locks").read_text().splitlines()
    except (OSError, ValueError):
        return ""
    file = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    holders = (line.split() for line in lines if f" {file} " in line and " -> " not in line)
    process = next((words[4] for words in holders if len(words) > 4), "0")
    return (
        f" (process {process})"
        if process.isdecimal() and process != "0"
        else " (in another container, or not visible from here)"
    )


def sockets(directory: Path) -> tuple[Path, ...]:
    """What dead processes have left, as it can be removed one by one: a folder after what is in it."""
    found = (path for process in census(directory)[1] for path in (*remains(directory, process), process))
    return tuple(path for path in found if os.path.lexists(path))


def records(directory: Path) -> tuple[Path, ...]:
    """The rest of what is the supervisor's own, in the same order: memory, claims, lock and the folder of all."""
    return tuple(path for path in _records(directory / HIDDEN_NAME) if os.path.lexists(path))


def _records(hidden: Path) -> Iterator[Path]:
    memory = hidden / FOLDER
    if memory.is_dir():
        yield from sorted(path for path in memory.iterdir() if _MEMORY.fullmatch(path.name))
        yield memory
    yield from sorted(path for path in hidden.glob(f"*{NAME}*") if NAME in {path.name, NodeFolder.unfinished(path.name)})
    yield hidden / Ownership.FILE
    yield hidden


def remove(path: Path) -> str:
    """Remove a file, a link or an empty folder; why it could not be removed, or nothing."""
    try:
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        return f"{path} cannot be removed: {error.strerror}"
    return ""
