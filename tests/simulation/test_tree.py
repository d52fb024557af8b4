"""A tree of files follows what is to be in it, and nobody who reads it meanwhile sees half of anything."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor import FileTree, TreeDevice, TreeFiles, TreeFolder, TreeLink, Trouble, device_files, driver_files, spoil

PATIENCE = 30
STATE = "sys/devices/card0/state"
CARD: TreeFiles = device_files("sys/devices/card0", "class/cards", {"NAME": "card0"}, {"state": "well", "ids/first": 7})


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[FileTree]:
    """With one card in it."""
    tree = FileTree(tmp_path / "machine", dict(CARD))
    yield tree
    tree.close()


def listing(root: Path) -> dict[str, str]:
    """All paths with what is there, as text."""
    found = {}
    for path in root.rglob("*"):
        if path.is_symlink():
            what = f"-> {path.readlink()}"
        elif path.is_fifo() or path.is_dir():
            what = "fifo" if path.is_fifo() else "directory"
        else:
            what = repr(path.read_bytes())
        found[str(path.relative_to(root))] = what
    return found


def test_a_device_is_as_the_kernel_shows_it(tree: FileTree) -> None:
    """It has its attributes with the line's end, an uevent file and a subsystem, and is found by its class."""
    card = tree.sys / "class/cards/card0"
    assert card.resolve() == tree.sys / "devices/card0"
    assert (card / "state").read_text() == "well\n"
    assert (card / "ids/first").read_text() == "7\n"
    assert (card / "uevent").read_text() == "NAME=card0\n"
    assert (card / "subsystem").resolve().name == "cards"
    assert tree.devices() == {"/devices/card0": "cards"}


def test_a_driver(tree: FileTree) -> None:
    """A device and its driver lead to each other, and the driver stays when the device goes."""
    both = CARD | driver_files("sys/devices/card0", "cards", "carddrv")
    tree.show(both)
    assert (tree.sys / "devices/card0/driver").resolve().name == "carddrv"
    assert (tree.sys / "bus/cards/drivers/carddrv/card0").resolve() == tree.sys / "devices/card0"
    tree.show({"sys/bus/cards/drivers/carddrv": TreeFolder()})
    assert list((tree.sys / "bus/cards/drivers/carddrv").iterdir()) == []
    assert not (tree.sys / "devices/card0").exists()


def test_device_nodes_are_made_as_it_was_told(tmp_path: Path) -> None:
    """Plain files by default; else by whom the maker of the tree has named."""
    made: dict[str, TreeDevice] = {}

    def make(path: Path, node: TreeDevice) -> None:
        path.write_text("made")
        made[path.name] = node

    plain = FileTree(tmp_path / "plain", {"dev/card0": TreeDevice(1, 3)})
    assert (plain.dev / "card0").read_bytes() == b""
    own = FileTree(tmp_path / "own", {"dev/card0": TreeDevice(1, 3)}, make)
    assert (own.dev / "card0").read_text() == "made"
    assert list(made.values()) == [TreeDevice(1, 3)]


def test_a_hanging_read_is_let_go(tree: FileTree) -> None:
    """Who reads what hangs waits until it answers again, and then reads the value."""
    tree.show(CARD | {STATE: Trouble.HANGS})
    read: list[bytes] = []
    thread = threading.Thread(target=lambda: read.append((tree.root / STATE).read_bytes()), daemon=True)
    thread.start()
    deadline = time.monotonic() + PATIENCE
    while not _sleeps(thread):
        assert time.monotonic() < deadline, "nobody waits"
        time.sleep(0.001)
    assert read == []
    tree.show(dict(CARD))
    thread.join(PATIENCE)
    assert read == [b"well\n"]


