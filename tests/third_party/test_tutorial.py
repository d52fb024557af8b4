"""The tutorial for plugin authors: its code blocks are the sample distributions, which the other tests build and run."""

import ast
import inspect
import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec
import pytest

import supervisor
from supervisor import hookspecs
from supervisor.config import DEFAULTS, OPTION_KEYS, PluginOptions
from supervisor.config_file import load as load_config
from supervisor.contract import CAPABILITIES
from supervisor.plugins import HOOKS, decode, installed, load
from tests.third_party.conftest import SAMPLES

pytestmark = pytest.mark.checkout

TUTORIAL = (SAMPLES.parent.parent / "plugins" / "README.md").read_text()
BLOCK = re.compile(r"^```(?P<language>\w+) ?(?P<file>[\w.]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
FILES = {
    "acme_widget.py": "acme_widget",
    "pyproject.toml": "acme_widget",
    "acme_gadget.py": "acme_gadget",
    "test_acme_gadget.py": "acme_gadget",
    "acme_board.py": "acme_board",
    "acme_board_program.py": "acme_board",
}
"""For each file that the tutorial shows the folder of its sample."""


def blocks(language: str) -> list[re.Match[str]]:
    """The code blocks in one language, in order."""
    return [block for block in BLOCK.finditer(TUTORIAL) if block["language"] == language]


def lines(text: str) -> list[str]:
    """The lines that hold something: between two blocks the tutorial has prose where the file has empty lines."""
    return [line for line in text.splitlines() if line.strip()]


def test_each_code_block_belongs_to_a_tested_file() -> None:
    """No code in the tutorial can escape the tests."""
    assert {block["file"] for block in BLOCK.finditer(TUTORIAL) if block["language"] in {"python", "toml"}} == set(FILES)
    assert {block["language"] for block in BLOCK.finditer(TUTORIAL)} == {"python", "toml", "yaml", "console", "dockerfile"}


@pytest.mark.parametrize("file", FILES)
def test_the_blocks_of_a_file_are_the_file(file: str) -> None:
    """One after the other they are all of it, and nothing else."""
    shown: dict[str, list[str]] = defaultdict(list)
    for block in BLOCK.finditer(TUTORIAL):
        shown[block["file"]] += lines(block["text"])
    assert shown[file] == lines((SAMPLES / FILES[file] / file).read_text())


def test_the_grown_sample_has_everything() -> None:
    """Every capability and hook is shown in code and named in a sentence."""
    source = (SAMPLES / "acme_gadget" / "acme_gadget.py").read_text()
    methods = {name for methods in CAPABILITIES.values() for name in methods}
    for name in methods | set(HOOKS):
        assert f"def {name}(" in source
        assert f"`{name}`" in TUTORIAL
    specified = {name for name, value in vars(hookspecs).items() if hasattr(value, f"{hookspecs.PROJECT}_spec")}
    assert specified == set(HOOKS)


def test_a_plugin_needs_only_what_it_may_import() -> None:
    """The samples import from the package root alone, as the tutorial asks."""
    for file, sample in FILES.items():
        if not file.startswith("acme_"):
            continue
        source = (SAMPLES / sample / file).read_text()
        nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)]
        (imported,) = [node for node in nodes if (node.module or "").startswith("supervisor")]
        assert imported.module == "supervisor"
        assert {alias.name for alias in imported.names} <= set(supervisor.__all__)


def test_every_option_of_a_plugin_is_listed_with_its_default() -> None:
    """The table is the options that exist, and says their defaults."""
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", TUTORIAL, re.MULTILINE))
    defaults = msgspec.to_builtins(PluginOptions())
    assert rows.keys() == OPTION_KEYS
    assert {key: value if isinstance(value, str) else f"{value:g}" for key, value in defaults.items() if key != "enabled"} == {
        key: value for key, value in rows.items() if key != "enabled"
    }
    assert rows["enabled"] == "true"


def test_the_configuration_shown_is_valid(installed_samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The supervisor takes the block as its file, and the gadgets take their section."""
    monkeypatch.syspath_prepend(str(installed_samples))
    (block,) = blocks("yaml")
    file = tmp_path / "config.yaml"
    file.write_text(block["text"])
    section = load_config(file).config.section("acme-gadget")
    assert section.options != DEFAULTS.section("acme-gadget").options
    (package,) = [package for package in installed() if package.name == "acme-gadget"]
    config: Any = decode(load(package), section.own)
    sys.modules.pop("acme_gadget")
    assert config.reset_at_start is True


def test_the_commands_shown_exist() -> None:
    """Each command of the supervisor in the tutorial is one that it knows."""
    from supervisor.cli import main

    assert inspect.isfunction(main)
    named = set(re.findall(r"device-plugin-supervisor ([a-z]+)", TUTORIAL))
    done = subprocess.run(
        [sys.executable, "-c", "from supervisor.cli import main; main()", "--help"], capture_output=True, text=True, check=False
    )
    assert {name for name in named if name not in done.stdout} == set()


def test_the_authors_own_tests_pass(installed_samples: Path, tmp_path: Path) -> None:
    """They run as their author runs them: in the sample's folder, with the fixtures that pytest finds by itself."""
    paths = [str(installed_samples), str(Path(supervisor.__file__).parent.parent)]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--rootdir",
            ".",
            "-c",
            os.devnull,
            "test_acme_gadget.py",
        ],
        cwd=SAMPLES / "acme_gadget",
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout


def mypy(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run mypy's strictest rules over a folder, as an author would."""
    root = Path(supervisor.__file__).parent.parent
    return subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", root / ".mypy_cache", "."],
        cwd=folder,
        env=os.environ | {"MYPYPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_samples_are_typed(tmp_path: Path) -> None:
    """The annotations that the tutorial shows are right, and a wrong one is found."""
    for file in (each for each in FILES if each.endswith(".py")):
        shutil.copy(SAMPLES / FILES[file] / file, tmp_path)
    done = mypy(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    with (tmp_path / "acme_widget.py").open("a") as source:
        source.write("\nWidgets(Host()).discover(1)\n")
    assert "acme_widget.py:21: error: Too many arguments" in mypy(tmp_path).stdout
