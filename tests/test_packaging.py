"""What users install: the distributions hold exactly the right files, are typed, light to import, and locked."""

import email
import importlib
import importlib.metadata
import importlib.resources
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

import supervisor

ROOT = Path(__file__).parent.parent
SOURCES = {
    "": "supervisor",
    "plugins/fpga": "src/supervisor_fpga",
    "plugins/generic": "src/supervisor_generic",
    "plugins/infiniband": "src/supervisor_infiniband",
    "plugins/nvidia_gpu": "src/supervisor_nvidia_gpu",
}
"""For each distribution's folder the folder of its import package."""

# What the wheel of any distribution holds beside its package.
METADATA = {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}
CODE = {".py", ".pyi", ".proto", ".typed", ".in", ".css", ".js"}


class Built:
    """One distribution, built once: its project table, and the names in its wheel and its sdist."""

    def __init__(self, folder: str, out: Path) -> None:
        self.folder = ROOT / folder
        self.package = self.folder / SOURCES[folder]
        command = [sys.executable, "-m", "build", "--no-isolation", "--sdist", "--wheel", "--outdir", str(out)]
        done = subprocess.run([*command, str(self.folder)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        (self.wheel,) = out.glob("*.whl")
        (self.sdist,) = out.glob("*.tar.gz")
        self.project: dict[str, Any] = tomllib.loads((self.folder / "pyproject.toml").read_text())["project"]

    def files_of_package(self) -> set[str]:
        """The package's files in the checkout, named as in a wheel."""
        files = (file for file in self.package.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
        return {str(file.relative_to(self.package.parent)) for file in files}


@pytest.fixture(scope="module", params=SOURCES, ids=["supervisor", "fpga", "generic", "infiniband", "nvidia_gpu"])
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Each distribution in turn, built from the checkout without a network."""
    return Built(request.param, tmp_path_factory.mktemp("built"))


@pytest.mark.checkout
def test_a_wheel_holds_its_package_and_metadata_and_nothing_else(built: Built) -> None:
    """Neither tests nor caches travel to users, and no source file is left behind."""
    info = f"{built.project['name'].replace('-', '_')}-{built.project['version']}.dist-info"
    names = set(zipfile.ZipFile(built.wheel).namelist())
    assert names == built.files_of_package() | {f"{info}/{name}" for name in METADATA}
    assert {Path(name).suffix for name in names if not name.startswith(info)} <= CODE
    assert f"{built.package.name}/py.typed" in names


@pytest.mark.checkout
def test_an_sdist_holds_what_a_wheel_needs_and_nothing_else(built: Built) -> None:
    """The repository around the package, a stray environment among it, stays out."""
    with tarfile.open(built.sdist) as sdist:
        names = {member.name.split("/", 1)[1] for member in sdist.getmembers() if member.isfile()}
    source = str(built.package.parent.relative_to(built.folder))
    package = {str(Path(source) / name) for name in built.files_of_package()}
    assert names - {".gitignore"} == package | {"pyproject.toml", "README.md", "LICENSE", "PKG-INFO"}


@pytest.mark.checkout
def test_a_wheel_says_what_it_needs(built: Built) -> None:
    """The metadata of a built wheel state the Python, the licence and the entry points of the project table."""
    with zipfile.ZipFile(built.wheel) as wheel:
        (metadata,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
        message = email.message_from_bytes(wheel.read(metadata))
        entry_points = wheel.read(metadata.replace("METADATA", "entry_points.txt")).decode()
    assert message["Requires-Python"] == ">=3.11"
    assert message["License-Expression"] == "Apache-2.0"
    expected = {
        "supervisor": "device-plugin-supervisor = supervisor.cli:main",
        "supervisor_fpga": "fpga = supervisor_fpga",
        "supervisor_generic": "generic = supervisor_generic",
        "supervisor_infiniband": "infiniband = supervisor_infiniband",
        "supervisor_nvidia_gpu": "nvidia-gpu = supervisor_nvidia_gpu",
    }
    assert expected[built.package.name] in entry_points


@pytest.mark.checkout
def test_the_distributions_move_together() -> None:
    """All distributions carry one version and licence, and the plugins ask for a supervisor of that series."""
    assert len({(ROOT / folder / "LICENSE").read_text() for folder in SOURCES}) == 1
    projects = [tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"] for folder in SOURCES]
    assert len({project["version"] for project in projects}) == 1
    major, minor, _ = projects[0]["version"].split(".")
    for project in projects[1:]:
        assert f"device-plugin-supervisor>={major}.{minor},<{major}.{int(minor) + 1}" in project["dependencies"]


@pytest.mark.checkout
def test_every_distribution_is_tested_here() -> None:
    """A new folder below plugins/ cannot be forgotten."""
    folders = {str(file.parent.relative_to(ROOT)) for file in ROOT.glob("plugins/*/pyproject.toml")}
    assert folders == set(SOURCES) - {""}


@pytest.mark.checkout
def test_the_lock_names_no_address() -> None:
    """A lock is pins and hashes; where packages come from is for the machine that installs them to say."""
    for lock in (ROOT / "requirements").iterdir():
        for line in lock.read_text().splitlines():
            assert re.fullmatch(r"[a-z0-9-]+==[^ /@]+( ; [^/@#]+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?", line), line


def test_importing_the_package_is_light() -> None:
    """Plugins and isolated children pay for no server, event loop or metrics library."""
    heavy = [
        *("grpc", "google.protobuf", "trio", "asyncio", "prometheus_client", "pyudev", "yaml", "rich"),
        *("supervisor.border", "subprocess"),  # for those that have a program
    ]
    code = f"import sys, supervisor; print(*[name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_every_name_that_is_promised_is_there() -> None:
    """Those that are imported late, too; others raise what Python code expects."""
    assert all(getattr(supervisor, name) is not None for name in supervisor.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'Bordr'"):
        supervisor.Bordr  # type: ignore[attr-defined]  # noqa: B018 - that is the point


@pytest.mark.parametrize(
    "package", ["supervisor", "supervisor_fpga", "supervisor_generic", "supervisor_infiniband", "supervisor_nvidia_gpu"]
)
def test_the_tested_code_is_the_meant_one(package: str) -> None:
    """Beside a checkout the tests run against it; elsewhere, against what is installed."""
    (home,) = importlib.import_module(package).__path__
    assert Path(home).is_relative_to(ROOT if (ROOT / "supervisor").exists() else sysconfig.get_path("purelib"))


@pytest.mark.parametrize(
    "package", ["supervisor", "supervisor_fpga", "supervisor_generic", "supervisor_infiniband", "supervisor_nvidia_gpu"]
)
def test_the_package_is_marked_as_typed(package: str) -> None:
    """Type checkers of plugin authors read our annotations."""
    assert (importlib.resources.files(package) / "py.typed").is_file()


def test_our_own_plugin_is_found_like_a_third_partys() -> None:
    """The generic plugin is an entry point of its own distribution, not part of the supervisor."""
    (found,) = importlib.metadata.entry_points(group="device_plugin_supervisor.plugins", name="generic")
    assert found.dist is not None
    assert (found.value, found.dist.name) == ("supervisor_generic", "device-plugin-supervisor-generic")
    assert found.load().__name__ == "supervisor_generic"


def test_the_command_is_installed() -> None:
    """`device-plugin-supervisor` beside the interpreter runs the package's own main function."""
    command = Path(sys.executable).with_name("device-plugin-supervisor")
    done = subprocess.run([str(command), "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "check-config" in done.stdout
