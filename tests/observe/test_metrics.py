"""The metrics say what the events and the counts say, in a form that Prometheus reads."""

import platform
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from supervisor import __version__, events
from supervisor.attribution import Attribution
from supervisor.config import MetricsConfig
from supervisor.families import CORE, check_families
from supervisor.inventory import Inventory
from supervisor.ledger import Holding
from supervisor.levels import ALLOCATION_BOUNDS, Counts, Outcome
from supervisor.model import Device, Health, MetricFamily, Sample
from supervisor.observe.board import StatusBoard
from supervisor.observe.metrics import MOST_SUBSYSTEMS, Metrics
from supervisor.observe.series import RpcCounts, Taken
from supervisor.status import Phase, PluginState
from tests.observe.scrapes import samples

GPU = "vendor.example/gpu"
NONE = Counts({"ok": 0, "refused": 0}, (0,) * (len(ALLOCATION_BOUNDS) + 1), 0.0, {"answered": 0})


class Watched:
    """Metrics beside the board they read, told the same events."""

    def __init__(self) -> None:
        self.rpcs: tuple[RpcCounts, ...] = ()
        self.inventories: tuple[Inventory, ...] = ()
        self.measured: dict[str, tuple[MetricFamily, ...]] = {}
        self.attribution = Attribution()
        self.wanted = MetricsConfig()
        self._board = StatusBoard(lambda: 0.0)
        self.metrics = Metrics()
        self._observers: tuple[Callable[[events.Event], None], ...] = (self._board, self.metrics)

    def tell(self, *happened: events.Event) -> None:
        for event in happened:
            for observe in self._observers:
                observe(event)

    def page(self, accept: str = "") -> tuple[bytes, str]:
        taken = Taken(self._board.current, self.rpcs, self.inventories, self.measured, self.attribution, self.wanted, now=100.0)
        return self.metrics.render(taken, accept)

    def families(self) -> Iterable[Metric]:
        body, _ = self.page()
        return parse_text(body.decode())

    def samples(self, name: str) -> dict[tuple[str, ...], float]:
        return samples(self.page()[0], name)


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_every_family_of_the_core_is_there_from_the_start(watched: Watched) -> None:
    """A dashboard finds all names, and what has no labels is at zero."""
    names = {family.name for family in watched.families()}
    assert {f"device_plugin_{name}" for name in (
        "devices", "device_health", "allocations", "allocation_seconds", "registrations", "connected", "active",
        "kubelet_restarts", "discovery_seconds", "plugin_up", "plugin_restarts", "plugin_info", "config_generation",
        "config_errors", "uevents", "plugin_state", "plugin_notices", "build_info", "resource_phase", "tombstones", "allocated",
        "attribution_known", "attribution_age_seconds", "replicas_in_use", "devices_held", "kubelet_connected",
        "memory_unwritten", "series_left_out",
    )} <= names  # fmt: skip
    for name in ("active", "kubelet_restarts_total", "config_generation", "config_errors_total"):
        assert watched.samples(name) == {(): 0.0}


def test_the_process_tells_of_itself(watched: Watched) -> None:
    """Memory, descriptors and processor time come with it."""
    names = {family.name for family in watched.families()}
    assert {"process_resident_memory_bytes", "process_open_fds", "process_cpu_seconds", "python_gc_collections"} <= names


def test_known_label_sets_start_at_zero(watched: Watched) -> None:
    """A plugin, a resource and its outcomes are there before anything happened to them."""
    watched.tell(events.PluginLoaded("gpu", "gpu-package", "1.0"), events.ResourceOffered("gpu", GPU))
    assert watched.samples("plugin_up") == {("gpu",): 0}
    assert watched.samples("plugin_restarts_total") == {("gpu",): 0}
    assert watched.samples("discovery_seconds_count") == {("gpu",): 0}
    assert watched.samples("plugin_info") == {("gpu-package", "gpu", "1.0"): 1}
    assert watched.samples("devices") == {("Healthy", GPU): 0, ("Unhealthy", GPU): 0}
    assert watched.samples("connected") == {(GPU,): 0}
    assert watched.samples("allocations_total") == {(name, GPU): 0 for name in ("ok", "refused", "failed", "timed_out")}
    assert watched.samples("registrations_total") == {(outcome, GPU): 0 for outcome in Outcome}
    assert watched.samples("allocation_seconds_count") == {(GPU,): 0}


