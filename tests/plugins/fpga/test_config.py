"""What an operator may write into ``plugins.fpga``, and how a mistake is told."""

from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given

from supervisor.cli.config_schema import schema
from supervisor.config_file import parse
from supervisor.errors import ConfigError
from supervisor_fpga.config import FpgaConfig, Limits, Match
from tests.plugins.fpga.functions import AFU, INTERFACE, ONES, SUM, ZEROS, config_of, match_of, matches, program


def test_nothing_has_to_be_written() -> None:
    """And nothing is programmed or simulated then."""
    config = config_of("{}")
    assert (config.preset, config.resources, config.programming, config.vfio, config.declared) == ("", (), (), (), ())
    assert config.health == Limits()
    assert config.simulate is None
    assert config.start_deadline == 25


def test_everything_may_be_written() -> None:
    """In one section, as a large site would have it."""
    config = config_of(f"""
        resources:
          - name: fpga.example.com/nlb
            unit: region
            match: [{{interfaceId: [{INTERFACE}], not: [{{numaNode: [1]}}]}}]
            program: {{bitstream: nlb/nlb_0.gbs, sha256: '{SUM}', afuId: {AFU}, signature: nlb/nlb_0.sig, way: dfl-ioctl}}
          - {{name: 'fpga.example.com/{{afu_id}}', reset: true, clearErrors: false, cdi: true, nodes: [port, fme]}}
        programming: [dfl-ioctl, command]
        health: {{temperature: 85.5, power: 75, nonfatalErrors: ignore, pcieDegraded: unhealthy, holdDown: 0}}
        vfio: [{{vendor: '8086', device: 'BCCE'}}]
        declared:
          - {{name: acme, subsystem: misc, kernelName: 'acme*', attributes: {{device/model: 'X*'}}, nodes: ['{{node}}', '/dev/acme/dma{{minor}}']}}
        poll: 10
        startDeadline: 5
        simulate: {{layout: dfl-card}}
    """)
    nlb, rest = config.resources
    assert nlb.program is not None
    assert (nlb.program.bitstream, nlb.program.way, nlb.literal, nlb.by_afu) == ("nlb/nlb_0.gbs", "dfl-ioctl", True, False)
    assert (rest.literal, rest.by_afu, rest.nodes) == (False, True, ("port", "fme"))
    assert config.declared[0].attributes == {"device/model": "X*"}


FPGAD = ", way: fpgad"
RESOURCE = "resources: [%s]"
MATCH = "resources: [{name: a.io/b, match: [%s]}]"
DECLARED = "declared: [%s]"
AT_RESOURCE, AT_MATCH, AT_DECLARED = "$.resources[0]", "$.resources[0].match[0]", "$.declared[0]"


