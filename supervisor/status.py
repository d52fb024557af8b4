"""What this process is doing, as one frozen picture, and the two judgements made on it: is it alive, is it ready.

The picture is drawn from events (``supervisor.observe.board``) and shown by ``/readyz``, ``/status`` and the metrics. Times are
``time.monotonic()`` seconds, so that a clock that is set changes no judgement; ``supervisor.observe.reporting`` makes dates of them.
"""

import enum
from collections.abc import Iterator

from msgspec import Struct

GRACE = 5.0
"""Seconds in which a resource may be without its kubelet after a promotion or a loss: a kubelet's restart is no failure."""

LATEST_HEARTBEAT = 10.0
"""Seconds without a heartbeat after which a thread counts as wedged."""


class PluginState(enum.StrEnum):
    """What became of a plugin."""

    WAITING = "waiting"
    """Loaded; its first look has not ended."""
    UP = "up"
    FAILING = "failing"
    """Its last look raised, was late or gave nonsense; its last inventory stays."""
    STUCK = "stuck"
    """A look has not come back."""
    REJECTED = "rejected"


class Phase(enum.StrEnum):
    """Where a resource stands between its plugin and the kubelet."""

    OFFERED = "offered"
    BOUND = "bound"
    """Its socket answers; nobody has asked yet."""
    REGISTERING = "registering"
    CONNECTED = "connected"
    """The kubelet holds a stream open: the only proof of a registration."""
    LOST = "lost"
    CONTESTED = "contested"
    """A rival plugin keeps taking it."""


class NoticeOrigin(enum.StrEnum):
    """Which part of the program a notice comes from, and thus what takes it away."""

    LOOK = "look"
    CLAIM = "claim"
    WATCH = "watch"
    UDEV = "udev"
    MEMORY = "memory"
    CLUSTER = "cluster"
    HTTP = "http"


class Notice(Struct, frozen=True):
    """Something to know that stops nothing."""

    origin: NoticeOrigin
    about: str
    """A resource, or one with a device; may be empty."""
    text: str
    since: float

    def __str__(self) -> str:
        return f"{self.about}: {self.text}" if self.about else self.text


class PluginStatus(Struct, frozen=True):
    name: str
    distribution: str
    version: str = ""
    state: PluginState = PluginState.WAITING
    reason: str = ""
    notices: tuple[Notice, ...] = ()
    last_look: float | None = None
    """When a look last gave a usable answer."""


class ResourceStatus(Struct, frozen=True):
    name: str
    plugin: str
    since: float
    """When it was offered, connected or lost, whichever came last."""
    phase: Phase = Phase.OFFERED
    reason: str = ""
    """Why it is not connected."""
    has_inventory: bool = False
    healthy: int = 0
    unhealthy: int = 0
    tombstones: int = 0
    """Vanished ids that stay listed because they may still be allocated."""
    list_problem: str = ""
    """Why the newest device list could not be sent; the one before it stays in force."""

    @property
    def connected(self) -> bool:
        return self.phase is Phase.CONNECTED


class KubeletStatus(Struct, frozen=True):
    connected: bool = False
    """At least one resource has its stream."""
    reason: str = ""
    """Why no kubelet can be reached; empty while that is not known."""
    since: float | None = None


class ConfigStatus(Struct, frozen=True):
    generation: int = 0
    """How many configurations have been applied; 0 until the first one, and with it every plugin, is loaded."""
    problems: tuple[str, ...] = ()
    """What is wrong with the newest edit; the last good one is in force."""
    pending: tuple[str, ...] = ()
    """Sections that take effect at the next start."""
    profiles: tuple[str, ...] = ()
    """The names of those that hold on this node."""


class Status(Struct, frozen=True):
    active: bool = False
    """This process registers; otherwise it stands by for one that does."""
    active_reason: str = ""
    active_since: float | None = None
    started: bool = False
    """Every plugin has been loaded and has looked once, or ran out of time for it. Stays true."""
    kubelet: KubeletStatus = KubeletStatus()
    resources: tuple[ResourceStatus, ...] = ()
    plugins: tuple[PluginStatus, ...] = ()
    config: ConfigStatus = ConfigStatus()
    notices: tuple[Notice, ...] = ()


class Liveness(Struct, frozen=True):
    """Seconds since each thread last turned."""

    supervising: float
    wire: float


def live(liveness: Liveness) -> tuple[bool, tuple[str, ...]]:
    """Whether both threads turn, and which one does not."""
    ages = {"supervising": liveness.supervising, "wire": liveness.wire}
    late = tuple(f"the {name} thread has not turned for {age:.1f} s" for name, age in ages.items() if age > LATEST_HEARTBEAT)
    return not late, late


def ready(status: Status, now: float) -> tuple[bool, tuple[str, ...]]:
    """Whether the process does what it can do, and everything that a person should know, what stops it first.

    Missing hardware or drivers, broken plugins and bad edits are named but stop nothing: they must not block a roll-out.
    """
    stopped_by = tuple(_not_connected(status, now) if status.started and status.active else _not_prepared(status))
    return not stopped_by, tuple(map(printable, (*stopped_by, *_to_know(status))))


def _not_prepared(status: Status) -> Iterator[str]:
    if status.config.generation == 0:
        yield "the plugins are not loaded yet"
    for plugin in status.plugins:
        if plugin.state is PluginState.WAITING:
            yield f"plugin {plugin.name} has not looked yet"
    for resource in status.resources:
        if resource.has_inventory and resource.phase is Phase.OFFERED:
            yield f"resource {resource.name} has no server yet"


def _not_connected(status: Status, now: float) -> Iterator[str]:
    def overdue(since: float | None) -> bool:
        return now - max(since or 0.0, status.active_since or 0.0) > GRACE

    kubelet = status.kubelet
    if not kubelet.connected and kubelet.reason and overdue(kubelet.since):
        yield f"no kubelet: {kubelet.reason}"
    for resource in status.resources:
        if resource.has_inventory and not resource.connected and overdue(resource.since):
            yield f"resource {resource.name} is {resource.phase}, not connected" + _because(resource.reason)


def _to_know(status: Status) -> Iterator[str]:
    for plugin in status.plugins:
        if plugin.state not in {PluginState.UP, PluginState.WAITING}:
            yield f"plugin {plugin.name} is {plugin.state}" + _because(plugin.reason)
        for notice in plugin.notices:
            yield f"plugin {plugin.name}: {notice}"
    for resource in status.resources:
        if resource.list_problem:
            yield f"resource {resource.name} keeps an older list: {resource.list_problem}"
    for problem in status.config.problems:
        yield f"configuration not applied: {problem}"
    if status.config.pending:
        yield f"configuration pending until the next start: {', '.join(status.config.pending)}"
    for notice in status.notices:
        yield f"{notice.origin}: {notice}"


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


def printable(text: str, limit: int = 1024) -> str:
    """One line that any encoder takes: no control characters, no lone surrogates (undecodable file names), not endless."""
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    return (
        text if text.isprintable() else "".join(mark if mark.isprintable() else " " if mark.isspace() else "?" for mark in text)
    )
