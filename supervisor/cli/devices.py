"""``devices``: look once at the hardware and list what would be offered: resources, devices, health, NUMA nodes and what a container gets.

Nothing is registered and nothing is changed. Exit code 1 if a plugin was refused or could not look, 2 if a section of the
configuration has mistakes.
"""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from supervisor.claims import Claims
from supervisor.cli.plugins import exit_code
from supervisor.cli.survey import Looked, Surveyed, add_config_argument, load_config, look, survey
from supervisor.cli.tables import paragraph, show, show_json, table
from supervisor.inventory import Inventory, Quarantined
from supervisor.model import ContainerEdits, Device

EXAMPLES = """\
examples:
  %(prog)s --config config.yaml
  %(prog)s --json | jq -r '.resources[] | "\\\\(.name) \\\\(.devices | length)"'
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's own arguments."""
    add_config_argument(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def main(args: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    document = load_config(args)
    found = survey(document)
    looked = look(document, found)
    offers = list(offered(looked))
    remarks = _remarks(found, looked)
    if args.json:
        show_json({"resources": [_as_json(plugin, each) for plugin, each in offers], **remarks})
    else:
        texts = [_as_text(plugin, each) for plugin, each in offers] or [_nothing(found)]
        show(*texts, *(paragraph(f"{title.capitalize()}:", lines) for title, lines in remarks.items()))
    return exit_code(found) or int(any(each.problem for each in looked))


def offered(looked: Sequence[Looked]) -> Iterable[tuple[str, Inventory]]:
    """Each resource once, with the plugin that would own it, by name."""
    claims = Claims()
    claims.settle_all({each.plugin: tuple(each.look.inventories) for each in looked if each.look is not None})
    every = [
        (each.plugin, inventory) for each in looked if each.look is not None for inventory in each.look.inventories.values()
    ]
    for plugin, inventory in sorted(every, key=lambda offer: offer[1].resource):
        if claims.owner(inventory.resource) == plugin:
            yield plugin, inventory


def _remarks(found: Sequence[Surveyed], looked: Sequence[Looked]) -> Mapping[str, list[str]]:
    """What has to be said besides the devices, by kind."""
    looks = [(each.plugin, each.look) for each in looked if each.look is not None]
    owners = {inventory.resource: plugin for plugin, inventory in offered(looked)}
    return {
        "notices": [f"{plugin}: {notice}" for plugin, look in looks for notice in look.notices],
        "quarantined": [f"{plugin}: {told(each)}" for plugin, look in looks for each in look.quarantined],
        "contended": [
            f"{resource}: {plugin} offers it too, but {owners[resource]} keeps it; give one of them another resource name"
            for plugin, look in looks
            for resource in look.inventories
            if owners[resource] != plugin
        ],
        "failed": [f"{each.plugin}: {each.problem}" for each in looked if each.problem],
        "refused": [f"{each.package}: {each.problem}" for each in found if each.problem]
        + [refusal.reason for each in found for refusal in each.refused],
    }


def told(left_out: Quarantined) -> str:
    """A device, or a resource, that cannot be offered, and why."""
    device = f", device {left_out.device}" if left_out.device else ""
    return f"{left_out.resource}{device}: {left_out.reason}"


def _as_json(plugin: str, inventory: Inventory) -> dict[str, Any]:
    devices = msgspec.to_builtins(inventory.devices)
    return {
        "name": inventory.resource,
        "plugin": plugin,
        "pre_start_required": inventory.pre_start_required,
        "devices": devices,
    }


def _as_text(plugin: str, inventory: Inventory) -> str:
    healthy = sum(device.healthy for device in inventory.devices)
    if not inventory.devices:
        return f"{inventory.resource}: no device now, by {plugin}"
    title = f"{inventory.resource}: {healthy} of {len(inventory.devices)} healthy, by {plugin}\n"
    return title + table(("DEVICE", "NUMA", "HEALTH", "A CONTAINER GETS"), map(_row, inventory.devices), indent="  ")


def _row(device: Device) -> tuple[str, ...]:
    health = f"{device.health}: {device.reason}" if device.reason else str(device.health)
    numa = ",".join(map(str, device.topology.numa_nodes)) or "-"
    return device.id, numa, health, "\n".join(edit_lines(device.edits)) or "-"


def edit_lines(edits: ContainerEdits) -> list[str]:
    """Container edits in words, one line for each."""
    return [
        *(f"{_place(node.host_path, node.container_path)} {node.permissions}" for node in edits.device_nodes),
        *(f"{_place(each.host_path, each.container_path)} {'ro' if each.read_only else 'rw'} mount" for each in edits.mounts),
        *(f"{name}={value}" for name, value in edits.envs.items()),
        *(f"annotation {name}={value}" for name, value in edits.annotations.items()),
        *(f"CDI {name}" for name in edits.cdi_devices),
    ]


def _place(host_path: str, container_path: str | None) -> str:
    return host_path if container_path in {None, host_path} else f"{host_path} as {container_path}"


def _nothing(found: Sequence[Surveyed]) -> str:
    if not found:
        return "Nothing is offered: no plugin package is installed."
    if not any(each.plugins for each in found):
        return "Nothing is offered: no installed plugin is configured to offer anything (see the command plugins)."
    return "Nothing is offered: the plugins found no hardware of theirs."
