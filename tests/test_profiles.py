"""Profiles: sections for some nodes, by what can be seen there and by what the cluster says of them."""

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from supervisor.config import ProfileMatch
from supervisor.config_file import Document, parse
from supervisor.errors import ConfigError
from supervisor.profiles import here, holds, node_name
from supervisor.testing import FakeHost

HEADING = "apiVersion: device-plugin-supervisor/v1alpha1\nkind: SupervisorConfig\n"


@pytest.fixture
def machine(tmp_path: Path) -> FakeHost:
    """With one NVIDIA GPU that has no driver, and one InfiniBand device."""
    host = FakeHost(tmp_path)
    host.write("/sys/bus/pci/devices/0000:3b:00.0/vendor", "0x10de\n")
    host.write("/sys/bus/pci/devices/0000:3b:00.0/device", "0x2330\n")
    host.write("/sys/bus/pci/devices/0000:af:00.0/vendor", "nonsense" * 100)
    host.write("/sys/class/infiniband/mlx5_0/node_type", "1: CA\n")
    return host


@pytest.mark.parametrize(
    ("when", "holds_here"),
    [
        ({"nodeName": ["gpu-*"]}, True),
        ({"nodeName": ["cpu-*", "gpu-7"]}, True),
        ({"nodeName": ["GPU-*"]}, False),
        ({"pci": ["10de:*"]}, True),
        ({"pci": ["1002:*", "10de:2330"]}, True),
        ({"pci": ["15b3:*"]}, False),
        ({"path": ["/sys/class/infiniband/*"]}, True),
        ({"path": ["/sys/module/nvidia", "/sys/class/infiniband"]}, True),
        ({"path": ["/sys/class/infiniband/hfi*"]}, False),
        ({"labels": {"pool": "gpu"}}, True),
        ({"labels": {"pool": "gpu", "zone": "b"}}, False),
        ({"nodeName": ["gpu-*"], "pci": ["15b3:*"]}, False),
        ({"nodeName": ["gpu-*"], "pci": ["10de:*"], "labels": {"zone": "a"}}, True),
    ],
)
def test_all_that_is_said_must_be_true(machine: FakeHost, when: dict[str, Any], holds_here: bool) -> None:
    """Of several patterns of one kind, one."""
    match = msgspec.convert(when, ProfileMatch)
    assert holds(match, "gpu-7", machine.host, {"pool": "gpu", "zone": "a"}) is holds_here


def test_what_nobody_knows_is_not_true(machine: FakeHost) -> None:
    """Without a word of the cluster no label is, and without a name no pattern of names."""
    assert not holds(ProfileMatch(labels={"pool": "gpu"}), "gpu-7", machine.host, None)
    assert not holds(ProfileMatch(node_name=("gpu-*",)), "", machine.host, None)


def test_the_name_is_the_configured_one_else_the_variables(machine: FakeHost) -> None:
    """Outside of a pod that of the machine; in a pod the host name is the pod's and of no use."""
    plain = parse(HEADING.encode())
    named = parse(f"{HEADING}kubernetes: {{nodeName: worker}}".encode())
    assert node_name(named, {"NODE_NAME": "other"}) == "worker"
    assert node_name(plain, {"NODE_NAME": "other"}) == "other"
    assert node_name(plain, {}) == os.uname().nodename
    assert node_name(plain, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}) == ""


def document(machine: FakeHost, profiles: str) -> Document:
    host = machine.host
    text = f"""{HEADING}kubernetes: {{nodeName: gpu-7}}
host: {{sysfs: {host.sysfs}, dev: {host.dev}, proc: {host.proc}, runUdev: {host.run_udev}}}
plugins:
  generic: {{lookInterval: 10}}
  other: {{enabled: false}}
profiles:
{profiles}"""
    return parse(text.encode())


TWO = """
  - name: gpus
    when: {pci: ["10de:*"]}
    plugins:
      generic: {lookInterval: 20}
      gpu: {rpcSlots: 2}
  - name: pool
    when: {labels: {pool: gpu}}
    plugins: {generic: {lookInterval: 30}}
"""


def test_a_profiles_sections_take_the_place_of_those_for_all(machine: FakeHost) -> None:
    """Whole sections; of several profiles the last one wins, and the others' sections stay as they are."""
    plain = document(machine, TWO)
    assert (plain.profiles, plain.section("generic").options.look_interval) == ((), 10)
    some = here(plain)
    assert some.profiles == ("gpus",)
    assert some.section("generic").options.look_interval == 20
    assert some.section("gpu").options.rpc_slots == 2
    assert not some.section("other").options.enabled
    both = here(some, {"pool": "gpu"})
    assert (both.profiles, both.section("generic").options.look_interval) == (("gpus", "pool"), 30)
    assert here(both).profiles == ("gpus",), "it can be judged again and again"


def test_mistakes_are_shown_where_they_stand(machine: FakeHost) -> None:
    """In the section of the profile that holds, not in the one for all."""

    class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        size: int = 0

    text = TWO.replace("{lookInterval: 20}", "{size: big}")
    with pytest.raises(ConfigError) as caught:
        here(document(machine, text)).decode_plugin("generic", Section)
    assert caught.value.problems[0].startswith("config.yaml:13:23: profiles[0].plugins.generic.size: Expected")
    assert here(document(machine, text)).decode_plugin("other", Section) == Section()


@pytest.mark.parametrize(
    ("profile", "problem"),
    [
        ("{name: a, when: {}}", "Expected a condition"),
        ("{name: a}", "when"),
        ("{name: A, when: {nodeName: [a]}}", "Expected a name of [a-z0-9-]"),
        ("{name: a, when: {nodename: [a]}}", "unknown key"),
        ("{name: a, when: {path: [/etc/passwd]}}", "Expected a path below /sys"),
        ("{name: a, when: {pci: ['10DE:1']}}", "Expected vendor:device"),
        ("{name: a, when: {nodeName: [a]}, plugins: {generic: 5}}", "Expected a mapping"),
        ("{name: a, when: {nodeName: [a]}, plugins: {generic: {rpcSlots: 0}}}", "rpcSlots"),
        ("{name: a, when: {nodeName: [a]}}\n  - {name: a, when: {nodeName: [b]}}", "a profile above has this one"),
        ("5", "Expected"),
    ],
)
def test_mistakes_in_profiles_are_found(machine: FakeHost, profile: str, problem: str) -> None:
    """On every node, whether or not the profile holds there."""
    with pytest.raises(ConfigError) as caught:
        document(machine, f"  - {profile}\n")
    assert any(problem in line and "profiles" in line for line in caught.value.problems)
