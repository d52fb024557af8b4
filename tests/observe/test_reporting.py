"""The document that people are told, from the values that the process keeps."""

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from supervisor.ages import Since
from supervisor.attribution import Attribution
from supervisor.events import ConfigRejected, DeviceChanged
from supervisor.inventory import Inventory
from supervisor.ledger import Holding
from supervisor.model import Device, Health, Topology
from supervisor.observe.history import Entry
from supervisor.observe.reporting import View, report
from supervisor.report import DeviceReport, EventReport, HolderReport, Report, decode
from supervisor.status import Liveness, Notice, NoticeOrigin, Phase, PluginState, PluginStatus, ResourceStatus, Status

GPU = "vendor.example/gpu"
WELL = Liveness(0.5, 1.0)


def told(status: Status, liveness: Liveness = WELL, **more: object) -> Report:
    """The document of a moment: monotonic 100 s, a wall clock of 1 000 000 s."""
    view = View(status, liveness, now=100.0, wall=1_000_000.0, started=40.0, **more)  # type: ignore[arg-type]  # by name
    return report(view)


def test_times_become_dates_and_judgements_are_made() -> None:
    """What never was has no date."""
    plugins = (PluginStatus("gpu", "gpu-package", "1", PluginState.UP, last_look=1.0), PluginStatus("nic", "nic-package"))
    resource = ResourceStatus(GPU, "gpu", 90.0, Phase.LOST, has_inventory=True)
    status = Status(active=True, active_since=100.0, started=True, plugins=plugins, resources=(resource,))
    shown = told(status, Liveness(0.5, 11.0))
    assert (shown.ready, shown.live) == (True, False)
    assert shown.reasons == ("the wire thread has not turned for 11.0 s",)
    assert shown.started_at == "1970-01-12T13:45:40.000Z"
    assert shown.active_since == "1970-01-12T13:46:40.000Z"
    assert shown.kubelet.since is None
    assert (shown.resources[0].since, shown.resources[0].phase) == ("1970-01-12T13:46:30.000Z", Phase.LOST)
    assert [plugin.last_look for plugin in shown.plugins] == ["1970-01-12T13:45:01.000Z", None]


def test_devices_have_age_place_and_holders() -> None:
    """Who holds one for sure, and who perhaps; what nobody is known to hold has none."""
    devices = (Device("a", topology=Topology((1,))), Device("b", Health.UNHEALTHY, "hot\nspot"), Device("c"))
    sure, perhaps = Holding(GPU, "a", "default", "train", "main"), Holding(GPU, "c", "", "6f1c", "init")
    shown = told(
        Status(resources=(ResourceStatus(GPU, "gpu", 90.0, has_inventory=True, healthy=2, unhealthy=1),)),
        inventories=(Inventory.of(GPU, devices),),
        ages={GPU: Since(50.0, {"b": 70.0})},
        attribution=Attribution(True, "", "podresources", 95.0, {(GPU, "a"): (sure,)}, {(GPU, "c"): (perhaps,)}),
    )
    assert shown.resources[0].held == 1
    early, late = "1970-01-12T13:45:50.000Z", "1970-01-12T13:46:10.000Z"
    assert shown.resources[0].devices == (
        DeviceReport("a", Health.HEALTHY, early, "", (1,), (HolderReport("default", "train", "main"),)),
        DeviceReport("b", Health.UNHEALTHY, late, "hot spot"),
        DeviceReport("c", Health.HEALTHY, early, "", (), (HolderReport("", "6f1c", "init", certain=False),)),
    )


def test_nothing_is_claimed_of_holders_while_they_are_not_known() -> None:
    """Not even that there are none."""
    status = Status(resources=(ResourceStatus(GPU, "gpu", 90.0, has_inventory=True),))
    shown = told(status, inventories=(Inventory.of(GPU, (Device("a"),)),))
    assert shown.resources[0].held is None
    assert not shown.attribution.known
    assert shown.attribution.reason


def test_events_are_told_in_words() -> None:
    """With what they are about, and how often."""
    unhealthy = DeviceChanged("gpu", GPU, "a", Health.UNHEALTHY, "hot")
    entries = (Entry(unhealthy, 60.0, 80.0, 3), Entry(ConfigRejected(("line 3: unknown key",)), 50.0, 50.0))
    device, config = told(Status(), history=entries).events
    assert device == EventReport(
        first="1970-01-12T13:46:00.000Z",
        last="1970-01-12T13:46:20.000Z",
        level="warning",
        event="DeviceChanged",
        text="vendor.example/gpu: a is unhealthy: hot; no new pod gets it until it recovers",
        count=3,
        plugin="gpu",
        resource=GPU,
        device="a",
    )
    assert (config.level, config.plugin, config.count) == ("error", "", 1)


@given(st.text(st.characters(exclude_categories=())))
@example("\ud800")
def test_whatever_a_plugin_says_makes_a_document(text: str) -> None:
    """Also undecodable names; and the document can be read again."""
    notice = Notice(NoticeOrigin.LOOK, "", "something", 1.0)
    status = Status(plugins=(PluginStatus(text, text, text, notices=(notice,)),))
    shown = told(status, history=(Entry(DeviceChanged("gpu", GPU, text, Health.UNHEALTHY, text), 1.0, 2.0),))
    assert decode(msgspec.json.encode(shown)) == shown
