"""What happens to this machine's devices, act by act.

Each act returns the sentence of what came true and raises ``SupervisorError`` where it did not.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from supervisor.demo import fpgas, gpus, rdma
from supervisor.demo.gadget import make_gadget
from supervisor.demo.hardware import PLUGIN, configuration, present
from supervisor.demo.programs import Failed, Opened, devices, run_pod
from supervisor.demo.scene import Scene, counted, milliseconds
from supervisor.demo.simulated import off
from supervisor.kubelet.simulator import EventKind, GrantedDevice, KubeletSimulator

MOST_ROWS = 2
"""Devices of one resource that are listed; the others are counted."""


def look(scene: Scene) -> str:
    """Find this machine's devices by a configuration written for it."""
    if PLUGIN not in scene.packages:
        raise Failed(f"the plugin that is to offer them is missing: pip install device-plugin-supervisor-{PLUGIN}")
    with scene.interruptions.held():
        scene.gadget = make_gadget()
        scene.exits.callback(scene.gadget.close)
    found = present()
    scene.families = (*found, scene.gadget.family())
    pod_resources = scene.place / "pod-resources" / "kubelet.sock"
    scene.configuration = configuration(scene.families, scene.gadget.look_interval, pod_resources)
    scene.variables = fpgas.variables(scene.place)
    later = (plugin for plugin in (gpus.GPUS.plugin, rdma.CARDS.plugin, fpgas.PLUGIN) if plugin in scene.packages)
    scene.configure({plugin: off(plugin) for plugin in later})
    scene.stage.quote(scene.config.read_text().splitlines())
    if not found:
        scene.stage.say("None of the devices that this demo knows is on this machine, so it goes on with one that it makes.")
    scene.stage.say(f"`gadget` is {scene.gadget.what}; it will be pulled out later.")
    answer = devices(scene.config)
    ours = [resource for name in scene.resources for resource in answer["resources"] if resource["name"] == name]
    missing = set(scene.resources) - {resource["name"] for resource in ours if resource["devices"]}
    if missing:
        raise Failed(f"no device was found for {', '.join(sorted(missing))}; notices: {answer['notices'] or 'none'}")
    scene.stage.table(("RESOURCE", "DEVICE", "NODE", "NUMA", "HEALTH"), (row for each in ours for row in _rows(each)))
    offered = sum(len(each["devices"]) for each in ours)
    return f"{counted(offered, 'device')} to offer, replicas counted, and no code was written."


def register(scene: Scene) -> str:
    """Start a kubelet, then a supervisor, and wait for all lists."""
    scene.kubelet = KubeletSimulator(scene.place)
    scene.exits.callback(scene.kubelet.close)
    scene.kubelet.start()
    position, began = scene.kubelet.events.position, time.monotonic_ns()
    scene.owner = scene.start_supervisor("supervisor")
    took = milliseconds(began, scene.await_lists(position))
    counts = [(name, *scene.kubelet.node_status()[name]) for name in scene.resources]
    scene.stage.table(("RESOURCE", "CAPACITY", "ALLOCATABLE"), ((name, str(total), str(free)) for name, free, total in counts))
    return (
        f"{counted(len(scene.resources), 'resource')} at the kubelet {took:.0f} ms after the start of the supervisor's process."
    )


def place_pods(scene: Scene) -> str:
    """Run one pod for each resource."""
    rows: list[tuple[str, ...]] = []
    refusals: dict[str, str] = {}
    opened = 0
    for family in scene.families:
        name = f"{family.name}-user"
        state = scene.add_pod(name, family.resource)
        granted = state.containers["main"].options
        answers = run_pod(granted.devices, granted.envs)
        rows += _pod_rows(name, state.device_ids, granted.devices, answers)
        refusals |= {answer.refused: answer.why for answer in answers if answer.refused}
        opened += sum(not answer.refused for answer in answers)
    scene.stage.table(("POD", "GOT", "NODE", "MAY", "MAJOR:MINOR", "THE POD SAYS"), rows)
    for refused, why in refusals.items():
        scene.stage.say(f"{refused} ({why}): granted all the same; it is this user, or the driver, that refuses it here.")
    return f"{counted(len(scene.held), 'pod')} admitted; {opened} of {counted(len(rows), 'node')} could be opened."


