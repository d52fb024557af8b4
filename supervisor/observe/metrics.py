"""The metrics: an observer that counts, and a view of frozen values that others keep. Nothing is kept twice.

The only importer of prometheus_client. A scrape takes its values in the supervising thread (``take``), which is quick, and draws
the page from them in any other (``render``). Labels have bounded sets of values; a known one is at zero before its first event.
"""

from collections.abc import Iterator
from itertools import chain

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, GCCollector, Histogram, PlatformCollector, ProcessCollector

from supervisor import events
from supervisor.observe.accept import wants_openmetrics
from supervisor.observe.device_lines import DeviceLines
from supervisor.observe.lines import OPENMETRICS_TYPE, TEXT_TYPE, Family, write
from supervisor.observe.series import Taken, drawn, label

LOOK_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Seconds; from a handful of sysfs reads (1 ms) to a driver that is about to run into its deadline."""

UEVENT_ACTIONS = frozenset({"add", "remove", "change", "move", "online", "offline", "bind", "unbind"})
"""All that the kernel has (``kobject_actions`` in ``lib/kobject_uevent.c``)."""

MOST_SUBSYSTEMS = 32
"""Subsystems with a series of their own; the others share ``other``."""


class Metrics:
    """Called with each event, in the supervising thread. What others keep it is handed with each scrape."""

    def __init__(self) -> None:
        self._devices = DeviceLines()
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
                self._looks.labels(label(plugin)).observe(seconds)
            case events.LookFailed(plugin=plugin) | events.WatchFailed(plugin=plugin):
                self._restarts.labels(label(plugin)).inc()
            case events.KubeletRestarted():
                self._kubelet_restarts.inc()
            case events.ConfigRejected():
                self._config_errors.inc()
            case events.PluginLoaded(plugin=plugin):
                self._restarts.labels(label(plugin))
                self._looks.labels(label(plugin))
            case events.PluginRetired(plugin=plugin):
                self._restarts.remove(label(plugin))
                self._looks.remove(label(plugin))
            case _:
                pass  # everything else is read from the status when it is asked for

    def render(self, taken: Taken, accept: str = "") -> tuple[bytes, str]:
        """The page and its content type, as OpenMetrics where the ``Accept`` header prefers it. For any thread."""
        openmetrics = wants_openmetrics(accept)
        families = chain(drawn(taken), self._devices.families(taken), self._counted())
        return write(families, openmetrics=openmetrics), OPENMETRICS_TYPE if openmetrics else TEXT_TYPE

    def _counted(self) -> Iterator[Family]:
        """What was counted here, and what the library knows of the process."""
        for metric in self._registry.collect():
            samples = [(sample.name, sample.labels, sample.value) for sample in metric.samples]
            yield Family(metric.name, metric.documentation, metric.type, samples)

    def _bounded(self, subsystem: str) -> str:
        subsystem = label(subsystem)
        if subsystem not in self._subsystems:
            if len(self._subsystems) >= MOST_SUBSYSTEMS:
                return "other"
            self._subsystems.add(subsystem)
        return subsystem


def _counter(registry: CollectorRegistry, name: str, text: str, *labels: str) -> Counter:
    return Counter(f"device_plugin_{name}_total", text, labels, registry=registry)
