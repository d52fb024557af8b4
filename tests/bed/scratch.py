"""Directories for machines of thousands of small files: in memory where that is possible, at a fifth of what a disk costs."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

MEMORY = "/dev/shm"
ROOM = 48 << 20
"""Bytes that must be free there: some containers have few, and a large machine takes ten million."""


def place() -> str | None:
    """Where temporary directories are best made, as ``tempfile`` takes it."""
    try:
        found = os.statvfs(MEMORY)
    except OSError:
        return None
    return MEMORY if os.access(MEMORY, os.W_OK) and found.f_bavail * found.f_frsize >= ROOM else None


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory, which is removed at the end."""
    path = Path(tempfile.mkdtemp(prefix="dps.", dir=place()))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In place of pytest's own, for the tests of a package whose ``conftest`` imports it; nothing of it stays for later."""
    with scratch() as path:
        yield path
