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
from msgspec.structs import replace

from supervisor import MetricsSource
from supervisor.config import API_VERSION, KIND
from supervisor.families import exposed_name
from supervisor.host import Host
from supervisor.importers import installed
from supervisor.testing import FakeMemory
from supervisor_infiniband import environment
from supervisor_infiniband.assembly import plugin
from supervisor_infiniband.config import DEFAULT_POOLS, CharDevice, InfinibandConfig, Match, Pool
from supervisor_infiniband.health.policy import FAULTS, STATES
from supervisor_infiniband.report import Report
from supervisor_infiniband.simulate.layouts import NAMES, layout
from supervisor_infiniband.simulate.script import parse
from supervisor_infiniband.units import Unit
from tests.plugins.infiniband.functions import pf, port

pytestmark = pytest.mark.checkout

README = Path(__file__).parents[3] / "plugins/infiniband/README.md"
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
    """What ``check-config`` says of a section, on a machine that has nothing."""
    host = {name: str(folder / name) for name in ("sysfs", "dev", "proc", "runUdev")}
    for root in host.values():
        Path(root).mkdir(parents=True)
    file = yaml.safe_load(text)
    file["plugins"]["nvidia-gpu"] = {"enabled": False}
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump({"apiVersion": API_VERSION, "kind": KIND, "host": host, **file}))
    command = [sys.executable, "-m", "supervisor", "check-config", str(config)]
    return subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, timeout=60, check=False)


def test_every_example_passes_check_config(tmp_path: Path) -> None:
    """What the README shows can be copied."""
    examples = re.findall(r"```yaml\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(examples) >= 9
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(check, examples, [tmp_path / str(number) for number in range(len(examples))]))
    for text, answer in zip(examples, answers, strict=True):
        assert (answer.returncode, "fine. On: infiniband." in answer.stdout) == (0, True), text + answer.stdout + answer.stderr


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
            if key == "resources[].health":  # told by a link to the section's
                yield key, None
                continue
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
    assert dict(told) == dict(documented(inspect.type_info(InfinibandConfig), ""))


def test_the_default_resources_are_told() -> None:
    """By name, in their order."""
    (sentence,) = re.findall(r"Without it there are three: (.*?);", README.read_text(), re.DOTALL)
    assert words(sentence) == [pool.resource for pool in DEFAULT_POOLS]


def test_the_states_of_health_are_all_told() -> None:
    """In their order, each with what the kubelet is told."""
    told = [(words(state)[0], listed) for state, listed, *_ in rows("state", "listed")]
    assert told == [(state, "Unhealthy" if state in FAULTS else "Healthy") for state in STATES]


def test_the_nodes_are_all_told() -> None:
    """With those that a container gets without asking."""
    told = {words(node)[0].rpartition("/")[2].rstrip("*"): given == "yes" for node, given, *_ in rows("node", "by default")}
    kinds = CharDevice.__args__  # type: ignore[attr-defined]  # a Literal keeps its values there
    assert told == {"uverbs": True} | {kind: kind in Pool("a").char_devices for kind in kinds}


def test_the_variables_are_all_told() -> None:
    """Those of a container with everything that can be asked for, and the keys of the JSON in one of them."""
    pool = msgspec.convert({"name": "hca", "pcideviceInfo": True, "hints": {"nccl": True, "ucx": True}}, Pool)
    ethernet = port(link_layer="Ethernet")
    device = pf(ports=(replace(ethernet, gids=(replace(ethernet.gids[0], kind="RoCE v2"),)),))
    given = environment.variables((Unit("a", pool, (device,)),), Report((device,), nodes=frozenset({"uverbs0"})))
    told = {words(name)[0].replace("<RESOURCE>", "RDMA_HCA"): words(value) for name, value in rows("variable", "value")}
    assert told.keys() == given.keys()
    (info,) = msgspec.json.decode(given[environment.DEVICE_INFO])
    assert set(told[environment.DEVICE_INFO]) == {*info, *info["ports"][0]}


def test_the_metrics_are_all_told_with_their_labels() -> None:
    """As a scrape has them."""
    made = plugin(msgspec.convert({"simulate": {"layout": "dual-port-infiniband"}}, InfinibandConfig), Host(), FakeMemory())
    assert isinstance(made, MetricsSource)
    made.discover()
    families = {family.name + SUFFIXES[family.kind]: family for family in made.collect_metrics()}
    told = {words(name)[0]: words(labels) for name, labels, *_ in rows("metric", "labels")}
    assert told.keys() == families.keys()
    for name, family in families.items():
        for sample in family.samples:
            assert [*sample.labels] == told[name], name
    assert f"`{exposed_name('infiniband', '')}`" in README.read_text()


def test_the_machines_of_the_simulation_are_told_and_the_script_can_be_played() -> None:
    """The names, and each line without its explanation."""
    text = README.read_text()
    (sentence,) = re.findall(r"Layouts: (.*?)\.", text)
    assert words(sentence) == list(NAMES)
    (script,) = re.findall(r"```\n(after .*?)```", text, re.DOTALL)
    lines = [re.split(r" {2,}", line)[0] for line in script.splitlines()]
    actions = ["down", "remove", "add", "rename", "vfs", "move", "hang"]
    assert [step.action for step in parse(lines, layout("dual-port-infiniband"))] == actions


def test_the_importers_are_told() -> None:
    """Each with the command that runs it."""
    ours = {each.name for each in installed() if each.distribution == "device-plugin-supervisor-infiniband"}
    assert set(re.findall(r"^device-plugin-supervisor import-config (\S+) ", README.read_text(), re.MULTILINE)) == ours


def test_the_kinds_are_all_told() -> None:
    """In the row of their selector."""
    (row,) = [row for row in rows("key", "default") if row[0] == "`resources[].match[].kind`"]
    kinds = next(field for field in inspect.type_info(Match).fields if field.name == "kind")  # type: ignore[attr-defined]  # it is a struct
    assert set(words(row[2])) == set(kinds.type.item_type.values)


def test_every_link_leads_somewhere() -> None:
    """Headings may be renamed, and files moved; then so are the links."""
    text = README.read_text()
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    places = {re.sub(r"[^-\w ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert {link[1:] for link in links if link.startswith("#")} <= places
    assert all((README.parent / link).exists() for link in links if not link.startswith("#"))
    assert links
