"""The command: on a node made of files with a real kubelet's sockets, and on this very machine."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from supervisor.doctor.rounds import GROUPS
from supervisor.doctor.site import CDI_DIRECTORIES
from supervisor.kubelet.simulator import KubeletSimulator
from supervisor.model import Finding
from supervisor.testing import FakeHost, Supervise
from tests.cli.conftest import BROKEN, HEAD, WIDGETS, Answer, Machine
from tests.doctor.ground import assert_shown, tree
from tests.kubelet.simulator.bare_plugin import BarePlugin, devices

EXAMINER = """
from supervisor import Device, Finding, hookimpl

class Gadgets:
    name, udev_subsystems = "gadgets", ()
    def discover(self):
        return {"acme.example/gadget": [Device("g0"), Device("g1")]}
    def examine(self):
        yield Finding("ok", "module gadget", "It is loaded.")
        yield Finding("failure", "/dev/gadgetctl", "It is not there.", "modprobe gadgetctl")

@hookimpl
def device_plugins():
    return [Gadgets()]
"""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine without packages of its own."""
    return Machine(tmp_path)


def configure(machine: Machine, directory: Path, pod_resources: Path, text: str = "") -> None:
    """A configuration that leads to this kubelet."""
    where = f"kubelet: {{devicePluginsDir: {directory}, podResourcesSocket: {pod_resources}}}\n"
    machine.configure(text, head=HEAD + where)


def findings(answer: Answer) -> dict[str, list[Finding]]:
    """The document's groups."""
    document: Any = answer.json
    groups = {each["name"]: [Finding(**finding) for finding in each["findings"]] for each in document["groups"]}
    assert document["version"] == 1
    assert sum(document["summary"].values()) == sum(map(len, groups.values()))
    assert_shown(finding for found in groups.values() for finding in found)
    return groups


def levels(found: list[Finding]) -> dict[str, str]:
    return {finding.subject: finding.level for finding in found}


def test_a_healthy_node_ends_well(machine: Machine, kubelet: KubeletSimulator) -> None:
    """Nothing worse than a warning is exit code 0; each group has something to say."""
    machine.install("widgets", WIDGETS)
    configure(machine, kubelet.paths.device_plugins, kubelet.paths.pod_resources_socket)
    answer = machine.ask("doctor", "--json")
    groups = findings(answer)
    assert levels(groups["kubelet"]) == {
        str(kubelet.paths.device_plugins): "ok",
        "file system": "note",
        "socket paths": "ok",
        "kubelet.sock": "ok",
        "pod-resources socket": "ok",
    }
    assert {finding.level for finding in groups["other plugins"]} <= {"ok", "note"}
    assert levels(groups["configuration"])["configuration file"] == "ok"
    assert levels(groups["plugin widgets"])["acme.example/widget"] == "warning"
    assert answer.json["summary"]["failure"] == 0
    assert (answer.code, answer.err) == (0, "")


def test_people_read_the_same(machine: Machine, kubelet: KubeletSimulator) -> None:
    """In groups, uncoloured where it is no terminal, with a last line that counts."""
    configure(machine, kubelet.paths.device_plugins, kubelet.paths.pod_resources_socket)
    answer = machine.ask("doctor")
    assert answer.code == 0
    titles = [line for line in answer.out.splitlines() if line and not line.startswith(" ")]
    assert titles[: len(GROUPS)] == list(GROUPS)
    assert "\033" not in answer.out
    assert re.fullmatch(r"Nothing stands in the way: 0 failures, \d+ warnings?, \d+ notes?, \d+ fine\.", titles[-1])


def test_a_failure_is_exit_code_1(machine: Machine, tmp_path: Path) -> None:
    """Here there is no kubelet, and a plugin lacks a node."""
    machine.install("gadgets", EXAMINER)
    configure(machine, tmp_path / "nowhere", tmp_path / "nowhere.sock")
    answer = machine.ask("doctor", "--json")
    groups = findings(answer)
    assert answer.code == 1
    assert levels(groups["kubelet"])[str(tmp_path / "nowhere")] == "failure"
    assert groups["plugin gadgets"] == [
        Finding("ok", "acme.example/gadget", "2 of 2 devices are healthy."),
        Finding("ok", "module gadget", "It is loaded."),
        Finding("failure", "/dev/gadgetctl", "It is not there.", "modprobe gadgetctl"),
    ]


def test_a_package_in_a_process_of_its_own_examines_too(machine: Machine, tmp_path: Path) -> None:
    """Its findings come over the border as they are."""
    machine.install("gadgets", EXAMINER)
    configure(machine, tmp_path / "no", tmp_path / "no.sock", "plugins: {gadgets: {isolation: process}}\n")
    groups = findings(machine.ask("doctor", "--json"))
    assert levels(groups["plugin gadgets"])["/dev/gadgetctl"] == "failure"


