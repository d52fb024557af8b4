"""The README of the package says what the code does: its examples are accepted, and its tables are complete and right."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from msgspec import inspect

from supervisor.config import API_VERSION, KIND
from supervisor.families import exposed_name
from supervisor.host import Host
from supervisor.testing import FakeMemory
from supervisor_nvidia_gpu.cdi.keeping import FILES
from supervisor_nvidia_gpu.cdi.names import CLASSES
from supervisor_nvidia_gpu.compat import fold
from supervisor_nvidia_gpu.compat.healthchecks import DISABLE, ENABLE
from supervisor_nvidia_gpu.compat.keys import KEYS, NOT_SUPPORTED, VARIABLES, VARIABLES_NOT_SUPPORTED, Key, Records
from supervisor_nvidia_gpu.config import NvidiaGpuConfig
from supervisor_nvidia_gpu.health.policy import DEFAULTS, MODELS
from supervisor_nvidia_gpu.metrics import PHASES
from supervisor_nvidia_gpu.plugin import NvidiaGpuPlugin
from supervisor_nvidia_gpu.section import NvidiaGpuSection
from supervisor_nvidia_gpu.simulate.layouts import NAMES, layout
from supervisor_nvidia_gpu.simulate.probe import SimulatedProbe
from supervisor_nvidia_gpu.simulate.script import parse

pytestmark = pytest.mark.checkout

README = Path(__file__).parents[3] / "plugins/nvidia_gpu/README.md"
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
        if taken and cells[0] != "---":
            found.append(cells)
        taken = taken or cells[: len(titles)] == titles
    return found


def words(cell: str) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`\n]+)`", cell)


def check(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What ``check-config`` says of a section, on a machine that has nothing and with no variables of NVIDIA's."""
    host = {name: str(folder / name) for name in ("sysfs", "dev", "proc", "runUdev")}
    for root in host.values():
        Path(root).mkdir(parents=True)
    file = yaml.safe_load(text)
    file["plugins"]["nvidia-gpu"].setdefault("driverRootMount", str(folder))
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump({"apiVersion": API_VERSION, "kind": KIND, "host": host, **file}))
    command = [sys.executable, "-m", "supervisor", "check-config", str(config)]
    environ = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)


def test_every_example_passes_check_config(tmp_path: Path) -> None:
    """What the README shows can be copied."""
    examples = re.findall(r"```yaml\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(examples) >= 10
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(check, examples, [tmp_path / str(number) for number in range(len(examples))]))
    for text, answer in zip(examples, answers, strict=True):
        on = re.search(r"fine\. On: [^.]*\bnvidia-gpu\b", answer.stdout)  # others may be installed, too
        assert (answer.returncode, bool(on)) == (0, True), text + answer.stdout + answer.stderr


def documented(kind: inspect.Type, at: str) -> Iterator[tuple[str, Any]]:
    """The keys below a place of the section, ``selection.*[].uuid``, and their defaults."""
    if isinstance(kind, inspect.Metadata):
        yield from documented(kind.type, at)
    elif isinstance(kind, inspect.UnionType):
        for member in kind.types:
            yield from documented(member, at)
    elif isinstance(kind, inspect.VarTupleType):
        yield from documented(kind.item_type, f"{at}[]")
    elif isinstance(kind, inspect.DictType):
        yield from documented(kind.value_type, f"{at}.*")
    elif isinstance(kind, inspect.StructType):
        above = re.sub(r"^selection\.\w+\[", "selection.*[", at)
        for field in kind.fields:
            key = f"{above}.{field.encode_name}".lstrip(".")
            if not isinstance(field.type, inspect.StructType):
                yield key, default(field)
            yield from documented(field.type, key)


def default(field: inspect.Field) -> Any:
    if field.required:
        return REQUIRED
    value = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    return [*value] if isinstance(value, tuple) else value


def test_every_key_is_told_with_its_default() -> None:
    """None is missing, none is left over, and each default is the one that counts."""
    told = [(words(key)[0], yaml.safe_load(value.strip("`")) if value else None) for key, value, *_ in rows("key", "default")]
    assert len({key for key, _ in told}) == len(told)
    assert dict(told) == dict(documented(inspect.type_info(NvidiaGpuConfig), ""))


