"""The families that are read from frozen values: what the process, its plugins and its resources are at one moment.

Labels have bounded sets of values, and every one that is known is there before anything happened to it.
"""

import platform
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate

from msgspec import Struct

from supervisor import __version__
from supervisor.attribution import Attribution
from supervisor.config import MetricsConfig
from supervisor.families import PREFIX, exposed_name, without_others
from supervisor.inventory import Inventory
from supervisor.levels import ALLOCATION_BOUNDS, Counts, Outcome
from supervisor.model import Health, MetricFamily
from supervisor.observe.lines import Family, Row, family
from supervisor.status import NoticeOrigin, Phase, PluginState, PluginStatus, ResourceStatus, Status, printable

MOST_RESOURCES = 512
"""Resources with series of their own, the first ones of the status."""
HEALTHS = (Health.HEALTHY, Health.UNHEALTHY)
"""As which devices are counted; an occupied one is healthy, like one that a pod holds."""

UNCALLED = Counts(
    allocations=dict.fromkeys(("ok", "refused", "failed", "timed_out"), 0),
    allocation_buckets=(0,) * (len(ALLOCATION_BOUNDS) + 1),
    allocation_seconds=0.0,
    registrations=dict.fromkeys(Outcome, 0),
)
"""The calls of a resource that has no server yet."""

_BOUNDS = (*map(str, ALLOCATION_BOUNDS), "+Inf")


class RpcCounts(Struct, frozen=True):
    """One resource's calls, as the wire thread counted them."""

    resource: str
    streams: int
    """Open ``ListAndWatch`` calls."""
    counts: Counts


class Taken(Struct, frozen=True):
    """What a scrape shows beside the counters, as it was at one moment."""

    status: Status
    rpcs: tuple[RpcCounts, ...] = ()
    inventories: tuple[Inventory, ...] = ()
    families: Mapping[str, tuple[MetricFamily, ...]] = {}
    """By plugin."""
    attribution: Attribution = Attribution()
    wanted: MetricsConfig = MetricsConfig()
    now: float = 0.0
    """``time.monotonic()`` of that moment."""


def gauge(name: str, text: str, rows: Iterable[Row]) -> Family:
    """A gauge of the supervisor's own."""
    return family(PREFIX + name, text, rows)


def label(value: str) -> str:
    """A text of others as a label's value."""
    return printable(value, 256)


def resources(taken: Taken) -> tuple[ResourceStatus, ...]:
    """Those that have series."""
    return taken.status.resources[:MOST_RESOURCES]


def drawn(taken: Taken) -> Iterator[Family]:
    """All of them, but for those whose number grows with the devices."""
    shown = resources(taken)
    yield from _process(taken.status)
    yield from _plugins(taken.status.plugins)
    yield from _resources(shown)
    yield from _calls(shown, {rpc.resource: rpc for rpc in taken.rpcs})
    yield from _attribution(taken)
    yield from _measured(taken.families)


def _process(status: Status) -> Iterator[Family]:
    python = platform.python_version()
    unwritten = sum(notice.origin is NoticeOrigin.MEMORY for notice in status.notices)
    build = [({"version": __version__, "python": python}, 1)]
    yield family(f"{PREFIX}build", "The program and the Python that runs it.", build, "info")
    yield _single("active", "1 when this process registers, 0 when it stands by for another.", status.active)
    yield _single("kubelet_connected", "1 while the kubelet holds a stream of any resource open.", status.kubelet.connected)
    yield _single("config_generation", "Configurations applied since the start.", status.config.generation)
    yield _single(
        "config_problems",
        "Mistakes in the newest configuration; while there are any, the one before it stays in force.",
        len(status.config.problems),
    )
    yield _single("memory_unwritten", "Packages whose memory over restarts could not be written at the last try.", unwritten)


def _single(name: str, text: str, value: float) -> Family:
    return gauge(name, text, [({}, int(value))])


