"""inotify under trio, on real directories."""

import fcntl
import os
import resource
from pathlib import Path

import pytest
import trio
import trio.testing

from supervisor.errors import NodeError
from supervisor.inotify import ENTRIES, GONE, Inotify, InotifyEvent, Mask


@pytest.fixture
def watched(tmp_path: Path) -> Path:
    """An empty directory."""
    directory = tmp_path / "watched"
    directory.mkdir()
    return directory


async def _until(inotify: Inotify, mask: Mask) -> list[InotifyEvent]:
    events: list[InotifyEvent] = []
    with trio.fail_after(5):
        while not any(event.mask & mask for event in events):
            events += await inotify.wait()
    return events


async def test_entries_that_come_and_go_are_reported_by_name(watched: Path) -> None:
    """Create, rename and delete give their events in order, each with its name."""
    with Inotify() as inotify:
        watch = inotify.add(watched, ENTRIES)
        (watched / "kubelet.sock").touch()
        (watched / "kubelet.sock").rename(watched / "näme")
        (watched / "näme").unlink()
        events = await _until(inotify, Mask.DELETE)
    assert events == [
        InotifyEvent(watch, Mask.CREATE, "kubelet.sock"),
        InotifyEvent(watch, Mask.MOVED_FROM, "kubelet.sock"),
        InotifyEvent(watch, Mask.MOVED_TO, "näme"),
        InotifyEvent(watch, Mask.DELETE, "näme"),
    ]


async def test_a_waiting_task_wakes_up_on_an_event(watched: Path, nursery: trio.Nursery) -> None:
    """A task that waits before anything happened gets the event."""
    seen: list[InotifyEvent] = []
    with Inotify() as inotify:
        inotify.add(watched, ENTRIES)

        async def wait() -> None:
            seen.extend(await inotify.wait())
            nursery.cancel_scope.cancel()

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        assert not seen
        (watched / "a").touch()
        with trio.move_on_after(5):
            await trio.sleep_forever()
    assert [event.name for event in seen] == ["a"]


async def test_names_that_are_no_text_survive(watched: Path) -> None:
    """A name that is not UTF-8 can be used to open the file again."""
    with Inotify() as inotify:
        inotify.add(watched, ENTRIES)
        (watched / os.fsdecode(b"\xff\xfe")).touch()
        [event] = await inotify.wait()
    assert os.fsencode(event.name) == b"\xff\xfe"
    assert (watched / event.name).exists()


async def test_the_longest_name_and_a_long_batch_are_read_whole(watched: Path) -> None:
    """A thousand events with names of 255 bytes come complete and in order."""
    names = [f"{number:0255}" for number in range(1000)]
    seen: list[str] = []
    with Inotify() as inotify:
        inotify.add(watched, Mask.CREATE)
        for name in names:
            (watched / name).touch()
        with trio.fail_after(10):
            while len(seen) < len(names):
                seen += [event.name for event in await inotify.wait()]
    assert seen == names


async def test_a_removed_directory_says_that_the_watch_is_gone(watched: Path) -> None:
    """After the directory is removed the last event is IGNORED, and removing the watch again is no error."""
    with Inotify() as inotify:
        watch = inotify.add(watched, ENTRIES | Mask.DELETE_SELF)
        (watched.parent / watched.name).rmdir()
        events = await _until(inotify, Mask.IGNORED)
        inotify.remove(watch)
    assert all(event.mask & GONE for event in events)
    assert events[-1] == InotifyEvent(watch, Mask.IGNORED)


async def test_a_removed_watch_is_silent(watched: Path, tmp_path: Path) -> None:
    """Only the other watch still reports."""
    with Inotify() as inotify:
        inotify.remove(inotify.add(watched, ENTRIES))
        other = inotify.add(tmp_path, ENTRIES)
        (watched / "unseen").touch()
        (tmp_path / "seen").touch()
        events = await _until(inotify, Mask.CREATE)
    assert [event for event in events if event.name] == [InotifyEvent(other, Mask.CREATE, "seen")]


@pytest.fixture
def queue_length() -> int:
    """How many events the kernel keeps for a reader."""
    return int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())


async def test_lost_events_are_flagged(watched: Path, queue_length: int) -> None:
    """When the kernel's queue runs over, the reader is told."""
    pair = (watched / "a", watched / "b")
    pair[0].touch()
    with Inotify() as inotify:
        inotify.add(watched, ENTRIES)
        for turn in range(queue_length // 2 + 2):
            pair[turn % 2].rename(pair[1 - turn % 2])
        events = await _until(inotify, Mask.Q_OVERFLOW)
    assert events[-1].overflow
    assert not events[0].overflow


async def test_a_missing_path_is_an_ordinary_error(watched: Path) -> None:
    """The error names the path and is the one that os functions raise."""
    with Inotify() as inotify, pytest.raises(FileNotFoundError, match="nowhere"):
        inotify.add(watched / "nowhere", ENTRIES)


async def test_only_directories_where_only_directories_are_wanted(watched: Path) -> None:
    """ONLYDIR is passed on."""
    (watched / "file").touch()
    with Inotify() as inotify, pytest.raises(NotADirectoryError):
        inotify.add(watched / "file", ENTRIES | Mask.ONLYDIR)


async def test_closing_wakes_a_waiting_task(watched: Path, nursery: trio.Nursery) -> None:
    """A task that waits is told; closing twice is harmless."""
    inotify = Inotify()
    inotify.add(watched, ENTRIES)
    told = trio.Event()

    async def wait() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await inotify.wait()
        told.set()

    nursery.start_soon(wait)
    await trio.testing.wait_all_tasks_blocked()
    inotify.close()
    inotify.close()
    with trio.fail_after(5):
        await told.wait()


async def test_children_do_not_inherit_it() -> None:
    """The descriptor is closed on exec and is never blocking."""
    with Inotify() as inotify:
        assert fcntl.fcntl(inotify._fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
        assert not os.get_blocking(inotify._fd)


def test_a_used_up_limit_names_the_cure() -> None:
    """The text says which setting of the node to raise."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        with pytest.raises(NodeError, match=r"max_user_instances"):
            Inotify()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