def restart_kubelet(scene: Scene) -> str:
    """SIGKILL the kubelet and start it again."""
    position = scene.kubelet.events.position
    scene.kubelet.kill()
    scene.kubelet.start()
    accepting = scene.kubelet.wait_event(EventKind.SOCKET_ACCEPTING, since=position)
    took = milliseconds(accepting.at_ns, scene.await_lists(position))
    scene.check_pods()
    return f"Everything is back {took:.0f} ms after the new kubelet took calls, and every pod has kept its device."


def pull_out(scene: Scene) -> str:
    """Take the gadget away and bring it back."""
    assert scene.owner is not None
    resource, gadget = scene.gadget.family().resource, scene.gadget
    before = scene.owner.uevents(gadget.subsystem)
    gone = scene.change(gadget.unplug, resource, healthy=0, unhealthy=1)
    by_event = bool(gadget.subsystem) and scene.owner.uevents(gadget.subsystem) > before
    how = "by a kernel event" if by_event else "by a timed look, as no kernel event told of it"
    free, total = scene.kubelet.node_status()[resource]
    scene.stage.say(f"Pulled out: Unhealthy at the kubelet {gone:.0f} ms later, {how}; allocatable {free} of {total}.")
    scene.stage.say("It stays listed, since a pod holds it: an id in use must not vanish from a kubelet's list.", "dim")
    back = scene.change(gadget.plug, resource, healthy=1, unhealthy=0)
    free, total = scene.kubelet.node_status()[resource]
    scene.stage.say(f"Plugged in again: Healthy at the kubelet {back:.0f} ms later; allocatable {free} of {total}.")
    scene.check_pods()
    return "The device has come back under its id, and the pod has kept it."


def hand_over(scene: Scene) -> str:
    """Start a second supervisor, SIGKILL the first, and wait for all lists from the second."""
    assert scene.owner is not None
    scene.standby = scene.start_supervisor("standby")
    scene.standby.wait_ready()
    if scene.standby.status()["active"]:
        raise Failed("the second supervisor did not stand by")
    scene.stage.say(
        f"Process {scene.standby.pid} stands by: it has looked and is ready, but silent. SIGKILL to {scene.owner.pid}."
    )
    position, killed = scene.kubelet.events.position, time.monotonic_ns()
    scene.owner.kill()
    scene.owner, scene.standby = scene.standby, None
    took = milliseconds(killed, scene.await_lists(position))
    scene.check_pods()
    return f"The second supervisor owns everything {took:.0f} ms later, and every pod has kept its device."


def _rows(resource: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """One resource of ``devices --json`` as lines of a table."""
    rows = [(resource["name"] if number == 0 else "", *_row(device)) for number, device in enumerate(resource["devices"])]
    left = len(rows) - MOST_ROWS
    return [*rows[:MOST_ROWS], ("", f"and {left} more", "", "", "")] if left > 0 else rows


def _row(device: Mapping[str, Any]) -> tuple[str, ...]:
    nodes = ", ".join(node["host_path"] for node in device["edits"]["device_nodes"])
    numa = ", ".join(map(str, device["topology"]["numa_nodes"])) or "-"
    health = f"{device['health']}: {device['reason']}" if device["reason"] else device["health"]
    return device["id"], nodes, numa, health


def _pod_rows(
    pod: str, ids: Sequence[str], granted: Sequence[GrantedDevice], answers: Sequence[Opened]
) -> list[tuple[str, ...]]:
    """One line for each device node that a pod got."""
    rows = [
        (
            device.host_path,
            device.permissions,
            answer.number or "-",
            f"not opened: {answer.refused}" if answer.refused else "opened",
        )
        for device, answer in zip(granted, answers, strict=True)
    ]
    return [(pod, ", ".join(ids), *row) if number == 0 else ("", "", *row) for number, row in enumerate(rows)]
