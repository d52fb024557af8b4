"""The real command in a process of its own, with plugin packages that a test writes as an installer would."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from supervisor.cli import main
from supervisor.config import API_VERSION, KIND
from supervisor.testing.fakehost import FakeHost

HEAD = f"apiVersion: {API_VERSION}\nkind: {KIND}\n"

WIDGETS = """
import msgspec
from supervisor import ContainerEdits, Device, DeviceNode, Health, Host, HostView, Mount, Topology, hookimpl

class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    \"\"\"Widgets.\"\"\"
    resource_name: str = "acme.example/widget"
    count: int = 2

class Widgets:
    name, udev_subsystems = "widgets", ("misc",)
    def __init__(self, config):
        self.config = config
    def discover(self):
        nodes = (DeviceNode("/dev/widget0"), DeviceNode("/dev/widgetctl", "/dev/ctl", "r"))
        edits = ContainerEdits(nodes, (Mount("/opt/acme"),), {"ACME": "1"}, {}, ("acme.example/widget=0",))
        good = [Device(f"widget-{n}", topology=Topology((1,)), edits=edits) for n in range(self.config.count)]
        bad = Device("broken-1", Health.UNHEALTHY, "its fan stands still", edits=ContainerEdits((DeviceNode("/dev/widget9"),)))
        return {self.config.resource_name: [*good, bad, Device("two words")], "acme.example/none": []}
    def notices(self):
        return ["the widget driver is old"]
    def explain(self, text):
        return [f"{text} is a widget by rule 7"] if "widget" in text else []

@hookimpl
def config_type():
    return Config

@hookimpl
def device_plugins(config):
    return [Widgets(config)]
"""

BROKEN = "import a_library_that_is_not_installed\n"

FAILING = """
from supervisor import hookimpl

class Failing:
    name, udev_subsystems = "failing", ()
    def discover(self):
        raise RuntimeError("the bus is on fire")
    def explain(self, text):
        raise RuntimeError("no idea")

@hookimpl
def device_plugins():
    return [Failing()]
"""

HANGING = """
import threading
from supervisor import hookimpl

class Hanging:
    name, udev_subsystems = "hanging", ()
    def discover(self):
        threading.Event().wait()

@hookimpl
def device_plugins():
    return [Hanging()]
"""


class Answer:
    """What a command said and how it ended."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.code = done.returncode
        self.out = done.stdout
        self.err = done.stderr

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Said:
    """What a command wrote in this process, and how it ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


Run = Callable[..., Said]


class Machine:
    """A folder with installed packages, a configuration file and a host made of files."""

    def __init__(self, folder: Path) -> None:
        self.site = folder / "site"
        self.site.mkdir()
        self.config = folder / "config.yaml"
        self.fake = FakeHost(folder / "host")

    def install(self, name: str, source: str) -> None:
        """Put a distribution on the path, as an installer does."""
        module = f"cli_sample_{name.replace('-', '_')}"
        (self.site / f"{module}.py").write_text(source)
        info = self.site / f"acme_{name.replace('-', '_')}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: acme-{name}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[device_plugin_supervisor.plugins]\n{name} = {module}\n")

    def configure(self, text: str, *, head: str = HEAD) -> None:
        """Write the configuration file, its roots leading to the host of files."""
        host = self.fake.host
        roots = f"host: {{sysfs: {host.sysfs}, dev: {host.dev}, proc: {host.proc}, runUdev: {host.run_udev}}}\n"
        self.config.write_text(head + roots + _without_gpus(text) if head else text)

    def run(self, *arguments: str | Path) -> Answer:
        """Run the command to its end."""
        command = [sys.executable, "-m", "supervisor", *map(str, arguments)]
        path = os.pathsep.join(filter(None, (str(self.site), os.environ.get("PYTHONPATH"))))
        environment = os.environ | {"PYTHONPATH": path, "COLUMNS": "80"}
        return Answer(
            subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL
            )
        )

    def ask(self, command: str, *arguments: str) -> Answer:
        """Run a command with this machine's configuration file."""
        return self.run(command, "--config", self.config, *arguments)


def _without_gpus(text: str) -> str:
    """The text, with the one installed plugin switched off that says something even on a machine without its hardware."""
    if "plugins:" not in text:
        return f"{text}plugins: {{nvidia-gpu: {{enabled: false}}}}\n"
    if "plugins: {" in text:
        return f"{text.rstrip().removesuffix('}')}, nvidia-gpu: {{enabled: false}}}}\n"
    return f"{text}  nvidia-gpu: {{enabled: false}}\n"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine without packages, with a configuration that says nothing."""
    machine = Machine(tmp_path)
    machine.configure("")
    return machine


@pytest.fixture
def status(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command ``status`` in this process."""

    def run(*arguments: str) -> Said:
        try:
            code = main(["status", *arguments])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else -1
        return Said(code, *capsys.readouterr())

    return run