def test_mistakes_in_the_configuration_are_exit_code_2(machine: Machine, tmp_path: Path) -> None:
    """In a plugin's section the node is examined all the same; in the file itself nobody knows where to look."""
    configure(machine, tmp_path / "no", tmp_path / "no.sock", "plugins: {generic: {resources: 5}, wigets: {}}\n")
    answer = machine.ask("doctor", "--json")
    assert answer.code == 2
    mistakes = [each for each in findings(answer)["configuration"] if each.level == "failure"]
    assert [each.subject for each in mistakes] == ["configuration file", "wigets"]
    machine.configure("nonsense: 1\n")
    answer = machine.ask("doctor", "--json")
    assert (answer.code, answer.out) == (2, "")
    assert "nonsense" in answer.err


def test_a_refused_package_is_a_failure(machine: Machine, tmp_path: Path) -> None:
    """With its own words; the others are examined."""
    machine.install("broken", BROKEN)
    machine.install("gadgets", EXAMINER)
    configure(machine, tmp_path / "no", tmp_path / "no.sock")
    groups = findings(machine.ask("doctor", "--json"))
    assert levels(groups["configuration"])["broken"] == "failure"
    assert "plugin gadgets" in groups


def test_a_rival_on_our_resource_is_told(machine: Machine, kubelet: KubeletSimulator) -> None:
    """The kubelet has it, no supervisor of ours runs, and somebody answers there."""
    machine.install("gadgets", EXAMINER)
    configure(machine, kubelet.paths.device_plugins, kubelet.paths.pod_resources_socket)
    with BarePlugin(kubelet.paths.device_plugins, "acme.example/gadget", devices(1)) as rival:
        rival.register()
        kubelet.wait_devices("acme.example/gadget", {"d0": "Healthy"})
        found = findings(machine.ask("doctor", "--json"))["other plugins"]
    assert levels(found) == {"running supervisor": "ok", rival.endpoint: "note", "acme.example/gadget": "warning"}


def test_a_running_supervisor_is_recognised(kubelet: KubeletSimulator, supervised: Supervise, fake_host: FakeHost) -> None:
    """By its lock; its sockets are not foreign, and what the kubelet has from it is its own."""
    fake_host.write("/dev/widget0")
    resource = {"name": "example.com/widget", "match": [{"mount": "/dev/widget0"}]}
    running = supervised({"generic": {"resources": [resource]}}, fake_host.host)
    kubelet.wait_for(lambda: bool(kubelet.devices("example.com/widget")), what="the widget")
    command = [sys.executable, "-m", "supervisor", "doctor", "--json", "--config", str(running.config)]
    answer = Answer(subprocess.run(command, capture_output=True, text=True, check=False))
    found = {finding.subject: finding for finding in findings(answer)["other plugins"]}
    assert found["running supervisor"].text == "One owns the directory."
    assert {name: each.level for name, each in found.items()} == {
        "running supervisor": "ok",
        "other device plugins": "ok",
        "registered resources": "ok",
    }
    assert running.process is not None
    assert running.process.poll() is None


def test_a_plugin_that_hangs_is_told_and_left(machine: Machine, tmp_path: Path) -> None:
    """After twice the time of a look, for it may examine as long."""
    hanging = EXAMINER.replace(
        'yield Finding("ok", "module gadget", "It is loaded.")', "import threading; threading.Event().wait()"
    )
    machine.install("gadgets", hanging)
    configure(machine, tmp_path / "no", tmp_path / "no.sock", "plugins: {gadgets: {lookTimeout: 0.5}}\n")
    (finding,) = findings(machine.ask("doctor", "--json"))["plugin gadgets"]
    assert finding.level == "failure"
    assert "has not come back for 1 s" in finding.text


def test_this_very_machine_can_be_examined(machine: Machine) -> None:
    """Whatever it is: a document, every cure, and an exit code that says the same."""
    answer = machine.run("doctor", "--json")
    groups = findings(answer)
    assert set(GROUPS) <= groups.keys()
    assert not [each for found in groups.values() for each in found if each.subject.startswith("check ")]
    assert answer.code == int(answer.json["summary"]["failure"] > 0)


def test_the_node_is_as_it_was(machine: Machine, kubelet: KubeletSimulator) -> None:
    """No file of the kubelet, of the host or of CDI is touched."""
    machine.install("gadgets", EXAMINER)
    configure(machine, kubelet.paths.device_plugins, kubelet.paths.pod_resources_socket)
    folders = [kubelet.paths.device_plugins, machine.fake.folder, *map(Path, CDI_DIRECTORIES)]
    before = tree(*folders)
    assert machine.ask("doctor").code in {0, 1}
    assert tree(*folders) == before


def test_help_says_what_it_does(machine: Machine) -> None:
    """And that it changes nothing."""
    answer = machine.run("doctor", "--help")
    assert answer.code == 0
    text = " ".join(answer.out.split())
    assert "Examine this node" in text
    assert "It changes nothing" in text
    assert "Exit code 1 for a failure, 2 if the configuration has mistakes" in text
    assert "doctor --json | jq" in text


@pytest.mark.parametrize("arguments", [["--nonsense"], ["something"]])
def test_wrong_usage_is_exit_code_2(machine: Machine, arguments: list[str]) -> None:
    """As for all commands."""
    assert machine.run("doctor", *arguments).code == 2
