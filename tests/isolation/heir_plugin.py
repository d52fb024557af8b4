"""A plugin package that remembers, takes over and measures; copied into a distribution of its own by the tests."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from supervisor import Device, Host, Memory, MetricFamily, NodeFacts, Sample, hookimpl

RESOURCE = "example.com/heir"


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    does: str = ""
    """What it does wrong; empty: nothing."""


class Heir:
    """What it recalls when it takes over is the reason of its one device."""

    name = "heir"
    udev_subsystems = ()

    def __init__(self, config: Config, memory: Memory) -> None:
        self.does = config.does
        self.memory = memory
        self.at_start = memory.recall()
        self.taken_over: list[Mapping[str, Any]] = []
        self.nodes: list[str] = []
        if self.does == "eager":
            memory.keep({"eager": os.getpid()})

    def take_over(self) -> None:
        """Note what was kept before, and keep that it was."""
        if self.does == "raise":
            raise OSError("the disk is full")
        self.taken_over.append(self.memory.recall())
        self.memory.keep({"lives": self.taken_over[-1].get("lives", 0) + 1, "pid": os.getpid()})

    def learn_node(self, node: NodeFacts) -> None:
        """Note which node this is."""
        self.nodes.append(node.name)

    def discover(self) -> Mapping[str, Iterable[Device]]:
        """One device that tells what is remembered."""
        if self.does == "nonsense":
            self.memory.keep(5)  # type: ignore[arg-type]  # that is the point
        told = {"start": self.at_start, "taken over": self.taken_over, "now": self.memory.recall()}
        if self.nodes:
            told["nodes"] = self.nodes
        return {RESOURCE: [Device("one", reason=json.dumps(told))]}

    def collect_metrics(self) -> Iterator[MetricFamily]:
        """A good metric, and whatever the configuration asks for."""
        yield MetricFamily("lives", "Times it took over.", "counter", (Sample({"device": "one"}, len(self.taken_over)),))
        if self.does == "metrics":
            yield MetricFamily("Bad", "A bad name.")
            yield MetricFamily("part", "Half of it good.", samples=(Sample({"a": "\udc80"}, 1), Sample({"a": "b"}, 2)))
            yield MetricFamily("typed", "Half of it good.", samples=(Sample({"a": 5}, 1), Sample({"a": "b"}, 2)))  # type: ignore[dict-item]  # that is the point
            yield "nonsense"  # type: ignore[misc]  # that is the point
        if self.does == "metrics raise":
            raise LookupError("no sensor")


@hookimpl
def config_type() -> type[Config]:
    """Its section."""
    return Config


@hookimpl
def device_plugins(config: Config, memory: Memory, host: Host) -> list[Heir]:
    """Its one plugin."""
    return [Heir(config, memory)]
