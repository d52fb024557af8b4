"""The README of the package says what the code does: its examples are accepted, and its tables are complete and right."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
import yaml
from msgspec import inspect
from msgspec.structs import fields

from supervisor.families import check_families, exposed_name
from supervisor_fpga import environment
from supervisor_fpga.config import FpgaConfig, Resource, UnitKind, Way
from supervisor_fpga.health import STATES, Monitor
from supervisor_fpga.health.policy import FAULTS
from supervisor_fpga.metrics import families
from supervisor_fpga.naming import FIELDS, fields_of
from supervisor_fpga.operating.messages import BITSTREAMS
from supervisor_fpga.operating.settings import Settings
from supervisor_fpga.presets import DEFAULT, PRESETS
from supervisor_fpga.report import Backend, Evidence, Report, Role, Sensor
from supervisor_fpga.rules import offer
from supervisor_fpga.simulate.layouts import NAMES, layout
from supervisor_fpga.simulate.script import parse
from supervisor_fpga.tally import Tally
from tests.plugins.fpga.functions import dfl, offered

pytestmark = pytest.mark.checkout

README = Path(__file__).parents[3] / "plugins/fpga/README.md"
REQUIRED = "required"
SUFFIXES = {"gauge": "", "counter": "_total", "info": "_info"}


def rows(*titles: str) -> list[tuple[str, ...]]:
    """The cells of all tables whose first columns have these titles."""
    found: list[tuple[str, ...]] = []
    taken = False
    for line in README.read_text().splitlines():
        if not line.startswith("|"):
            taken = False
            continue
        cells = tuple(cell.strip() for cell in line.strip("|").split("|"))
        if taken and cells[0].strip("-"):
            found.append(cells)
        taken = taken or cells[: len(titles)] == titles
    return found


def words(cell: str) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`\n]+)`", cell)


def test_every_example_is_accepted() -> None:
    """What the README shows can be copied."""
    examples = re.findall(r"```yaml\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(examples) >= 8
    for text in examples:
        (section,) = yaml.safe_load(text)["plugins"].items()
        assert section[0] == "fpga"
        offer(Report((dfl(),)), msgspec.convert(section[1], FpgaConfig))


def documented(kind: inspect.Type, at: str, outer: frozenset[type] = frozenset()) -> Iterator[tuple[str, Any]]:
    """The keys below a place of the section, ``resources[].match[].kind``, and their defaults. What holds itself is told once."""
    if isinstance(kind, inspect.Metadata):
        yield from documented(kind.type, at, outer)
    elif isinstance(kind, inspect.UnionType):
        for member in kind.types:
            yield from documented(member, at, outer)
    elif isinstance(kind, inspect.VarTupleType):
        yield from documented(kind.item_type, f"{at}[]", outer)
    elif isinstance(kind, inspect.StructType) and kind.cls not in outer:
        for field in kind.fields:
            key = f"{at}.{field.encode_name}".lstrip(".")
            if not isinstance(field.type, inspect.StructType):
                yield key, default(field)
            yield from documented(field.type, key, outer | {kind.cls})


def default(field: inspect.Field) -> Any:
    if field.required:
        return REQUIRED
    value = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    return [*value] if isinstance(value, tuple) else value


def test_every_key_is_told_with_its_default() -> None:
    """None is missing, none is left over, and each default is the one that counts."""
    told = [(words(key)[0], yaml.safe_load(value.strip("`")) if value else None) for key, value, *_ in rows("key", "default")]
    assert len({key for key, _ in told}) == len(told)
    assert dict(told) == dict(documented(inspect.type_info(FpgaConfig), ""))


@pytest.mark.parametrize(
    ("titles", "kinds"),
    [(("back end", "what"), Backend), (("`unit`", "what a container gets"), UnitKind), (("way", "for"), Way)],
)
def test_the_kinds_of_things_are_all_told(titles: tuple[str, ...], kinds: Any) -> None:
    """Each in its table, once."""
    told = [words(first)[0] for first, *_ in rows(*titles)]
    assert sorted(told) == sorted(get_args(kinds))


def test_the_roles_are_all_told() -> None:
    """With those that a container gets without asking."""
    told = {words(role)[0]: given == "yes" for role, given, *_ in rows("role", "by default")}
    given = next(field.default for field in fields(Resource) if field.name == "nodes")
    assert told == {role: role in given for role in get_args(Role)}


def test_the_names_are_all_told() -> None:
    """The fields of a template, and what presets offer."""
    text = README.read_text()
    (sentence,) = re.findall(r"\*\*Names\.\*\* (.*?) are replaced", text, re.DOTALL)
    known = {name for each in words(sentence) for name in fields_of(each)}
    assert known == {*FIELDS}
    assert DEFAULT[0].name.partition("{")[0] in text
    assert all(f"`{preset}`" in text or f"`preset: {preset}`" in text for preset in PRESETS if preset)


def test_the_states_of_health_are_all_told() -> None:
    """Each with what the kubelet is told."""
    told = {state: listed for states, listed, *_ in rows("state", "listed") for state in words(states)}
    mild = {"Throttled", "VoltageAlarm"}
    assert told == {state: "Unhealthy" if state in {*FAULTS} - mild else "Healthy" for state in STATES}


def test_the_variables_are_all_told() -> None:
    """And the keys of the JSON in one of them."""
    given = environment.variables(offered("{name: a.example/x}", dfl()).units)
    told = {words(name)[0]: words(value) for name, value in rows("variable", "value")}
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
    told = {words(name)[0]: words(labels) for name, labels, *_ in rows("metric", "labels")}
    assert told.keys() == {family.name + SUFFIXES[family.kind] for family in made}
    for family in made:
        assert family.samples, family.name
        for sample in family.samples:
            assert [*sample.labels] == told[family.name + SUFFIXES[family.kind]], family.name
    assert f"`{exposed_name('fpga', '')}`" in README.read_text()


def test_the_machines_of_the_simulation_are_told_and_the_script_can_be_played() -> None:
    """The names, and each line without its explanation, on the machine that has what it names."""
    assert sorted(words(name)[0] for name, *_ in rows("layout")) == sorted(NAMES)
    (script,) = re.findall(r"```\n(after .*?)```", README.read_text(), re.DOTALL)
    machines = {"fpga0": "zynq", "0000:65:00.1": "alveo"}
    for line in script.splitlines():
        step = re.split(r" {3,}", line)[0]
        name = next((machine for word, machine in machines.items() if word in step), "dfl-card")
        steps = [step] if " add " not in step else [f"after 1s remove {step.split()[-1]}", step]
        assert parse(steps, layout(name))


def test_the_settings_of_the_helper_are_told() -> None:
    """Those that an operator may need, with their defaults."""
    text = README.read_text()
    assert all(f"`{BITSTREAMS}`" in text and f"`FPGA_{name}" in text for name in ("BITSTREAMS", "LOCKS", "COMMAND"))
    assert f"`{Settings().locks}`" in text


def test_every_link_leads_somewhere() -> None:
    """Headings may be renamed, and files moved; then so are the links."""
    text = README.read_text()
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    places = {re.sub(r"[^-\w ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert {link[1:] for link in links if link.startswith("#")} <= places
    assert all((README.parent / link).exists() for link in links if not link.startswith("#"))
    assert links