def test_events_are_counted(watched: Watched) -> None:
    """Each counter counts its own events."""
    watched.tell(
        events.PluginLoaded("gpu", "gpu-package", "1.0"),
        events.LookFinished("gpu", 0.004, 8),
        events.LookFailed("gpu", "no driver", 1, 1.0),
        events.WatchFailed("gpu", "gone", 1.0),
        events.KubeletRestarted(),
        events.ConfigApplied(3, ()),
        events.ConfigRejected(("bad",)),
        events.OwnershipChanged(active=True, reason="free"),
        events.UeventReceived("usb", "add"),
    )
    assert watched.samples("discovery_seconds_sum") == {("gpu",): 0.004}
    assert watched.samples("discovery_seconds_bucket")["0.0025", "gpu"] == 0
    assert watched.samples("discovery_seconds_bucket")["0.005", "gpu"] == 1
    assert watched.samples("plugin_restarts_total") == {("gpu",): 2}
    assert watched.samples("plugin_up") == {("gpu",): 0}
    assert watched.samples("kubelet_restarts_total") == {(): 1}
    assert watched.samples("config_generation") == {(): 3}
    assert watched.samples("config_errors_total") == {(): 1}
    assert watched.samples("active") == {(): 1}
    assert watched.samples("uevents_total") == {("add", "usb"): 1}


def test_a_retired_plugin_leaves_no_series(watched: Watched) -> None:
    """Neither counters nor gauges go on telling of what is gone; one that was never loaded harms nobody."""
    watched.tell(events.PluginLoaded("gpu", "gpu-package", "1.0"), events.LookFinished("gpu", 0.1, 1))
    watched.tell(events.PluginRetired("gpu"), events.PluginRetired("never"))
    for name in ("plugin_up", "plugin_info", "plugin_restarts_total", "discovery_seconds_count"):
        assert watched.samples(name) == {}


def test_a_refused_duplicate_makes_no_second_series(watched: Watched) -> None:
    """A plugin is up when the one that works is up, whoever else wanted its name."""
    watched.tell(
        events.PluginLoaded("gpu", "gpu-package", "1.0"),
        events.LookFinished("gpu", 0.1, 1),
        events.PluginRejected("gpu", "rival", "the name is taken"),
        events.PluginRejected("odd", "odd-package", "it does not import"),
    )
    assert watched.samples("plugin_up") == {("gpu",): 1, ("odd",): 0}
    body, _ = watched.page()
    assert body.count(b'device_plugin_plugin_up{plugin="gpu"}') == 1


def test_calls_are_shown_as_the_wire_thread_counts_them(watched: Watched) -> None:
    """Outcomes, cumulative buckets, sum and streams."""
    buckets = (3, 2, *(0,) * (len(ALLOCATION_BOUNDS) - 2), 1)
    counts = Counts({"ok": 5, "timed_out": 1}, buckets, 10.5, {"answered": 2, "refused": 1})
    watched.rpcs = (RpcCounts(GPU, 2, counts),)
    watched.tell(events.ResourceOffered("gpu", GPU))
    assert watched.samples("connected") == {(GPU,): 1}
    assert watched.samples("allocations_total") == {("ok", GPU): 5, ("timed_out", GPU): 1}
    assert watched.samples("registrations_total") == {("answered", GPU): 2, ("refused", GPU): 1}
    assert watched.samples("allocation_seconds_sum") == {(GPU,): 10.5}
    assert watched.samples("allocation_seconds_count") == {(GPU,): 6}
    bucket = watched.samples("allocation_seconds_bucket")
    assert [bucket[bound, GPU] for bound in ("2.5e-05", "5e-05", "10.0", "+Inf")] == [3, 5, 5, 6]


