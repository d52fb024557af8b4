"""What an operator may write into ``plugins.generic``, and how a mistake is told."""

import re
from pathlib import Path

import msgspec
import pytest
import yaml

from supervisor_generic import GenericConfig, config_type
from tests.plugins.generic.rig import config_of

README = Path(__file__).parents[3] / "plugins/generic/README.md"


def test_the_smallest_configuration() -> None:
    """One path and a number of replicas are enough."""
    (resource,) = config_of("resources: [{name: devices.example.com/fuse, match: [{path: /dev/fuse}], replicas: 4}]").resources
    assert (resource.name, resource.replicas, resource.permissions) == ("devices.example.com/fuse", 4, "rw")
    assert [member.path for member in resource.match[0].members] == ["/dev/fuse"]


def test_the_core_learns_the_type() -> None:
    """The hook names the type that the core decodes the section into; an empty section is fine."""
    assert config_type() is GenericConfig
    assert config_of("{}") == GenericConfig()


@pytest.mark.checkout
def test_every_example_of_the_readme_is_valid() -> None:
    """What the README shows can be copied."""
    examples = re.findall(r"```yaml\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(examples) >= 8
    for text in examples:
        section = yaml.safe_load(text)
        if "plugins" in section:
            section = section["plugins"]["generic"]
        assert msgspec.convert(section, GenericConfig).resources, text


def matched(match: str) -> str:
    return f"resources: [{{name: example.com/a, match: [{match}]}}]"


@pytest.mark.parametrize(
    ("text", "where", "problem"),
    [
        ("resources: [{name: fuse, match: [{path: /dev/fuse}]}]", "$.resources[0]", "write vendor.example/name"),
        ("resources: [{name: kubernetes.io/a, match: [{path: /dev/fuse}]}]", "$.resources[0]", "reserved"),
        ("resources: [{name: example.com/a, match: []}]", "$.resources[0].match", "length >= 1"),
        ("resources: [{name: example.com/a}]", "$.resources[0]", "missing required field `match`"),
        (
            "resources: [{name: example.com/a, match: [{path: /dev/a}], replicas: 0}]",
            "$.resources[0].replicas",
            ">= 1",
        ),
        (
            "resources: [{name: example.com/a, match: [{path: /dev/a}]}, {name: example.com/a, match: [{path: /dev/b}]}]",
            "$",
            "example.com/a is given 2 times",
        ),
        (
            "resources: [{name: example.com/a, match: [{path: /dev/a}], mounts: [{hostPath: /a}, {hostPath: /b, containerPath: /a/}]}]",
            "$.resources[0]",
            "two mounts want the same containerPath /a",
        ),
        (
            "resources: [{name: example.com/a, match: [{path: /dev/a}], envs: {A: b}, pathsEnv: A}]",
            "$.resources[0]",
            "A is set by pathsEnv",
        ),
        (matched("{}"), "$.resources[0].match[0]", "here: none"),
        (matched("{path: /dev/a, usb: {vendor: '0403'}}"), "$.resources[0].match[0]", "here: path, usb"),
        (matched("{path: ttyUSB0}"), "$.resources[0].match[0]", "must start with /dev/"),
        (matched("{path: '/dev/{a,b}'}"), "$.resources[0].match[0]", "free of braces"),
        (matched("{path: /dev/../etc/passwd}"), "$.resources[0].match[0]", "'..'"),
        (matched("{path: '/dev/**/a/**'}"), "$.resources[0].match[0]", "at most once"),
        (matched("{path: /dev/a, limit: 2}"), "$.resources[0].match[0]", "unknown field `limit`"),
        (matched("{path: /dev/a, readOnly: true}"), "$.resources[0].match[0]", "readOnly belongs to mount"),
        (matched("{path: /dev/a, permissions: rx}"), "$.resources[0].match[0]", "some of r, w and m, each once, not 'rx'"),
        (matched("{path: /dev/a, permissions: rr}"), "$.resources[0].match[0]", "each once"),
        ("resources: [{name: example.com/a, match: [{path: /dev/a}], permissions: ''}]", "$.resources[0]", "r, w and m"),
        (matched("{path: /dev/a, containerPath: a}"), "$.resources[0].match[0]", "containerPath must be an absolute path"),
        (matched("{path: /dev/a, containerPath: '/dev/a*'}"), "$.resources[0].match[0]", "is no pattern"),
        (
            matched("{path: '/dev/a*', together: true, containerPath: /dev/a}"),
            "$.resources[0].match[0]",
            "end it with '/'",
        ),
        (matched("{mount: /etc/passwd}"), "$.resources[0].match[0]", "belongs in the resource's mounts"),
        (matched("{mount: /dev/shm/x, permissions: r}"), "$.resources[0].match[0]", "a mount has readOnly"),
        (matched("{udev: {name: 'a*'}}"), "$.resources[0].match[0].udev", "missing required field `subsystem`"),
        (matched("{udev: {subsystem: ../tty}}"), "$.resources[0].match[0].udev.subsystem", "matching regex"),
        (matched("{udev: {subsystem: tty, attributes: {../x: a}}}"), "$.resources[0].match[0].udev.attributes", "regex"),
        (matched("{udev: {subsystem: tty, parent: {}}}"), "$.resources[0].match[0].udev.parent", "at least one of"),
        (matched("{usb: {}}"), "$.resources[0].match[0].usb", "at least one of vendor"),
        (matched("{usb: {vendor: 403}}"), "$.resources[0].match[0].usb.vendor", "Expected `str | null`, got `int`"),
        (matched("{usb: {vendor: '0x0403'}}"), "$.resources[0].match[0].usb.vendor", "matching regex"),
        (matched("{path: /dev/a, each: usb}"), "$.resources[0].match[0]", "each says what makes one unit"),
        (matched("{path: /dev/a, together: true, each: hub}"), "$.resources[0].match[0].each", "Invalid enum value 'hub'"),
        (matched("{group: []}"), "$.resources[0].match[0]", "at least one member that is not optional"),
        (matched("{group: [{path: /dev/a, optional: true}]}"), "$.resources[0].match[0]", "not optional"),
        (matched("{group: [{path: /dev/a}], path: /dev/b}"), "$.resources[0].match[0]", "no other keys"),
        (matched("{group: [{path: /dev/a}], permissions: r}"), "$.resources[0].match[0]", "no other keys"),
        (matched("{group: [{path: /dev/a, group: []}]}"), "$.resources[0].match[0].group[0]", "unknown field `group`"),
        (matched("{group: [{path: /dev/a, limit: 0}]}"), "$.resources[0].match[0].group[0].limit", ">= 1"),
        (
            matched("{group: [{path: '/dev/a*', together: true, limit: 2}]}"),
            "$.resources[0].match[0].group[0]",
            "limit has no meaning",
        ),
        (
            matched("{group: [{path: /dev/a, containerPath: /dev/x}, {path: /dev/b, containerPath: /dev/x}]}"),
            "$.resources[0].match[0]",
            "same containerPath /dev/x",
        ),
    ],
)
def test_a_mistake_is_told_where_it_is(text: str, where: str, problem: str) -> None:
    """Each wrong configuration is refused with its place and the reason."""
    with pytest.raises(msgspec.ValidationError, match=re.escape(problem)) as caught:
        config_of(text)
    assert str(caught.value).endswith((f"`{where}`", f"`{where}[...]`", f"key in `{where}`")) or where == "$"
