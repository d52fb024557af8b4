"""Who has shared hardware outlives the process that gave it out: whole, for this boot of the node, and written by its owner alone."""

import json
import os
from pathlib import Path

import pytest

from supervisor.ownership import HIDDEN_NAME
from supervisor.tenancy import Tenant
from supervisor.tenancy_file import NAME, TenancyFile

CLAIMS = {"0000:3b:00.0/region0": Tenant("fpga.example/left", "r0@left", 12.5)}
NOW = 100.0


class Node:
    """A machine with a device-plugins directory, owned or not."""

    def __init__(self, folder: Path) -> None:
        self.directory = folder / "device-plugins"
        self.hidden = self.directory / HIDDEN_NAME
        self.hidden.mkdir(parents=True)
        self.boot_id = folder / "proc/sys/kernel/random/boot_id"
        self.boot_id.parent.mkdir(parents=True)
        self.boot_id.write_text("11111111-2222-4333-8444-555555555555\n")
        self.proc = folder / "proc"
        self.owned = True

    @property
    def path(self) -> Path:
        return self.hidden / NAME

    def process(self) -> TenancyFile:
        """The file as one process sees it."""
        return TenancyFile(self.directory, str(self.proc), lambda: self.owned)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_the_next_process_reads_what_one_has_written(node: Node) -> None:
    """And what is written later takes its place, whole."""
    node.process().write({**CLAIMS, "other": Tenant("a/b", "c", 1.0)})
    node.process().write(CLAIMS)
    assert node.process().read(NOW) == CLAIMS
    assert os.listdir(node.hidden) == [NAME]
    assert node.path.stat().st_mode & 0o777 == 0o600


def test_nothing_is_known_where_nothing_was_written(node: Node) -> None:
    """Neither without the file nor without its folder."""
    assert node.process().read(NOW) == {}
    node.hidden.rmdir()
    assert node.process().read(NOW) == {}


def test_a_boot_of_the_node_ends_all_claims(node: Node) -> None:
    """Its clock begins anew, and the kubelet admits every pod again."""
    node.process().write(CLAIMS)
    node.boot_id.write_text("another\n")
    assert node.process().read(NOW) == {}


def test_without_a_boot_id_claims_stay(node: Node) -> None:
    """Nobody can say that the node was started again; a time from before it is made one of now."""
    node.boot_id.unlink()
    node.process().write({"region": Tenant("a/b", "c", NOW + 1e6)})
    assert node.process().read(NOW) == {"region": Tenant("a/b", "c", NOW)}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"bootId": 1}', "\x00" * 100, "[" * 100_000, '{"bootId": "x", "claims": {"a": 1}}'], ids=range(7)
)
def test_a_broken_file_means_no_memory(node: Node, text: str) -> None:
    """And does not stand in the way of the next one."""
    node.path.write_text(text)
    assert node.process().read(NOW) == {}
    node.process().write(CLAIMS)
    assert node.process().read(NOW) == CLAIMS


def test_what_is_no_file_means_no_memory(node: Node) -> None:
    """A pipe would block who opens it, a link may lead anywhere."""
    os.mkfifo(node.path)
    assert node.process().read(NOW) == {}
    node.path.unlink()
    elsewhere = node.directory / "elsewhere"
    elsewhere.write_text(json.dumps({"bootId": node.boot_id.read_text().strip(), "claims": {}}))
    node.path.symlink_to(elsewhere)
    node.process().write(CLAIMS)
    assert json.loads(elsewhere.read_text())["claims"] == {}
    assert node.process().read(NOW) == CLAIMS


def test_who_does_not_own_the_node_writes_nothing(node: Node) -> None:
    """A standby's account would take the place of the owner's."""
    node.owned = False
    with pytest.raises(OSError, match="does not own the node"):
        node.process().write(CLAIMS)
    assert os.listdir(node.hidden) == []


def test_a_folder_that_cannot_be_written_is_told(node: Node) -> None:
    """With the system's own words; what was written before stays."""
    node.process().write(CLAIMS)
    node.path.rename(node.directory / "kept")
    node.hidden.rmdir()
    with pytest.raises(FileNotFoundError):
        node.process().write(CLAIMS)


def test_what_a_killed_process_left_half_written_is_removed(node: Node) -> None:
    """By the next one that writes."""
    (node.hidden / f".{NAME}.0123abcd.tmp").write_text("{")
    node.process().write(CLAIMS)
    assert os.listdir(node.hidden) == [NAME]
