"""A plugin for the bench: it sleeps where it should not, or lists a great many new devices when it is told to."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import trio

from supervisor import ContainerEdits, Device, DeviceNode, Health, LookAgain, hookimpl

RESOURCE = "bench.example/pulse"
EDITS = ContainerEdits((DeviceNode("/dev/null"),))


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What to do."""

    devices: int = 8
    sleep: float = 0.0
    """Seconds that each look blocks, and that pass between two calls of `look_again`; 0: none of both."""
    orders: str = ""
    """A FIFO; each line written to it makes the next look one at new objects, all of another health than before."""
    journal: str = ""
    """A file to which each such look adds the time at which it began."""
    flips: int = 0
    """Devices whose health each look changes, others every time."""
    every: float = 0.0
    """Seconds between two looks that the plugin asks for; 0: none."""


class Pulse:
    name = "bench-pulse"
    udev_subsystems = ()

    def __init__(self, config: Config) -> None:
        self.config = config
        self.ordered = False
        self.turned = 0
        self.health = Health.HEALTHY
        self.devices = self.make()

    def make(self) -> list[Device]:
        return [Device(f"p{number}", self.health, edits=EDITS) for number in range(self.config.devices)]

    def discover(self) -> dict[str, Sequence[Device]]:
        time.sleep(self.config.sleep)
        began = time.monotonic_ns()
        if self.config.flips:
            self.flip()
            self.note(began)
        if self.ordered:
            self.ordered = False
            self.health = Health.UNHEALTHY if self.health is Health.HEALTHY else Health.HEALTHY
            self.devices = self.make()
            self.note(began)
        return {RESOURCE: self.devices}

    def flip(self) -> None:
        self.devices = self.devices.copy()
        for _ in range(self.config.flips):
            device = self.devices[self.turned]
            health = Health.UNHEALTHY if device.healthy else Health.HEALTHY
            self.devices[self.turned] = Device(device.id, health, "flipped" if device.healthy else "", edits=EDITS)
            self.turned = (self.turned + 1) % len(self.devices)

    def note(self, began: int) -> None:
        with Path(self.config.journal).open("a") as journal:
            journal.write(f"{began}\n")

    async def watch(self, look_again: LookAgain) -> None:
        while self.config.sleep:
            time.sleep(self.config.sleep)  # noqa: ASYNC251  # what this plugin is for
            look_again()
        while self.config.every:
            await trio.sleep(self.config.every)
            look_again()
        if not self.config.orders:
            await trio.sleep_forever()
        orders = os.open(self.config.orders, os.O_RDWR | os.O_NONBLOCK)  # with a writer of its own it never ends
        while True:
            await trio.lowlevel.wait_readable(orders)
            os.read(orders, 64)
            self.ordered = True
            look_again()


@hookimpl
def config_type() -> type[Config]:
    return Config


@hookimpl
def device_plugins(config: Config) -> list[Pulse]:
    return [Pulse(config)]
