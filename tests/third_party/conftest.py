"""The sample distributions, built and installed as their authors' users would do it."""

import subprocess
import sys
from pathlib import Path

import pytest

SAMPLES = Path(__file__).parent

collect_ignore_glob = ["*/test_*.py"]  # the samples' own tests: test_tutorial.py runs them as their author does

BUILD = """
import os, pathlib, sys
from hatchling.build import build_wheel
out, *folders = sys.argv[1:]
for folder in folders:
    os.chdir(folder)
    build_wheel(out)
"""
"""What a build front-end does without isolation, for all folders in one process: seconds become tenths."""


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def installed_samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the path in which every sample distribution is installed from its wheel."""
    wheels, target = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("samples")
    _run(sys.executable, "-c", BUILD, wheels, *(file.parent for file in sorted(SAMPLES.glob("*/pyproject.toml"))))
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--no-deps", "--no-index", "--no-compile")
    _run(*pip, "--target", target, *sorted(wheels.glob("*.whl")))
    return target
