"""What packages keep over restarts: written soon, whole, by the owner alone, for this boot, and never in the way."""

import itertools
import json
import os
import stat
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from supervisor.events import Event, MemoryUnwritten, MemoryWritten
from supervisor.kubelet.sockets import ProcessDirectory
from supervisor.memories import MOST_BYTES, PAUSE, Memories
from supervisor.memory import PackageMemory
from supervisor.ownership import HIDDEN_NAME

SOON = 10.0
"""Seconds after which a test takes an event that has not come for one that never will."""
BOOT = "11111111-2222-4333-8444-555555555555"


class Node:
    """A machine with a device-plugins directory that this process may own."""

    def __init__(self, folder: Path) -> None:
        self.directory = folder / "device-plugins"
        self.hidden = self.directory / HIDDEN_NAME
        self.proc = folder / "proc"
        self.boot_id = self.proc / "sys/kernel/random/boot_id"
        self.owns = True
        self.events: list[Event] = []
        self.hidden.mkdir(parents=True)
        self.boot_id.parent.mkdir(parents=True)
        self.boot_id.write_text(f"{BOOT}\n")

    @property
    def file(self) -> Path:
        return self.hidden / "memory" / "acme.json"

    def written(self) -> Any:
        """What the file holds, or nothing."""
        return json.loads(self.file.read_text())["memory"] if self.file.exists() else None

    def write(self, memory: object, boot: str = BOOT) -> None:
        """As another process wrote it."""
        self.file.parent.mkdir(exist_ok=True)
        self.file.write_text(json.dumps({"bootId": boot, "memory": memory}))

    def process(self) -> Memories:
        """The memories of one process on this machine."""
        return Memories(self.directory, str(self.proc), lambda: self.owns, self.events.append)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


