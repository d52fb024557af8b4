"""Edits of the configuration file are noticed, however they are made."""

import os
import resource
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from supervisor.config import API_VERSION, KIND
from supervisor.config_file import Document, load
from supervisor.config_watch import watch_config
from supervisor.errors import ConfigError

HEAD = f"apiVersion: {API_VERSION}\nkind: {KIND}\n"
GOOD = HEAD + "log: {level: info}\n"
OTHER = HEAD + "log: {level: debug}\n"
BAD = HEAD + "log: {level: loud}\n"
NEVER = 3600.0


class Watched:
    """A watcher at work, and what it has said."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._send, self._said = trio.open_memory_channel[str](100)

    async def changed(self, document: Document) -> None:
        """Note a new configuration."""
        self._send.send_nowait(document.config.log.level)

    def refused(self, error: ConfigError) -> None:
        """Note a problem."""
        self._send.send_nowait(str(error))

    async def said(self) -> str:
        """The next word."""
        with trio.fail_after(10):
            return await self._said.receive()

    def silent(self) -> bool:
        """Whether nothing has been said that was not yet heard."""
        return self._send.statistics().current_buffer_used == 0


Watch = Callable[..., Watched]


@pytest.fixture
async def watch(nursery: trio.Nursery) -> AsyncIterator[Watch]:
    """Start to watch a path; the watcher ends with the test."""

    def start(path: Path, *, recheck: float = NEVER) -> Watched:
        watched = Watched(path)
        document = load(path, required=False)

        async def run() -> None:
            await watch_config(document, watched.changed, watched.refused, recheck=recheck)

        nursery.start_soon(run)
        return watched

    yield start
    nursery.cancel_scope.cancel()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A good file in a directory of its own."""
    path = tmp_path / "etc" / "config.yaml"
    path.parent.mkdir()
    path.write_text(GOOD)
    return path


def _edit_in_place(path: Path, text: str) -> None:
    path.write_text(text)


def _rename_over(path: Path, text: str) -> None:
    new = path.with_suffix(".tmp")
    new.write_text(text)
    new.replace(path)


def _remove_and_create(path: Path, text: str) -> None:
    path.unlink()
    path.write_text(text)


def _remove(path: Path) -> None:
    path.unlink()


def _replace_directory(path: Path, text: str) -> None:
    path.parent.rename(path.parent.with_name("old"))
    path.parent.mkdir()
    path.write_text(text)


EDITS = [_edit_in_place, _rename_over, _remove_and_create, _replace_directory]


@pytest.mark.parametrize("edit", EDITS)
async def test_every_way_to_edit_is_seen(watch: Watch, path: Path, edit: Callable[[Path, str], None]) -> None:
    """The new configuration arrives, twice in a row, without waiting for the re-check."""
    watched = watch(path)
    edit(path, OTHER)
    assert await watched.said() == "debug"
    if edit is not _replace_directory:
        edit(path, GOOD)
        assert await watched.said() == "info"


def _publish(mount: Path, version: str, text: str) -> None:
    """What the kubelet does with a ConfigMap: a directory for the version, and a renamed link to it."""
    (mount / version).mkdir()
    (mount / version / "config.yaml").write_text(text)
    (mount / "..data_tmp").symlink_to(version)
    (mount / "..data_tmp").replace(mount / "..data")


async def test_a_config_map_swap_is_seen(watch: Watch, tmp_path: Path) -> None:
    """The file's own name never changes: only the link beside it does."""
    _publish(tmp_path, "..1", GOOD)
    (tmp_path / "config.yaml").symlink_to("..data/config.yaml")
    watched = watch(tmp_path / "config.yaml")
    _publish(tmp_path, "..2", OTHER)
    assert await watched.said() == "debug"
    (tmp_path / "..1" / "config.yaml").unlink()
    (tmp_path / "..1").rmdir()
    _publish(tmp_path, "..3", GOOD)
    assert await watched.said() == "info"


