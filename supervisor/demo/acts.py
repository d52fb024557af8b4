"""What happens, act by act. Each returns the sentence of what came true and raises ``SupervisorError`` where it did not."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from supervisor.demo.gadget import Gadget, make_gadget
from supervisor.demo.hardware import PLUGIN, Family, configuration, present
from supervisor.demo.interruptions import Interruptions
from supervisor.demo.programs import PATIENCE, Failed, Opened, SupervisorProcess, devices, run_pod
from supervisor.demo.stage import Stage
from supervisor.kubelet.simulator import Event, EventKind, GrantedDevice, KubeletSimulator
from supervisor.plugins import installed

MOST_ROWS = 2
"""Devices of one resource that are listed; the others are counted."""


@dataclass
class Scene:
    """What is on the stage. Whatever must go away in the end is on ``exits``."""

    stage: Stage
    exits: ExitStack
    interruptions: Interruptions
    place: Path
    kubelet: KubeletSimulator = field(init=False)
    gadget: Gadget = field(init=False)
    families: tuple[Family, ...] = ()
    owner: SupervisorProcess | None = None
    standby: SupervisorProcess | None = None
    held: dict[str, list[str]] = field(default_factory=dict)
    """Pod → the device ids that it got."""

    @property
    def config(self) -> Path:
        return self.place / "config.yaml"

    @property
    def resources(self) -> list[str]:
        return [family.resource for family in self.families]

    def start_supervisor(self, name: str) -> SupervisorProcess:
        """Start one more supervisor on the kubelet's directory."""
        with self.interruptions.held():
            started = SupervisorProcess(self.config, self.kubelet.paths.device_plugins, self.place / f"{name}.log")
            self.exits.callback(started.close)
        return started

    def await_lists(self, position: int) -> list[Event]:
        """The first list of devices that the kubelet has got of each resource since ``position``. Raises ``Failed``."""
        return [self.await_list(position, resource) for resource in self.resources]

    def await_list(self, position: int, resource: str, **expected: int) -> Event:
        """The first list of a resource with these counts (``healthy``, ``unhealthy``). Raises ``Failed``."""
        wanted = {"resource": resource, **expected}
        found = self.kubelet.events.first(lambda event: _lists(event, wanted), position, PATIENCE)
        for each in (self.owner, self.standby):
            if found is None and each is not None:
                each.check()
        if found is None:
            raise Failed(f"the kubelet has had no list of {resource} for {PATIENCE:g} s")
        return found

    def check_pods(self) -> None:
        """Raise ``Failed`` unless each pod holds what it got."""
        for pod, ids in self.held.items():
            if (now := self.kubelet.pod(pod).device_ids) != ids:
                raise Failed(f"pod {pod} held {', '.join(ids)} and now holds {', '.join(now) or 'nothing'}")


class Act(NamedTuple):
    """One act."""

    title: str
    sentence: str
    perform: Callable[[Scene], str]


def look(scene: Scene) -> str:
    """Find this machine's devices by a configuration written for it."""
    if PLUGIN not in {package.name for package in installed()}:
        raise Failed(f"the plugin that is to offer them is missing: pip install device-plugin-supervisor-{PLUGIN}")
    with scene.interruptions.held():
        scene.gadget = make_gadget()
        scene.exits.callback(scene.gadget.close)
    found = present()
    scene.families = (*found, scene.gadget.family())
    pod_resources = scene.place / "pod-resources" / "kubelet.sock"
    text = configuration(scene.families, scene.gadget.look_interval, pod_resources)
    scene.config.write_text(text)
    scene.stage.quote(text.splitlines())
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
    return f"{_count(offered, 'device')} to offer, replicas counted, and no code was written."


def register(scene: Scene) -> str:
    """Start a kubelet, then a supervisor, and wait for all lists."""
    scene.kubelet = KubeletSimulator(scene.place)
    scene.exits.callback(scene.kubelet.close)
    scene.kubelet.start()
    position, began = scene.kubelet.events.position, time.monotonic_ns()
    scene.owner = scene.start_supervisor("supervisor")
    took = _milliseconds(began, scene.await_lists(position))
    counts = [(name, *scene.kubelet.node_status()[name]) for name in scene.resources]
    scene.stage.table(("RESOURCE", "CAPACITY", "ALLOCATABLE"), ((name, str(total), str(free)) for name, free, total in counts))
    return (
        f"{_count(len(scene.resources), 'resource')} at the kubelet {took:.0f} ms after the start of the supervisor's process."
    )