@asynccontextmanager
async def running(memories: Memories) -> AsyncIterator[Memories]:
    """With its task."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(memories.run)
        yield memories
        nursery.cancel_scope.cancel()


async def until(happened: Callable[[], object]) -> None:
    """Wait for what another thread does."""
    with trio.fail_after(SOON):
        while not happened():  # noqa: ASYNC110  # a file tells nobody
            await trio.sleep(0.005)


def of(memories: Memories, package: str = "acme") -> PackageMemory:
    """The memory of a package whose plugins need not take over."""
    gate = memories.gate(package)
    gate.open(())
    return PackageMemory(gate)


async def test_what_is_kept_is_there_after_a_restart(node: Node) -> None:
    """In this process at once, in the next one from the file, which says of which boot it is."""
    async with running(node.process()) as memories:
        of(memories).keep({"faults": {"A": 1}})
        assert of(memories).recall() == {"faults": {"A": 1}}
        await until(node.file.exists)
    assert json.loads(node.file.read_text()) == {"bootId": BOOT, "memory": {"faults": {"A": 1}}}
    assert of(node.process()).recall() == {"faults": {"A": 1}}
    assert node.file.stat().st_mode & 0o077 == 0 or node.file.parent.stat().st_mode & 0o077 == 0
    assert node.events == []


async def test_packages_have_memories_of_their_own(node: Node) -> None:
    """However an entry point is called."""
    names = ["acme", "..", "a/../b", "A B", "%2e"]
    async with running(node.process()) as memories:
        for name in names:
            of(memories, name).keep({"name": name})
    assert [of(node.process(), name).recall() for name in names] == [{"name": name} for name in names]
    assert {path.suffix for path in node.file.parent.iterdir()} == {".json"}
    assert len(list(node.file.parent.iterdir())) == len(names)
    assert {path.name for path in node.hidden.iterdir()} == {"memory"}


async def test_the_end_of_the_process_loses_nothing(node: Node) -> None:
    """What was kept last is written when the task is cancelled, as at SIGTERM."""
    async with running(node.process()) as memories:
        memory = of(memories)
        memory.keep({"n": 1})
        await until(node.file.exists)
        memory.keep({"n": 2})
    assert node.written() == {"n": 2}


def broken(node: Node) -> dict[str, Callable[[], object]]:
    """Files in which nothing can be recalled."""

    def write(text: bytes) -> Callable[[], object]:
        return lambda: node.file.write_bytes(text)

    def directory() -> None:
        node.file.mkdir()

    deep = b'{"bootId": "%s", "memory": {"a": %s}}' % (BOOT.encode(), b"[" * 100_000)
    return {
        "absent": lambda: None,
        "empty": write(b""),
        "cut": write(b'{"bootId": "%s", "memory": {"a"' % BOOT.encode()),
        "no text": write(b"\xff\xfe"),
        "no object": write(b"[]"),
        "no boot": write(b'{"memory": {"a": 1}}'),
        "a list": lambda: node.write([1]),
        "deep": write(deep),
        "another boot": lambda: node.write({"a": 1}, boot=BOOT.replace("1", "9")),
        "oversized": lambda: node.write({"a": "x" * MOST_BYTES}),
        "a directory": directory,
        "a pipe": lambda: os.mkfifo(node.file),
        "a link": lambda: node.file.symlink_to("/dev/zero"),
    }


@pytest.mark.parametrize("how", sorted(broken(Node.__new__(Node))))
async def test_a_broken_file_is_no_memory(node: Node, how: str) -> None:
    """Nothing is recalled, nothing is raised, and where something can be kept again it is."""
    node.file.parent.mkdir()
    broken(node)[how]()
    async with running(node.process()) as memories:
        assert of(memories).recall() == {}
        of(memories).keep({"a": 2})
        good = json.dumps({"bootId": BOOT, "memory": {"a": 2}}, separators=(",", ":")).encode()
        if how == "a directory":
            await until(lambda: node.events)
        else:
            await until(
                lambda: node.file.exists() and stat.S_ISREG(node.file.lstat().st_mode) and node.file.read_bytes() == good
            )


async def test_a_standby_writes_nothing_and_recalls_what_the_owner_keeps(node: Node) -> None:
    """Also what the owner keeps while it waits; what it keeps itself is written when it is the owner."""
    node.owns = False
    async with running(node.process()) as standby:
        gate = standby.gate("acme")
        memory = PackageMemory(gate)
        memory.keep({"mine": 1})
        node.write({"theirs": 1})
        assert memory.recall() == {"theirs": 1}
        node.write({"theirs": 2})
        assert memory.recall() == {"theirs": 2}
        node.owns = True
        standby.owned()
        gate.open(["gadgets"])
        assert memory.recall() == {"theirs": 2}
        gate.taken_over("gadgets")
        assert memory.recall() == {"mine": 1}
        await until(lambda: node.written() == {"mine": 1})


async def test_a_process_that_is_no_owner_any_more_writes_nothing(node: Node) -> None:
    """Whoever owns the directory at the path now may have written there."""
    async with running(node.process()) as memories:
        memory = of(memories)
        memory.keep({"n": 1})
        await until(node.file.exists)
        node.owns = False
        node.write({"theirs": 1})
        memory.keep({"n": 2})
    assert node.written() == {"theirs": 1}


async def test_a_replaced_directory_gets_the_memory(node: Node) -> None:
    """The process owns the new one, in which nobody has written: what it kept in the old one is still good."""
    async with running(node.process()) as memories:
        memory = of(memories)
        memory.keep({"n": 1})
        await until(node.file.exists)
        node.directory.rename(node.directory.with_name("old"))
        assert memory.recall() == {"n": 1}
        node.hidden.mkdir(parents=True)
        memories.owned()
        await until(lambda: node.written() == {"n": 1})
        assert memory.recall() == {"n": 1}
    assert node.events == []


async def test_a_later_owners_memory_is_newer(node: Node) -> None:
    """Where another process owned the new directory in between, what that one kept counts."""
    async with running(node.process()) as memories:
        memory = of(memories)
        memory.keep({"n": 1})
        await until(node.file.exists)
        node.owns = False
        node.write({"theirs": 1})
        assert memory.recall() == {"theirs": 1}
        node.owns = True
        memories.owned()
        assert memory.recall() == {"theirs": 1}
        of(memories, "later").keep({"b": 1})
        await until((node.file.parent / "later.json").exists)
        assert node.written() == memory.recall() == {"theirs": 1}
        memory.keep({"n": 1})
        await until(lambda: node.written() == {"n": 1})


async def test_an_unchanged_memory_is_not_written_again(node: Node) -> None:
    """Neither by the process that wrote it nor by the next one."""
    async with running(node.process()) as memories:
        of(memories).keep({"a": 1, "b": 2})
    first = node.file.stat()
    async with running(node.process()) as memories:
        for _ in range(5):
            of(memories).keep({"b": 2, "a": 1})
            await trio.sleep(PAUSE)
    assert (node.file.stat().st_ino, node.file.stat().st_mtime_ns) == (first.st_ino, first.st_mtime_ns)


async def test_of_many_values_the_newest_is_written(node: Node) -> None:
    """From any thread, and never half of one."""
    async with running(node.process()) as memories:
        memory = of(memories)
        seen: list[str] = []
        deadline = time.monotonic() + 20.0

        def keep(thread: int) -> None:
            for number in itertools.count():
                memory.keep({"thread": thread, "number": number, "bulk": "x" * 10_000})
                if (found := node.written()) is not None:
                    seen.append(found["bulk"])
                if number >= 200 and (seen or time.monotonic() > deadline):
                    return

        async with trio.open_nursery() as nursery:
            for thread in range(4):
                nursery.start_soon(trio.to_thread.run_sync, keep, thread)
        memory.keep({"last": True})
    assert node.written() == {"last": True}
    assert set(seen) == {"x" * 10_000}


async def test_keeping_waits_for_no_disk(node: Node) -> None:
    """A file that cannot be read or written in time stops neither the plugin nor the process's end."""
    blocked, go = threading.Event(), threading.Event()

    def owns() -> bool:
        blocked.set()
        return go.wait(SOON)

    memories = Memories(node.directory, str(node.proc), owns, node.events.append)
    with trio.fail_after(SOON / 2):
        async with running(memories):
            of(memories).keep({"a": 1})
            assert await trio.to_thread.run_sync(blocked.wait, SOON)
            of(memories).keep({"a": 2})
    go.set()


