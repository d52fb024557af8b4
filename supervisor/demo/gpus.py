"""GPUs that are not there: one fails, and is reset."""

from pathlib import Path

from supervisor.demo.scene import Scene
from supervisor.demo.simulated import Simulated, fail, join, recover

GPUS = Simulated("nvidia-gpu", "nvidia.com/gpu", "GPU", 8, {"training": 3, "inference": 2})
MACHINE = "dgx-h100"

SCRIPT = "after 300ms xid 95 on 7, after 1s recover 7"
"""An uncontained memory error, after which the driver asks for a reset, and that reset; of a GPU that no pod gets here."""

PROBATION = 1
"""Seconds. The package's own default is 300."""


def section(place: Path, script: str = "") -> str:
    """The package's part of the configuration; specs for container runtimes go to ``place``, not to those of this machine."""
    lines = [f"{GPUS.plugin}:", "  simulate:", f"    layout: {MACHINE}"]
    lines += [f"    script: [{script}]"] if script else []
    lines += [f"  health: {{probation: {PROBATION}}} # seconds; shortened from 300"] if script else []
    lines += [f"  cdi: {{directory: {place}/cdi}}"]
    return "".join(f"  {line}\n" for line in lines)


def simulate(scene: Scene) -> str:
    """Add the machine, place pods, let a GPU fail and come back."""
    join(scene, GPUS, section(scene.place))
    scene.stage.say("Another edit, by which a GPU fails and is reset. What follows a reset is shortened for this demo:")
    failure = fail(scene, GPUS, section(scene.place, SCRIPT))
    took = recover(scene, GPUS, failure)
    scene.stage.say(f"Healthy at the kubelet {took:.1f} s later: after its reset, and {PROBATION} s of probation.")
    return "The GPU has come back by itself, and every pod has kept its devices."
