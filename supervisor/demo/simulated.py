"""Devices that are not there: a machine that a plugin simulates joins the devices of this one, while everything runs."""

import time
from collections.abc import Mapping

from msgspec import Struct

from supervisor.demo.programs import Failed
from supervisor.demo.scene import Scene, milliseconds


class Simulated(Struct, frozen=True):
    """The devices of one plugin, and the pods that get some."""

    plugin: str
    """The installed package that simulates them; all that is known of it here is how its section is written."""
    resource: str
    noun: str
    """What one of them is called."""
    number: int
    pods: Mapping[str, int]
    """Pod → devices. The first pod leaves one near to its own, which has no other near to it: a trap for the second."""


class Failure(Struct, frozen=True):
    """A device that the kubelet has just been told to be Unhealthy."""

    device: str
    allocatable: int
    """Devices of the resource that pods may get now."""
    position: int
    """In the kubelet's events, from the edit on that has it fail."""
    at_ns: int
    """When the kubelet was told."""
    after: float
    """Seconds after the edit."""


def off(plugin: str) -> str:
    """A plugin's section before its act. What this machine may have of such devices is left to whoever offers them."""
    return f"  {plugin}: {{enabled: false}} # until its act\n"


def join(scene: Scene, these: Simulated, section: str) -> None:
    """Add the machine to the configuration, and place the pods. Raises ``Failed``."""
    position = scene.kubelet.events.position
    took = scene.change(lambda: _edit(scene, these, section), these.resource, healthy=these.number, unhealthy=0)
    scene.check_streams(position)
    scene.simulated.append(these.resource)
    scene.stage.say(
        f"{these.number} {these.noun}s at the kubelet {took:.0f} ms later. Only their plugin was started; all streams have gone on."
    )
    for pod, count in these.pods.items():
        scene.add_pod(pod, these.resource, count)
    scene.stage.table(("DEVICE", "NUMA", "HEALTH", "POD"), _rows(scene, these))
    _check_nearness(scene, these)
    last = list(these.pods)[-1]
    scene.stage.say(f"`{last}` got two that are near to each other, by the plugin's advice; the kubelet alone may split them.")


def fail(scene: Scene, these: Simulated, section: str) -> Failure:
    """Give the plugin a section with a script by which one device fails, and wait until it has. Raises ``Failed``."""
    assert scene.owner is not None
    position, began = scene.kubelet.events.position, time.monotonic_ns()
    _edit(scene, these, section)
    failed = scene.await_list(position, these.resource, healthy=these.number - 1, unhealthy=1)
    free, _ = scene.kubelet.node_status()[these.resource]
    reasons = scene.owner.unhealthy(these.resource)
    if not reasons:
        raise Failed(f"the supervisor does not say why a {these.noun} is Unhealthy")
    device, reason = next(iter(reasons.items()))
    scene.stage.say(f"{device} is Unhealthy at the kubelet, and /metrics says why:")
    scene.stage.say(reason, "red")
    return Failure(device, free, position, failed.at_ns, milliseconds(began, [failed]) / 1e3)


def recover(scene: Scene, these: Simulated, failure: Failure) -> float:
    """Seconds from the failure until the kubelet was told that all devices are Healthy. Raises ``Failed``."""
    recovered = scene.await_list(failure.position, these.resource, after=failure.at_ns, healthy=these.number, unhealthy=0)
    scene.check_streams(failure.position)
    scene.check_pods()
    return (recovered.at_ns - failure.at_ns) / 1e9


def _edit(scene: Scene, these: Simulated, section: str) -> None:
    """Give the running supervisor another section of the plugin's, and show it."""
    scene.configure({these.plugin: section})
    scene.stage.quote(section.splitlines())


def _rows(scene: Scene, these: Simulated) -> list[tuple[str, ...]]:
    """The kubelet's devices, by their NUMA nodes."""
    health, numa = scene.kubelet.devices(these.resource), scene.kubelet.topology(these.resource)
    owners = {device: pod for pod in these.pods for device in scene.held[pod]}
    return [
        (device, ", ".join(map(str, numa[device])) or "-", health[device], owners.get(device, "-"))
        for device in sorted(numa, key=lambda device: (numa[device], owners.get(device, "~"), device))
    ]


def _check_nearness(scene: Scene, these: Simulated) -> None:
    """Raise ``Failed`` unless the devices of each pod share a NUMA node."""
    numa = scene.kubelet.topology(these.resource)
    for pod in these.pods:
        if len(nodes := {node for device in scene.held[pod] for node in numa[device]}) != 1:
            raise Failed(f"pod {pod} got {these.noun}s of {len(nodes)} NUMA nodes")
