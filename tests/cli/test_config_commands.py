"""``check-config`` and ``config-schema``: every kind of bad file, and a schema that agrees with the checker."""

import json
import re

import pytest

from supervisor import plugins
from supervisor.config import API_VERSION, KIND
from supervisor.config_file import load
from tests.cli.conftest import BROKEN, HANGING, WIDGETS, Machine

DUPLICATE = """\
plugins:
  generic:
    resources:
      - {name: devices.example.com/a, match: [{path: /dev/a}]}
      - {name: devices.example.com/a, match: [{path: /dev/b}]}
"""


def test_a_good_file_is_fine(machine: Machine) -> None:
    """It is said on standard output, with what the plugins see here."""
    machine.install("widgets", WIDGETS)
    machine.configure("plugins: {widgets: {count: 1}}\n")
    answer = machine.run("check-config", machine.config)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith(f"{machine.config}: fine. On: fpga, infiniband, widgets.")
    assert "  - widgets: acme.example/widget: 2 devices\n" in answer.out
    assert "  - widgets: the widget driver is old\n" in answer.out
    assert "widgets: acme.example/widget, device two words: " in " ".join(answer.out.split())


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("", [f":1:1: is empty: begin with apiVersion: {API_VERSION} and kind: {KIND}"]),
        ("\x7fELF\x00\x01", [":1:1: holds the character U+007F: is it a binary file?"]),
        ("a: [", [":1:5: is not YAML: did not find expected node content while parsing a flow node"]),
        (
            "apiVersion: v1\nkind: SupervisorConfig\npluginz: {}\nhttp: 80\n",
            [
                f":1:13: apiVersion: Expected {API_VERSION}, got 'v1'",
                ":3:1: pluginz: unknown key; did you mean plugins?",
                ":4:7: http: Expected mapping, got int",
            ],
        ),
    ],
)
def test_a_bad_file_is_2_and_told_line_by_line(machine: Machine, text: str, problems: list[str]) -> None:
    """On standard error; standard output stays empty."""
    machine.configure(text, head="")
    answer = machine.run("check-config", machine.config)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.splitlines() == [f"{machine.config}{problem}" for problem in problems]


def test_a_long_file_is_refused_by_its_size(machine: Machine) -> None:
    """Ten megabytes give one line."""
    machine.config.write_bytes(b"a: 1\n" * 2_000_000)
    answer = machine.run("check-config", machine.config)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == f"{machine.config}: is longer than 1048576 bytes (1 MiB): no configuration needs that\n"


def test_every_section_is_checked(machine: Machine) -> None:
    """Unknown keys and wrong types of several plugins, and sections that belong to nobody, in one go."""
    machine.install("widgets", WIDGETS)
    machine.install("zidgets", WIDGETS)
    machine.configure("plugins:\n  wigdets: {}\n  widgets: {count: x}\n  zidgets: {cout: 1, lookInterval: 5}\n")
    answer = machine.run("check-config", machine.config)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.splitlines() == [
        f"{machine.config}:5:3: plugins.wigdets: no installed plugin package has this name; did you mean widgets?",
        f"{machine.config}:6:20: plugins.widgets.count: Expected int, got str",
        f"{machine.config}:7:13: plugins.zidgets.cout: unknown key; did you mean count?",
    ]


PROFILE = """\
kubernetes: {nodeName: here}
profiles:
  - name: some
    when: {nodeName: [NODE]}
    plugins:
      widgets: {count: COUNT}
plugins:
  widgets: {}
"""


def test_sections_of_profiles_are_checked_wherever_they_hold(machine: Machine) -> None:
    """Also those for other nodes, each at its place; a profile that holds here is named."""
    machine.install("widgets", WIDGETS)
    machine.configure(PROFILE.replace("NODE", "there").replace("COUNT", "x}\n      wigdets: {"))
    answer = machine.run("check-config", machine.config)
    assert answer.code == 2
    assert [line.partition(": ")[2] for line in answer.err.splitlines()] == [
        "profiles[0].plugins.wigdets: no installed plugin package has this name; did you mean widgets?",
        "profiles[0].plugins.widgets.count: Expected int, got str",
    ]
    machine.configure(PROFILE.replace("NODE", "here").replace("COUNT", "2"))
    answer = machine.run("check-config", machine.config)
    assert (answer.code, "Profiles here: some." in answer.out) == (0, True)


