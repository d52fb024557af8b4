"""The probe of a machine that is not there: its tree is written to a directory, a script plays on it, and the real probe reads it."""

import contextlib
import fcntl
import logging
import os
import shutil
import stat
import tempfile
import threading
import time
import weakref
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

from supervisor import BorderFailed, Host
from supervisor_infiniband.config import InfinibandConfig
from supervisor_infiniband.probe import Probe
from supervisor_infiniband.report import Poll, Report
from supervisor_infiniband.simulate.layouts import layout
from supervisor_infiniband.simulate.machine import Machine
from supervisor_infiniband.simulate.script import Step, apply, opening, parse
from supervisor_infiniband.simulate.tree import Tree

_PREFIX = "supervisor-infiniband-"
_YOUNG = 60.0
"""Seconds until a directory that nobody has locked is nobody's."""
_LOG = logging.getLogger(__name__)
PLACES = (None, "/dev/shm")  # noqa: S108 -- mkdtemp picks the name
"""Where a tree may lie, by preference: where temporary files do, else where every container may write, even one whose root is
read-only.
"""


class SimulatedProbe:
    """Looks and polls of a simulation, which begins when it is made; used as the probe that reads the host's sysfs is.

    Containers get nothing of its tree: what stands for the device nodes is said where the edits are made.
    """

    def __init__(
        self, name: str, script: Sequence[str], config: InfinibandConfig, places: Sequence[str | None] = PLACES
    ) -> None:
        """Raises ``ValueError`` for a layout or a script that cannot be played."""
        beginning = layout(name)
        steps = parse(script, beginning)
        self._probe: Probe | None = None
        self._failed = ""
        try:
            tree = _planted(opening(beginning, steps), places)
            player = _Player(tree, steps, beginning)
        except OSError as error:
            self._failed = f"the simulation needs a directory that can be written, and there is none: {error}"
            return
        self._probe = Probe(Host(sysfs=str(tree.sys), dev=str(tree.dev)), config, simulated=name)
        self._end = weakref.finalize(self, _end, player, self._probe)

    @property
    def restarts(self) -> int:
        """As of the probe that reads the tree."""
        return 0 if self._probe is None else self._probe.restarts

    def look(self) -> Report:
        """The devices as they are now. Raises ``BorderFailed`` where the tree could not be written."""
        if self._probe is None:
            raise BorderFailed(self._failed)
        return self._probe.look()

    def follow(self) -> Report | None:
        """As of the probe that reads the tree."""
        return None if self._probe is None else self._probe.follow()

    def events(self) -> AsyncGenerator[Poll, None]:
        """What the polls of the tree find, for ever."""
        return _silence() if self._probe is None else self._probe.events()

    def close(self) -> None:
        """End the script and the process that reads, and remove the tree."""
        if self._probe is not None:
            self._end()


async def _silence() -> AsyncGenerator[Poll, None]:
    import trio  # here, since looks need none

    await trio.sleep_forever()
    yield Poll()


def _planted(machine: Machine, places: Sequence[str | None]) -> Tree:
    """A tree in a new directory in the first of the places where that can be. Raises ``OSError``, that of the first place."""
    errors = []
    for place in places:
        try:
            _sweep(Path(place or tempfile.gettempdir()))
            root = tempfile.mkdtemp(prefix=_PREFIX, dir=place)
        except OSError as error:
            errors.append(error)
            continue
        try:
            return Tree(Path(root), machine)
        except OSError as error:
            shutil.rmtree(root, ignore_errors=True)
            errors.append(error)
    raise errors[0]


def _sweep(place: Path) -> None:
    """Remove the trees of processes that have ended: a supervisor leaves at once when it is told to, and clears nothing away."""
    for old in place.glob(f"{_PREFIX}*"):
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


class _Player:
    """A thread that lets a script happen to a tree, until it is over."""

    def __init__(self, tree: Tree, steps: Sequence[Step], beginning: Machine) -> None:
        self._tree = tree
        self._lock = _lock(tree.root)
        self._begun = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._play, args=(steps, beginning), name="simulate RDMA", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._tree.close()
        os.close(self._lock)

    def _play(self, steps: Sequence[Step], beginning: Machine) -> None:
        for step in steps:
            if self._stop.wait(max(0.0, self._begun + step.after - time.monotonic())):
                return
            try:
                self._tree.become(apply(step, self._tree.machine, beginning))
            except OSError as error:
                _LOG.error("the simulation ends: %s", error)
                return


def _end(player: _Player, probe: Probe) -> None:
    probe.close()
    player.close()
