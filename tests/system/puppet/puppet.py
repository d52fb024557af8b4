"""A plugin that does what a file tells it: the tests' hand inside the supervisor."""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import trio

from supervisor import ContainerEdits, Device, Health, LookAgain, hookimpl

NAP = 0.1
POLL = 0.02


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    script: str
    """The file; ``tests.system.rig.Puppet`` writes it."""
    name: str = "puppet"
    edition: int = 0
    """Means nothing: something to edit."""


def burn() -> None:
    """Hold the interpreter, as native code does that forgets to let go."""
    sum(range(1 << 62))


def leak() -> None:
    """Eat memory for ever."""
    eaten = []
    while True:
        eaten.append(bytearray(1 << 22))


def fail() -> None:
    """Break as a plugin with a mistake does."""
    raise RuntimeError("the puppet was told to raise")


MOODS: Mapping[str, Callable[[], object]] = {
    "raise": fail,
    "nap": lambda: time.sleep(NAP),
    "burn": burn,
    "leak": leak,
    "crash": os.abort,
}


class Puppet:
    udev_subsystems = ()

    def __init__(self, config: Config) -> None:
        self.name = config.name
        self._path = Path(config.script)

    def _script(self) -> dict[str, Any]:
        script: dict[str, Any] = json.loads(self._path.read_text())
        return script

    def note(self, method: str) -> None:
        """Let the test count the call."""
        with self._path.with_suffix(".calls").open("a") as calls:
            calls.write(f"{method}\n")

    def _reach(self, method: str) -> bool:
        """Note the call and behave as told; true when the answer shall be garbage."""
        self.note(method)
        while (mood := self._mood(method)) == "hang":
            time.sleep(POLL)
        if mood in MOODS:
            MOODS[mood]()
        return mood == "garbage"

    def _mood(self, method: str) -> str:
        return str(self._script()["moods"].get(method))

    def discover(self) -> Any:
        if self._reach("discover"):
            return self
        script = self._script()
        return {
            resource: [_device(name, reason, script["claims"].get(name, "")) for name, reason in found.items()]
            for resource, found in script["resources"].items()
        }

    async def watch(self, look_again: LookAgain) -> Any:
        if self._reach("watch"):
            return self
        seen = None
        while True:
            status = self._path.stat()
            if seen not in {None, (status.st_ino, status.st_mtime_ns)}:
                look_again()
            seen = (status.st_ino, status.st_mtime_ns)
            await trio.sleep(POLL)

    def allocate(self, resource: str, devices: Sequence[Device], edits: ContainerEdits) -> Any:
        return ["garbage"] if self._reach("allocate") else edits

    def pre_start_required(self, resource: str) -> bool:
        required: bool = self._script()["pre_start"]
        return required

    def pre_start(self, resource: str, devices: Sequence[Device]) -> Any:
        return self if self._reach("pre_start") else None


def _device(device_id: str, reason: str, claim: str) -> Device:
    health = Health.UNHEALTHY if reason else Health.HEALTHY
    return Device(device_id, health, reason, edits=ContainerEdits(envs={"W": "1"}), claim=claim)


@hookimpl
def config_type() -> type[Config]:
    return Config


@hookimpl
def device_plugins(config: Config) -> list[Puppet]:
    puppet = Puppet(config)
    puppet.note("device_plugins")
    return [puppet]
