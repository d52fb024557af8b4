"""The stage of a simulation: a directory of its own, a script that plays, and nothing that stays behind."""

import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from supervisor import FileTree, ScriptStep, Stage, TreeFiles, script_steps
from supervisor.simulation.stage import PLACES

PATIENCE = 30
FORMS = {"say": (re.compile(r"(\S+)"), "{} it")}
Begin = Callable[..., Stage[str]]


class Tree(FileTree):
    """A machine that says one thing."""

    def __init__(self, root: Path, machine: str) -> None:
        self.machine = machine
        self.changed = threading.Event()
        super().__init__(root, _files(machine))

    def become(self, machine: str) -> None:
        self.machine = machine
        self.show(_files(machine))
        self.changed.set()


def _files(machine: str) -> TreeFiles:
    return {"sys/devices/it": machine.encode()}


def apply(step: ScriptStep, _machine: str) -> str:
    """It says something else."""
    return step.words[0]


@pytest.fixture
def trees() -> list[Tree]:
    """Those that were planted."""
    return []


@pytest.fixture
def begin(tmp_path: Path, trees: list[Tree]) -> Iterator[Begin]:
    """Makes stages in the test's own directory, and ends them."""
    made: list[Stage[str]] = []

    def plant(root: Path) -> Tree:
        trees.append(Tree(root, "nothing"))
        return trees[-1]

    def begin(*script: str, places: Sequence[str | None] = (str(tmp_path),)) -> Stage[str]:
        made.append(Stage("test", plant, script_steps(script, FORMS), apply, places))
        return made[-1]

    yield begin
    for stage in made:
        if stage.sys.exists():
            stage.close()


def test_a_script_plays(begin: Begin, trees: list[Tree]) -> None:
    """What it says happens, without anybody who waits for it."""
    stage = begin("after 0s say hello")
    assert trees[0].changed.wait(PATIENCE)
    assert (stage.sys / "devices/it").read_text() == "hello"


def test_nothing_stays_behind(begin: Begin, tmp_path: Path) -> None:
    """At the end the script is over, however long it would take, and the tree is gone."""
    stage = begin("after 1h say hello")
    assert stage.dev.is_dir()
    stage.close()
    assert not any(tmp_path.iterdir())


def test_trees_of_processes_that_have_ended_are_swept(begin: Begin, tmp_path: Path) -> None:
    """What a process has left that was killed goes at the next start; what is in use, or might be in a moment, stays."""
    begin()
    (used,) = tmp_path.iterdir()
    old, young, other = (tmp_path / name for name in ("supervisor-test-old", "supervisor-test-young", "other"))
    for path in (old, young, other):
        (path / "sys").mkdir(parents=True)
    for path in (old, other, used):
        os.utime(path, (0, 0))
    begin()
    assert {path for path in (used, old, young, other) if path.exists()} == {used, young, other}


def test_another_place(begin: Begin, tmp_path: Path) -> None:
    """Where there can be no directory in the first place, the next one is taken; the last of the usual ones can be written by all."""
    stage = begin(places=(str(tmp_path / "missing"), str(tmp_path)))
    assert stage.sys.is_relative_to(tmp_path)
    assert os.access(PLACES[-1] or "", os.W_OK)


def test_no_place(begin: Begin, tmp_path: Path) -> None:
    """Without any directory there is no stage, and the reason names the first."""
    with pytest.raises(OSError, match="missing"):
        begin(places=(str(tmp_path / "missing"), str(tmp_path / "gone")))


def test_a_tree_that_cannot_be_planted_leaves_nothing(tmp_path: Path) -> None:
    """A directory that was made for a tree goes with it."""

    def plant(_root: Path) -> Tree:
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        Stage("test", plant, (), apply, (str(tmp_path),))
    assert not any(tmp_path.iterdir())
