"""A sample program, installed for one test, and the places where it can run."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from supervisor import Border, BorderLimits, Host
from tests.border import sample_program

PATIENT = BorderLimits(start=60, beat=60)
"""For answers that do come."""


def until(happened: Callable[[], bool]) -> None:
    """Wait for something that shows only when it is looked at."""
    deadline = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < deadline, "it has not happened"
        time.sleep(0.005)


def dead(pid: int) -> bool:
    """Whether a process has ended, reaped or not."""
    try:
        return "(zombie)" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


class HelperProcess:
    """The command ``helper`` in a process of its own."""

    def __init__(self, path: str, *arguments: str) -> None:
        self.path = path
        command = [sys.executable, "-m", "supervisor", "helper", "--socket", path, *arguments]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        self.greeting = self.process.stderr.readline()
        os.set_blocking(self.process.stderr.fileno(), False)
        self._log = ""

    @property
    def log(self) -> str:
        """What it has said so far."""
        assert self.process.stderr is not None
        with contextlib.suppress(TypeError):  # nothing new, in the words of the standard library
            self._log += self.process.stderr.read()
        return self._log

    def end(self) -> None:
        """Ask it to end, if it has not ended, and wait until it has."""
        self.process.terminate()
        self.process.wait(20)
        assert self.process.stderr is not None
        self.process.stderr.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory whose path is short enough for a socket's."""
    with tempfile.TemporaryDirectory(prefix="dps-") as name:
        yield Path(name)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install the sample program, for this process and those that it starts."""
    site = tmp_path / "site"
    info = site / "sampleprogram-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sampleprogram\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[device_plugin_supervisor.programs]\nsample = sample_program_module\nother = sample_program_module\n"
    )
    shutil.copy(sample_program.__file__, site / "sample_program_module.py")
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.syspath_prepend(str(site))
    return site


@pytest.fixture
def start_helper(installed: Path, folder: Path) -> Iterator[Callable[..., HelperProcess]]:
    """Start a helper at the one path of this test."""
    helpers: list[HelperProcess] = []

    def start(*arguments: str) -> HelperProcess:
        helpers.append(HelperProcess(str(folder / "helper.sock"), *arguments))
        return helpers[-1]

    yield start
    for helper in helpers:
        helper.end()


@pytest.fixture
def new_border(installed: Path, folder: Path) -> Iterator[Callable[..., Border]]:
    """A border to the sample program, in the helper if one is there by then."""
    borders: list[Border] = []

    def new(limits: BorderLimits = PATIENT, program: str = "sample", **options: str) -> Border:
        chosen = msgspec.convert(options, sample_program.Options)
        borders.append(Border(program, Host(helper_socket=str(folder / "helper.sock")), chosen, limits))
        return borders[-1]

    yield new
    for border in borders:
        pid = border.pid
        border.close()
        if pid is not None:
            until(lambda pid=pid: dead(pid))  # type: ignore[misc]  # mypy infers no type for a default of a lambda


@pytest.fixture(params=["child", "helper"])
def border(request: pytest.FixtureRequest, new_border: Callable[..., Border]) -> Callable[..., Border]:
    """As ``new_border``, once without a helper and once with one."""
    if request.param == "helper":
        request.getfixturevalue("start_helper")()
    return new_border