async def test_a_link_to_elsewhere_is_followed(watch: Watch, path: Path, tmp_path: Path) -> None:
    """An edit where the link leads is seen, and so is a link that leads somewhere else."""
    link = tmp_path / "links" / "config.yaml"
    link.parent.mkdir()
    link.symlink_to(path)
    watched = watch(link)
    _rename_over(path, OTHER)
    assert await watched.said() == "debug"
    (tmp_path / "third.yaml").write_text(GOOD)
    link.with_name("new").symlink_to(tmp_path / "third.yaml")
    link.with_name("new").replace(link)
    assert await watched.said() == "info"
    _edit_in_place(tmp_path / "third.yaml", OTHER)
    assert await watched.said() == "debug"


async def test_a_bad_edit_is_told_once_and_a_good_one_ends_it(watch: Watch, path: Path) -> None:
    """The problem names its place; the old text counts as news after a bad one."""
    watched = watch(path)
    _rename_over(path, BAD)
    assert (await watched.said()).startswith(f"{path}:3:14: log.level: ")
    _rename_over(path, BAD)
    _rename_over(path, GOOD)
    assert await watched.said() == "info"
    assert watched.silent()


async def test_a_removed_file_is_told_and_may_come_back(watch: Watch, path: Path) -> None:
    """Its absence is a problem, its return a change."""
    watched = watch(path)
    _remove(path)
    assert "does not exist" in await watched.said()
    _edit_in_place(path, GOOD)
    assert await watched.said() == "info"


async def test_a_file_that_is_too_long_is_told(watch: Watch, path: Path) -> None:
    """Ten megabytes are refused by size while the last good configuration stays."""
    watched = watch(path)
    with path.open("ab") as file:
        file.truncate(10_000_000)
    assert "is longer than" in await watched.said()


async def test_an_absent_default_file_may_appear(watch: Watch, tmp_path: Path) -> None:
    """Nothing is said while it is absent, even where its directory is absent too."""
    path = tmp_path / "a" / "b" / "config.yaml"
    watched = watch(path)
    path.parent.parent.mkdir()
    path.parent.mkdir()
    _rename_over(path, OTHER)
    assert await watched.said() == "debug"
    assert watched.silent()


async def test_an_edit_between_loading_and_watching_is_not_lost(path: Path, nursery: trio.Nursery) -> None:
    """The first thing a watcher does is to read."""
    document = load(path)
    _rename_over(path, OTHER)
    watched = Watched(path)

    async def run() -> None:
        await watch_config(document, watched.changed, watched.refused, recheck=NEVER)

    nursery.start_soon(run)
    assert await watched.said() == "debug"
    nursery.cancel_scope.cancel()


async def test_neighbours_and_rewritten_texts_are_no_news(watch: Watch, path: Path) -> None:
    """Other files of the directory and the same text again say nothing."""
    watched = watch(path)
    (path.parent / "other.yaml").write_text(BAD)
    _rename_over(path, GOOD)
    os.utime(path)
    _rename_over(path, OTHER)
    assert await watched.said() == "debug"
    assert watched.silent()


def _overwrite(path: Path, text: str) -> None:
    """One system call, so that no reader sees half of it."""
    fd = os.open(path, os.O_WRONLY)
    assert os.write(fd, text.encode()) == len(text.encode()) >= os.fstat(fd).st_size
    os.close(fd)


async def test_without_events_the_slow_check_finds_it(watch: Watch, path: Path, tmp_path: Path) -> None:
    """A network file system may give no event; here, the file is edited under a name in another directory."""
    (tmp_path / "twin").mkdir()
    os.link(path, tmp_path / "twin" / "config.yaml")
    watched = watch(path, recheck=0.05)
    _overwrite(tmp_path / "twin" / "config.yaml", OTHER)
    assert await watched.said() == "debug"
    _overwrite(tmp_path / "twin" / "config.yaml", HEAD + "log: {level: warning}\n")
    assert await watched.said() == "warning"


async def test_without_inotify_it_says_so_and_goes_on(watch: Watch, path: Path) -> None:
    """Where the node has no instance left, the slow check alone must do, and the operator learns why edits take long."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    watched = watch(path, recheck=0.05)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        told = await watched.said()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert told.startswith(f"{path}: edits are noticed only every 0.05 s: ")
    _rename_over(path, OTHER)
    while told != "debug":
        told = await watched.said()
