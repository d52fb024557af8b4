"""What a machine lacks is said at the end of a run, by test and by remedy, and never passes for a success in CI."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

NEEDY = """
import pytest
from tests.machine import TOOLS, Tool

TOOLS["warp"] = Tool(lambda: False, ("warp-drive",), "needs dilithium")
TOOLS["air"] = Tool(lambda: True)

@pytest.mark.requires("warp", "air")
def test_flies():
    raise AssertionError("ran without its tool")

@pytest.mark.requires("air")
def test_breathes():
    pass
"""
EXOTIC = """
import pytest
from tests.machine import TOOLS, Tool

TOOLS["warp"] = Tool(lambda: False, hint="needs a starship", hardware=True)

@pytest.mark.requires("warp")
def test_flies():
    raise AssertionError("ran without its hardware")

def test_breathes():
    pass
"""
ABSENT = """
import pytest

pytest.importorskip("no_such_module")
"""
MISSPELT = """
import pytest

@pytest.mark.requires("wrap")
def test_flies():
    pass
"""


def run(folder: Path, source: str, *, jobs: int = 0, no_skips: bool = False) -> subprocess.CompletedProcess[str]:
    """Run one test file under the rules of this suite."""
    (folder / "test_it.py").write_text(source)
    rules = ["-p", "tests.conftest", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(folder), "-p", "no:cacheprovider"]
    env = {name: value for name, value in os.environ.items() if not name.startswith(("NO_SKIPS", "PYTEST_"))}
    env |= {"PYTHONPATH": str(ROOT)} | ({"NO_SKIPS": "1"} if no_skips else {})
    command = [sys.executable, "-m", "pytest", *rules, "-n", str(jobs), str(folder)]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("jobs", [0, 1])
def test_what_did_not_run_is_listed_with_its_remedy(tmp_path: Path, jobs: int) -> None:
    """A person reads which test wants what, and how to get it, however many processes ran the tests."""
    done = run(tmp_path, NEEDY, jobs=jobs)
    assert done.returncode == 0, done.stdout
    assert "needs warp: apt-get install warp-drive; needs dilithium\n    test_it.py::test_flies\n" in done.stdout
    assert "1 passed, 1 skipped" in done.stdout.splitlines()[-1]


@pytest.mark.parametrize("jobs", [0, 1])
def test_a_forbidden_skip_fails(tmp_path: Path, jobs: int) -> None:
    """In CI a test that did not run is a failure that says why."""
    done = run(tmp_path, NEEDY, jobs=jobs, no_skips=True)
    assert done.returncode == 1, done.stdout
    assert "skipped, which is not allowed here: needs warp" in done.stdout
    assert "1 passed, 1 error" in done.stdout.splitlines()[-1]


@pytest.mark.parametrize("jobs", [0, 1])
def test_hardware_that_is_missing_is_named_but_never_demanded(tmp_path: Path, jobs: int) -> None:
    """CI runs on machines that will never have it, and a person still reads what did not run."""
    done = run(tmp_path, EXOTIC, jobs=jobs)
    assert "needs warp: needs a starship\n    test_it.py::test_flies\n" in done.stdout
    done = run(tmp_path, EXOTIC, jobs=jobs, no_skips=True)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout.splitlines()[-1]
    assert "test_flies" not in done.stdout


def test_a_forbidden_skip_of_a_module_fails(tmp_path: Path) -> None:
    """A whole module that is skipped while it is imported counts as well."""
    assert run(tmp_path, ABSENT).returncode == pytest.ExitCode.NO_TESTS_COLLECTED
    done = run(tmp_path, ABSENT, no_skips=True)
    assert done.returncode == pytest.ExitCode.INTERRUPTED, done.stdout
    assert "could not import 'no_such_module'" in done.stdout


def test_an_unknown_need_is_refused(tmp_path: Path) -> None:
    """A misspelt need would skip its test everywhere."""
    done = run(tmp_path, MISSPELT)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout
    assert "test_it.py::test_flies requires wrap" in done.stderr + done.stdout