def test_a_package_that_is_not_installed_is_refused_as_at_the_start(machine: Machine) -> None:
    """By the supervisor's own sentence. No mistake in the file: an image that has it may be yet to come; but it is not checked."""
    machine.configure("plugins: {gizmo: {anything: 1}}\n")
    answer = machine.run("check-config", machine.config)
    assert answer.code == 1
    (sentence,) = load(machine.config).strangers(package.name for package in plugins.installed()).values()
    assert answer.err == f"{sentence}\n"
    assert "not all of it could be checked" in answer.out


def test_a_section_that_is_off_needs_no_package(machine: Machine) -> None:
    """As in the DaemonSet's own configuration, with an image that was built without NVIDIA's plugin."""
    machine.configure("plugins: {gizmo: {enabled: false}}\n")
    answer = machine.run("check-config", machine.config)
    assert (answer.code, answer.err) == (0, "")
    assert "Off and not installed: gizmo." in answer.out


def test_a_duplicate_resource_is_found(machine: Machine) -> None:
    """The generic plugin's own rules count too, and the place is inside its section."""
    machine.configure(DUPLICATE)
    answer = machine.run("check-config", machine.config)
    assert (answer.code, answer.out) == (2, "")
    [problem] = answer.err.splitlines()
    line = int(problem.removeprefix(f"{machine.config}:").split(":")[0])
    assert 5 <= line <= 8
    assert "plugins.generic" in problem
    assert "devices.example.com/a" in problem


def test_a_package_that_cannot_be_loaded_leaves_its_section_unchecked(machine: Machine) -> None:
    """That is said, and is exit code 1."""
    machine.install("broken", BROKEN)
    machine.configure("plugins: {broken: {anything: 1}}\n")
    answer = machine.run("check-config", machine.config)
    assert answer.code == 1
    assert "acme-broken 1.2" in answer.err
    assert "not all of it could be checked" in answer.out


def test_a_hanging_look_does_not_hold_up_the_check(machine: Machine) -> None:
    """The file is fine; the machine is another matter."""
    machine.install("hanging", HANGING)
    machine.configure("plugins: {hanging: {lookTimeout: 0.2}}\n")
    answer = machine.run("check-config", machine.config)
    assert answer.code == 0
    assert "hanging: it has not come back for 0.2 s" in answer.out


def test_the_patterns_of_the_schema_are_those_of_json_schema(machine: Machine) -> None:
    """Its dialect has neither of Python's anchors: editors would take them for letters, and no path would fit."""
    answer = machine.run("config-schema")
    patterns = {json.loads(each) for each in re.findall(r'"pattern": (".*")', answer.out)}
    assert "^/[^\\0]*$" in patterns
    assert not any(r"\A" in each or r"\Z" in each for each in patterns)


def test_the_schema_holds_every_installed_section(machine: Machine) -> None:
    """The core's keys and the plugin's own stand side by side, and nothing else is allowed."""
    machine.install("widgets", WIDGETS)
    machine.install("zidgets", WIDGETS)
    machine.install("broken", BROKEN)
    answer = machine.run("config-schema")
    assert answer.code == 0
    assert "acme-broken 1.2" in answer.err
    schema = answer.json
    assert schema["required"] == ["apiVersion", "kind"]
    assert schema["additionalProperties"] is False
    sections = schema["properties"]["plugins"]["properties"]
    for name in ("widgets", "zidgets"):
        assert {"resourceName", "count", "lookInterval", "enabled"} <= sections[name]["properties"].keys()
        assert sections[name]["additionalProperties"] is False
    assert sections["broken"]["additionalProperties"] is True
    text = answer.out
    for reference in {part.split('"')[0] for part in text.split('"#/$defs/')[1:]}:
        assert reference in schema["$defs"]
    assert "PluginSection" not in text