def test_devices_and_their_holders_are_on_the_page(watched: Watched) -> None:
    """As the newest list and the newest reading have them, unless they are not wanted."""
    watched.tell(events.ResourceOffered("gpu", GPU))
    watched.inventories = (Inventory.of(GPU, (Device("g0"), Device("g1", Health.UNHEALTHY, "XID 79"))),)
    holders = {(GPU, "g0"): (Holding(GPU, "g0", "space", "pod", "main"),)}
    watched.attribution = Attribution(True, "", "podresources", 97.5, holders)
    assert watched.samples("device_health") == {("g0", "", GPU): 1, ("g1", "XID 79", GPU): 0}
    assert watched.samples("allocated") == {("main", "g0", "space", "pod", GPU): 1}
    assert watched.samples("devices_held") == {(GPU,): 1}
    watched.wanted = MetricsConfig(per_device=False, per_pod=False)
    assert watched.samples("device_health") == watched.samples("allocated") == {}


def test_what_is_known_of_holders_has_an_age(watched: Watched) -> None:
    """None before the kubelet was asked; a question without an answer has one, too, but is no knowledge."""
    assert watched.samples("attribution_known") == {(): 0}
    assert watched.samples("attribution_age_seconds") == {}
    watched.attribution = Attribution(reason="it does not answer", read_at=98.0)
    assert watched.samples("attribution_known") == {(): 0}
    assert watched.samples("attribution_age_seconds") == {(): 2}
    watched.attribution = Attribution(True, "", "podresources", 100.5)
    assert watched.samples("attribution_known") == {(): 1}
    assert watched.samples("attribution_age_seconds") == {(): 0}


def test_a_resource_is_in_one_phase(watched: Watched) -> None:
    """All phases are there from the start, and the kubelet is connected while any resource is."""
    watched.tell(events.ResourceOffered("gpu", GPU))
    assert watched.samples("resource_phase") == {(phase, GPU): phase is Phase.OFFERED for phase in Phase}
    assert watched.samples("kubelet_connected") == {(): 0}
    watched.tell(events.Registered(GPU, 0.1))
    assert watched.samples("resource_phase")["connected", GPU] == watched.samples("kubelet_connected")[()] == 1
    watched.tell(events.StreamLost(GPU))
    assert watched.samples("resource_phase")["lost", GPU] == 1
    watched.tell(events.ResourceContested(GPU, 300.0))
    assert watched.samples("resource_phase") == {(phase, GPU): phase is Phase.CONTESTED for phase in Phase}
    assert watched.samples("kubelet_connected") == {(): 0}


def test_tombstones_are_counted(watched: Watched) -> None:
    """From zero, up and down again."""
    watched.tell(events.ResourceOffered("gpu", GPU))
    assert watched.samples("tombstones") == {(GPU,): 0}
    watched.tell(events.DeviceTombstoned(GPU, "g0"), events.DeviceTombstoned(GPU, "g1"))
    assert watched.samples("tombstones") == {(GPU,): 2}
    watched.tell(events.TombstoneCleared(GPU, "g0", "free"))
    assert watched.samples("tombstones") == {(GPU,): 1}


def test_a_plugin_is_in_one_state(watched: Watched) -> None:
    """All states are there from the start, and so is the number of its notices."""
    watched.tell(events.PluginLoaded("gpu", "gpu-package", "1.0"))
    assert watched.samples("plugin_state") == {("gpu", state): state is PluginState.WAITING for state in PluginState}
    assert watched.samples("plugin_notices") == {("gpu",): 0}
    watched.tell(events.PluginStuck("gpu", 30.0), events.WatchFailed("gpu", "gone", 1.0))
    assert watched.samples("plugin_state") == {("gpu", state): state is PluginState.STUCK for state in PluginState}
    assert watched.samples("plugin_notices") == {("gpu",): 1}


