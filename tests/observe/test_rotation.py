"""Files that are read again after they were replaced."""

import os
import threading
from pathlib import Path

import pytest
import trio
import trio.testing

from supervisor.events import Event, HttpFileRead, HttpFileRefused
from supervisor.observe.rotation import CHECK_SECONDS, LARGEST, PATIENCE, Rotated, read_small
from tests.observe.certificates import publish, put


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that says "old"."""
    made = tmp_path / "file"
    made.write_bytes(b"old")
    return made


def _rotated(file: Path, told: list[Event], *, keep: bool = True) -> Rotated[bytes]:
    return Rotated("file", (str(file),), lambda: read_small(str(file)), told.append, keep=keep)


def _write(file: Path) -> None:
    file.write_bytes(b"new")
    os.utime(file, (1, 1))  # two writes within one tick of the file system would have one time


async def test_a_file_is_read_only_when_it_was_replaced(file: Path, mock_clock: trio.testing.MockClock) -> None:
    """Not at every use, and not at every check."""
    reads = 0

    def load() -> bytes:
        nonlocal reads
        reads += 1
        return read_small(str(file))

    rotated = Rotated("file", (str(file),), load, lambda event: None, keep=True)
    assert [await rotated.newest() for _ in range(3)] == [b"old"] * 3
    put(file, b"new")
    assert await rotated.newest() == b"old"  # not looked at again yet
    mock_clock.jump(CHECK_SECONDS)
    assert await rotated.newest() == b"new"
    mock_clock.jump(CHECK_SECONDS)
    assert await rotated.newest() == b"new"
    assert reads == 2


async def test_a_file_written_in_place_and_a_mounted_secret_are_seen(
    file: Path, tmp_path: Path, mock_clock: trio.testing.MockClock
) -> None:
    """By content of the same length too, and where only a link on the way to it was swapped."""
    publish(tmp_path / "secret", "1", {"file": b"one"})
    plain, mounted = _rotated(file, []), _rotated(tmp_path / "secret" / "file", [])
    assert [await plain.newest(), await mounted.newest()] == [b"old", b"one"]
    _write(file)
    publish(tmp_path / "secret", "2", {"file": b"two"})
    mock_clock.jump(CHECK_SECONDS)
    assert [await plain.newest(), await mounted.newest()] == [b"new", b"two"]


@pytest.mark.parametrize("keep", [True, False])
async def test_what_cannot_be_read_is_told_once(file: Path, keep: bool, mock_clock: trio.testing.MockClock) -> None:
    """The value is kept where that is wanted; the end of the trouble is told too."""
    told: list[Event] = []
    rotated = _rotated(file, told, keep=keep)
    assert await rotated.newest() == b"old"
    os.unlink(file)
    for _ in range(3):
        mock_clock.jump(CHECK_SECONDS)
        assert await rotated.newest() == (b"old" if keep else None)
    _write(file)
    mock_clock.jump(CHECK_SECONDS)
    assert await rotated.newest() == b"new"
    refused = HttpFileRefused("file", f"{file}: No such file or directory", in_use=keep)
    read = HttpFileRead("file", str(file))
    assert told == [read, refused, read]


async def test_a_file_system_that_hangs_holds_up_one_thread(file: Path, mock_clock: trio.testing.MockClock) -> None:
    """Those who ask meanwhile do not wait; when it answers again, so do we."""
    told: list[Event] = []
    answer = threading.Event()
    loading = trio.Event()
    ended = trio.Event()
    loads = 0

    def load() -> bytes:
        nonlocal loads
        loads += 1
        trio.from_thread.run_sync(loading.set, trio_token=token)
        answer.wait()
        trio.from_thread.run_sync(ended.set, trio_token=token)
        return read_small(str(file))

    token = trio.lowlevel.current_trio_token()
    rotated = Rotated("file", (str(file),), load, told.append, keep=True)
    try:
        for _ in range(3):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(rotated.newest)
                await loading.wait()
                await trio.testing.wait_all_tasks_blocked()
                assert await rotated.newest() is None
                mock_clock.jump(PATIENCE)
            mock_clock.jump(CHECK_SECONDS)
        assert loads == 1
        assert told == [HttpFileRefused("file", "no answer from the file system within 1 s", in_use=False)]
    finally:
        answer.set()
    await ended.wait()
    assert await rotated.newest() == b"old"
    assert told[1:] == [HttpFileRead("file", str(file))]


def test_only_small_regular_files_are_read(tmp_path: Path) -> None:
    """A pipe, a device and a directory are refused at once, and so is a file without end."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path, Path("/dev/zero")):
        with pytest.raises(ValueError, match="is not a regular file"):
            read_small(str(path))
    (tmp_path / "full").write_bytes(b"x" * LARGEST)
    assert len(read_small(str(tmp_path / "full"))) == LARGEST
    (tmp_path / "long").write_bytes(b"x" * (LARGEST + 1))
    with pytest.raises(ValueError, match="is longer than 65536 bytes"):
        read_small(str(tmp_path / "long"))
