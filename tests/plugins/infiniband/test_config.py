"""What an operator may write into ``plugins.infiniband``, and how a mistake is told."""

from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given

from supervisor.cli.config_schema import schema
from supervisor.config_file import parse
from supervisor.errors import ConfigError
from supervisor_infiniband.config import DEFAULT_POOLS, InfinibandConfig, Judgement, Match, Pool
from tests.plugins.infiniband.functions import config_of, match_of, matches


def test_nothing_has_to_be_written() -> None:
    """An empty section offers VFs, SFs and all others."""
    config = config_of("{}")
    assert config.pools == DEFAULT_POOLS
    assert [pool.resource for pool in config.pools] == ["rdma/vf", "rdma/sf", "rdma/hca"]
    assert config.judgement == Judgement()
    assert config.simulate is None


def test_names_get_a_domain() -> None:
    """Whoever writes hca means rdma/hca."""
    config = config_of("resources: [{name: hca}, {name: example.com/hca}]")
    assert [pool.resource for pool in config.pools] == ["rdma/hca", "example.com/hca"]


def test_a_resource_may_be_judged_by_its_own_standard() -> None:
    """In place of the section's, as a whole."""
    config = config_of("{health: {ports: all}, resources: [{name: a}, {name: b, health: {holdDown: 1}}]}")
    assert [config.judgement_of(pool) for pool in config.pools] == [Judgement(ports="all"), Judgement(hold_down=1)]


RESOURCE = "resources: [%s]"
MATCH = "resources: [{name: a, match: [%s]}]"
AT_RESOURCE, AT_MATCH = "$.resources[0]", "$.resources[0].match[0]"


@pytest.mark.parametrize(
    ("text", "where", "problem"),
    [
        (MATCH % "{}", AT_MATCH, "give at least one field; a rule for all devices has no match"),
        (MATCH % "{not: [{}]}", f"{AT_MATCH}.not[0]", "give at least one field"),
        (MATCH % "{kind: [bond]}", f"{AT_MATCH}.kind[0]", "Invalid enum value 'bond'"),
        (MATCH % "{vendor: [15b3x]}", f"{AT_MATCH}.vendor[0]", "regex"),
        (MATCH % "{vendor: [8086]}", f"{AT_MATCH}.vendor[0]", "Expected `str`, got `int`"),
        (MATCH % "{linkLayer: [ethernet]}", f"{AT_MATCH}.linkLayer[0]", "Invalid enum value 'ethernet'"),
        (MATCH % "{rate: 0}", f"{AT_MATCH}.rate", "> 0"),
        (MATCH % "{pkey: ['8001']}", f"{AT_MATCH}.pkey[0]", "regex"),
        (MATCH % "{guid: [xyz]}", f"{AT_MATCH}.guid[0]", "regex"),
        (
            MATCH % "{guid: ['b8ce:f603']}",
            AT_MATCH,
            "guid: 'b8ce:f603' has 8 digits of 16; b8ce:f603* means all that begin so",
        ),
        (MATCH % "{guid: ['0xb8cef60300aa000']}", AT_MATCH, "has 15 digits of 16"),
        (MATCH % "{pf: ['ens1f0#']}", AT_MATCH, "pf: 'ens1f0#' is no function with ranges, like ens1f0#0-3,7"),
        (MATCH % "{pf: ['#0-3']}", AT_MATCH, "is no function with ranges"),
        (MATCH % "{pf: ['ens1f0#a-b']}", AT_MATCH, "is no function with ranges"),
        (MATCH % "{pf: ['ens1f0#0-3,7-5']}", AT_MATCH, "pf: 'ens1f0#0-3,7-5' has the range 7-5, which runs backwards"),
        (MATCH % "{numaNode: [-1]}", f"{AT_MATCH}.numaNode[0]", ">= 0"),
        (MATCH % "{name: ['']}", f"{AT_MATCH}.name[0]", "length >= 1"),
        (MATCH % "{names: [a]}", AT_MATCH, "unknown field `names`"),
        (RESOURCE % "{}", AT_RESOURCE, "missing required field `name`"),
        (RESOURCE % "{name: a b}", AT_RESOURCE, "name: 'a b' is no resource name"),
        (RESOURCE % "{name: kubernetes.io/a}", AT_RESOURCE, "reserved for Kubernetes"),
        (
            RESOURCE % "{name: a, replicas: 2}",
            AT_RESOURCE,
            "replicas: an exclusive device is one unit; say mode: shared or mode: pool",
        ),
        (RESOURCE % "{name: a, mode: shared}", AT_RESOURCE, "mode shared needs replicas"),
        (RESOURCE % "{name: a, mode: pool}", AT_RESOURCE, "mode pool needs replicas"),
        (RESOURCE % "{name: a, mode: pool, replicas: 0}", f"{AT_RESOURCE}.replicas", ">= 1"),
        (RESOURCE % "{name: a, mode: pool, replicas: 10001}", f"{AT_RESOURCE}.replicas", "<= 10000"),
        (RESOURCE % "{name: a, require: [umad]}", AT_RESOURCE, "require: umad must be among charDevices, too"),
        (RESOURCE % "{name: a, charDevices: [uverbs]}", f"{AT_RESOURCE}.charDevices[0]", "Invalid enum value 'uverbs'"),
        (
            RESOURCE % "{name: a, mode: shared, replicas: 2, deviceInfo: true}",
            AT_RESOURCE,
            "deviceInfo: a CNI plugin moves a whole device; that needs mode: exclusive",
        ),
        (
            RESOURCE % "{name: a}, {name: rdma/a}",
            "",
            "resources: rdma/a is there 2 times; one resource may have several matches",
        ),
        ("health: {ports: both}", "$.health.ports", "Invalid enum value 'both'"),
        ("health: {holdDown: -1}", "$.health.holdDown", ">= 0"),
        ("health: {errorRates: {symbolError: -1}}", "$.health.errorRates.symbolError", ">= 0"),
        ("poll: 3", "$.poll", "<= 2"),
        ("counters: 0", "$.counters", ">= 1"),
        ("cdi: {vendor: a}", "$.cdi.vendor", "regex"),
        ("cdi: {directory: var/run/cdi}", "$.cdi.directory", "regex"),
        ("simulate: {}", "$.simulate", "missing required field `layout`"),
        ("resource: []", "", "unknown field `resource`"),
    ],
)
def test_a_mistake_is_told_where_it_is(text: str, where: str, problem: str) -> None:
    """The message names the key, and the cure where there is one."""
    with pytest.raises(msgspec.ValidationError) as caught:
        config_of(text)
    message, _, at = str(caught.value).partition(" - at ")
    assert problem in message
    assert at == (f"`{where}`" if where else "")