def _sleeps(thread: threading.Thread) -> bool:
    """Whether a thread waits for something."""
    stat = Path(f"/proc/self/task/{thread.native_id}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] == "S"


def test_closing_lets_hanging_reads_go(tmp_path: Path) -> None:
    """The end of a tree does not leave anybody behind who waits in it."""
    tree = FileTree(tmp_path / "machine", {STATE: Trouble.HANGS})
    fifo = os.open(tree.root / STATE, os.O_RDONLY | os.O_NONBLOCK)
    tree.close()
    assert os.read(fifo, 100) == b""
    assert not tree.root.exists()
    os.close(fifo)


def test_a_failing_read(tree: FileTree) -> None:
    """What cannot be read fails with an error of the kernel, for root too."""
    tree.show(CARD | {STATE: Trouble.FAILS})
    with pytest.raises(OSError, match="Input/output error"):
        (tree.root / STATE).read_bytes()


def test_spoiling() -> None:
    """A trouble takes the place of a file, or of a directory with all in it; what is absent is not there."""
    files = dict(CARD)
    spoil(files, "sys/devices/card0/ids", Trouble.ABSENT)
    spoil(files, STATE, b"odd")
    assert files[STATE] == b"odd"
    assert not [path for path in files if path.startswith("sys/devices/card0/ids")]
    spoil(files, "sys/devices/card0", Trouble.FAILS)
    assert [path for path in files if path.startswith("sys/devices")] == ["sys/devices/card0"]


def test_one_file(tree: FileTree) -> None:
    """A value that was put is what is there, also for what is shown next."""
    tree.put(STATE, b"ill\n")
    assert (tree.root / STATE).read_bytes() == tree.files[STATE] == b"ill\n"
    tree.show(dict(CARD))
    assert (tree.root / STATE).read_bytes() == b"well\n"


def test_what_others_write(tree: FileTree) -> None:
    """A file that somebody else has written is not written again until it is learnt what is in it."""
    for learnt in (False, True):
        (tree.root / STATE).write_bytes(b"ill\n")
        if learnt:
            assert tree.learn(STATE) == tree.files[STATE] == b"ill\n"
        tree.show(dict(CARD))
        assert (tree.root / STATE).read_bytes() == (b"well\n" if learnt else b"ill\n")
    assert tree.learn("sys/class/cards/card0") is None
    assert tree.learn("sys/nothing") is None


def test_moving(tree: FileTree) -> None:
    """A device with another name is the same directory, and found by the new name only."""
    inode = (tree.sys / "devices/card0").stat().st_ino
    tree.move("sys/devices/card0", "sys/devices/card9", "sys/class/cards/card0")
    assert [path.name for path in (tree.sys / "class/cards").iterdir()] == ["card9"]
    assert (tree.sys / "class/cards/card9").resolve().stat().st_ino == inode
    tree.show({})
    assert not list((tree.sys / "devices").iterdir())


def test_a_value_is_never_seen_in_part(tree: FileTree) -> None:
    """While a long value changes all the time, each read has one of the values whole."""
    values = [letter * 4000 for letter in (b"a", b"b")]
    tree.show(CARD | {STATE: values[0]})
    over = threading.Event()
    seen: set[bytes] = set()

    def read() -> None:
        while not over.is_set():
            seen.add((tree.root / STATE).read_bytes())

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    for number in range(300):
        tree.show(CARD | {STATE: values[number % 2]})
    over.set()
    thread.join(PATIENCE)
    assert seen <= set(values)


_CONTENTS = st.sampled_from([b"", b"one\n", b"two\n", Trouble.HANGS, Trouble.FAILS, TreeLink("sys/devices"), TreeDevice(1, 2)])
_PATHS = [f"sys/{kind}/{name}/{leaf}" for kind in ("class", "bus", "devices/x") for name in "ab" for leaf in "cd"]
_FILES = st.dictionaries(st.sampled_from(_PATHS), _CONTENTS)


@settings(max_examples=60)
@given(before=_FILES, after=_FILES)
def test_it_becomes_what_it_shall_be(before: TreeFiles, after: TreeFiles, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A tree that shows something else is as if it had shown that from the start: nothing stays behind."""
    root = tmp_path_factory.mktemp("trees")
    changed, fresh = FileTree(root / "changed", dict(before)), FileTree(root / "fresh", dict(after))
    changed.show(dict(after))
    assert listing(changed.root) == listing(fresh.root)
    changed.close()
    fresh.close()
