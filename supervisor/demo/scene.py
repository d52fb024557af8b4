"""What is on the stage in all acts, and the waits and measures that they share."""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from supervisor.demo.gadget import Gadget
from supervisor.demo.hardware import Family
from supervisor.demo.interruptions import Interruptions
from supervisor.demo.programs import PATIENCE, Failed, SupervisorProcess
from supervisor.demo.stage import Stage
from supervisor.kubelet.simulator import Event, EventKind, KubeletSimulator, PodState


@dataclass
class Scene:
    """What is on the stage. Whatever must go away in the end is on ``exits``."""

    stage: Stage
    exits: ExitStack
    interruptions: Interruptions
    place: Path
    packages: frozenset[str] = frozenset()
    """The installed plugin packages, by the names of their entry points."""
    kubelet: KubeletSimulator = field(init=False)
    gadget: Gadget = field(init=False)
    families: tuple[Family, ...] = ()
    configuration: str = ""
    """That of this machine's devices."""
    sections: dict[str, str] = field(default_factory=dict)
    """Plugin → what acts add to it."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """What the supervisors have in their environment beside ours."""
    simulated: list[str] = field(default_factory=list)
    """Resources of devices that are not there, as they join."""
    owner: SupervisorProcess | None = None
    standby: SupervisorProcess | None = None
    held: dict[str, list[str]] = field(default_factory=dict)
    """Pod → the device ids that it got."""

    @property
    def config(self) -> Path:
        return self.place / "config.yaml"

    @property
    def resources(self) -> list[str]:
        return [*(family.resource for family in self.families), *self.simulated]

    def configure(self, sections: Mapping[str, str]) -> None:
        """Put these plugins' sections into the configuration file beside what it has; replaced in one step, as editors do."""
        self.sections |= sections
        fresh = self.config.with_suffix(".new")
        fresh.write_text(self.configuration + "".join(self.sections.values()))
        fresh.replace(self.config)

    def start_supervisor(self, name: str) -> SupervisorProcess:
        """Start one more supervisor on the kubelet's directory."""
        with self.interruptions.held():
            log = self.place / f"{name}.log"
            started = SupervisorProcess(self.config, self.kubelet.paths.device_plugins, log, self.variables)
            self.exits.callback(started.close)
        return started

    def add_pod(self, name: str, resource: str, count: int = 1) -> PodState:
        """Have the kubelet admit a pod with so many devices of a resource. Raises ``Failed``."""
        state = self.kubelet.add_pod(name, {resource: count}, timeout=PATIENCE)
        if not state.admitted:
            raise Failed(f"the kubelet refuses pod {name}: {state.message}")
        self.held[name] = state.device_ids
        return state

    def await_lists(self, position: int) -> list[Event]:
        """The first list of devices that the kubelet has got of each resource since ``position``. Raises ``Failed``."""
        return [self.await_list(position, resource) for resource in self.resources]

    def await_list(self, position: int, resource: str, *, after: int = 0, **expected: int) -> Event:
        """The first list of a resource with these counts (``healthy``, ``unhealthy``), come later than ``after`` (nanoseconds).

        Raises ``Failed``.
        """
        wanted = {"resource": resource, **expected}
        found = self.kubelet.events.first(lambda event: event.at_ns > after and _lists(event, wanted), position, PATIENCE)
        for each in (self.owner, self.standby):
            if found is None and each is not None:
                each.check()
        if found is None:
            raise Failed(f"the kubelet has had no list of {resource} for {PATIENCE:g} s")
        return found

    def change(self, change: Callable[[], None], resource: str, *, healthy: int, unhealthy: int) -> float:
        """Milliseconds from a change of the machine to the list that tells it to the kubelet."""
        position, began = self.kubelet.events.position, time.monotonic_ns()
        change()
        return milliseconds(began, [self.await_list(position, resource, healthy=healthy, unhealthy=unhealthy)])

    def check_pods(self) -> None:
        """Raise ``Failed`` unless each pod holds what it got."""
        for pod, ids in self.held.items():
            if (now := self.kubelet.pod(pod).device_ids) != ids:
                raise Failed(f"pod {pod} held {', '.join(ids)} and now holds {', '.join(now) or 'nothing'}")

    def check_streams(self, position: int) -> None:
        """Raise ``Failed`` unless the kubelet's streams of all resources have gone on since ``position``."""
        undisturbed = set(self.resources)
        for event in self.kubelet.events.since(position):
            if event.kind in {EventKind.STREAM_OPENED, EventKind.STREAM_ENDED} and event["resource"] in undisturbed:
                raise Failed(f"the kubelet's stream of {event['resource']} has not gone on")


def milliseconds(began_ns: int, events: Iterable[Event]) -> float:
    """From a moment to the last of some events."""
    return (max(event.at_ns for event in events) - began_ns) / 1e6


def counted(number: int, noun: str) -> str:
    """``1 pod``, ``2 pods``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _lists(event: Event, wanted: Mapping[str, Any]) -> bool:
    """Whether it is such a list, and not an empty one."""
    return event.matches(EventKind.LIST_RECEIVED, wanted) and event["healthy"] + event["unhealthy"] > 0
