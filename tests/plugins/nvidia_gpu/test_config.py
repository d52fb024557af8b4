"""What an operator may write into ``plugins.nvidia-gpu``, how a mistake is told, and what was said apart from what was left out."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given

from supervisor.cli.config_schema import schema
from supervisor.config_file import parse
from supervisor.errors import ConfigError
from supervisor_nvidia_gpu.config import NvidiaGpuConfig
from supervisor_nvidia_gpu.naming import qualified
from supervisor_nvidia_gpu.section import NvidiaGpuSection, merged, said
from tests.plugins.nvidia_gpu.gpus import config_of, configs

README = Path(__file__).parents[3] / "plugins/nvidia_gpu/README.md"


def section_of(text: str) -> msgspec.Struct:
    """The section as the core decodes it from YAML."""
    section: msgspec.Struct = msgspec.convert(yaml.safe_load(text), NvidiaGpuSection)
    return section


@pytest.mark.checkout
def test_every_example_of_the_readme_is_valid() -> None:
    """What the README shows can be copied."""
    examples = re.findall(r"```yaml\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(examples) >= 5
    for text in examples:
        words = yaml.safe_load(text)["plugins"]["nvidia-gpu"]
        assert said(msgspec.convert(words, NvidiaGpuSection)) == said(msgspec.convert(words, NvidiaGpuConfig)), text


SHARED = "sharing: {timeSlicing: {resources: [%s]}}"


@pytest.mark.parametrize(
    ("text", "where", "problem"),
    [
        ("selection: {exclude: [{}]}", "$.selection.exclude[0]", "give at least one of uuid, pci, index, model"),
        ("selection: {include: [{pci: banana}]}", "$.selection.include[0]", "pci: 'banana' is no PCI address"),
        ("selection: {cordon: [{uuid: MIG-1234}]}", "$.selection.cordon[0]", "uuid: MIG-1234 names a MIG device"),
        ("selection: {cordon: [{index: -1}]}", "$.selection.cordon[0].index", ">= 0"),
        ("naming: [{name: gpu}]", "$.naming[0]", "give at least one of model, profile"),
        ("naming: [{name: a b, model: x}]", "$.naming[0]", "name: 'a b' is no resource name"),
        ("naming: [{name: kubernetes.io/gpu, model: x}]", "$.naming[0]", "reserved for Kubernetes"),
        (f"naming: [{{name: {'x' * 64}, model: x}}]", "$.naming[0]", "1 to 63"),
        ("extras: {requests.nvidia.com/gpu: {gds: true}}", "", "must not start with 'requests.'"),
        ("extras: {gpu: {gds: true}, nvidia.com/gpu: {mofed: true}}", "", "gpu and nvidia.com/gpu are one resource"),
        (SHARED % "{name: gpu, replicas: 1}", "$.sharing.timeSlicing.resources[0].replicas", ">= 2"),
        (SHARED % "{name: gpu, replicas: 2, devices: 0}", "$.sharing.timeSlicing.resources[0].devices", ">= 1"),
        (SHARED % "{name: gpu, replicas: 2, devices: []}", "$.sharing.timeSlicing.resources[0].devices", ">= 1"),
        (SHARED % "{name: gpu, replicas: 2, devices: [first]}", "$.sharing.timeSlicing.resources[0]", "'first' is no index"),
        (
            SHARED % "{name: gpu, replicas: 2, rename: -}",
            "$.sharing.timeSlicing.resources[0]",
            "rename: '-' is no resource name",
        ),
        (
            "sharing: {timeSlicing: {renameByDefault: true, resources: [{name: %s, replicas: 2}]}}" % ("x" * 60),
            "$.sharing.timeSlicing",
            ".shared' is no resource name",
        ),
        (
            SHARED % "{name: gpu, replicas: 2}, {name: nvidia.com/gpu, replicas: 3, devices: [0]}",
            "$.sharing.timeSlicing",
            "resources[1]: shares devices of nvidia.com/gpu that resources[0] shares already",
        ),
        (
            SHARED % '{name: gpu, replicas: 2, devices: [1, 0]}, {name: gpu, replicas: 3, devices: ["0"]}',
            "$.sharing.timeSlicing",
            "resources[1]: shares devices",
        ),
        (
            SHARED % "{name: gpu, replicas: 2, devices: 3}, {name: gpu, replicas: 3, devices: 1}",
            "$.sharing.timeSlicing",
            "resources[1]: shares devices",
        ),
        (
            SHARED % "{name: gpu, replicas: 2, rename: a}, {name: mig-1g.10gb, replicas: 3, rename: a}",
            "$.sharing.timeSlicing",
            "nvidia.com/a would be made of nvidia.com/gpu (2 slices each), nvidia.com/mig-1g.10gb (3 slices each)",
        ),
        (
            "naming: [{name: fast, model: H100}]\n" + SHARED % "{name: gpu, replicas: 2, rename: fast}",
            "",
            "sharing.timeSlicing.resources: nvidia.com/fast would be made of nvidia.com/fast (whole), nvidia.com/gpu (2 slices each)",
        ),
        (
            "naming: [{name: fast, model: H100}]\n" + SHARED % "{name: fast, replicas: 2, rename: gpu}",
            "",
            "nvidia.com/gpu would be made of",
        ),
        ("migStrategy: sometimes", "$.migStrategy", "Invalid enum value"),
        ("selektion: {}", "", "unknown field `selektion`"),
        ("sharing: {timeSlicing: {resource: []}}", "$.sharing.timeSlicing", "unknown field `resource`"),
        ("cdi: {vendor: a}", "$.cdi.vendor", "regex"),
    ],
)
@pytest.mark.parametrize("type_", [NvidiaGpuConfig, NvidiaGpuSection], ids=["config", "section"])
def test_a_mistake_is_told_where_it_is(type_: type[msgspec.Struct], text: str, where: str, problem: str) -> None:
    """The message names the key and the cure, in the type with defaults and in the one without."""
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(yaml.safe_load(text), type_)
    message, _, at = str(caught.value).partition(" - at ")
    assert problem in message
    assert at == (f"`{where}`" if where else "")


@pytest.mark.parametrize(
    "text",
    [
        "naming: [{name: fast, model: '*'}]\n" + SHARED % "{name: fast, replicas: 2, rename: gpu}",
        "naming: [{name: fast, model: H100}]\n" + SHARED % "{name: gpu, replicas: 2, rename: fast}, {name: fast, replicas: 2}",
        SHARED % "{name: gpu, replicas: 2, devices: [0]}, {name: gpu, replicas: 9, devices: [1]}",
        SHARED % "{name: gpu, replicas: 2, devices: 1}, {name: gpu, replicas: 9, devices: [7]}",
        "selection: {include: [{pci: '3b:*'}, {uuid: 'GPU-*'}]}",
    ],
)
def test_what_is_allowed(text: str) -> None:
    """Names that nobody else has, or whose owner says the same; one resource cut in different ways."""
    assert said(section_of(text)) == said(config_of(text))


def test_names_get_a_domain() -> None:
    """Whoever writes gpu means nvidia.com/gpu."""
    assert (qualified("gpu"), qualified("example.com/gpu")) == ("nvidia.com/gpu", "example.com/gpu")


def test_what_was_said() -> None:
    """A key that repeats its default was said; one that was left out was not."""
    assert said(section_of("{migStrategy: none, sharing: {timeSlicing: {renameByDefault: false}}, cdi: {hook: null}}")) == {
        "migStrategy": "none",
        "sharing": {"timeSlicing": {"renameByDefault": False}},
        "cdi": {"hook": None},
    }
    assert said(section_of("{}")) == {}
    assert said(NvidiaGpuConfig(mig_strategy="mixed")) == {"migStrategy": "mixed"}


@given(configs())
def test_what_was_said_says_it_all(config: NvidiaGpuConfig) -> None:
    """What differs from the defaults makes the same configuration again, by the section's type as well."""
    words = said(config)
    assert msgspec.convert(words, NvidiaGpuConfig) == config
    assert msgspec.convert(said(msgspec.convert(words, NvidiaGpuSection)), NvidiaGpuConfig) == config


