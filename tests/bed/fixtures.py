"""Fixtures around the test bed, for all tests."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.bed.fakesys import Tree
from tests.bed.nsbed import Bed
from tests.bed.strace import Trace, trace
from tests.machine import need


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A temporary directory with a path short enough for unix sockets, which allow 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="dps.", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def tree(short_dir: Path) -> Tree:
    """An empty device tree; its nodes are true ones where the tests run as root."""
    return Tree(short_dir / "tree")


@pytest.fixture
def bed(tree: Tree) -> Iterator[Bed]:
    """Namespaces in which `tree` is the machine; skipped where they are refused."""
    need("namespaces")
    with Bed(tree) as made:
        yield made


@pytest.fixture
def strace() -> Callable[..., Trace]:
    """Run a program to its end and see which paths it touches; skipped where that is refused."""
    need("strace")
    return trace
