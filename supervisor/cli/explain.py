"""``explain``: say why a device is offered, or why not: its plugin, resource, health and reason, what a container gets, and which rule decided.

DEVICE is a device id, the path of a device node or of anything else that a container would get, or a kernel name. Each plugin looks once at
this machine. Where a supervisor runs here, or at --address, it is asked, too: since when, who holds it, what has happened. Exit code 1 if
nothing is known of the device.
"""

import argparse
import difflib
from collections.abc import Collection, Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from supervisor.cli.devices import edit_lines, offered, told
from supervisor.cli.door import Door, add_door_arguments
from supervisor.cli.plugins import exit_code
from supervisor.cli.running import Running, ask_running
from supervisor.cli.survey import Looked, Surveyed, load_config, look, survey
from supervisor.cli.tables import complain, paragraph, show, show_json
from supervisor.config_file import Document
from supervisor.errors import ConfigError
from supervisor.model import Device
from supervisor.status import printable

EXAMPLES = """\
examples:
  %(prog)s /dev/fuse
  %(prog)s ttyUSB0 --config config.yaml
  %(prog)s --json --offline GPU-5a0f6f2b
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


class Answer(Struct, frozen=True):
    """All that is known of what was asked for."""

    device: str
    """What was asked for."""
    offers: tuple[Match, ...]
    explanations: tuple[str, ...]
    """What the plugins say."""
    not_offered: tuple[str, ...]
    """Why some plugin has it, and it is not offered all the same."""
    not_asked: tuple[str, ...]
    """Packages and plugins that could not say a word, and why."""
    running: Running | None = None
    """What a running supervisor says; nothing where none was to be asked."""

    @property
    def known(self) -> bool:
        return bool(self.offers or self.explanations or self.not_offered or (self.running and self.running.listed))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's own arguments."""
    parser.add_argument("device", metavar="DEVICE", help="a device id, a path, or a kernel name")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--offline", action="store_true", help="ask no running supervisor")
    add_door_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    document = load_config(args)
    found = survey(document)
    looked = look(document, found, about=args.device)
    answer = _answer(args, document, found, looked)
    if args.json:
        show_json(answer)
    elif answer.known:
        show(*_texts(answer))
    complain(*(f"{each.plugin}: {each.problem}" for each in looked if each.problem))
    if answer.known:
        return 0
    silence = answer.running.silence if answer.running else ""
    complain(*(f"not asked: {each}" for each in answer.not_asked), *filter(None, (silence,)), _unknown(args.device, looked))
    return exit_code(found) or 1


def _answer(args: argparse.Namespace, document: Document, found: Sequence[Surveyed], looked: Sequence[Looked]) -> Answer:
    matches = _matches(args.device, looked)
    names = {args.device, *(match.device.id for match in matches or _meant(looked))}
    return Answer(
        device=args.device,
        offers=tuple(matches),
        explanations=tuple(f"{each.plugin}: {sentence}" for each in looked for sentence in each.sentences),
        not_offered=(*_quarantined(args.device, looked), *_contended(args.device, looked)),
        not_asked=tuple(_not_asked(found)),
        running=None if args.offline else _running(args, document, names),
    )


def _running(args: argparse.Namespace, document: Document, names: Collection[str]) -> Running:
    try:
        door = Door.of(args, document.config.http)
    except ConfigError as error:
        return Running("", str(error))
    return ask_running(door, names)


def _texts(answer: Answer) -> Iterator[str]:
    yield from map(_as_text, _groups(answer.offers))
    yield paragraph("Not offered:", answer.not_offered)
    yield paragraph("What the plugins say:", answer.explanations)
    if answer.running is not None:
        listed = any(each.device.id == answer.device for each in answer.running.listed)
        vanished = ("no plugin sees it now",) if listed and not answer.offers else ()
        title = f"What the running supervisor says, at {answer.running.address}:"
        yield paragraph(title, (*vanished, *answer.running.sentences)) or f"{answer.running.silence}."


def _matches(text: str, looked: Sequence[Looked]) -> list[Match]:
    every = _every(looked)
    exact = [match for match in every if match.device.id == text]
    return exact or [match for match in every if _gives(match.device, {text, f"/dev/{text}"})]


def _meant(looked: Sequence[Looked]) -> Iterator[Match]:
    """The devices whose ids plugins name when they are asked by another name, with their replicas."""
    words = {word.strip("(),.;:") for each in looked for sentence in each.sentences for word in sentence.split()}
    for group in _groups(_every(looked)):
        if any(match.device.id in words for match in group):
            yield from group


def _every(looked: Sequence[Looked]) -> list[Match]:
    return [Match(plugin, inventory.resource, device) for plugin, inventory in offered(looked) for device in inventory.devices]


def _quarantined(text: str, looked: Sequence[Looked]) -> list[str]:
    """Why a device of that id cannot be offered as its plugin described it."""
    left_out = [(each.plugin, one) for each in looked if each.look is not None for one in each.look.quarantined]
    return [f"{plugin}: {told(one)}" for plugin, one in left_out if one.device == text]


def _contended(text: str, looked: Sequence[Looked]) -> list[str]:
    """Devices that are this one, of plugins that lost their resource to another."""
    owners = {inventory.resource: plugin for plugin, inventory in offered(looked)}
    return [
        f"{each.plugin}: {resource}, device {device.id}: {owners[resource]} keeps {resource}; give one of them another resource name"
        for each in looked
        if each.look is not None
        for resource, inventory in each.look.inventories.items()
        if owners[resource] != each.plugin
        for device in inventory.devices
        if device.id == text or _gives(device, {text, f"/dev/{text}"})
    ]


def _not_asked(found: Sequence[Surveyed]) -> list[str]:
    off = [f"{each.package.name}: its section has enabled: false" for each in found if not each.enabled]
    refused = [f"{each.package}: {each.problem}" for each in found if each.problem]
    return off + refused + [refusal.reason for each in found for refusal in each.refused]


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
