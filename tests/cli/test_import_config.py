"""``import-config``: another tool's file becomes one of ours, and each remark has its place in the file."""

import subprocess
import sys
from pathlib import Path

import pytest

from supervisor.cli import main
from tests.cli.conftest import HEAD, WIDGETS, Answer, Machine, Said

ACME = """
from supervisor import Remark, SourceRefused, Translation

def translate(source):
    if not isinstance(source, dict) or not isinstance(source.get("units"), int):
        raise SourceRefused((Remark("Expected a whole number", ("units",)), Remark("Expected a name", ("names", 1))))
    section = {"count": source["units"], "resourceName": source.get("name", "acme.example/widget")}
    lost = [Remark("There is no glue here.", ("parts", 1, "glue"))] if "parts" in source else []
    return Translation("widgets", section if source["units"] else None, tuple(lost), (Remark("It is never cold.", ("warm",)),))
"""

GOOD = '{\n  "units": 3,\n  "parts": [{}, {"glue": 1}]\n}\n'


def teach(machine: Machine, source: str, name: str = "acme-tool") -> None:
    """Install a package that translates this tool's files."""
    module = f"importer_sample_{name.replace('-', '_')}"
    (machine.site / f"{module}.py").write_text(source)
    info = machine.site / f"{module}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module.replace('_', '-')}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[device_plugin_supervisor.importers]\n{name} = {module}\n")


def asked(machine: Machine, text: str, *arguments: str, tool: str = "acme-tool") -> Answer:
    """Translate a file with this text."""
    file = machine.config.with_name("theirs")
    file.write_text(text)
    return machine.run("import-config", tool, file, *arguments)


def test_the_result_passes_check_config(machine: Machine) -> None:
    """It goes to standard output as a whole file; what is lost is told with its place."""
    machine.install("widgets", WIDGETS)
    teach(machine, ACME)
    answer = asked(machine, GOOD)
    theirs = machine.config.with_name("theirs")
    assert (answer.code, answer.err.splitlines()) == (
        0,
        [
            f"lost: {theirs}:3:18: parts[1].glue: There is no glue here.",
            f"note: {theirs}:1:1: It is never cold.",
        ],
    )
    assert answer.out == f"{HEAD}plugins:\n  widgets:\n    count: 3\n    resourceName: acme.example/widget\n"
    ours = machine.config.with_name("ours.yaml")
    ours.write_text(f"{answer.out}  nvidia-gpu: {{enabled: false}}\n")
    assert "fine. On: fpga, infiniband, widgets" in machine.run("check-config", ours).out


def test_strict_minds_what_is_lost(machine: Machine) -> None:
    """And nothing else; the result is printed all the same."""
    teach(machine, ACME)
    answer = asked(machine, GOOD, "--strict")
    assert (answer.code, "count: 3" in answer.out) == (1, True)
    assert asked(machine, '{"units": 3}', "--strict").code == 0


def test_json_holds_all_of_it(machine: Machine) -> None:
    """The configuration and the remarks in one document, and nothing elsewhere."""
    teach(machine, ACME)
    answer = asked(machine, GOOD, "--json")
    assert (answer.code, answer.err) == (0, "")
    assert answer.json["config"]["plugins"] == {"widgets": {"count": 3, "resourceName": "acme.example/widget"}}
    assert [line.rpartition(": ")[2] for line in answer.json["lost"] + answer.json["notes"]] == [
        "There is no glue here.",
        "It is never cold.",
    ]


def test_nothing_translated_is_1(machine: Machine) -> None:
    """An empty section would mean the plugin's defaults, so there is none."""
    teach(machine, ACME)
    answer = asked(machine, '{"units": 0}')
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.splitlines()[-1] == "nothing of it has an equivalent here"
    assert asked(machine, '{"units": 0}', "--json").json["config"] is None


CONFIG_MAP = """\
# kubectl get configmap acme -o yaml
apiVersion: v1
kind: ConfigMap
data:
  config.json: |
    {
      "units": 3,
      "parts": [{}, {"glue": 1}]
    }
  other: "{\\n\\"units\\": 4, \\"parts\\": [{}, {\\"glue\\": 1}]}"
"""


def test_a_config_map_is_opened(machine: Machine) -> None:
    """Its usual key, or the one that is named; lines are those of the manifest as far as they can be told."""
    teach(machine, ACME)
    answer = asked(machine, CONFIG_MAP)
    theirs = machine.config.with_name("theirs")
    assert (answer.code, "count: 3\n" in answer.out) == (0, True)
    assert answer.err.splitlines()[0] == f"lost: {theirs}:8:1: data['config.json']: parts[1].glue: There is no glue here."
    answer = asked(machine, CONFIG_MAP, "--key", "other")
    assert "count: 4\n" in answer.out
    assert answer.err.splitlines()[0] == f"lost: {theirs}: data['other']: parts[1].glue: There is no glue here."
    answer = asked(machine, CONFIG_MAP, "--key", "third")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == f"{theirs}: data: has no text third: name one of config.json, other with --key\n"


def test_the_only_text_of_a_config_map_needs_no_name(machine: Machine) -> None:
    """Some name it after the node."""
    teach(machine, ACME)
    assert "count: 3\n" in asked(machine, 'data: {node-7: "{\\"units\\": 3}"}\n').out


