"""The guide for plugin authors says of ``new-plugin`` what it does, and of the host what can be asked."""

import re
from pathlib import Path

import pytest

import supervisor
from supervisor import HostDevice, HostView
from supervisor.cli import main
from supervisor.contract import CAPABILITIES
from supervisor.hookspecs import CONTRACT_VERSION
from supervisor.scaffold import Project, files
from supervisor.testing import FakeHost

pytestmark = pytest.mark.checkout

GUIDE = (Path(__file__).parents[2] / "plugins" / "README.md").read_text()
PROJECT = Project("acme-gadget", "acme.example/gadget")


def _section(title: str) -> str:
    return GUIDE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def _table(section: str, column: int) -> list[str]:
    """What stands in backticks in one column of the section's table."""
    rows = [line.split("|") for line in section.splitlines() if line.startswith("| ")]
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row[column])]


def test_the_first_steps_are_those_that_are_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first line is typed, and the command prints all the others."""
    monkeypatch.chdir(tmp_path)
    first, *others = re.findall(r"^\$ (.+)$", _section("Start: `new-plugin`"), re.MULTILINE)
    assert main(first.split()[1:]) == 0
    assert others == re.findall(r"^  (\S+ .+)$", capsys.readouterr().out, re.MULTILINE)


def test_the_files_named_are_those_that_are_written() -> None:
    """All that an author has to change, and nothing else."""
    named = {name for name in _table(_section("Start: `new-plugin`"), 1) if name in files(PROJECT)}
    untouched = {".gitignore", "tests/conftest.py"}
    package = f"src/{PROJECT.package}"
    assert named == files(PROJECT).keys() - untouched - {f"{package}/__init__.py", f"{package}/py.typed"}


def test_the_containerfile_shown_is_the_one_that_is_written() -> None:
    """Word for word."""
    (shown,) = re.findall(r"^```dockerfile\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    assert shown == files(PROJECT)["Containerfile"]


def test_what_can_be_asked_of_the_host_exists(fake_host: FakeHost) -> None:
    """Each attribute and method in the table is one, and each call in it can be made."""
    view = HostView(fake_host.host)
    fake_host.add_device("acme", "gadget0", {"serial": "A-0"})
    (device,) = view.devices("acme")
    asked = _table(_section("What you can see of the host"), 1)
    assert len(asked) > 15
    for question in asked:
        parts = re.fullmatch(r'(view|device)\.(\w+)(?:\("?([^"]*)"?\))?', question)
        assert parts is not None
        subject, name, arguments = parts.groups()
        kind, object_ = {"view": (HostView, view), "device": (HostDevice, device)}[subject]
        assert hasattr(kind, name) or name in vars(object_)
        if arguments is not None:
            getattr(object_, name)(*filter(None, [arguments]))


def test_every_capability_is_in_the_overview() -> None:
    """With the other things that may be written, and no method that does not exist."""
    named = _table(_section("Growing it"), 2)
    methods = {name for methods in CAPABILITIES.values() for name in methods}
    assert methods <= set(named)
    assert set(named) - methods == {"config_type", "health", "reason", "topology", "claim", "memory", "Device"}


def test_the_versions_named_are_the_present_ones() -> None:
    """Of the contract, and of the supervisor that a new package asks for."""
    section = _section("Versions")
    assert f"`CONTRACT_VERSION`, now {CONTRACT_VERSION}." in section
    assert f"`CONTRACT_VERSION = {CONTRACT_VERSION}`" in section
    assert f"`{PROJECT.supervisor}`" in section
    assert supervisor.CONTRACT_VERSION == CONTRACT_VERSION