def place_pods(scene: Scene) -> str:
    """Run one pod for each resource."""
    rows: list[tuple[str, ...]] = []
    refusals: dict[str, str] = {}
    opened = 0
    for family in scene.families:
        name = f"{family.name}-user"
        state = scene.kubelet.add_pod(name, {family.resource: 1}, timeout=PATIENCE)
        if not state.admitted:
            raise Failed(f"the kubelet refuses pod {name}: {state.message}")
        scene.held[name] = state.device_ids
        granted = state.containers["main"].options
        answers = run_pod(granted.devices, granted.envs)
        rows += _pod_rows(name, state.device_ids, granted.devices, answers)
        refusals |= {answer.refused: answer.why for answer in answers if answer.refused}
        opened += sum(not answer.refused for answer in answers)
    scene.stage.table(("POD", "GOT", "NODE", "MAY", "MAJOR:MINOR", "THE POD SAYS"), rows)
    for refused, why in refusals.items():
        scene.stage.say(f"{refused} ({why}): granted all the same; it is this user, or the driver, that refuses it here.")
    return f"{_count(len(scene.held), 'pod')} admitted; {opened} of {_count(len(rows), 'node')} could be opened."


def restart_kubelet(scene: Scene) -> str:
    """SIGKILL the kubelet and start it again."""
    position = scene.kubelet.events.position
    scene.kubelet.kill()
    scene.kubelet.start()
    accepting = scene.kubelet.wait_event(EventKind.SOCKET_ACCEPTING, since=position)
    took = _milliseconds(accepting.at_ns, scene.await_lists(position))
    scene.check_pods()
    return f"Everything is back {took:.0f} ms after the new kubelet took calls, and every pod has kept its device."


def pull_out(scene: Scene) -> str:
    """Take the gadget away and bring it back."""
    assert scene.owner is not None
    resource, gadget = scene.gadget.family().resource, scene.gadget
    counted = scene.owner.uevents(gadget.subsystem)
    gone = _change(scene, gadget.unplug, resource, healthy=0, unhealthy=1)
    by_event = bool(gadget.subsystem) and scene.owner.uevents(gadget.subsystem) > counted
    how = "by a kernel event" if by_event else "by a timed look, as no kernel event told of it"
    free, total = scene.kubelet.node_status()[resource]
    scene.stage.say(f"Pulled out: Unhealthy at the kubelet {gone:.0f} ms later, {how}; allocatable {free} of {total}.")
    scene.stage.say("It stays listed, since a pod holds it: an id in use must not vanish from a kubelet's list.", "dim")
    back = _change(scene, gadget.plug, resource, healthy=1, unhealthy=0)
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
    took = _milliseconds(killed, scene.await_lists(position))
    scene.check_pods()
    return f"The second supervisor owns everything {took:.0f} ms later, and every pod has kept its device."


ACTS = (
    Act(
        "The devices of this machine",
        "All that was written is this; `device-plugin-supervisor devices` shows what it finds.",
        look,
    ),
    Act(
        "A kubelet",
        "A simulated one, in a process of its own, with real sockets. The supervisor registers with it:",
        register,
    ),
    Act(
        "Pods",
        "A pod is a child process here: it opens what Allocate named. No device cgroup is simulated.",
        place_pods,
    ),
    Act(
        "The kubelet is killed",
        "SIGKILL, and another one starts on the same directory, knowing only its checkpoint.",
        restart_kubelet,
    ),
    Act("A device is pulled out", "The gadget vanishes from this machine while a pod holds it, and returns.", pull_out),
    Act("The supervisor is killed", "As in an upgrade, a second one is started first.", hand_over),
)


def _change(scene: Scene, change: Callable[[], None], resource: str, *, healthy: int, unhealthy: int) -> float:
    """Milliseconds from a change of the machine to the list that tells it to the kubelet."""
    position, began = scene.kubelet.events.position, time.monotonic_ns()
    change()
    return _milliseconds(began, [scene.await_list(position, resource, healthy=healthy, unhealthy=unhealthy)])


def _lists(event: Event, wanted: Mapping[str, Any]) -> bool:
    """Whether it is such a list, and not an empty one."""
    return event.matches(EventKind.LIST_RECEIVED, wanted) and event["healthy"] + event["unhealthy"] > 0


def _milliseconds(began_ns: int, events: Iterable[Event]) -> float:
    return (max(event.at_ns for event in events) - began_ns) / 1e6


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


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
