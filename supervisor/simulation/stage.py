"""A simulated machine's tree in a directory of its own, and a script that plays on it until it is over."""

import contextlib
import fcntl
import logging
import os
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from supervisor.simulation.script import ScriptStep

PLACES = (None, "/dev/shm")  # noqa: S108 -- mkdtemp picks the name
"""Where a tree may lie, by preference: where temporary files do, else where every container may write, even one whose root is
read-only.
"""
_YOUNG = 60.0
"""Seconds until a directory that nobody has locked is nobody's."""
_LOG = logging.getLogger(__name__)
_Machine = TypeVar("_Machine")


class StagedTree(Protocol[_Machine]):
    """A machine in files."""

    @property
    def machine(self) -> _Machine: ...
    @property
    def root(self) -> Path: ...
    @property
    def sys(self) -> Path: ...
    @property
    def dev(self) -> Path: ...
    def become(self, machine: _Machine) -> None: ...
    def close(self) -> None: ...


class Stage(Generic[_Machine]):
    """The tree, from when it is made until ``close``; a thread lets the script happen to it."""

    def __init__(
        self,
        name: str,
        plant: Callable[[Path], StagedTree[_Machine]],
        steps: Sequence[ScriptStep],
        apply: Callable[[ScriptStep, _Machine], _Machine],
        places: Sequence[str | None] | None = None,
    ) -> None:
        """``name`` begins those of the directories, and ``plant`` makes the tree in one. Raises ``OSError``, that of the first place,
        where it can be nowhere. ``places``: directories by preference, where not in ``PLACES``.
        """
        self._steps = steps
        self._apply = apply
        self._tree = _planted(f"supervisor-{name}-", plant, PLACES if places is None else places)
        self._lock = _lock(self._tree.root)
        self._begun = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._play, name=f"simulate {name}", daemon=True)
        self._thread.start()

    @property
    def sys(self) -> Path:
        return self._tree.sys

    @property
    def dev(self) -> Path:
        return self._tree.dev

    def close(self) -> None:
        """End the script, and remove the tree."""
        self._stop.set()
        self._thread.join()
        self._tree.close()
        os.close(self._lock)

    def _play(self) -> None:
        for step in self._steps:
            if self._stop.wait(max(0.0, self._begun + step.after - time.monotonic())):
                return
            try:
                self._tree.become(self._apply(step, self._tree.machine))
            except OSError as error:
                _LOG.error("the simulation ends: %s", error)
                return


def _planted(prefix: str, plant: Callable[[Path], StagedTree[_Machine]], places: Sequence[str | None]) -> StagedTree[_Machine]:
    """A tree in a new directory in the first of the places where that can be."""
    errors = []
    for place in places:
        try:
            _sweep(Path(place or tempfile.gettempdir()), prefix)
            root = tempfile.mkdtemp(prefix=prefix, dir=place)
        except OSError as error:
            errors.append(error)
            continue
        try:
            return plant(Path(root))
        except OSError as error:
            shutil.rmtree(root, ignore_errors=True)
            errors.append(error)
    raise errors[0]


def _sweep(place: Path, prefix: str) -> None:
    """Remove the trees of processes that have ended: a supervisor leaves at once when it is told to, and clears nothing away."""
    for old in place.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):  # in use, another's, or gone meanwhile
            found = old.lstat()
            if found.st_uid == os.geteuid() and stat.S_ISDIR(found.st_mode) and time.time() - found.st_mtime > _YOUNG:
                os.close(_lock(old))
                shutil.rmtree(old)


def _lock(root: Path) -> int:
    """A descriptor that marks a directory as in use for the life of this process. Raises ``OSError`` where another has it."""
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