def test_layers_are_merged() -> None:
    """Mappings are joined, the upper layer wins, lists are replaced, and nothing given is changed."""
    below: dict[str, Any] = {"a": {"x": 1, "y": [1]}, "b": 1}
    assert merged(below, {"a": {"y": [2]}}, {"c": None}) == {"a": {"x": 1, "y": [2]}, "b": 1, "c": None}
    assert below == {"a": {"x": 1, "y": [1]}, "b": 1}


FILE = """
apiVersion: device-plugin-supervisor/v1alpha1
kind: SupervisorConfig
plugins:
  nvidia-gpu:
    migStrategy: sometimes
    lookInterval: 5
    sharing:
      timeSlicing:
        resources:
          - {name: gpu, replicas: 4}
          - {name: nvidia.com/gpu, replicas: 2}
    selection:
      exclude: [{pci: banana}]
    deviceIdStrategy: index
"""


def test_all_mistakes_are_found_with_their_lines() -> None:
    """The core tells each of them where it stands in the whole file."""
    document = parse(FILE.encode(), "config.yaml")
    with pytest.raises(ConfigError) as caught:
        document.decode_plugin("nvidia-gpu", NvidiaGpuSection)
    assert [problem.partition(" ")[0] for problem in caught.value.problems] == [
        "config.yaml:6:18:",
        "config.yaml:12:13:",
        "config.yaml:14:23:",
        "config.yaml:15:5:",
    ]
    assert "did you mean deviceIDStrategy?" in caught.value.problems[3]


def test_the_schema_for_editors_knows_the_section() -> None:
    """Types without defaults have a schema as well: every key is there, and none must be."""
    section = schema({"nvidia-gpu": NvidiaGpuSection}, unknown=[])["properties"]["plugins"]["properties"]["nvidia-gpu"]
    assert section["properties"].keys() >= {field.encode_name for field in msgspec.structs.fields(NvidiaGpuConfig)}
    assert not section.get("required")