@pytest.mark.parametrize(
    "text",
    [
        "{guid: ['b8ce:f603:00aa:0001', 'B8CEF60300AA0001', '0xb8cef60300aa0001', 'b8ce*', '????:f603:*:0001']}",
        "{pf: [ens1f0, 'ens1f0#3', 'ens1f0#0-3,7,9-9', '0000:3b:00.0#0-63', mlx5_0]}",
        "{pkey: ['0x1', '0xFFFF']}",
        "{vendor: ['15b3'], device: ['101B']}",
        "{not: [{not: [{hasVfs: true}]}]}",
        "{hasVfs: false}",
        "{numaNode: [0]}",
    ],
)
def test_what_is_allowed(text: str) -> None:
    """All spellings of GUIDs, P_Keys and ranges; a field that is false or 0 is given, too."""
    assert match_of(text) == msgspec.convert(msgspec.to_builtins(match_of(text)), Match)


@given(matches())
def test_what_was_written_can_be_written_again(match: Match) -> None:
    """A resource survives the way to YAML and back."""
    pool = Pool(name="a", match=(match,))
    assert msgspec.convert(yaml.safe_load(yaml.safe_dump(msgspec.to_builtins(pool))), Pool) == pool


FILE = """
apiVersion: device-plugin-supervisor/v1alpha1
kind: SupervisorConfig
plugins:
  infiniband:
    pole: 1
    resources:
      - name: rdma/vf
        mode: shared
      - name: rdma/hca
        match:
          - pf: [ens1f0#3-1]
          - linklayer: [Ethernet]
"""


def test_all_mistakes_are_found_with_their_lines() -> None:
    """The core tells each of them where it stands in the whole file, with the key that was probably meant."""
    document = parse(FILE.encode(), "config.yaml")
    with pytest.raises(ConfigError) as caught:
        document.decode_plugin("infiniband", InfinibandConfig)
    problems = sorted(caught.value.problems)
    assert [problem.partition(" ")[0] for problem in problems] == [
        "config.yaml:12:17:",
        "config.yaml:13:13:",
        "config.yaml:6:5:",
        "config.yaml:8:9:",
    ]
    assert "did you mean linkLayer?" in problems[1]
    assert "did you mean poll?" in problems[2]


def test_the_schema_for_editors_knows_the_section() -> None:
    """Every key is there, and none must be."""
    section: dict[str, Any] = schema({"infiniband": InfinibandConfig}, unknown=[])["properties"]["plugins"]["properties"][
        "infiniband"
    ]
    assert section["properties"].keys() >= {field.encode_name for field in msgspec.structs.fields(InfinibandConfig)}
    assert not section.get("required")
