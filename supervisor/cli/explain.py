"""``explain``: say why a device is offered, or why not: its plugin, resource, health and reason, what a container gets, and which rule decided.

DEVICE is a device id, the path of a device node or of anything else that a container would get, or a kernel name. Exit code 1 if nothing
is known of it.
"""

import argparse
import difflib
from collections.abc import Sequence

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from supervisor.cli.devices import edit_lines, offered
from supervisor.cli.plugins import exit_code
from supervisor.cli.survey import Looked, add_config_argument, load_config, look, survey
from supervisor.cli.tables import complain, paragraph, show, show_json
from supervisor.model import Device
from supervisor.status import printable

EXAMPLES = """\
examples:
  %(prog)s /dev/fuse
  %(prog)s ttyUSB0 --config config.yaml
  %(prog)s --json GPU-5a0f6f2b
"""

MOST_SHOWN = 8
"""Ids in one line; replicas come in hundreds."""


class Match(Struct, frozen=True):
    """A device that is what was asked for, or gives it to a container."""

    plugin: str
    resource: str
    device: Device

    def like(self, other: "Match") -> bool:
        """Whether the two differ in nothing but the id, as replicas do."""
        return replace(self, device=replace(self.device, id=other.device.id)) == other


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's own arguments."""
    parser.add_argument("device", metavar="DEVICE", help="a device id, a path, or a kernel name")
    add_config_argument(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def main(args: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    document = load_config(args)
    found = survey(document)
    looked = look(document, found, about=args.device)
    matches = _matches(args.device, looked)
    said = [f"{each.plugin}: {sentence}" for each in looked for sentence in each.sentences]
    if args.json:
        show_json({"device": args.device, "offers": msgspec.to_builtins(matches), "explanations": said})
    else:
        show(*map(_as_text, _groups(matches)), paragraph("What the plugins say:", said))
    complain(*(f"{each.plugin}: {each.problem}" for each in looked if each.problem))
    if matches or said:
        return 0
    complain(_unknown(args.device, looked))
    return exit_code(found) or 1


def _matches(text: str, looked: Sequence[Looked]) -> list[Match]:
    every = [Match(plugin, inventory.resource, device) for plugin, inventory in offered(looked) for device in inventory.devices]
    exact = [match for match in every if match.device.id == text]
    return exact or [match for match in every if _gives(match.device, {text, f"/dev/{text}"})]


def _gives(device: Device, names: set[str]) -> bool:
    nodes = {node.host_path for node in device.edits.device_nodes}
    mounts = {mount.host_path for mount in device.edits.mounts}
    return not names.isdisjoint(nodes | mounts | {*device.edits.cdi_devices})


def _groups(matches: Sequence[Match]) -> list[list[Match]]:
    """Neighbours that differ only in their id, together."""
    groups: list[list[Match]] = []
    for match in matches:
        if groups and match.like(groups[-1][0]):
            groups[-1].append(match)
        else:
            groups.append([match])
    return groups


def _as_text(group: Sequence[Match]) -> str:
    match, device = group[0], group[0].device
    ids = [each.device.id for each in group]
    more = f", … {len(ids) - MOST_SHOWN} more" if len(ids) > MOST_SHOWN else ""
    facts = {
        "device" if len(ids) == 1 else "devices": ", ".join(ids[:MOST_SHOWN]) + more,
        "resource": match.resource,
        "plugin": match.plugin,
        "health": f"{device.health}: {device.reason}" if device.reason else str(device.health),
        "NUMA node": ", ".join(map(str, device.topology.numa_nodes)) or "no preference",
    }
    lines = [printable(f"{name + ':':<11}{value}", 4096) for name, value in facts.items()]
    given = [printable(f"  {line}", 4096) for line in edit_lines(device.edits)] or ["  nothing"]
    return "\n".join((*lines, "a container gets:", *given))


def _unknown(text: str, looked: Sequence[Looked]) -> str:
    ids = [device.id for _, inventory in offered(looked) for device in inventory.devices]
    near = difflib.get_close_matches(text, ids[:5000], n=1)
    hint = f"did you mean {near[0]}?" if near else "the command devices lists what is offered"
    return f"No plugin knows {text}; {hint}"
