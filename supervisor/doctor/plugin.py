"""What a plugin makes of this node: one look, as a running supervisor would take it, and what it examines for itself."""

from collections.abc import Iterable, Iterator

from msgspec import Struct

from supervisor.errors import PluginFailed
from supervisor.hookspecs import DevicePlugin, Examiner
from supervisor.inventory import Inventory, Look
from supervisor.looking import examine_once, look_once
from supervisor.model import Finding

MOST_TOLD = 20
"""Quarantined devices of one plugin."""
_TELL_THE_AUTHOR = "Tell the author of the plugin; what it offers is not touched by this."


class Consulted(Struct, frozen=True):
    """One plugin, looked at and asked."""

    findings: tuple[Finding, ...]
    look: Look | None = None


def consult(plugin: DevicePlugin) -> Consulted:
    """Look once, then examine, in the thread of the caller. Blocks; raises nothing of the plugin's."""
    try:
        look = look_once(plugin, {})
        seen = tuple(_seen(look))
    except PluginFailed as error:
        cure = "What it says of the node below may tell why; else read its README, or tell its author."
        look, seen = None, (Finding("failure", "look", str(error)[:1000] or "It failed.", cure),)
    return Consulted((*seen, *_examined(plugin)), look)


def _seen(look: Look) -> Iterator[Finding]:
    for resource, inventory in sorted(look.inventories.items()):
        yield _counted(resource, inventory)
    yield from (Finding("note", "look", notice) for notice in look.notices if notice)
    for each in look.quarantined[:MOST_TOLD]:
        subject = " ".join(filter(None, (each.resource, each.device)))[:200] or "a resource"
        cure = "Change the configuration that makes it so; else tell the author of the plugin."
        yield Finding("warning", subject, f"It is left out: {each.reason}"[:1000], cure)
    if more := len(look.quarantined[MOST_TOLD:]):
        yield Finding("warning", "quarantined", f"{more} more devices are left out.", "The command devices lists all of them.")


def _counted(resource: str, inventory: Inventory) -> Finding:
    sick = [device for device in inventory.devices if not device.healthy]
    if not inventory.devices:
        return Finding("note", resource, "No device of it is there now.")
    if not sick:
        return Finding("ok", resource, f"{len(inventory.devices)} of {len(inventory.devices)} devices are healthy.")
    text = (
        f"{len(sick)} of {len(inventory.devices)} devices are not healthy; {sick[0].id}: {sick[0].reason or 'no reason given'}."
    )
    return Finding("warning", resource, text[:1000], f"Ask for more: device-plugin-supervisor explain {sick[0].id}")


def _examined(plugin: DevicePlugin) -> Iterator[Finding]:
    if not isinstance(plugin, Examiner):
        return
    try:
        findings, problems = examine_once(plugin)
    except PluginFailed as error:
        yield Finding("failure", "examination", str(error)[:1000], _TELL_THE_AUTHOR)
        return
    yield from findings
    yield from (Finding("note", "examination", problem[:1000], _TELL_THE_AUTHOR) for problem in problems)


def offered(consulted: Iterable[Consulted]) -> dict[str, frozenset[str]]:
    """For each resource that any of them offers, its ids."""
    ids: dict[str, frozenset[str]] = {}
    for each in consulted:
        for resource, inventory in (each.look.inventories if each.look is not None else {}).items():
            ids[resource] = ids.get(resource, frozenset()) | inventory.index.keys()
    return ids
