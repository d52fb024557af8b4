"""The metrics: an observer that counts, and a view of frozen values that others keep. Nothing is kept twice.

The only importer of prometheus_client. A scrape takes its values in the supervising thread (``take``), which is quick, and draws
the page from them in any other (``render``). Labels have bounded sets of values; a known one is at zero before its first event.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate, chain, islice

import prometheus_client
from msgspec import Struct
from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    exposition,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from supervisor import events
from supervisor.families import exposed_name, without_others
from supervisor.inventory import Inventory
from supervisor.levels import ALLOCATION_BOUNDS, Counts
from supervisor.model import Health, MetricFamily
from supervisor.status import NoticeOrigin, PluginState, Status, printable

LOOK_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Seconds; from a handful of sysfs reads (1 ms) to a driver that is about to run into its deadline."""

UEVENT_ACTIONS = frozenset({"add", "remove", "change", "move", "online", "offline", "bind", "unbind"})
"""All that the kernel has (``kobject_actions`` in ``lib/kobject_uevent.c``)."""

MOST_SUBSYSTEMS = 32
"""Subsystems with a series of their own; the others share ``other``."""

MOST_DEVICES = 4096
"""Devices with a series of their own, the unhealthy ones first; ``devices`` counts them all."""

OPENMETRICS = "application/openmetrics-text"


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


class Metrics:
    """Called with each event. The callables given are called in the supervising thread."""

    def __init__(
        self,
        status: Callable[[], Status],
        rpcs: Callable[[], Iterable[RpcCounts]] = tuple,
        inventories: Callable[[], Iterable[Inventory]] = tuple,
        families: Callable[[], Mapping[str, tuple[MetricFamily, ...]]] = dict,
    ) -> None:
        self._status = status
        self._rpcs = rpcs
        self._inventories = inventories
        self._families = families
        # Each counter and histogram would bring a second series with the time of its birth, which nobody asks for.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves it without types
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self._kubelet_restarts = _counter(registry, "kubelet_restarts", "New kubelet sockets seen.")
        self._config_errors = _counter(registry, "config_errors", "Edits of the configuration that were not applied.")
        self._restarts = _counter(
            registry, "plugin_restarts", "Times a plugin's look or event source failed and was started again.", "plugin"
        )
        self._uevents = _counter(registry, "uevents", "Kernel events of wanted subsystems.", "subsystem", "action")
        self._looks = Histogram(
            "device_plugin_discovery_seconds",
            "Duration of looks at the hardware that gave an answer.",
            ["plugin"],
            buckets=LOOK_BOUNDS,
            registry=registry,
        )
        self._subsystems: set[str] = set()

    def __call__(self, event: events.Event) -> None:
        match event:
            case events.UeventReceived(subsystem=subsystem, action=action):
                self._uevents.labels(self._bounded(subsystem), action if action in UEVENT_ACTIONS else "other").inc()
            case events.LookFinished(plugin=plugin, seconds=seconds):
                self._looks.labels(plugin).observe(seconds)
            case events.LookFailed(plugin=plugin) | events.WatchFailed(plugin=plugin):
                self._restarts.labels(plugin).inc()
            case events.KubeletRestarted():
                self._kubelet_restarts.inc()
            case events.ConfigRejected():
                self._config_errors.inc()
            case events.PluginLoaded(plugin=plugin):
                self._restarts.labels(plugin)
                self._looks.labels(plugin)
            case events.PluginRetired(plugin=plugin):
                self._restarts.remove(plugin)
                self._looks.remove(plugin)
            case _:
                pass  # everything else is read from the status when it is asked for

    def take(self) -> Taken:
        """The values of this moment. For the supervising thread."""
        return Taken(self._status(), tuple(self._rpcs()), tuple(self._inventories()), dict(self._families()))

    def render(self, taken: Taken, accept: str = "") -> tuple[bytes, str]:
        """The page and its content type, as OpenMetrics where the ``Accept`` header wants it. For any thread.

        The library's own negotiation is not used: a version that is no number, in a header that anybody may send, makes it raise.
        """
        page = _Page(self._registry, taken)
        if _wants_openmetrics(accept):
            drawn: bytes = openmetrics.generate_latest(page)  # type: ignore[no-untyped-call]  # as above
            return drawn, openmetrics.CONTENT_TYPE_LATEST
        return exposition.generate_latest(page), "text/plain; version=0.0.4; charset=utf-8"

    def _bounded(self, subsystem: str) -> str:
        if subsystem not in self._subsystems:
            if len(self._subsystems) >= MOST_SUBSYSTEMS:
                return "other"
            self._subsystems.add(subsystem)
        return subsystem


def _counter(registry: CollectorRegistry, name: str, text: str, *labels: str) -> Counter:
    return Counter(f"device_plugin_{name}_total", text, labels, registry=registry)


def _wants_openmetrics(accept: str) -> bool:
    """Whether a version 1 of OpenMetrics is among what is accepted. Prometheus asks for text too, but likes it less."""
    return any(_is_openmetrics(*(part.strip().lower() for part in entry.split(";"))) for entry in accept.split(","))


