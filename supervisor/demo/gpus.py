"""GPUs that are not there: a machine that a plugin simulates joins the devices of this one, while everything runs."""

from pathlib import Path

from supervisor.demo.programs import Failed
from supervisor.demo.scene import Scene

PLUGIN = "nvidia-gpu"
"""The installed package that simulates them; all that is known of it here is how its section is written."""

RESOURCE = "nvidia.com/gpu"
MACHINE, GPUS = "dgx-h100", 8

OFF = f"  {PLUGIN}: {{enabled: false}} # until the last act\n"
"""Its section before. GPUs that this machine may have are left to whoever offers them."""

SCRIPT = "after 300ms xid 95 on 7, after 2s recover 7"
"""An uncontained memory error, after which the driver asks for a reset, and that reset; of a GPU that no pod gets here."""

PROBATION = 1
"""Seconds. The package's own default is 300."""

PODS = {"training": 3, "inference": 2}
"""Pod → GPUs. The first pod leaves one near to its own, which has no other near to it: a trap for the second."""


def section(place: Path, script: str = "") -> str:
    """The package's part of the configuration; specs for container runtimes go to ``place``, not to those of this machine."""
    lines = [f"{PLUGIN}:", "  simulate:", f"    layout: {MACHINE}"]
    lines += [f"    script: [{script}]"] if script else []
    lines += [f"  health: {{probation: {PROBATION}}} # seconds; shortened from 300"] if script else []
    lines += [f"  cdi: {{directory: {place}/cdi}}"]
    return "".join(f"  {line}\n" for line in lines)


def simulate(scene: Scene) -> str:
    """Add the machine, place pods, let a GPU fail and come back."""
    position = scene.kubelet.events.position
    took = scene.change(lambda: _edit(scene, section(scene.place)), RESOURCE, healthy=GPUS, unhealthy=0)
    scene.check_streams(position, scene.resources)
    scene.stage.say(f"{GPUS} GPUs at the kubelet {took:.0f} ms later. Only their plugin was started; all streams have gone on.")
    for pod, count in PODS.items():
        scene.add_pod(pod, RESOURCE, count)
    scene.stage.table(("DEVICE", "NUMA", "HEALTH", "POD"), _rows(scene))
    _check_nearness(scene)
    scene.stage.say(
        "`inference` got two that are near to each other, by the plugin's advice; the kubelet alone may split them."
    )
    _fail_and_recover(scene)
    scene.check_pods()
    return "The GPU has come back by itself, and every pod has kept its devices."


def _fail_and_recover(scene: Scene) -> None:
    """Play the script. Raises ``Failed``."""
    assert scene.owner is not None
    position = scene.kubelet.events.position
    scene.stage.say("Another edit, by which a GPU fails and is reset. What follows a reset is shortened for this demo:")
    _edit(scene, section(scene.place, SCRIPT))
    failed = scene.await_list(position, RESOURCE, healthy=GPUS - 1, unhealthy=1)
    reasons = scene.owner.unhealthy(RESOURCE)
    if not reasons:
        raise Failed("the supervisor does not say why a GPU is Unhealthy")
    for device, reason in reasons.items():
        scene.stage.say(f"{device} is Unhealthy at the kubelet, and /metrics says why:")
        scene.stage.say(reason, "red")
    recovered = scene.await_list(position, RESOURCE, after=failed.at_ns, healthy=GPUS, unhealthy=0)
    scene.check_streams(position, [*scene.resources, RESOURCE])
    took = (recovered.at_ns - failed.at_ns) / 1e9
    scene.stage.say(f"Healthy at the kubelet {took:.1f} s later: after its reset, and {PROBATION} s of probation.")


def _edit(scene: Scene, text: str) -> None:
    scene.configure(text)
    scene.stage.quote(text.splitlines())


def _rows(scene: Scene) -> list[tuple[str, ...]]:
    """The kubelet's devices, by their NUMA nodes."""
    health, numa = scene.kubelet.devices(RESOURCE), scene.kubelet.topology(RESOURCE)
    owners = {device: pod for pod in PODS for device in scene.held[pod]}
    return [
        (device, ", ".join(map(str, numa[device])) or "-", health[device], owners.get(device, "-"))
        for device in sorted(numa, key=lambda device: (numa[device], owners.get(device, "~"), device))
    ]


def _check_nearness(scene: Scene) -> None:
    """Raise ``Failed`` unless the GPUs of each pod share a NUMA node."""
    numa = scene.kubelet.topology(RESOURCE)
    for pod in PODS:
        if len(nodes := {node for device in scene.held[pod] for node in numa[device]}) != 1:
            raise Failed(f"pod {pod} got GPUs of {len(nodes)} NUMA nodes")
