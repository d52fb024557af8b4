"""The README of the package says what the code does: its examples are accepted, and its tables are complete and right."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from msgspec.structs import fields

from supervisor.families import check_families
from supervisor_fpga import environment
from supervisor_fpga.config import FpgaConfig, Resource, UnitKind, Way
from supervisor_fpga.health import STATES, Monitor
from supervisor_fpga.health.policy import FAULTS
from supervisor_fpga.metrics import families
from supervisor_fpga.naming import FIELDS, fields_of
from supervisor_fpga.operating import gbs
from supervisor_fpga.operating.messages import BITSTREAMS
from supervisor_fpga.operating.settings import Settings
from supervisor_fpga.presets import DEFAULT, PRESETS
from supervisor_fpga.report import Backend, Evidence, Report, Role, Sensor
from supervisor_fpga.rules import offer
from supervisor_fpga.simulate.intel import A10_INTERFACE, NLB3
from supervisor_fpga.simulate.layouts import NAMES, layout
from supervisor_fpga.simulate.script import parse
from supervisor_fpga.tally import Tally
from tests.plugins.fpga.functions import dfl, offered
from tests.plugins.readme import Readme, documented, words

pytestmark = pytest.mark.checkout

README = Readme("fpga")


def test_every_example_is_accepted() -> None:
    """What the README shows can be copied."""
    examples = README.examples
    assert len(examples) >= 8
    for document in examples:
        ((name, section),) = document["plugins"].items()
        assert name == "fpga"
        offer(Report((dfl(),)), msgspec.convert(section, FpgaConfig))


def test_the_bitstream_for_simulated_cards_can_be_made_as_told(tmp_path: Path) -> None:
    """By the command as it stands, and it fits the card of the layout."""
    (command,) = re.findall(r"```sh\n(python3 -c .*?)\nsha256sum", README.text, re.DOTALL)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(["bash", "-euc", command], cwd=tmp_path, env={**os.environ, "PATH": path}, check=True)
    header = gbs.header((tmp_path / "nlb.gbs").read_bytes())
    assert (header.interface_id, header.afu_id) == (A10_INTERFACE, NLB3)


def test_every_key_is_told_with_its_default() -> None:
    """None is missing, none is left over, and each default is the one that counts."""
    assert README.keys == documented(FpgaConfig)


@pytest.mark.parametrize(
    ("titles", "kinds"),
    [(("back end", "what"), Backend), (("`unit`", "what a container gets"), UnitKind), (("way", "for"), Way)],
)
def test_the_kinds_of_things_are_all_told(titles: tuple[str, ...], kinds: Any) -> None:
    """Each in its table, once."""
    told = [words(first)[0] for first, *_ in README.rows(*titles)]
    assert sorted(told) == sorted(get_args(kinds))


def test_the_roles_are_all_told() -> None:
    """With those that a container gets without asking."""
    told = {words(role)[0]: given == "yes" for role, given, *_ in README.rows("role", "by default")}
    given = next(field.default for field in fields(Resource) if field.name == "nodes")
    assert told == {role: role in given for role in get_args(Role)}


def test_the_names_are_all_told() -> None:
    """The fields of a template, and what presets offer."""
    text = README.text
    (sentence,) = re.findall(r"\*\*Names\.\*\* (.*?) are replaced", text, re.DOTALL)
    known = {name for each in words(sentence) for name in fields_of(each)}
    assert known == {*FIELDS}
    assert DEFAULT[0].name.partition("{")[0] in text
    assert all(f"`{preset}`" in text or f"`preset: {preset}`" in text for preset in PRESETS if preset)


def test_the_states_of_health_are_all_told() -> None:
    """Each with what the kubelet is told."""
    told = {state: listed for states, listed, *_ in README.rows("state", "listed") for state in words(states)}
    mild = {"Throttled", "VoltageAlarm"}
    assert told == {state: "Unhealthy" if state in {*FAULTS} - mild else "Healthy" for state in STATES}


def test_the_variables_are_all_told() -> None:
    """And the keys of the JSON in one of them."""
    given = environment.variables(offered("{name: a.example/x}", dfl()).units)
    told = {words(name)[0]: words(value) for name, value in README.rows("variable", "value")}
    assert told.keys() == given.keys()
    assert told[environment.DEVICE_INFO] == [*msgspec.json.decode(given[environment.DEVICE_INFO])[0]]


def test_the_metrics_are_all_told_with_their_labels() -> None:
    """As a scrape has them."""
    kinds: tuple[Any, ...] = ("temperature", "power", "voltage")
    sensors = tuple(Sensor(kind, kind, 1.0, limit=2.0) for kind in kinds)
    evidence = Evidence(state="operating", errors={"port/errors": 1}, sensors=sensors)
    report = Report((dfl(evidence=evidence),))
    found = offered("{name: a.example/x, reset: true}", *report.functions)
    monitor = Monitor(FpgaConfig().health)
    monitor.look(report, 0.0)
    made, problems = check_families(
        "fpga",
        families(
            report, found, monitor.verdict, monitor.readings(), monitor.counts(), Tally().counts(), restarts={"fpga-sysfs": 0}
        ),
    )
    assert not problems
    assert all(family.samples for family in made)
    README.assert_metrics("fpga", made)


def test_the_machines_of_the_simulation_are_told_and_the_script_can_be_played() -> None:
    """The names, and each line without its explanation, on the machine that has what it names."""
    assert sorted(words(name)[0] for name, *_ in README.rows("layout")) == sorted(NAMES)
    machines = {"fpga0": "zynq", "0000:65:00.1": "alveo"}
    for step in README.script:
        name = next((machine for word, machine in machines.items() if word in step), "dfl-card")
        steps = [step] if " add " not in step else [f"after 1s remove {step.split()[-1]}", step]
        assert parse(steps, layout(name))


def test_the_settings_of_the_helper_are_told() -> None:
    """Those that an operator may need, with their defaults."""
    text = README.text
    assert all(f"`{BITSTREAMS}`" in text and f"`FPGA_{name}" in text for name in ("BITSTREAMS", "LOCKS", "COMMAND"))
    assert f"`{Settings().locks}`" in text


def test_every_link_leads_somewhere() -> None:
    """Headings may be renamed, and files moved; then so are the links."""
    assert README.dead_links == set()
