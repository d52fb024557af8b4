"""A package that fails hard, in the method and in the manner that its section of the configuration names."""

import os
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
import trio

from supervisor import ContainerEdits, Device, LookAgain, hookimpl

RESOURCE = "crasher.example/thing"


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    where: Literal["device_plugins", "discover", "watch", "allocate", "preferred_allocation", "pre_start"] = "discover"
    how: Literal["raise", "exit", "abort", "spin", "leak"] = "raise"
    after: int = 0
    """So many calls of the method go well first."""


def crash(how: str) -> None:
    match how:
        case "raise":
            raise OSError("the crasher crashed, as configured")
        case "exit":
            raise SystemExit(3)
        case "abort":
            os.abort()
        case "spin":
            sum(range(10**15))  # one call into C, which never gives the interpreter away
        case "leak":
            held = []
            while True:
                held.append(bytearray(1 << 20))


class Crasher:
    name = "crasher"
    udev_subsystems = ()

    def __init__(self, config: Config) -> None:
        self.config = config
        self.calls = 0

    def reach(self, where: str) -> None:
        if where == self.config.where:
            self.calls += 1
            if self.calls > self.config.after:
                crash(self.config.how)

    def discover(self) -> Mapping[str, list[Device]]:
        self.reach("discover")
        return {RESOURCE: [Device("crash-0"), Device("crash-1")]}

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
def device_plugins(config: Config) -> list[Crasher]:
    plugin = Crasher(config)
    plugin.reach("device_plugins")
    return [plugin]
