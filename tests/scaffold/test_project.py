"""The pure part: names that are accepted make names that every tool accepts, and texts that are always the same."""

import ast
import keyword
import tomllib
from importlib.metadata import metadata
from importlib.resources import files as resources

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

import supervisor
from supervisor import resource_name_problem
from supervisor.hookspecs import ENTRY_POINT_GROUP
from supervisor.scaffold import Project, files, name_problem
from supervisor.scaffold.files import TEMPLATES
from supervisor.scaffold.project import LONGEST

NAMES = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?", fullmatch=True)


def made(name: str) -> tuple[Project, dict[str, str]]:
    """A project and its files."""
    project = Project(name, f"vendor.example/{name}")
    return project, files(project)


@given(NAMES)
def test_every_name_makes_good_names(name: str) -> None:
    """With hyphens and digits wherever they may be: for pip, for Python and for the kubelet."""
    assert name_problem(name) is None
    project = Project(name, f"vendor.example/{name}")
    assert Requirement(project.distribution).name == project.distribution
    assert project.package.isidentifier()
    assert not keyword.iskeyword(project.package)
    assert resource_name_problem(project.resource) is None
    assert project.distribution.endswith("-device-plugin")
    assert yaml.safe_load(f"{project.key}: 1") == {name: 1}


@given(st.text(max_size=LONGEST + 5))
def test_other_texts_are_refused(text: str) -> None:
    """What is no plugin name by the contract, or too long, has its sentence; all else has none."""
    characters = set("abcdefghijklmnopqrstuvwxyz0123456789-")
    good = 0 < len(text) <= LONGEST and set(text) <= characters and text[0] != "-" != text[-1]
    assert (name_problem(text) is None) == good


@given(NAMES)
def test_every_name_makes_files_that_parse(name: str) -> None:
    """No placeholder is left, and nothing in a name breaks a file's syntax."""
    project, texts = made(name)
    for path, text in texts.items():
        assert "@" not in path
        if path.endswith(".py"):
            ast.parse(text)
    table = tomllib.loads(texts["pyproject.toml"])
    assert table["project"]["name"] == project.distribution
    assert table["project"]["entry-points"][ENTRY_POINT_GROUP] == {name: project.package}
    assert f"src/{project.package}/plugin.py" in texts
    for block in texts["README.md"].split("```yaml\n")[1:]:
        loaded = yaml.safe_load(block.partition("```")[0])
        assert loaded.get("plugins", {name: {}}).keys() == {name}


def test_the_same_project_makes_the_same_files() -> None:
    """Nothing in them depends on the day or the place."""
    assert made("acme-gadget") == made("acme-gadget")


def test_a_suffix_is_not_said_twice() -> None:
    """Who gives the distribution's name means it."""
    assert Project("acme-device-plugin", "vendor.example/x").distribution == "acme-device-plugin"


def test_it_asks_for_the_supervisor_that_wrote_it() -> None:
    """This version fits its own requirement, and the next series does not; the oldest Python is the supervisor's."""
    _, texts = made("acme-gadget")
    project = tomllib.loads(texts["pyproject.toml"])["project"]
    (needed,) = [each for each in map(Requirement, project["dependencies"]) if each.name == "device-plugin-supervisor"]
    major, minor, _ = supervisor.__version__.split(".")
    assert needed.specifier.contains(supervisor.__version__)
    assert not needed.specifier.contains(f"{major}.{int(minor) + 1}.0")
    assert project["requires-python"] == metadata("device-plugin-supervisor")["Requires-Python"]


def test_no_template_is_forgotten() -> None:
    """What lies in the folder is what is written."""
    folder = resources("supervisor.scaffold") / "templates"
    assert sorted(each.name for each in folder.iterdir()) == sorted(f"{template}.in" for template in TEMPLATES.values())


def test_a_word_that_nobody_knows_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt placeholder cannot reach an author."""
    monkeypatch.setitem(TEMPLATES, "@packadge@.txt", "gitignore")
    with pytest.raises(KeyError, match="packadge"):
        made("acme-gadget")