def test_the_program_tells_its_version(watched: Watched) -> None:
    """And that of the Python that runs it."""
    assert watched.samples("build_info") == {(platform.python_version(), __version__): 1}


def test_uevents_have_bounded_labels(watched: Watched) -> None:
    """Beyond the first subsystems, and for actions that no kernel has, there is one other."""
    for number in range(MOST_SUBSYSTEMS + 5):
        watched.tell(events.UeventReceived(f"s{number}", "add"))
    watched.tell(events.UeventReceived("s0", "made-up"))
    shown = watched.samples("uevents_total")
    assert shown["add", "other"] == 5
    assert shown["other", "s0"] == 1
    assert len(shown) == MOST_SUBSYSTEMS + 2


def test_a_storm_of_changes_makes_no_series(watched: Watched) -> None:
    """However often health changes, looks fail and streams are lost: what is counted has labels, and labels are bounded."""
    watched.tell(events.PluginLoaded("gpu", "gpu-package", "1.0"), events.ResourceOffered("gpu", GPU))

    def storm(first: int) -> int:
        for number in range(first, first + 1_000):
            watched.tell(
                events.DeviceChanged("gpu", GPU, f"g{number}", Health.UNHEALTHY, f"reason {number}"),
                events.InventoryPublished("gpu", GPU, 1, number),
                events.LookFinished("gpu", number / 1_000, number),
                events.LookFailed("gpu", f"reason {number}", 1, 1.0),
                events.UeventReceived(f"s{number}", f"action {number}"),
                events.StreamLost(GPU),
            )
        return watched.page()[0].count(b"\ndevice_plugin_")

    assert storm(0) == storm(1_000)


def test_odd_texts_break_no_page(watched: Watched) -> None:
    """Undecodable, multi-line and quoted texts are harmless label values."""
    watched.tell(
        events.PluginRejected("odd\udcff", 'pack"age\\', "broken"),
    )
    watched.inventories = (Inventory.of(GPU, (Device("g0", Health.UNHEALTHY, 'no\nfile "\udcff"'),)),)
    assert watched.samples("device_health") == {("g0", 'no file "?"', GPU): 0}
    assert ('pack"age\\', "odd?", "") in watched.samples("plugin_info")


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        ("", False),
        ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", True),
    ],
)
def test_openmetrics_is_given_to_who_wants_it(watched: Watched, accept: str, openmetrics: bool) -> None:
    """The content type tells which of the two it is, and the page is what it says."""
    watched.rpcs = (RpcCounts(GPU, 1, NONE),)
    watched.tell(events.PluginLoaded("gpu", "gpu-package", "1.0"), events.LookFinished("gpu", 0.1, 1))
    body, content_type = watched.page(accept)
    assert content_type.startswith("application/openmetrics-text" if openmetrics else "text/plain")
    assert body.endswith(b"# EOF\n") is openmetrics
    families = list((parse_openmetrics if openmetrics else parse_text)(body.decode()))
    assert any(family.name == "device_plugin_connected" for family in families)


def test_nothing_tells_when_a_series_was_born(watched: Watched) -> None:
    """Birth times would double the counters."""
    watched.tell(events.PluginLoaded("gpu", "gpu-package", "1.0"))
    for accept in ("", "application/openmetrics-text"):
        assert b"_created" not in watched.page(accept)[0]


