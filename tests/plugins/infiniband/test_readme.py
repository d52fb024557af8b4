"""The README of the package says what the code does: its examples are accepted, and its tables are complete and right."""

import re
from pathlib import Path

import msgspec
import pytest
from msgspec import inspect
from msgspec.structs import replace

from supervisor import MetricsSource
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
from tests.plugins.readme import Readme, documented, refused, words

pytestmark = pytest.mark.checkout

README = Readme("infiniband")


def test_every_example_passes_check_config(tmp_path: Path) -> None:
    """What the README shows can be copied."""
    examples = README.examples
    assert len(examples) >= 9
    for document in examples:
        document["plugins"]["nvidia-gpu"] = {"enabled": False}
    assert refused(examples, "infiniband", tmp_path) == []


def test_every_key_is_told_with_its_default() -> None:
    """None is missing, none is left over, and each default is the one that counts."""
    assert README.keys == documented(InfinibandConfig, linked={"resources[].health"})


def test_the_default_resources_are_told() -> None:
    """By name, in their order."""
    (sentence,) = re.findall(r"Without it there are three: (.*?);", README.text, re.DOTALL)
    assert words(sentence) == [pool.resource for pool in DEFAULT_POOLS]


def test_the_states_of_health_are_all_told() -> None:
    """In their order, each with what the kubelet is told."""
    told = [(words(state)[0], listed) for state, listed, *_ in README.rows("state", "listed")]
    assert told == [(state, "Unhealthy" if state in FAULTS else "Healthy") for state in STATES]


def test_the_nodes_are_all_told() -> None:
    """With those that a container gets without asking."""
    told = {
        words(node)[0].rpartition("/")[2].rstrip("*"): given == "yes" for node, given, *_ in README.rows("node", "by default")
    }
    kinds = CharDevice.__args__  # type: ignore[attr-defined]  # a Literal keeps its values there
    assert told == {"uverbs": True} | {kind: kind in Pool("a").char_devices for kind in kinds}


def test_the_variables_are_all_told() -> None:
    """Those of a container with everything that can be asked for, and the keys of the JSON in one of them."""
    pool = msgspec.convert({"name": "hca", "pcideviceInfo": True, "hints": {"nccl": True, "ucx": True}}, Pool)
    ethernet = port(link_layer="Ethernet")
    device = pf(ports=(replace(ethernet, gids=(replace(ethernet.gids[0], kind="RoCE v2"),)),))
    given = environment.variables((Unit("a", pool, (device,)),), Report((device,), nodes=frozenset({"uverbs0"})))
    told = {words(name)[0].replace("<RESOURCE>", "RDMA_HCA"): words(value) for name, value in README.rows("variable", "value")}
    assert told.keys() == given.keys()
    (info,) = msgspec.json.decode(given[environment.DEVICE_INFO])
    assert set(told[environment.DEVICE_INFO]) == {*info, *info["ports"][0]}


def test_the_metrics_are_all_told_with_their_labels() -> None:
    """As a scrape has them."""
    made = plugin(msgspec.convert({"simulate": {"layout": "dual-port-infiniband"}}, InfinibandConfig), Host(), FakeMemory())
    assert isinstance(made, MetricsSource)
    made.discover()
    README.assert_metrics("infiniband", made.collect_metrics())


def test_the_machines_of_the_simulation_are_told_and_the_script_can_be_played() -> None:
    """The names, and each line without its explanation."""
    (sentence,) = re.findall(r"Layouts: (.*?)\.", README.text)
    assert words(sentence) == list(NAMES)
    actions = ["down", "remove", "add", "rename", "vfs", "move", "hang"]
    assert [step.action for step in parse(README.script, layout("dual-port-infiniband"))] == actions


def test_the_importers_are_told() -> None:
    """Each with the command that runs it."""
    ours = {each.name for each in installed() if each.distribution == "device-plugin-supervisor-infiniband"}
    assert set(re.findall(r"^device-plugin-supervisor import-config (\S+) ", README.text, re.MULTILINE)) == ours


def test_the_kinds_are_all_told() -> None:
    """In the row of their selector."""
    (row,) = [row for row in README.rows("key", "default") if row[0] == "`resources[].match[].kind`"]
    kinds = next(field for field in inspect.type_info(Match).fields if field.name == "kind")  # type: ignore[attr-defined]  # it is a struct
    assert set(words(row[2])) == set(kinds.type.item_type.values)


def test_every_link_leads_somewhere() -> None:
    """Headings may be renamed, and files moved; then so are the links."""
    assert README.dead_links == set()