@pytest.mark.parametrize(
    ("text", "complaints"),
    [
        ("", [":1:1: is empty"]),
        ("\x7fELF\x00", [":1:1: holds the character U+007F: is it a binary file?"]),
        ('{\n  "units": 3\n  "parts": []\n}', [":3:3: is not JSON: Expecting ',' delimiter"]),
        ('{"a": ' * 3000, [":1:"]),
        ('{"units": 3,}', [":1:1"]),
        ('{"units": 1, "units": 2}', [":1:14: units: duplicate key, first in line 1"]),
        ("data:\n  a: |\n    {\n      [\n", [":4:1: data['a']: is not JSON: "]),
        ('{"units": "3", "names": ["a", 1]}', [":1:2: units: Expected a whole number", ":1:31: names[1]: Expected a name"]),
        ("- units", [":1:1: Expected a whole number", ":1:1: Expected a name"]),
    ],
)
def test_a_file_that_cannot_be_read_is_2(machine: Machine, text: str, complaints: list[str]) -> None:
    """Each problem with its line, and nothing on standard output."""
    teach(machine, ACME)
    answer = asked(machine, text)
    assert (answer.code, answer.out) == (2, "")
    lines = answer.err.splitlines()
    assert len(lines) == len(complaints)
    for line, complaint in zip(lines, complaints, strict=True):
        assert line.startswith(f"{machine.config.with_name('theirs')}{complaint}"), line


def test_what_a_file_says_does_no_harm_to_a_terminal(machine: Machine) -> None:
    """Neither its keys nor what an importer repeats of it."""
    teach(
        machine,
        "from supervisor import Remark, Translation\n"
        "def translate(source): return Translation('widgets', {}, (Remark(f'{source} is odd'.replace('\\\\x1b', '\\x1b')),))",
    )
    answer = asked(machine, '{"\\u001b[31m": 1}')
    assert (answer.code, "is odd" in answer.err, "\x1b" in answer.err) == (0, True, False)
    answer = asked(machine, 'data: {"\\e[31m": "{}", b: "{}"}')
    assert (answer.code, "[31m" in answer.err, "\x1b" in answer.err) == (2, True, False)


def test_a_huge_file_is_refused_by_its_size(machine: Machine) -> None:
    """From standard input, too."""
    teach(machine, ACME)
    text = "a: 1\n" * 300_000
    answer = asked(machine, text)
    assert (answer.code, "is longer than 1048576 bytes" in answer.err) == (2, True)
    command = [sys.executable, "-m", "supervisor", "import-config", "acme-tool", "-"]
    environment = {"PYTHONPATH": str(machine.site), "PATH": ""}
    done = subprocess.run(command, input=text, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "standard input: is longer than 1048576 bytes (1 MiB): no configuration needs that\n"
    done = subprocess.run(command, input=GOOD, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert "lost: standard input:3:18: parts[1].glue" in done.stderr


def test_formats_are_listed_with_their_packages(machine: Machine) -> None:
    """Without loading any of them."""
    teach(machine, "raise RuntimeError")
    assert "acme-tool" in [line.split()[0] for line in machine.run("import-config", "--list").out.splitlines()]
    listed = machine.run("import-config", "--list", "--json").json
    assert {"format": "acme-tool", "distribution": "importer-sample-acme-tool", "version": "1.2"} in listed


def test_an_unknown_format_is_2(machine: Machine) -> None:
    """With the nearest one that there is."""
    teach(machine, ACME)
    answer = asked(machine, GOOD, tool="acme-tools")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == "acme-tools: no installed package translates files of this tool; did you mean acme-tool?\n"


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("import nothing_like_it", "importing it failed: ModuleNotFoundError: No module named 'nothing_like_it'"),
        ("translate = 1", "its translate is no function"),
        ("def translate(source): return 1 / 0", "translate() raised ZeroDivisionError: division by zero"),
        ("def translate(source): return 1", "translate() did not return a Translation of plain values: Expected `object`"),
        (
            "from supervisor import Translation\ndef translate(source): return Translation('widgets', {'a': object()})",
            "translate() did not return a Translation of plain values: Encoding objects of type object is unsupported",
        ),
    ],
)
def test_a_broken_importer_is_1(machine: Machine, source: str, complaint: str) -> None:
    """It is named, with its distribution."""
    teach(machine, source)
    answer = asked(machine, GOOD)
    assert (answer.code, answer.out) == (1, "")
    assert "importer-sample-acme-tool 1.2, importer acme-tool = importer_sample_acme_tool: " + complaint in answer.err


def test_what_the_plugin_would_refuse_is_not_printed(machine: Machine) -> None:
    """The importer's answer is checked as a file would be."""
    machine.install("widgets", WIDGETS)
    teach(machine, ACME)
    answer = asked(machine, '{"units": 3, "name": 7}')
    assert (answer.code, answer.out) == (1, "")
    assert "the importer's answer is no configuration: translation:" in answer.err
    assert "plugins.widgets.resourceName: Expected str, got int" in answer.err


def test_both_arguments_are_needed(capsys: pytest.CaptureFixture[str]) -> None:
    """Unless formats are listed."""
    for arguments in (["import-config"], ["import-config", "acme-tool"]):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        said = Said(int(str(end.value.code)), *capsys.readouterr())
        assert (said.code, said.out) == (2, "")
        assert "the following arguments are required: FORMAT, FILE (or --list)" in said.err


def test_a_file_that_is_absent_is_2(tmp_path: Path, machine: Machine) -> None:
    """Its name is in the complaint."""
    teach(machine, ACME)
    answer = machine.run("import-config", "acme-tool", tmp_path / "nowhere.json", "--json")
    assert (answer.code, answer.out) == (2, "")
    assert f"{tmp_path}/nowhere.json: does not exist" in answer.err
