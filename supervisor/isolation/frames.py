"""What a supervisor and an isolated plugin package say to each other, beside the answers and failures of every border.

What comes from a plugin is believed in nothing: devices and edits are checked again by whoever uses them.
"""

from typing import Any

import msgspec

from supervisor.host import Host
from supervisor.memory import EMPTY
from supervisor.model import ContainerEdits, Device, NodeFacts


class Start(msgspec.Struct, frozen=True):
    """The first message to a new process: which package it is to run, with what, and how many bytes of data it may have."""

    package: str
    section: dict[str, Any] | None
    host: Host
    memory: int
    recalled: bytes = EMPTY
    """What the package remembers from before."""


class PluginInfo(msgspec.Struct, frozen=True):
    """One plugin object of the package."""

    name: str
    subsystems: tuple[str, ...]
    capabilities: frozenset[str]


class Started(msgspec.Struct, frozen=True, tag=True):
    """The answer to ``Start``. ``refused`` holds pairs of a plugin's name and why it is left out."""

    plugins: tuple[PluginInfo, ...]
    refused: tuple[tuple[str, str], ...] = ()
    remembers: bool = False
    """Whether the package asked for its memory, and a connection for it is wanted."""


class Unchanged(msgspec.Struct, frozen=True, tag=True):
    """A look gave, byte for byte, what the last one over this connection gave."""


class Discover(msgspec.Struct, frozen=True, tag="discover"):
    plugin: str


class Explain(msgspec.Struct, frozen=True, tag="explain"):
    plugin: str
    text: str


class Examine(msgspec.Struct, frozen=True, tag="examine"):
    plugin: str


class Leftovers(msgspec.Struct, frozen=True, tag="leftovers"):
    plugin: str
    held: dict[str, tuple[str, ...]]


class Allocate(msgspec.Struct, frozen=True, tag="allocate"):
    plugin: str
    resource: str
    devices: tuple[Device, ...]
    edits: ContainerEdits


class PreferredAllocation(msgspec.Struct, frozen=True, tag="preferred_allocation"):
    plugin: str
    resource: str
    available: tuple[str, ...]
    must_include: tuple[str, ...]
    size: int


class PreStart(msgspec.Struct, frozen=True, tag="pre_start"):
    plugin: str
    resource: str
    devices: tuple[Device, ...]


class TakeOver(msgspec.Struct, frozen=True, tag="take_over"):
    plugin: str


class LearnNode(msgspec.Struct, frozen=True, tag="learn_node"):
    plugin: str
    node: NodeFacts


class CollectMetrics(msgspec.Struct, frozen=True, tag="collect_metrics"):
    plugin: str


class Remember(msgspec.Struct, frozen=True, tag="remember"):
    """Turns the connection round: from now on the process asks, with ``Recall`` and ``Keep``, and the supervisor answers."""


class Recall(msgspec.Struct, frozen=True, tag=True):
    """Answered with ``Recalled``."""


class Recalled(msgspec.Struct, frozen=True):
    memory: bytes


class Keep(msgspec.Struct, frozen=True, tag=True):
    """Answered with ``Kept``, so that it is not overtaken by the answer to what the plugin kept it in."""

    memory: bytes


class Kept(msgspec.Struct, frozen=True):
    """Noted. It is written later, if at all."""


class Watch(msgspec.Struct, frozen=True, tag="watch"):
    """Turns the connection into a stream of bytes from the plugin: ``LOOK_AGAIN`` for each call, then ``ENDED`` and why."""

    plugin: str


LOOK_AGAIN = b"!"
ENDED = b"."

Request = (
    Discover
    | Explain
    | Examine
    | Leftovers
    | Allocate
    | PreferredAllocation
    | PreStart
    | TakeOver
    | LearnNode
    | CollectMetrics
    | Watch
)


class Seen(msgspec.Struct, frozen=True):
    """The value that answers ``Discover``: the devices, and what else is asked of a plugin after each look."""

    resources: Any
    """By resource name; whatever the plugin returned."""
    subsystems: tuple[str, ...]
    pre_start_required: dict[str, bool | str]
    """By resource name; a string is the error that the question raised."""
    notices: tuple[str, ...] | str
    """A string is the error that the question raised."""
