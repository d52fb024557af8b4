"""The workflows of GitHub Actions ask for nothing that is not there. That they run shows nowhere but at GitHub."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.checkout

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / ".github/workflows").glob("*.yaml"))
FOREIGN = {"contents", "packages", "id-token"}

workflow = pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])


def steps(path: Path) -> list[dict[str, Any]]:
    """The steps of all jobs."""
    return [step for job in yaml.safe_load(path.read_text())["jobs"].values() for step in job["steps"]]


def commands(path: Path) -> str:
    """All that is run in a shell."""
    return "\n".join(step["run"] for step in steps(path) if "run" in step)


def test_there_are_workflows() -> None:
    """The other tests here have something to check."""
    assert [path.stem for path in FILES] == ["ci", "release"]


@pytest.mark.requires("yamllint")
@workflow
def test_yamllint_has_nothing_to_say(path: Path) -> None:
    """Workflows are tidy YAML."""
    command = [sys.executable, "-m", "yamllint", "--strict", "--config-file", str(ROOT / ".yamllint.yaml"), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


@workflow
def test_every_target_exists(path: Path) -> None:
    """What is made is in the Makefile."""
    made = set(re.findall(r"^([a-z0-9.-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)) | {".venv"}
    asked = {word for line in re.findall(r"\bmake ([^&|\n]+)", commands(path)) for word in line.split() if "=" not in word}
    assert asked
    assert asked <= made


@workflow
def test_every_path_exists(path: Path) -> None:
    """Files of the checkout that a step names are there."""
    texts = [commands(path), *(str(step["with"].get("file", "")) for step in steps(path) if "with" in step)]
    named = set(re.findall(r"(?<![\w/.])((?:deploy|tests|requirements)/[\w./-]*\w)", "\n".join(texts)))
    assert named
    assert all((ROOT / name).exists() for name in named), named


@workflow
def test_every_action_has_a_version(path: Path) -> None:
    """None follows a branch."""
    uses = [step["uses"] for step in steps(path) if "uses" in step]
    assert uses
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@(v\d+(\.\d+)*|[0-9a-f]{40})", name) for name in uses), uses


@workflow
def test_nothing_is_allowed_that_no_job_asks_for(path: Path) -> None:
    """A job may read the code, and writes only what it says; no step has text of strangers in its shell."""
    file = yaml.safe_load(path.read_text())
    assert file["permissions"] == {"contents": "read"}
    granted = {name for job in file["jobs"].values() for name in job.get("permissions", {})}
    assert granted <= (FOREIGN if path.stem == "release" else set())
    assert "${{" not in re.sub(r"\$\{\{ matrix\.\w+ \}\}", "", commands(path))


def test_every_python_is_tested() -> None:
    """From the oldest that the packages take on, without a hole."""
    oldest = re.findall(r'requires-python = ">=3\.(\d+)"', (ROOT / "pyproject.toml").read_text())[0]
    matrix = yaml.safe_load(FILES[0].read_text())["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert matrix == [f"3.{int(oldest) + number}" for number in range(len(matrix))]
    assert len(matrix) > 1


@pytest.mark.requires("shellcheck")
@workflow
def test_shellcheck_has_nothing_to_say(path: Path) -> None:
    """Scripts in steps are sound, those with the matrix in them too."""
    for step in steps(path):
        script = re.sub(r"\$\{\{[^}]*\}\}", "matrix", step.get("run", ""))
        command = [str(Path(sys.executable).with_name("shellcheck")), "--shell=bash", "-"]
        done = subprocess.run(command, input=script, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout
