"""The command as a whole: help, usage, exit codes, what it imports."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from supervisor import __version__
from supervisor.cli import COMMANDS
from tests.cli.conftest import WIDGETS, Machine

OURS = [name for name in COMMANDS if name not in {"run", "demo"}]


def test_help_names_every_command(machine: Machine) -> None:
    """With its purpose on one line, and the exit codes."""
    answer = machine.run("--help")
    assert answer.code == 0
    lines = [line.split(maxsplit=1) for line in answer.out.splitlines()]
    assert all([name, purpose] in lines for name, purpose in COMMANDS.items())
    assert "exit codes: 0 fine, 1 failed, 2 wrong usage or configuration" in answer.out


@pytest.mark.parametrize("command", OURS)
def test_each_command_explains_itself(machine: Machine, command: str) -> None:
    """Its help fits a terminal of 80 columns, but for examples, and shows at least one."""
    answer = machine.run(command, "--help")
    assert answer.code == 0
    before, examples, after = answer.out.partition("\nexamples:\n")
    assert examples
    assert f"device-plugin-supervisor {command}" in after
    assert all(len(line) <= 80 for line in before.splitlines())
    assert "`" not in answer.out


def test_it_knows_its_version(machine: Machine) -> None:
    """On standard output, in the usual form."""
    assert machine.run("--version").out == f"device-plugin-supervisor {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["devises"], "invalid choice: 'devises'"),
        (["devices", "--jsn"], "unrecognized arguments: --jsn"),
        (["explain"], "the following arguments are required: DEVICE"),
        (["check-config"], "the following arguments are required: FILE"),
    ],
)
def test_wrong_usage_is_2(machine: Machine, arguments: list[str], complaint: str) -> None:
    """The complaint is on standard error, together with the right usage."""
    answer = machine.run(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert complaint in answer.err
    assert "usage: device-plugin-supervisor" in answer.err


@pytest.mark.parametrize("command", ["plugins", "devices", "run"])
def test_a_named_file_that_is_absent_is_2(machine: Machine, tmp_path: Path, command: str) -> None:
    """Only the default file may be absent."""
    answer = machine.run(command, "--config", tmp_path / "nowhere.yaml")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == f"{tmp_path}/nowhere.yaml: does not exist: create it, or name another with --config\n"


@pytest.mark.skipif(Path("/etc/device-plugin-supervisor/config.yaml").exists(), reason="this machine has the default file")
def test_an_absent_default_file_is_noted(machine: Machine) -> None:
    """The defaults hold, and standard output stays pure."""
    answer = machine.run("plugins", "--json")
    assert answer.err == (
        "note: /etc/device-plugin-supervisor/config.yaml does not exist, so the defaults hold; --config names another file\n"
    )
    assert answer.json["packages"] is not None


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["check-config", "--help"]])
def test_help_and_run_are_light(arguments: list[str]) -> None:
    """Neither loads what only other commands, or only the work itself, needs."""
    code = (
        "import sys\n"
        "from supervisor.cli import main\n"
        "try:\n"
        f"    main({arguments!r})\n"
        "except SystemExit:\n"
        "    pass\n"
        "print(sorted({'rich', 'grpc', 'asyncio', 'prometheus_client'} & sys.modules.keys()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_reader_that_leaves_early_is_no_crash(machine: Machine) -> None:
    """As with ``| head``: no traceback."""
    machine.install("widgets", WIDGETS)
    machine.configure("plugins: {widgets: {count: 5000}}\n")
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        done = subprocess.run(
            [sys.executable, "-m", "supervisor", "devices", "--json", "--config", machine.config],
            env=os.environ | {"PYTHONPATH": str(machine.site)},
            stdout=pipe,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "")
