"""``new-plugin``: which names it takes, that it overwrites nothing, how it ends."""

import os
from pathlib import Path

import pytest

from supervisor.cli import main
from tests.cli.conftest import WIDGETS, Machine


def _texts(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_every_file_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --directory they are in a folder that is named like the distribution."""
    monkeypatch.chdir(tmp_path)
    assert main(["new-plugin", "acme-gadget", "--resource", "acme.example/gadget"]) == 0
    said = capsys.readouterr().out
    written = _texts(tmp_path / "acme-gadget-device-plugin")
    assert len(written) == 11
    assert all(f"  {path}\n" in said for path in written)
    assert "There is no licence yet" in said
    assert "LICENSE" not in written
    assert "for trying out" not in said


def test_the_resource_has_a_default(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is one that nobody owns, and this is said."""
    assert main(["new-plugin", "acme-gadget", "--directory", str(tmp_path / "here")]) == 0
    assert "example.com/acme-gadget is a name for trying out" in capsys.readouterr().out
    assert 'resource: str = "example.com/acme-gadget"' in _texts(tmp_path)["here/src/acme_gadget_device_plugin/config.py"]


def test_a_directory_with_a_space_is_quoted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The next steps can be pasted."""
    assert main(["new-plugin", "acme-gadget", "--directory", str(tmp_path / "my work")]) == 0
    assert f"  cd '{tmp_path}/my work'\n" in capsys.readouterr().out


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is in the way is listed, links to nowhere included, and nothing at all is written."""
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "conftest.py").symlink_to("nowhere")
    assert main(["new-plugin", "acme-gadget", "--directory", str(tmp_path)]) == 1
    answer = capsys.readouterr()
    assert answer.out == ""
    assert answer.err.splitlines()[1:] == ["  README.md", "  tests/conftest.py"]
    assert _texts(tmp_path) == {"README.md": "mine"}


def test_a_repository_that_is_there_is_no_obstacle(tmp_path: Path) -> None:
    """A licence and the files of git stay as they are."""
    (tmp_path / "LICENSE").write_text("mine")
    assert main(["new-plugin", "acme-gadget", "--directory", str(tmp_path)]) == 0
    assert _texts(tmp_path)["LICENSE"] == "mine"


def test_a_disk_that_refuses_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file stands where a folder has to be: one sentence, exit code 1."""
    (tmp_path / "src").write_text("")
    assert main(["new-plugin", "acme-gadget", "--directory", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(f"device-plugin-supervisor: {tmp_path}/src")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["Acme"], "'Acme' is no name for a plugin: it must be of the characters [a-z0-9-]"),
        (["acme_gadget"], "begin and end with a letter or a digit"),
        (["acme-"], "begin and end with a letter or a digit"),
        ([""], "begin and end with a letter or a digit"),
        (["../acme"], "begin and end with a letter or a digit"),
        (["a" * 41], "it has 41 characters, and 40 is the most"),
        (["acme", "--resource", "gadget"], "'gadget' is no name for a resource: it has no vendor domain"),
        ([], "the following arguments are required: NAME"),
    ],
)
def test_a_bad_name_is_2(machine: Machine, tmp_path: Path, arguments: list[str], complaint: str) -> None:
    """It is told with the right usage, and nothing is written."""
    answer = machine.run("new-plugin", "--directory", tmp_path / "new", *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert complaint in answer.err
    assert not (tmp_path / "new").exists()


def test_a_taken_name_is_2(machine: Machine, tmp_path: Path) -> None:
    """Whether a plugin has it, or another distribution would be replaced."""
    machine.install("widgets", WIDGETS)
    answer = machine.run("new-plugin", "widgets", "--directory", tmp_path / "new")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("widgets is taken: acme-widgets 1.2, entry point widgets = cli_sample_widgets is installed")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("path", ["gizmo_device_plugin.py", f"gizmo_device_plugin-2.0.dist-info{os.sep}METADATA"])
def test_a_name_that_python_or_pip_knows_is_2(machine: Machine, tmp_path: Path, path: str) -> None:
    """A module or a distribution of the name to be is in the way, too."""
    (machine.site / path).parent.mkdir(exist_ok=True)
    (machine.site / path).write_text("Metadata-Version: 2.1\nName: gizmo-device-plugin\nVersion: 2.0\n" if "-" in path else "")
    answer = machine.run("new-plugin", "gizmo", "--directory", tmp_path / "new")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("gizmo is taken: ")
