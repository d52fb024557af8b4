"""Feed and wire alone, in a process of their own: `python -m tests.bench.publisher FOLDER RESOURCE DEVICES`.

Each line of its input flips the health of one device, whose number it is; all others stay the same objects. The answer is the
time at which the new inventory was published, in nanoseconds of CLOCK_MONOTONIC.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import msgspec

from supervisor import Device, DeviceNode, Health
from supervisor.calls import PluginCalls
from supervisor.feed import Feed
from supervisor.inventory import Inventory
from supervisor.kubelet.sockets import KUBELET_SOCKET, look_at
from supervisor.kubelet.wire import Wire
from supervisor.model import ContainerEdits
from supervisor.slots import Slots


def flipped(inventory: Inventory, number: int) -> Inventory:
    device = inventory.devices[number]
    health = Health.UNHEALTHY if device.healthy else Health.HEALTHY
    devices = list(inventory.devices)
    devices[number] = msgspec.structs.replace(device, health=health)
    return Inventory.of(inventory.resource, devices)


def main(folder: Path, resource: str, devices: int) -> None:
    """Serve, register, and flip until the input ends."""
    changed = threading.Event()
    wire, feed = Wire(changed.set), Feed(resource)
    edits = ContainerEdits((DeviceNode("/dev/null"),))
    feed.publish(Inventory.of(resource, [Device(f"d{number}", edits=edits) for number in range(devices)]))
    wire.start()
    wire.open(feed, PluginCalls(None, Slots("bench"), Slots("bench")))
    endpoint = "publisher.sock"
    wire.bind(resource, folder / endpoint)
    while not ((level := wire.levels().get(resource)) and level.bound and level.listed):
        changed.wait(1.0)
        changed.clear()
    kubelet = look_at(folder).kubelet
    assert kubelet is not None
    wire.register(resource, 1, endpoint, folder / KUBELET_SOCKET, kubelet)
    for line in sys.stdin:
        assert feed.current is not None
        inventory = flipped(feed.current, int(line))
        began = time.monotonic_ns()
        feed.publish(inventory)
        print(began, flush=True)
    wire.stop(1.0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
