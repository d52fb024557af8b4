"""A package that does not come back from the method that its section of the configuration names."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec
import trio

from supervisor import ContainerEdits, Device, LookAgain, hookimpl

RESOURCE = "hanger.example/thing"


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    where: Literal["device_plugins", "discover", "watch", "allocate", "preferred_allocation", "pre_start"] = "discover"
    after: int = 0
    """So many calls of the method come back first."""
    nap: float = 0.1
    """Seconds of each of the sleeps that make up the hang."""
    until: str | None = None
    """The hang ends when this file exists; without it, never."""


class Hanger:
    name = "hanger"
    udev_subsystems = ()

    def __init__(self, config: Config) -> None:
        self.config = config
        self.calls = 0

    def reach(self, where: str) -> None:
        if where != self.config.where:
            return
        self.calls += 1
        while self.calls > self.config.after and not (self.config.until and Path(self.config.until).exists()):
            time.sleep(self.config.nap)

    def discover(self) -> Mapping[str, list[Device]]:
        self.reach("discover")
        return {RESOURCE: [Device("hang-0"), Device("hang-1")]}

    async def watch(self, look_again: LookAgain) -> None:
        self.reach("watch")
        await trio.sleep_forever()

    def allocate(self, resource: str, devices: Sequence[Device], edits: ContainerEdits) -> ContainerEdits:
        self.reach("allocate")
        return edits

    def preferred_allocation(
        self, resource: str, available: Sequence[str], must_include: Sequence[str], size: int
    ) -> Sequence[str]:
        self.reach("preferred_allocation")
        others = (each for each in available if each not in must_include)
        return [*must_include, *others][:size]

    def pre_start_required(self, resource: str) -> bool:
        return self.config.where == "pre_start"

    def pre_start(self, resource: str, devices: Sequence[Device]) -> None:
        self.reach("pre_start")


@hookimpl
def config_type() -> type[Config]:
    return Config


@hookimpl
def device_plugins(config: Config) -> list[Hanger]:
    plugin = Hanger(config)
    plugin.reach("device_plugins")
    return [plugin]