@pytest.mark.parametrize(
    ("text", "where", "problem"),
    [
        (MATCH % "{}", AT_MATCH, "give at least one field; a rule for all functions has no match"),
        (MATCH % "{not: [{}]}", f"{AT_MATCH}.not[0]", "give at least one field"),
        (MATCH % "{backend: [alveo]}", f"{AT_MATCH}.backend[0]", "Invalid enum value 'alveo'"),
        (MATCH % "{vendor: [10eex]}", f"{AT_MATCH}.vendor[0]", "regex"),
        (MATCH % "{vendor: [8086]}", f"{AT_MATCH}.vendor[0]", "Expected `str`, got `int`"),
        (MATCH % "{afuId: [d8424dc4]}", AT_MATCH, "afuId: 'd8424dc4' has 8 digits of 32; d8424dc4* means all that begin so"),
        (MATCH % "{interfaceId: ['0x6952*']}", AT_MATCH, "'0x6952*' is neither 32 hexadecimal digits nor a pattern of them"),
        (MATCH % "{numaNode: [-1]}", f"{AT_MATCH}.numaNode[0]", ">= 0"),
        (MATCH % "{driver: ['']}", f"{AT_MATCH}.driver[0]", "length >= 1"),
        (MATCH % "{drivers: [a]}", AT_MATCH, "unknown field `drivers`"),
        (RESOURCE % "{}", AT_RESOURCE, "missing required field `name`"),
        (RESOURCE % "{name: fpga}", AT_RESOURCE, "name: 'fpga' is no resource name: it has no vendor domain"),
        (RESOURCE % "{name: 'a.io/{shel}'}", AT_RESOURCE, "{shel} is no field; there are {backend}"),
        (RESOURCE % "{name: kubernetes.io/a}", AT_RESOURCE, "reserved for Kubernetes"),
        (RESOURCE % "{name: a.io/b, unit: port}", f"{AT_RESOURCE}.unit", "Invalid enum value 'port'"),
        (RESOURCE % "{name: a.io/b, nodes: []}", f"{AT_RESOURCE}.nodes", "length >= 1"),
        (RESOURCE % "{name: a.io/b, nodes: [mgmt]}", f"{AT_RESOURCE}.nodes[0]", "Invalid enum value 'mgmt'"),
        (
            RESOURCE % f"{{name: a.io/b, unit: card, {program()}}}",
            AT_RESOURCE,
            "unit: card may be several regions, and program is for one: say unit: function or unit: region",
        ),
        (
            RESOURCE % f"{{name: 'a.io/{{afu_id}}', {program()}}}",
            AT_RESOURCE,
            "what is programmed changes its AFU id, so neither name nor match may depend on it",
        ),
        (RESOURCE % f"{{name: a.io/b, match: [{{not: [{{afuId: ['*']}}]}}], {program()}}}", AT_RESOURCE, "what is programmed"),
        (RESOURCE % "{name: 'a.io/{intel_af}', unit: region}", AT_RESOURCE, "a region changes its AFU id"),
        (RESOURCE % "{name: a.io/b, program: {bitstream: a.gbs}}", f"{AT_RESOURCE}.program", "missing required field `sha256`"),
        (RESOURCE % f"{{name: a.io/b, {program('../a.gbs')}}}", f"{AT_RESOURCE}.program.bitstream", "regex"),
        (RESOURCE % f"{{name: a.io/b, {program('a/.b')}}}", f"{AT_RESOURCE}.program.bitstream", "regex"),
        (RESOURCE % f"{{name: a.io/b, {program('/etc/a')}}}", f"{AT_RESOURCE}.program.bitstream", "regex"),
        (
            RESOURCE % f"{{name: a.io/b, {program(more=f', afuId: {ONES}')}}}",
            f"{AT_RESOURCE}.program",
            "can be no id of an FPGA: it is all ones",
        ),
        (
            RESOURCE % f"{{name: a.io/b, {program(more=', interfaceId: abcd')}}}",
            f"{AT_RESOURCE}.program",
            "interfaceId: 'abcd' can be no id of an FPGA: it is 'abcd', which is no id of 32 hexadecimal digits",
        ),
        (
            RESOURCE % f"{{name: a.io/b, {program(more=f', afuId: {ZEROS}')}}}",
            f"{AT_RESOURCE}.program.afuId",
            "Expected `str`, got `int`",
        ),
        (
            RESOURCE % "{name: a.io/b}, {name: a.io/b, match: [{kind: [vf]}]}",
            "",
            "resources: a.io/b is there more than once; one resource may have several matches",
        ),
        (RESOURCE % f"{{name: a.io/b, {program()}}}", "", "a.io/b is to be programmed, and programming names no way"),
        (
            f"{{programming: [xrt], {RESOURCE % f'{{name: a.io/b, {program(more=FPGAD)}}}'}}}",
            "",
            "a.io/b is to be programmed, and its way fpgad is not among programming, which names xrt",
        ),
        ("programming: [xrt, xrt]", "", "programming: xrt is there more than once"),
        ("programming: [jtag]", "$.programming[0]", "Invalid enum value 'jtag'"),
        ("{preset: amd, resources: [{name: a.io/b}]}", "", "preset: it stands in place of resources; give one of them"),
        ("preset: intel", "$.preset", "Invalid enum value 'intel'"),
        ("vfio: [{vendor: '8086'}]", "$.vfio[0]", "missing required field `device`"),
        (
            "vfio: [{vendor: '10EE', device: '5001'}, {vendor: '10ee', device: '5001'}]",
            "",
            "vfio: 10ee:5001 is there more than",
        ),
        (DECLARED % "{name: A, subsystem: misc}", f"{AT_DECLARED}.name", "regex"),
        (DECLARED % "{name: a, subsystem: ../misc}", f"{AT_DECLARED}.subsystem", "regex"),
        (DECLARED % "{name: a, subsystem: misc, nodes: [/etc/shadow]}", AT_DECLARED, "is neither {node} nor a path below /dev"),
        (DECLARED % "{name: a, subsystem: misc, nodes: [/dev/../etc/a]}", AT_DECLARED, "nor a path below /dev"),
        (DECLARED % "{name: a, subsystem: misc, nodes: ['/dev/{node}']}", AT_DECLARED, "nor a path below /dev"),
        (
            DECLARED % "{name: a, subsystem: misc, attributes: {../a: b}}",
            AT_DECLARED,
            "'../a' is no file below a device of /sys",
        ),
        (DECLARED % "{name: a, subsystem: misc, attributes: {/a: b}}", AT_DECLARED, "'/a' is no file below a device of /sys"),
        (DECLARED % "{name: a, subsystem: misc}, {name: a, subsystem: drm}", "", "declared: a is there more than once"),
        ("health: {temperature: 0}", "$.health.temperature", "> 0"),
        ("health: {nonfatalErrors: fatal}", "$.health.nonfatalErrors", "Invalid enum value 'fatal'"),
        ("poll: 0.5", "$.poll", ">= 1"),
        ("startDeadline: 26", "$.startDeadline", "<= 25"),
        ("cdi: {vendor: a}", "$.cdi.vendor", "regex"),
        ("cdi: {directory: var/run/cdi}", "$.cdi.directory", "regex"),
        ("simulate: {layout: nowhere}", "$.simulate", "nowhere"),
        ("simulate: {layout: zynq, script: [after 5s dance fpga0]}", "$.simulate", "dance"),
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
        "{afuId: [d8424dc4-a4a3-c413-f89e-433683f9040b, D8424DC4A4A3C413F89E433683F9040B, 'd842*', '[!d]*']}",
        "{id: ['3b:00.0', 'fpga?'], numaNode: [0, 63]}",
        "{vendor: ['10ee'], device: ['ABCD']}",
        "{not: [{not: [{kind: [vf]}]}]}",
        "{group: [F1*]}",
    ],
)
def test_what_may_be_matched(text: str) -> None:
    """Ids with or without dashes, in either case, or patterns of them."""
    assert match_of(text) != Match(id=("x",))


