"""A directory that others read: whole files or none, and nothing of theirs touched."""

import os
from pathlib import Path

import pytest

from supervisor import NodeFolder
from supervisor.nodefiles import MAX_BYTES


@pytest.fixture
def folder(tmp_path: Path) -> NodeFolder:
    return NodeFolder(str(tmp_path))


def test_a_file_is_written_and_read(folder: NodeFolder) -> None:
    """With the mode that is wanted, whatever the umask."""
    before = os.umask(0o077)
    try:
        assert folder.write("a", b"1")
        assert folder.write("b", b"2", 0o444)
    finally:
        os.umask(before)
    assert (folder.read("a"), folder.read("b"), folder.read("c")) == (b"1", b"2", None)
    assert [os.stat(folder.at(name)).st_mode & 0o777 for name in ("a", "b")] == [0o644, 0o444]
    assert folder.names() == ["a", "b"]


def test_only_what_changes_is_written(folder: NodeFolder) -> None:
    """Readers are woken by every new file; one that nobody may write is replaced all the same."""
    folder.write("a", b"1", 0o444)
    before = os.stat(folder.at("a")).st_ino
    assert not folder.write("a", b"1", 0o444)
    assert os.stat(folder.at("a")).st_ino == before
    assert folder.write("a", b"2", 0o444)
    assert folder.read("a") == b"2"


def test_a_link_is_replaced_and_never_followed(folder: NodeFolder, tmp_path: Path) -> None:
    """Whoever may write in the directory could lead us to any file of the node."""
    other = tmp_path / "other"
    other.write_bytes(b"theirs")
    Path(folder.at("a")).symlink_to(other)
    assert folder.read("a") is None
    assert folder.write("a", b"ours")
    assert (other.read_bytes(), folder.read("a")) == (b"theirs", b"ours")


def test_what_stands_in_the_way_is_told(folder: NodeFolder) -> None:
    """By the system's error; nothing half-written stays."""
    Path(folder.at("a/b")).mkdir(parents=True)
    with pytest.raises(OSError, match="a"):
        folder.write("a", b"1")
    assert folder.names() == ["a"]


def test_strange_files_are_not_read(folder: NodeFolder) -> None:
    """A huge one, a pipe without a writer, a directory."""
    with Path(folder.at("huge")).open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    os.mkfifo(folder.at("pipe"))
    Path(folder.at("directory")).mkdir()
    assert [folder.read(name) for name in ("huge", "directory")] == [None, None]
    assert not folder.read("pipe")


def test_half_written_files_of_ours_go(folder: NodeFolder) -> None:
    """By the name that they were to get."""
    for name in (".ours.json.0123abcd.tmp", ".theirs.json.0123abcd.tmp", ".ours.json.tmp", "ours.json"):
        Path(folder.at(name)).touch()
    assert [folder.unfinished(name) for name in folder.names()] == ["ours.json", "", "theirs.json", ""]
    folder.sweep(lambda name: name == "ours.json")
    assert folder.names() == [".ours.json.tmp", ".theirs.json.0123abcd.tmp", "ours.json"]


def test_why_no_file_can_be_put_there(folder: NodeFolder, tmp_path: Path) -> None:
    """To be read after the directory's name."""
    assert folder.problem == ""
    assert NodeFolder(str(tmp_path / "absent")).problem == "is not there"
    (tmp_path / "file").touch()
    assert NodeFolder(str(tmp_path / "file")).problem == "is not there"


def test_a_directory_that_takes_no_files() -> None:
    """procfs, from anybody."""
    with pytest.raises(OSError, match="/proc"):
        NodeFolder("/proc").write("a", b"1")