def numbers(cell: str) -> Iterator[int]:
    for part in cell.split(", "):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def test_the_table_of_xids_is_that_of_the_policy() -> None:
    """Each number stands in the row of its default action, once; then come those that some models judge otherwise."""
    *general, by_model = [(action, list(numbers(cell)), why) for action, cell, why in rows("action", "XIDs")]
    told = [(xid, action) for action, xids, _ in general for xid in xids]
    assert sorted(told) == sorted((xid, decision.action) for xid, decision in DEFAULTS.items())
    assert {(by_model[0], xid) for xid in by_model[1]} == {(decision.action, xid) for xid, _, decision in MODELS}
    for _, pattern, _ in MODELS:
        assert pattern.strip("*").removeprefix("Quadro ") in by_model[2]


def test_the_states_of_health_are_all_told() -> None:
    """In the order in which the metrics have them."""
    assert [state for state, *_ in rows("state", "listed")] == list(PHASES)


def test_what_is_honoured_of_nvidias_configuration_is_told_with_our_key() -> None:
    """Every key of the file and every variable stands in one row, with the key of ours that it becomes."""
    keys: set[str] = set()
    variables: set[str] = set()
    for file, environment, here in rows("file", "environment", "here"):
        ours = words(here)
        for number, name in enumerate(words(file)):
            meaning = KEYS[name]
            assert isinstance(meaning, Key)
            parent = KEYS.get(name.rpartition("[].")[0])
            above = f"{'.'.join(parent.target)}[]." if isinstance(parent, Records) else ""
            if meaning.target and here != "the same":
                assert ours[number] == above + ".".join(meaning.target)
            elif meaning.target:
                assert name == above + ".".join(meaning.target)
        for name in words(environment):
            known = VARIABLES[name][0] if name in VARIABLES else ""
            assert [known] == words(file) or (not file and name in {"CONFIG_FILE", DISABLE, ENABLE})
        keys.update(words(file))
        variables.update(words(environment))
    assert keys == {name for name, meaning in KEYS.items() if isinstance(meaning, Key)}
    assert variables == {name for name, (key, _) in VARIABLES.items() if key not in NOT_SUPPORTED} | {DISABLE, ENABLE}


def test_what_is_not_supported_of_nvidias_configuration_is_told() -> None:
    """All that is named at run time is named in the README."""
    told = rows("file", "environment", "because")
    assert {name for file, *_ in told for name in words(file)} == set(NOT_SUPPORTED)
    variables = {name for name, (key, _) in VARIABLES.items() if key in NOT_SUPPORTED} | set(VARIABLES_NOT_SUPPORTED)
    assert {name for _, environment, _ in told for name in words(environment)} == variables | {"GFD_*"}


def test_the_metrics_are_all_told_with_their_labels() -> None:
    """As a scrape has them, those that need a setting among them."""
    words_of_section = {"simulate": {"layout": "l40s-4"}, "usageMetrics": True, "deviceListStrategy": ["cdi-cri"]}
    folded = fold(msgspec.convert(words_of_section, NvidiaGpuSection), {}, lambda _: None)
    lost = SimulatedProbe("l40s-4", ["after 0s xid 79 on 0"])
    plugin = NvidiaGpuPlugin(folded, Host(), FakeMemory(), lost)
    plugin.discover()
    families = {family.name + SUFFIXES[family.kind]: family for family in plugin.collect_metrics()}
    told = {words(name)[0]: words(labels) for name, labels, *_ in rows("metric", "labels")}
    assert told.keys() == families.keys()
    for name, family in families.items():
        for sample in family.samples:
            assert [*sample.labels] == told[name], name
    assert f"`{exposed_name('nvidia-gpu', '')}`" in README.read_text()


def test_the_machines_of_the_simulation_are_told_and_the_script_can_be_played() -> None:
    """The names, and each line without its explanation."""
    text = README.read_text()
    (sentence,) = re.findall(r"Layouts: (.*?)\.", text)
    assert words(sentence) == list(NAMES)
    (script,) = re.findall(r"```\n(after .*?)```", text, re.DOTALL)
    lines = [re.split(r" {2,}", line)[0] for line in script.splitlines()]
    assert [step.action for step in parse(lines, layout("dgx-h100"))] == ["xid", "lose", "recover", "mig"]


def test_the_names_of_cdi_specs_are_those_that_are_written() -> None:
    """Vendor, classes and files."""
    text = README.read_text()
    vendor = NvidiaGpuConfig().cdi.vendor
    assert {*CLASSES, vendor, FILES.file_name("<vendor>/<class>")} <= set(words(text))


def test_every_link_within_the_readme_leads_somewhere() -> None:
    """Headings may be renamed; then so are the links."""
    text = README.read_text()
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    places = {re.sub(r"[^-\w ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    links = re.findall(r"\]\(#([^)]+)\)", text)
    assert links
    assert set(links) <= places
