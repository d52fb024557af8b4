"""What the command writes is a whole distribution: every step that it prints is done here as it stands, in a new environment."""

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from packaging.requirements import Requirement

from supervisor.cli import main
from supervisor.config import API_VERSION, KIND
from supervisor.host import HostView
from supervisor.testing import FakeHost

pytestmark = pytest.mark.requires("patience")

NAME, RESOURCE = "acme-probe2", "acme.example/probe"
FOLDER, PACKAGE = "acme-probe2-device-plugin", "acme_probe2_device_plugin"
TESTS = 9
LONG = "a123456789-123456789-123456789-123456789"

WRAPPER = """\
#!/bin/sh
exec "$(dirname "$0")/python" -m supervisor "$@"
"""
"""What an installer writes where the supervisor is installed in the very environment."""


class Author(NamedTuple):
    """Somebody with an environment of their own, in a folder, before a terminal."""

    folder: Path
    environment: Mapping[str, str]
    written: str
    """What the command has printed."""

    def attempt(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command, whatever may become of it."""
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=100, check=False
        )

    def run(self, *command: str | Path, code: int = 0) -> str:
        """Run a command and return its answer; another exit code than ``code`` fails the test."""
        done = self.attempt(*command)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def do(self, command: str) -> str:
        """Run what was printed as a next step; returns the answer of the last one."""
        assert f"  {command}\n" in f"{self.written}\n"
        return self.run("sh", "-c", command)

    def ask(self, command: str) -> Any:
        """The answer of a printed command, as JSON."""
        assert f"  {command}\n" in f"{self.written}\n"
        return msgspec.json.decode(self.run("sh", "-c", f"{command} --json"))


def _environment(folder: Path) -> dict[str, str]:
    """A new environment that also sees what this one has, and no network."""
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "ours.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    command = folder / "bin" / "device-plugin-supervisor"
    command.write_text(WRAPPER)
    command.chmod(0o755)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "PYTHON", "PYTEST", "VIRTUAL_ENV"))}
    return kept | {
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads a false value of this one as "no isolation"
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


@pytest.fixture(scope="module")
def author(tmp_path_factory: pytest.TempPathFactory) -> Author:
    """They have run ``new-plugin`` and installed what it wrote."""
    home = tmp_path_factory.mktemp("author")
    before = Author(home, _environment(home / "venv"), "")
    written = before.run("device-plugin-supervisor", "new-plugin", NAME, "--resource", RESOURCE)
    author = Author(home / FOLDER, before.environment, written)
    assert f"  cd {FOLDER}\n" in written
    author.do("python -m pip install --editable . pytest")
    return author


def test_its_own_tests_pass(author: Author) -> None:
    """All of them, a pod with its device among them, and none is skipped."""
    assert f"{TESTS} passed" in author.do("python -m pytest").splitlines()[-1]


def test_its_tests_can_fail(author: Author, tmp_path: Path) -> None:
    """A plugin that takes every device for a well one is found out."""
    copy = tmp_path / "copy"
    for path in [*author.folder.rglob("*.py"), author.folder / "pyproject.toml"]:
        text = path.read_text().replace('if status != "ok":', "if not status:")
        (copy / path.relative_to(author.folder)).parent.mkdir(parents=True, exist_ok=True)
        (copy / path.relative_to(author.folder)).write_text(text)
    other = author._replace(folder=copy, environment={**author.environment, "PYTHONPATH": str(copy / "src")})
    answer = other.run("python", "-m", "pytest", "-q", "-k", "reports", "-p", "no:cacheprovider", code=1)
    assert "1 failed" in answer


def test_the_supervisor_knows_it(author: Author) -> None:
    """``plugins`` lists it as ready, by the name of its distribution."""
    assert FOLDER in author.do("device-plugin-supervisor plugins")
    (package,) = [each for each in author.ask("device-plugin-supervisor plugins")["packages"] if each["name"] == NAME]
    assert (package["state"], package["problem"], package["distribution"]) == ("ready", "", FOLDER)
    assert package["plugins"] == [{"name": NAME, "capabilities": ["explain", "notices"]}]


def test_its_devices_can_be_seen_and_explained(author: Author) -> None:
    """On the machine made of files that it brings."""
    assert "build/machine/config.yaml" in author.do("python tests/machine.py build/machine")
    answer = author.ask("device-plugin-supervisor devices --config build/machine/config.yaml")
    devices = {each["name"]: each["devices"] for each in answer["resources"]}[RESOURCE]
    assert [(each["id"], each["health"], each["topology"]["numa_nodes"]) for each in devices] == [
        ("A-1", "Healthy", [0]),
        ("A-2", "Healthy", [1]),
    ]
    answer = author.ask("device-plugin-supervisor explain A-1 --config build/machine/config.yaml")
    assert [each["resource"] for each in answer["offers"]] == [RESOURCE]
    assert answer["explanations"] == [f"{NAME}: A-1 is the serial number of /sys/devices/virtual/acme_probe2/acme_probe20"]


def test_the_machine_it_brings_is_one(author: Author, tmp_path: Path) -> None:
    """Writing it a second time, over the first, gives the same machine."""
    for _ in range(2):
        author.run("python", "tests/machine.py", tmp_path)
    assert [device.name for device in HostView(FakeHost(tmp_path).host).devices("acme_probe2")] == [
        "acme_probe20",
        "acme_probe21",
    ]


def test_its_readme_says_what_was_printed(author: Author) -> None:
    """But for the tools of its own development group and the image, the commands are the same."""
    commands = re.findall(r"^\$ (.+)$", (author.folder / "README.md").read_text(), re.MULTILINE)
    assert {command for command in commands if f"  {command}\n" not in f"{author.written}\n"} == {
        "python -m pip install --editable . --group dev",
        "ruff check && ruff format --check && mypy",
        "podman build --build-arg SUPERVISOR_IMAGE=registry.example/device-plugin-supervisor:0.1 --tag supervisor-with-plugin .",
    }
    group = tomllib.loads((author.folder / "pyproject.toml").read_text())["dependency-groups"]["dev"]
    assert {Requirement(each).name for each in group} == {"mypy", "pytest", "ruff"}


def test_its_configuration_is_checked(author: Author, tmp_path: Path) -> None:
    """What its README shows is fine, and what the kubelet would refuse is a mistake with its place."""
    file = tmp_path / "config.yaml"
    _, shown = re.findall(r"^```yaml\n(.*?)^```$", (author.folder / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    file.write_text(f"apiVersion: {API_VERSION}\nkind: {KIND}\n{shown}")
    assert NAME in author.run("device-plugin-supervisor", "check-config", file)
    file.write_text(file.read_text().replace(RESOURCE, "probe"))
    done = author.attempt("device-plugin-supervisor", "check-config", file)
    assert done.returncode == 2
    assert f"{file}:5:5: plugins.{NAME}: 'probe' is no resource name: it has no vendor domain" in done.stderr


def test_its_name_is_taken_now(author: Author) -> None:
    """A second plugin of this name could not be loaded beside it, so none is written."""
    done = author.attempt("device-plugin-supervisor", "new-plugin", NAME)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"{NAME} is taken: {FOLDER} 0.1.0, entry point {NAME} = {PACKAGE} is installed here")


def test_its_wheel_holds_the_package_alone(author: Author, tmp_path: Path) -> None:
    """Code, the mark of a typed package, metadata with the entry point; no tests."""
    author.run("python", "-m", "pip", "wheel", "--no-deps", "--wheel-dir", tmp_path, ".")
    (file,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(file) as wheel:
        names = wheel.namelist()
        info = f"{PACKAGE}-0.1.0.dist-info"
        assert {name for name in names if not name.startswith(info)} == {
            f"{PACKAGE}/{name}" for name in ("__init__.py", "config.py", "plugin.py", "py.typed")
        }
        assert f"{NAME} = {PACKAGE}" in wheel.read(f"{info}/entry_points.txt").decode()


def test_the_image_takes_what_is_there(author: Author) -> None:
    """What the Containerfile copies is enough to build the package."""
    lines = (author.folder / "Containerfile").read_text().splitlines()
    copied = [word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]]
    assert set(copied) == {"pyproject.toml", "README.md", "src"}
    assert all((author.folder / name).exists() for name in copied)
    assert any(line.startswith("RUN pip install ") for line in lines)


@pytest.mark.parametrize("name", [NAME, "x", LONG, "3com"])
def test_it_is_clean_by_its_own_rules(tmp_path: Path, name: str) -> None:
    """ruff finds nothing to say and nothing to reformat, however long the name is."""
    assert main(["new-plugin", name, "--directory", str(tmp_path)]) == 0
    for arguments in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *arguments, "--no-cache"], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_it_is_typed(author: Author, tmp_path: Path) -> None:
    """By mypy's strictest rules; and they are in force, for a wrong call is found."""
    author.run("python", "-m", "mypy", "--cache-dir", tmp_path)
    wrong = author.folder / "tests" / "wrong.py"
    wrong.write_text(f"from {PACKAGE}.plugin import health\n\nhealth(1)\n")
    try:
        assert "Missing positional argument" in author.run("python", "-m", "mypy", "--cache-dir", tmp_path, code=1)
    finally:
        wrong.unlink()