FILE = """
apiVersion: device-plugin-supervisor/v1alpha1
kind: SupervisorConfig
plugins:
  fpga:
    pole: 1
    resources:
      - name: fpga
      - name: a.io/hca
        match:
          - afuId: [d842]
          - interfaceid: [d842]
"""


def test_all_mistakes_are_found_with_their_lines() -> None:
    """The core tells each of them where it stands in the whole file, with the key that was probably meant."""
    document = parse(FILE.encode(), "config.yaml")
    with pytest.raises(ConfigError) as caught:
        document.decode_plugin("fpga", FpgaConfig)
    problems = sorted(caught.value.problems)
    assert [problem.partition(" ")[0] for problem in problems] == [
        "config.yaml:11:20:",
        "config.yaml:12:13:",
        "config.yaml:6:5:",
        "config.yaml:8:15:",
    ]
    assert "did you mean interfaceId?" in problems[1]
    assert "did you mean poll?" in problems[2]


@given(matches())
def test_a_match_is_what_can_be_written(match: Match) -> None:
    """What the tests draw could stand in a file, and reads as the same again."""
    written = yaml.safe_dump(msgspec.to_builtins(match))
    assert msgspec.convert(yaml.safe_load(written), Match) == match


def test_the_schema_for_editors_knows_the_section() -> None:
    """Every key is there, and none must be."""
    section: dict[str, Any] = schema({"fpga": FpgaConfig}, unknown=[])["properties"]["plugins"]["properties"]["fpga"]
    assert section["properties"].keys() >= {field.encode_name for field in msgspec.structs.fields(FpgaConfig)}
    assert not section.get("required")
