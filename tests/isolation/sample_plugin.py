"""A plugin package that misbehaves as its configuration says; copied into a distribution of its own by the tests."""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import trio

from supervisor import AllocationRefused, ContainerEdits, Device, Finding, Host, Leftover, LookAgain, hookimpl

RESOURCE = "example.com/sample"


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    does: str = ""
    """What it does wrong; empty: nothing."""
    state: str = ""
    """A file whose lines are its devices."""


def misbehave(how: str) -> object:
    """Everything that a plugin must not do."""
    match how:
        case "raise":
            raise LookupError("no such luck")
        case "exit":
            raise SystemExit(3)
        case "hang":
            threading.Event().wait()
        case "hold":
            print("holding", file=sys.stderr, flush=True)
            ctypes.PyDLL(None).sleep(1000)  # keeps the interpreter lock
        case "abort":
            print("about to abort", file=sys.stderr, flush=True)
            os.abort()
        case "quit":
            os._exit(7)
        case "hog":
            return [bytearray(64 << 20) for _ in range(1000)]
        case "children":
            child = os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "1000")
            print(f"child {child}", file=sys.stderr, flush=True)
            threading.Event().wait()
        case "lose":
            for number in range(3, 100):
                try:
                    os.close(number)
                except OSError:
                    continue
            threading.Event().wait()
    return None


class Plain:
    """The least plugin."""

    name = "plain"
    udev_subsystems: Collection[str] = ("misc",)

    def __init__(self, config: Config, host: Host) -> None:
        self.config = config
        self.host = host

    def discover(self) -> Mapping[str, Iterable[Device]]:
        """Its devices, or what it is told to do in a look."""
        if self.config.does.startswith("discover:"):
            misbehave(self.config.does.removeprefix("discover:"))
        if self.config.does == "garbage":
            return garbage()
        if self.config.does == "nonsense":
            return 7  # type: ignore[return-value]  # that is the point
        state = Path(self.config.state).read_text() if self.config.state else "a\nb"
        reason = "" if self.config.does == "anonymous" else f"{self.host.sysfs} {os.getpid()}"
        return {RESOURCE: (Device(line, reason=reason) for line in state.split())}


def garbage() -> dict[Any, Any]:
    """A look in which one device and one resource are fine."""
    return {
        RESOURCE: [Device("good"), Device("bad id"), "a string", Device("no edits", edits=5), Device("\udc80"), object()],  # type: ignore[arg-type]  # that is the point
        "nodomain": [],
        "example.com/number": 5,
        "example.com/other": [Device("fine")],
        17: [],
    }


class Full(Plain):
    """A plugin with everything."""

    name = "full"

    def __init__(self, config: Config, host: Host) -> None:
        super().__init__(config, host)
        self.looks = 0

    def discover(self) -> Mapping[str, Iterable[Device]]:
        """Its devices; it grows wiser with each look."""
        self.looks += 1
        self.udev_subsystems = ("misc", "usb")
        return super().discover()

    def notices(self) -> Sequence[str]:
        """What is amiss."""
        if self.config.does == "notices":
            raise LookupError("no words")
        return [f"look {self.looks}"]

    def explain(self, text: str) -> Sequence[str]:
        """Where a look runs."""
        return [text, threading.current_thread().name]

    def examine(self) -> Iterable[Finding]:
        """One finding, and nonsense where it is told so."""
        yield Finding("note", "a thread", threading.current_thread().name)
        if self.config.does == "examine":
            yield Finding("bad", "a level", "It is none.")  # type: ignore[arg-type]  # that is the point
            yield object()  # type: ignore[misc]  # as above

    def leftovers(self, held: Mapping[str, Collection[str]]) -> Iterable[Leftover]:
        """A file that each held device needs, and nonsense where it is told so."""
        yield Leftover("/run/sample.json", tuple(held.get(RESOURCE, ())))
        if self.config.does == "leftovers":
            yield object()  # type: ignore[misc]  # that is the point

    def allocate(self, resource: str, devices: Sequence[Device], edits: ContainerEdits) -> ContainerEdits:
        """The default and an environment variable, unless told otherwise by the resource."""
        if resource == "refuse":
            raise AllocationRefused("the licence has expired")
        if resource == "garbage":
            return ContainerEdits(envs={"A": 5})  # type: ignore[dict-item]  # that is the point
        if resource == "nothing":
            return None  # type: ignore[return-value]  # that is the point
        misbehave(resource)
        return ContainerEdits(device_nodes=edits.device_nodes, envs={"IDS": ",".join(device.id for device in devices)})

    def preferred_allocation(
        self, resource: str, available: Sequence[str], must_include: Sequence[str], size: int
    ) -> Sequence[str]:
        """The last ones."""
        return [*must_include, *available][-size:]

    def pre_start_required(self, resource: str) -> bool:
        """For one resource."""
        if self.config.does == "pre_start_required":
            raise LookupError("undecided")
        return resource == RESOURCE

    def pre_start(self, resource: str, devices: Sequence[Device]) -> None:
        """Nothing, or what the resource says."""
        misbehave(resource)

    async def watch(self, look_again: LookAgain) -> None:
        """Three calls, one of them from another thread, then what it is told to do."""
        for _ in range(2):
            look_again()
        await trio.to_thread.run_sync(look_again)
        how = self.config.does.removeprefix("watch:")
        if how == "flood":
            for _ in range(1_000_000):
                look_again()
        elif how == "forever":
            try:
                await trio.sleep_forever()
            finally:
                os.kill(os.getpid(), signal.SIGKILL)  # tells the test that the watch was cancelled
        else:
            misbehave(how)


class Sleeper(Plain):
    """Sleeps 100 ms in a loop with the interpreter lock held, in a thread of its own."""

    name = "sleeper"

    def __init__(self, config: Config, host: Host) -> None:
        super().__init__(config, host)
        threading.Thread(target=self._sleep, daemon=True).start()

    def _sleep(self) -> None:
        while True:
            ctypes.PyDLL(None).usleep(100_000)
            time.sleep(0)


@hookimpl
def config_type() -> type[Config]:
    """Its section."""
    return Config


@hookimpl
def device_plugins(config: Config, host: Host) -> list[object]:
    """All of them; "load:..." goes wrong here."""
    if config.does.startswith("load:"):
        misbehave(config.does.removeprefix("load:"))
    extra = [object()] if config.does == "extra" else [Sleeper(config, host)] if config.does == "sleeper" else []
    return [Plain(config, host), Full(config, host), *extra]
