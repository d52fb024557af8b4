"""A directory for the time of the demo, with a path so short that sockets fit below it."""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from supervisor.errors import SupervisorError

LONGEST = 40
"""Bytes of the directory above ours: a socket's path ends at 107, and the supervisor's own part of it takes up to 60."""

STANDARD = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 -- mkdtemp picks the name

PREFIX = "dps-demo-"


@contextmanager
def workplace(standard: Sequence[str] = STANDARD) -> Iterator[Path]:
    """A fresh directory that nobody else can enter, in one of the environment's places or a ``standard`` one; removed at the end.

    Raises ``SupervisorError`` where there is no place.
    """
    path = Path(_make((os.environ.get("TMPDIR"), os.environ.get("XDG_RUNTIME_DIR"), *standard)))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _make(candidates: Iterable[str | None]) -> str:
    short = [place for place in candidates if place and place.startswith("/") and len(os.fsencode(place)) <= LONGEST]
    for place in short:
        with suppress(OSError):
            return tempfile.mkdtemp(prefix=PREFIX, dir=place)
    raise SupervisorError(f"no place for temporary files: tried {', '.join(short)}")
