"""RDMA devices that are not there: a port of one goes down, and comes back."""

from supervisor.demo.programs import Failed
from supervisor.demo.scene import Scene
from supervisor.demo.simulated import Simulated, fail, join, recover

CARDS = Simulated("infiniband", "rdma/hca", "card", 8, {"solver": 3, "storage": 2})
MACHINE = "rails-8"

POLL, HOLD_DOWN = 0.2, 0.5
"""Seconds. The package's own defaults are 1 and 5."""


def section(script: str = "") -> str:
    """The package's part of the configuration."""
    lines = [f"{CARDS.plugin}:", f"  resources: [{{name: {CARDS.resource}}}]", "  simulate:", f"    layout: {MACHINE}"]
    if script:
        lines += [
            f"    script: [{script}]",
            f"  poll: {POLL} # seconds; shortened from 1",
            f"  health: {{holdDown: {HOLD_DOWN}}} # seconds; shortened from 5",
        ]
    return "".join(f"  {line}\n" for line in lines)


def script(device: str) -> str:
    """The first port of a device loses its link, and has it again."""
    return f"after 300ms down {device}/1, after 3s up {device}/1"


def simulate(scene: Scene) -> str:
    """Add the machine, place pods, let a port of one go down and come back."""
    join(scene, CARDS, section())
    pod = list(CARDS.pods)[-1]
    device = scene.held[pod][0]
    scene.stage.say(f"Another edit, by which a port of `{pod}` goes down for a while. Its times are shortened for this demo:")
    failure = fail(scene, CARDS, section(script(device)))
    if failure.device != device:
        raise Failed(f"{device} has lost its link, and {failure.device} is Unhealthy")
    scene.stage.say(
        f"That was {failure.after:.1f} s after the edit: after the script's 300 ms, and {HOLD_DOWN} s without a link."
    )
    scene.stage.say(f"`{pod}` keeps it, and nobody else gets it: allocatable {failure.allocatable} of {CARDS.number}.")
    took = recover(scene, CARDS, failure)
    scene.stage.say(f"Healthy at the kubelet {took:.1f} s later: with its link, and {HOLD_DOWN} s in which it has kept it.")
    return "The port has come back by itself, and every pod has kept its devices."