def _is_openmetrics(media: str, *parameters: str) -> bool:
    given = dict(parameter.partition("=")[::2] for parameter in parameters)
    return media == OPENMETRICS and given.get("version", "1").startswith("1") and given.get("q") not in {"0", "0.0"}


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"device_plugin_{name}", text, labels=labels)


class _Page(Collector):
    """The counters, and the families that are read from what was taken."""

    def __init__(self, registry: CollectorRegistry, taken: Taken) -> None:
        self._registry = registry
        self._taken = taken

    def collect(self) -> Iterator[Metric]:
        status = self._taken.status
        return chain(
            _process(status),
            _plugins(status),
            _resources(status),
            _calls(status, self._taken.rpcs),
            _device_health(self._taken.inventories),
            _measured(self._taken.families),
            self._registry.collect(),
        )


def _process(status: Status) -> Iterator[Metric]:
    active = _gauge("active", "1 when this process registers, 0 when it stands by for another.")
    active.add_metric((), float(status.active))
    generation = _gauge("config_generation", "Configurations applied since the start.")
    generation.add_metric((), status.config.generation)
    unwritten = _gauge("memory_unwritten", "Packages whose memory over restarts could not be written at the last try.")
    unwritten.add_metric((), sum(notice.origin is NoticeOrigin.MEMORY for notice in status.notices))
    return iter((active, generation, unwritten))


def _plugins(status: Status) -> Iterator[Metric]:
    up = _gauge("plugin_up", "1 when the plugin's last look gave an answer.", "plugin")
    info = _gauge("plugin_info", "Always 1; tells where a plugin comes from.", "plugin", "distribution", "version")
    by_name: dict[str, bool] = {}
    for plugin in status.plugins:
        # A refused duplicate has the name of a plugin that works.
        by_name[plugin.name] = by_name.get(plugin.name, False) or plugin.state is PluginState.UP
        info.add_metric((_label(plugin.name), _label(plugin.distribution), _label(plugin.version)), 1)
    for name, is_up in by_name.items():
        up.add_metric((_label(name),), float(is_up))
    return iter((up, info))


def _resources(status: Status) -> Iterator[Metric]:
    devices = _gauge("devices", "Devices in the newest list.", "resource", "health")
    for resource in status.resources:
        devices.add_metric((resource.name, Health.HEALTHY.value), resource.healthy)
        devices.add_metric((resource.name, Health.UNHEALTHY.value), resource.unhealthy)
    return iter((devices,))


def _calls(status: Status, rpcs: tuple[RpcCounts, ...]) -> Iterator[Metric]:
    connected = _gauge("connected", "1 while the kubelet holds a stream of the resource open.", "resource")
    streams = {resource.name: 0 for resource in status.resources} | {rpc.resource: rpc.streams for rpc in rpcs}
    for resource, held in streams.items():
        connected.add_metric((resource,), float(held > 0))
    allocations = _total("allocations", "Calls of Allocate.")
    registrations = _total("registrations", "Calls of Register.")
    seconds = HistogramMetricFamily("device_plugin_allocation_seconds", "Duration of Allocate.", labels=("resource",))
    for rpc in rpcs:
        _add(allocations, rpc.resource, rpc.counts.allocations)
        _add(registrations, rpc.resource, rpc.counts.registrations)
        bounds = (*map(str, ALLOCATION_BOUNDS), "+Inf")
        buckets = zip(bounds, map(float, accumulate(rpc.counts.allocation_buckets)), strict=True)
        seconds.add_metric((rpc.resource,), list(buckets), rpc.counts.allocation_seconds)
    return iter((connected, allocations, registrations, seconds))


def _total(name: str, text: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"device_plugin_{name}", text, labels=("resource", "outcome"))


def _add(family: CounterMetricFamily, resource: str, counts: Mapping[str, int]) -> None:
    for outcome, number in counts.items():
        family.add_metric((resource, outcome), number)


def _label(value: str) -> str:
    return printable(value, 128)


def _device_health(inventories: tuple[Inventory, ...]) -> Iterator[Metric]:
    health = _gauge("device_health", "1 when a device is healthy, 0 when it is not.", "resource", "device", "reason")
    listed = [(inventory.resource, device) for inventory in inventories for device in inventory.devices]
    unhealthy = (entry for entry in listed if not entry[1].healthy)
    healthy = (entry for entry in listed if entry[1].healthy)
    for resource, device in islice(chain(unhealthy, healthy), MOST_DEVICES):
        health.add_metric((resource, device.id, _label(device.reason)), float(device.healthy))
    return iter((health,))


_KINDS = {"gauge": "", "counter": "_total", "info": "_info"}
"""Each kind with what it appends to the names of its samples."""


def _measured(families: Mapping[str, tuple[MetricFamily, ...]]) -> Iterator[Metric]:
    """What plugins measured. They were checked when they looked; a plugin that came later may have taken a name since."""
    for plugin, own in families.items():
        for family in without_others(plugin, own, families)[0]:
            suffix = _KINDS[family.kind]
            metric = Metric(exposed_name(plugin, family.name).removesuffix(suffix), printable(family.help), family.kind)
            for sample in family.samples:
                metric.add_sample(metric.name + suffix, dict(sample.labels), sample.value)
            yield metric