def _plugins(plugins: tuple[PluginStatus, ...]) -> Iterator[Family]:
    """A refused duplicate has the name of a plugin that works: such a name is in two states, and up."""
    states: dict[str, set[PluginState]] = {}
    notices: dict[str, int] = {}
    infos: dict[tuple[str, str, str], Row] = {}
    for plugin in plugins:
        name = label(plugin.name)
        states.setdefault(name, set()).add(plugin.state)
        notices[name] = notices.get(name, 0) + len(plugin.notices)
        info = (name, label(plugin.distribution), label(plugin.version))
        infos[info] = (dict(zip(("plugin", "distribution", "version"), info, strict=True)), 1)
    up = [({"plugin": name}, int(PluginState.UP in found)) for name, found in states.items()]
    yield gauge("plugin_up", "1 when the plugin's last look gave an answer.", up)
    each = [({"plugin": name, "state": state}, int(state in found)) for name, found in states.items() for state in PluginState]
    yield gauge("plugin_state", "1 for the state that a plugin is in, 0 for all others.", each)
    told = [({"plugin": name}, number) for name, number in notices.items()]
    yield gauge("plugin_notices", "Things to know about a plugin; the status page tells them.", told)
    yield family(f"{PREFIX}plugin", "Where a plugin comes from.", infos.values(), "info")


def _resources(shown: tuple[ResourceStatus, ...]) -> Iterator[Family]:
    devices: list[Row] = []
    for one in shown:
        numbers = (one.healthy, one.unhealthy)
        devices += (({"resource": one.name, "health": each}, number) for each, number in zip(HEALTHS, numbers, strict=True))
    yield gauge("devices", "Devices in the newest list.", devices)
    gone = [({"resource": one.name}, one.tombstones) for one in shown]
    yield gauge("tombstones", "Devices that are gone but stay listed because a pod may hold them.", gone)
    phases = [({"resource": one.name, "phase": phase}, int(one.phase is phase)) for one in shown for phase in Phase]
    yield gauge("resource_phase", "1 for where a resource stands between its plugin and the kubelet, 0 for all others.", phases)


def _calls(shown: tuple[ResourceStatus, ...], rpcs: Mapping[str, RpcCounts]) -> Iterator[Family]:
    known = [rpcs.get(one.name) or RpcCounts(one.name, 0, UNCALLED) for one in shown]
    connected = [({"resource": rpc.resource}, int(rpc.streams > 0)) for rpc in known]
    yield gauge("connected", "1 while the kubelet holds a stream of the resource open.", connected)
    allocations = (row for rpc in known for row in _outcomes(rpc.resource, rpc.counts.allocations))
    yield family(f"{PREFIX}allocations", "Calls of Allocate.", allocations, "counter")
    registrations = (row for rpc in known for row in _outcomes(rpc.resource, rpc.counts.registrations))
    yield family(f"{PREFIX}registrations", "Calls of Register.", registrations, "counter")
    name = f"{PREFIX}allocation_seconds"
    samples = [sample for rpc in known for sample in _histogram(name, {"resource": rpc.resource}, rpc.counts)]
    yield Family(name, "Duration of Allocate.", "histogram", samples)


def _outcomes(resource: str, counts: Mapping[str, int]) -> Iterator[Row]:
    return (({"resource": resource, "outcome": outcome}, number) for outcome, number in counts.items())


def _histogram(name: str, labels: Mapping[str, str], counts: Counts) -> Iterator[tuple[str, Mapping[str, str], float]]:
    below = 0
    for bound, below in zip(_BOUNDS, accumulate(counts.allocation_buckets), strict=True):
        yield f"{name}_bucket", {**labels, "le": bound}, below
    yield f"{name}_count", labels, below
    yield f"{name}_sum", labels, counts.allocation_seconds


def _attribution(taken: Taken) -> Iterator[Family]:
    attribution = taken.attribution
    yield _single("attribution_known", "1 when it is known which containers hold which devices.", attribution.known)
    ages: list[Row] = [] if attribution.read_at is None else [({}, round(max(0.0, taken.now - attribution.read_at), 3))]
    yield gauge("attribution_age_seconds", "Seconds since the kubelet was last asked who holds which devices.", ages)


def _measured(families: Mapping[str, tuple[MetricFamily, ...]]) -> Iterator[Family]:
    """What plugins measured. They were checked when they looked; a plugin that came later may have taken a name since."""
    for plugin, own in families.items():
        for each in without_others(plugin, own, families)[0]:
            rows = ((sample.labels, sample.value) for sample in each.samples)
            name = exposed_name(plugin, each.name).removesuffix({"counter": "_total", "info": "_info"}.get(each.kind, ""))
            yield family(name, printable(each.help), rows, each.kind)
