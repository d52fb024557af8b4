"""One owner of a directory at a time, by a lock that falls with its process and with nothing else."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from supervisor.errors import NodeError
from supervisor.ownership import HIDDEN_NAME, Ownership

SOON = 10.0
"""Seconds after which a test takes an event that has not come for one that never will."""

OWNER = """
import sys
from pathlib import Path
from supervisor.ownership import Ownership

ownership = Ownership.open(Path(sys.argv[1]))
print(ownership.try_take(), flush=True)
sys.stdin.read()
"""

Open = Callable[[], Ownership]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Open the lock of one directory, as often as a test wants; descriptors are closed with it."""
    locks: list[Ownership] = []

    def open_lock() -> Ownership:
        lock = Ownership.open(tmp_path)
        assert lock is not None
        locks.append(lock)
        return lock

    yield open_lock
    for lock in locks:
        os.close(lock._descriptor)


@pytest.fixture
def other(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Run another process that owns the directory."""
    command = [sys.executable, "-c", OWNER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        yield process
        process.kill()


def test_no_directory_means_no_lock_yet(tmp_path: Path) -> None:
    """Waiting for it is for somebody else; a file in its place is no directory either."""
    assert Ownership.open(tmp_path / "absent") is None
    (tmp_path / "file").touch()
    assert Ownership.open(tmp_path / "file") is None


def test_a_directory_that_cannot_be_written_is_for_the_operator() -> None:
    """The text says what to do."""
    with pytest.raises(NodeError, match=r"cannot write to /sys: .*; mount it writable"):
        Ownership.open(Path("/sys"))


def test_something_in_the_place_of_the_hidden_directory_is_for_the_operator(tmp_path: Path) -> None:
    """It is not removed."""
    (tmp_path / HIDDEN_NAME).touch()
    with pytest.raises(NodeError):
        Ownership.open(tmp_path)
    assert (tmp_path / HIDDEN_NAME).is_file()


def test_the_first_to_ask_owns_it(opened: Open) -> None:
    """Until then nobody does, and asking again changes nothing."""
    first, second = opened(), opened()
    assert first.try_take()
    assert not second.try_take()
    assert first.try_take()
    assert first.take()


def test_no_child_inherits_it(opened: Open) -> None:
    """A child that outlives us would keep it."""
    assert not os.get_inheritable(opened()._descriptor)


def test_it_falls_with_its_process(opened: Open, other: "subprocess.Popen[str]") -> None:
    """By SIGKILL, at once, for the one who waits."""
    lock = opened()
    assert not lock.try_take()
    taken: list[bool] = []
    waiter = threading.Thread(target=lambda: taken.append(lock.take()))
    waiter.start()
    other.kill()
    waiter.join(SOON)
    assert taken == [True]


@pytest.mark.parametrize("again", [True, False], ids=["another file is there", "none is there"])
def test_a_lock_on_a_file_that_is_not_at_its_path_owns_nothing(opened: Open, *, again: bool) -> None:
    """Somebody may hold the other one; whoever finds this out opens it again."""
    stale = opened()
    stale.path.unlink()
    fresh = opened() if again else None
    assert not stale.try_take()
    assert not stale.take()
    if fresh is not None:
        assert fresh.try_take()