def test_plugins_metrics_are_on_the_page(watched: Watched) -> None:
    """Each under its plugin's name, every kind as its readers expect it, with or without its suffix in the plugin's name."""
    watched.measured = {
        "acme-gadget": (
            MetricFamily(
                "temperature_celsius", "How hot.", samples=(Sample({"gadget": "A"}, 40.5), Sample({"gadget": "B"}, 0))
            ),
            MetricFamily("faults", "Faults so far.", "counter", (Sample({}, 3),)),
            MetricFamily("resets_total", "Resets so far.", "counter", (Sample({}, 2),)),
            MetricFamily("driver", "The driver.", "info", (Sample({"version": "1.0"}, 1),)),
            MetricFamily("nothing", "Never seen."),
        )
    }
    assert watched.samples("acme_gadget_temperature_celsius") == {("A",): 40.5, ("B",): 0}
    assert watched.samples("acme_gadget_faults_total") == {(): 3}
    assert watched.samples("acme_gadget_resets_total") == {(): 2}
    assert watched.samples("acme_gadget_driver_info") == {("1.0",): 1}
    families = {family.name: family for family in watched.families()}
    assert families["device_plugin_acme_gadget_nothing"].samples == []
    assert families["device_plugin_acme_gadget_temperature_celsius"].documentation == "How hot."
    assert families["device_plugin_acme_gadget_faults"].type == "counter"
    body, _ = watched.page("application/openmetrics-text")
    exposed = parse_openmetrics(body.decode())  # type: ignore[no-untyped-call]  # the library leaves it without types
    types = {family.name: family.type for family in exposed}
    assert types["device_plugin_acme_gadget_resets"] == "counter"
    assert types["device_plugin_acme_gadget_driver"] == "info"


def test_a_name_that_a_later_plugin_owns_is_not_shown_twice(watched: Watched) -> None:
    """Until the first one looks again, and is told so."""
    family = MetricFamily("x_faults", "Faults.", samples=(Sample({}, 1),))
    watched.measured = {"acme": (family,), "acme-x": (MetricFamily("faults", "Faults.", samples=(Sample({}, 2),)),)}
    assert watched.samples("acme_x_faults") == {(): 2}
    assert watched.page()[0].count(b"# TYPE device_plugin_acme_x_faults ") == 1  # the parser would join them


def test_the_names_of_the_core_are_reserved(watched: Watched) -> None:
    """All of them: a plugin cannot have one, whatever it is called."""
    names = {family.name.removeprefix("device_plugin_") for family in watched.families() if "device_plugin_" in family.name}
    assert names <= CORE


LABELS = st.dictionaries(st.from_regex(r"\A[a-z][a-z0-9_]{0,5}\Z"), st.text(max_size=20), max_size=3)
FAMILIES = st.builds(
    MetricFamily,
    st.from_regex(r"\A[a-z][a-z0-9_]{0,10}\Z"),
    st.text(max_size=20),
    st.sampled_from(["gauge", "counter", "info"]),
    st.lists(st.builds(Sample, LABELS, st.floats() | st.just(1)), max_size=5).map(tuple),
)


@given(st.dictionaries(st.from_regex(r"\A[a-z]{1,3}(-[a-z]{1,3}){0,2}\Z"), st.lists(FAMILIES, max_size=6), max_size=4))
def test_whatever_plugins_measure_the_page_can_be_read(measured: dict[str, list[MetricFamily]]) -> None:
    """In both formats, with every name once and every sample once: what passes the border breaks no scrape."""
    watched = Watched()
    watched.measured = {plugin: check_families(plugin, found)[0] for plugin, found in measured.items()}
    text = list(watched.families())
    names = [line.split()[2] for line in watched.page()[0].splitlines() if line.startswith(b"# TYPE ")]
    assert len(names) == len(set(names))
    for family in text:
        labels = [(sample.name, *sorted(sample.labels.items())) for sample in family.samples]
        assert len(labels) == len(set(labels))
    body, _ = watched.page("application/openmetrics-text")
    families = parse_openmetrics(body.decode())  # type: ignore[no-untyped-call]  # the library leaves it without types
    assert {family.name for family in families} >= {"device_plugin_active"}
