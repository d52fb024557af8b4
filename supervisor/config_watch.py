"""Notice edits of the configuration file: in place, by rename, or by a ConfigMap's swap of its ``..data`` link.

Directories are watched, not the file, since all but the plainest edits put another inode at its path. What counts is the text:
events only say when to read it again, and a slow re-check stands in for those that never come (network file systems).
"""

import contextlib
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio
from msgspec import Struct

from supervisor.config_file import Document, parse, read_file
from supervisor.errors import ConfigError, NodeError
from supervisor.inotify import ENTRIES, Inotify, Mask

SETTLE = 0.1
"""Seconds between the first event of an edit and reading: most edits are several events."""
RECHECK = 30.0
"""Seconds between two readings without an event."""

_MASK = ENTRIES | Mask.CLOSE_WRITE | Mask.DELETE_SELF | Mask.MOVE_SELF | Mask.ONLYDIR
_CONFIG_MAP_LINK = "..data"
"""The kubelet publishes a new version of a ConfigMap by renaming a link of this name."""

Seen = bytes | tuple[str, ...] | None
"""What was last found at the path: a text, the problems of reading it, or no file."""


class _Found(Struct, frozen=True):
    seen: Seen
    document: Document | None
    problems: tuple[str, ...] = ()


async def watch_config(
    document: Document,
    on_change: Callable[[Document], Awaitable[None]],
    on_problem: Callable[[ConfigError], None],
    *,
    recheck: float = RECHECK,
) -> None:
    """Call ``on_change`` with each new valid text at the document's path, ``on_problem`` once for each other finding.

    Runs until cancelled. A text that is put back after a bad one counts as new, so that its problems can be forgotten.
    """
    seen: Seen = document.data
    limiter = trio.CapacityLimiter(1)
    with contextlib.ExitStack() as stack:
        directories = _Directories(document.path, _inotify(stack, document.path, on_problem, recheck))
        while True:
            found = await trio.to_thread.run_sync(directories.find_new, seen, abandon_on_cancel=True, limiter=limiter)
            if found is not None:
                seen = found.seen
                if found.document is not None:
                    await on_change(found.document)
                else:
                    on_problem(ConfigError(found.problems))
            await directories.wait(recheck)


def _inotify(
    stack: contextlib.ExitStack, path: str, on_problem: Callable[[ConfigError], None], recheck: float
) -> Inotify | None:
    try:
        return stack.enter_context(Inotify())
    except NodeError as error:
        on_problem(ConfigError((f"{path}: edits are noticed only every {recheck:g} s: {error}",)))
        return None


class _Directories:
    """The directories whose entries decide what is at a path. Mutable: the watches, by directory."""

    def __init__(self, path: str, inotify: Inotify | None) -> None:
        self._path = path
        self._inotify = inotify
        self._watches: dict[int, frozenset[str]] = {}
        """Watch to the names that matter in its directory."""

    def find_new(self, seen: Seen) -> _Found | None:
        """What is at the path, unless it is what was ``seen``. Blocks; runs in a worker thread."""
        self._arm()  # first, so that an edit during the reading wakes us again
        found: Seen
        try:
            found = read_file(self._path, required=seen is not None)
        except ConfigError as error:
            found = error.problems
        if found == seen or found is None:
            return None
        if isinstance(found, tuple):
            return _Found(found, None, found)
        try:
            return _Found(found, parse(found, self._path))
        except ConfigError as error:
            return _Found(found, None, error.problems)

    async def wait(self, recheck: float) -> None:
        """Until an event says that the path may lead to something else, and its neighbours have come; or ``recheck`` seconds."""
        if self._inotify is None:
            await trio.sleep(recheck)
            return
        with trio.move_on_after(recheck) as timeout:
            while not await self._concerned(self._inotify):
                pass
        if not timeout.cancelled_caught:
            with trio.move_on_after(SETTLE):
                while True:
                    await self._inotify.wait()

    async def _concerned(self, inotify: Inotify) -> bool:
        events = await inotify.wait()
        return any(not event.name or event.name in self._watches.get(event.watch, ()) for event in events)

    def _arm(self) -> None:
        if self._inotify is None:
            return
        armed: list[tuple[Path, str]] = []
        while (places := _deciding(self._path)) != armed:  # again, if they changed before the watches were there
            armed = places
            self._watch(self._inotify, places)

    def _watch(self, inotify: Inotify, places: list[tuple[Path, str]]) -> None:
        watches: dict[int, frozenset[str]] = {}
        for directory, name in places:
            with contextlib.suppress(OSError, NodeError):  # gone again or not ours to read: the re-check sees to it
                watch = inotify.add(directory, _MASK)
                watches[watch] = watches.get(watch, frozenset()) | {name, _CONFIG_MAP_LINK}
        for watch in self._watches.keys() - watches.keys():
            with contextlib.suppress(OSError):
                inotify.remove(watch)
        self._watches = watches


def _deciding(path: str) -> list[tuple[Path, str]]:
    """Directory and entry name of a path as it is written and of where its links lead; the nearest that is there."""
    places = []
    for written in (Path(os.path.abspath(path)), Path(os.path.realpath(path))):  # noqa: PTH100  # keeps links: resolve() follows
        place = written
        while not place.parent.is_dir() and place.parent != place:
            place = place.parent
        places.append((place.parent, place.name))
    return places