async def test_what_cannot_be_written_is_told_once_and_tried_again(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told when it begins and when it is over."""
    monkeypatch.setattr("supervisor.memories.RETRY", (0.001, 0.01))
    tries = []
    node.file.parent.write_text("in the way")

    def owns() -> bool:
        tries.append(1)
        return True

    memories = Memories(node.directory, str(node.proc), owns, node.events.append)
    async with running(memories):
        memory = of(memories)
        memory.keep({"a": 1})
        await until(lambda: len(tries) > 10)
        (told,) = node.events
        assert isinstance(told, MemoryUnwritten)
        assert told.package == "acme"
        assert "File exists" in told.reason
        assert memory.recall() == {"a": 1}
        node.file.parent.unlink()
        await until(lambda: node.events[1:] == [MemoryWritten("acme")])
    assert node.written() == {"a": 1}


async def test_a_memory_that_is_too_long_is_told_and_stays_off_the_disk(node: Node) -> None:
    """The last one that fitted stays there, and so does the plugin."""
    async with running(node.process()) as memories:
        memory = of(memories)
        memory.keep({"a": 1})
        await until(node.file.exists)
        memory.keep({"a": "x" * MOST_BYTES})
        await until(lambda: node.events)
        (told,) = node.events
        assert isinstance(told, MemoryUnwritten)
        assert f"the limit is {MOST_BYTES}" in told.reason
        assert node.written() == {"a": 1}
        memory.keep({"a": 2})
        await until(lambda: node.written() == {"a": 2})
        await until(lambda: node.events[1:] == [MemoryWritten("acme")])


async def test_one_package_that_cannot_write_holds_no_other_up(node: Node) -> None:
    """Each is written by itself."""
    node.file.parent.mkdir()
    node.file.mkdir()
    async with running(node.process()) as memories:
        of(memories).keep({"a": 1})
        await until(lambda: node.events)
        of(memories, "other").keep({"b": 1})
        await until((node.file.parent / "other.json").exists)


@pytest.mark.parametrize("how", ["absent", "empty", "no text"])
async def test_without_a_boot_id_nothing_is_kept_and_that_is_said_once(node: Node, how: str) -> None:
    """A memory of another boot would be worse than none."""
    if how == "absent":
        node.boot_id.unlink()
    else:
        node.boot_id.write_bytes(b"" if how == "empty" else b"\xff")
    node.write({"a": 1})
    async with running(node.process()) as memories:
        for _ in range(3):
            assert of(memories).recall() == {}
            of(memories).keep({"a": 2})
        await until(lambda: node.events)
    (told,) = node.events
    assert isinstance(told, MemoryUnwritten)
    assert told.package == ""
    assert str(node.boot_id) in told.reason
    assert "mount the host's /proc" in told.reason
    assert node.written() == {"a": 1}


async def test_without_a_boot_id_nobody_who_does_not_care_hears_of_it(node: Node) -> None:
    """Most packages remember nothing."""
    node.boot_id.unlink()
    async with running(node.process()) as memories:
        memories.gate("acme").open(())
        memories.owned()
        await trio.testing.wait_all_tasks_blocked()
    assert node.events == []


async def test_a_retired_generation_writes_no_more(node: Node) -> None:
    """What it kept stays, until its successor keeps something."""
    async with running(node.process()) as memories:
        old, new = memories.gate("acme"), memories.gate("acme")
        old.open(())
        PackageMemory(old).keep({"old": 1})
        new.open(["gadgets"])
        PackageMemory(new).keep({"new": 1})
        assert PackageMemory(new).recall() == {"old": 1}
        old.close()
        PackageMemory(old).keep({"old": 2})
        assert PackageMemory(new).recall() == {"old": 1}
        new.taken_over("gadgets")
        assert PackageMemory(old).recall() == {"new": 1}
    assert node.written() == {"new": 1}


async def test_no_sweeper_touches_the_memory(short_dir: Path) -> None:
    """Neither a successor that clears the sockets of the dead away, nor a process that clears up after itself."""
    node = Node(short_dir)
    node.write({"a": 1})
    own, dead = ProcessDirectory.create(node.directory), ProcessDirectory.create(node.directory)
    os.close(dead._lock)
    assert own.predecessors() == (dead.path,)
    own.sweep(dead.path)
    own.remove()
    assert node.written() == {"a": 1}
    assert [path.name for path in node.hidden.iterdir()] == ["memory"]
