"""The picture of now follows the events, and nothing but the events."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import events
from supervisor.observe.board import MOST_NOTICES, StatusBoard
from supervisor.status import NoticeOrigin, Phase, PluginState, PluginStatus, ResourceStatus, Status, ready

GPU = "vendor.example/gpu"
LOADED = events.PluginLoaded("gpu", "gpu-package", "1.0")
OFFERED = events.ResourceOffered("gpu", GPU)
LOST, AWAITED = events.StreamLost(GPU), events.KubeletAwaited("no kubelet.sock")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def board(clock: Clock) -> StatusBoard:
    return StatusBoard(clock)


def _tell(board: StatusBoard, *happened: events.Event) -> Status:
    for event in happened:
        board(event)
    return board.current


def _plugin(status: Status) -> PluginStatus:
    (plugin,) = status.plugins
    return plugin


def _resource(status: Status) -> ResourceStatus:
    (resource,) = status.resources
    return resource


def test_a_plugin_goes_through_its_states(board: StatusBoard, clock: Clock) -> None:
    """Loaded, looked, failed, stuck, recovered: each with its reason, and the last good look is remembered."""
    assert _plugin(_tell(board, LOADED)) == PluginStatus("gpu", "gpu-package", "1.0")
    looked = _plugin(_tell(board, events.LookFinished("gpu", 0.1, 8)))
    assert (looked.state, looked.last_look) == (PluginState.UP, 100.0)
    clock.now = 200.0
    failed = _plugin(_tell(board, events.LookFailed("gpu", "no driver", 1, 8.0)))
    assert (failed.state, failed.reason, failed.last_look) == (PluginState.FAILING, "no driver", 100.0)
    stuck = _plugin(_tell(board, events.PluginStuck("gpu", 31.0)))
    assert (stuck.state, stuck.reason) == (PluginState.STUCK, "a look has not come back for 31 s")
    recovered = _plugin(_tell(board, events.PluginRecovered("gpu")))
    assert (recovered.state, recovered.reason) == (PluginState.UP, "")
    assert _tell(board, events.PluginRetired("gpu")).plugins == ()


def test_a_refused_duplicate_hides_no_working_plugin(board: StatusBoard) -> None:
    """Two packages with one plugin name: the refused one is listed beside the one that works, which goes on."""
    _tell(board, LOADED, events.PluginRejected("gpu", "rival-package", "the name is taken"))
    works, refused = _tell(board, events.LookFinished("gpu", 0.1, 8)).plugins
    assert (works.distribution, works.state) == ("gpu-package", PluginState.UP)
    assert (refused.distribution, refused.state) == ("rival-package", PluginState.REJECTED)


def test_a_plugin_that_is_repaired_is_no_longer_refused(board: StatusBoard) -> None:
    """Loading takes away what was said of the same package before, and only that; refused again, it is listed once."""
    _tell(board, events.PluginRejected("gpu", "gpu-package", "bad section"), events.PluginRejected("x", "other", "broken"))
    twice = _tell(board, events.PluginRejected("gpu", "gpu-package", "worse section"))
    assert [(plugin.name, plugin.reason) for plugin in twice.plugins] == [("x", "broken"), ("gpu", "worse section")]
    repaired = _tell(board, LOADED)
    assert [(plugin.name, plugin.state) for plugin in repaired.plugins] == [
        ("x", PluginState.REJECTED),
        ("gpu", PluginState.WAITING),
    ]


def test_a_reloaded_plugin_keeps_its_state(board: StatusBoard) -> None:
    """A new object of a working plugin is no reason to wait for it again."""
    _tell(board, LOADED, events.LookFinished("gpu", 0.1, 8))
    plugin = _plugin(_tell(board, events.PluginLoaded("gpu", "gpu-package", "1.1")))
    assert (plugin.state, plugin.version) == (PluginState.UP, "1.1")


def test_start_is_over_when_every_plugin_has_looked_and_stays_over(board: StatusBoard) -> None:
    """A plugin that is added later does not make the process start again."""
    assert not _tell(board, LOADED, events.ConfigApplied(1, ())).started
    assert _tell(board, events.LookFailed("gpu", "late", 1, 1.0)).started
    assert _tell(board, events.PluginLoaded("nic", "nic-package", "1.0")).started


def test_a_start_without_plugins_ends_with_the_first_configuration(board: StatusBoard) -> None:
    """Nothing installed is nothing to wait for."""
    assert not board.current.started
    assert _tell(board, events.ConfigApplied(1, ())).started


def test_a_resource_goes_from_its_plugin_to_the_kubelet(board: StatusBoard, clock: Clock) -> None:
    """Each step is a phase; the date is that of the last gain or loss, so that a grace can be counted from it."""
    assert _resource(_tell(board, OFFERED)) == ResourceStatus(GPU, "gpu", 100.0)
    filled = _resource(_tell(board, events.InventoryPublished("gpu", GPU, 7, 1)))
    assert (filled.has_inventory, filled.healthy, filled.unhealthy) == (True, 7, 1)
    assert _resource(_tell(board, events.ResourceBound(GPU, "/d/a.sock"))).phase is Phase.BOUND
    clock.now = 101.0
    failed = _resource(_tell(board, events.RegistrationFailed(GPU, "refused", 1.0)))
    assert (failed.phase, failed.reason, failed.since) == (Phase.REGISTERING, "refused", 100.0)
    connected = _tell(board, events.Registered(GPU, 1.0))
    assert (_resource(connected).phase, _resource(connected).reason, _resource(connected).since) == (Phase.CONNECTED, "", 101.0)
    assert connected.kubelet.connected
    clock.now = 102.0
    lost = _tell(board, LOST)
    assert (_resource(lost).phase, _resource(lost).since, lost.kubelet.connected) == (Phase.LOST, 102.0, False)
    assert _resource(_tell(board, events.ResourceContested(GPU, 300.0))).phase is Phase.CONTESTED
    assert _tell(board, events.ResourceRetired("gpu", GPU)).resources == ()


def test_a_new_socket_path_takes_no_stream_away(board: StatusBoard) -> None:
    """A connected resource that is bound again stays connected until its stream ends."""
    _tell(board, OFFERED, events.ResourceBound(GPU, "/d/a.sock"), events.Registered(GPU, 0.1))
    assert _resource(_tell(board, events.ResourceBound(GPU, "/d/b.sock"))).connected


def test_a_resource_that_changes_its_plugin_keeps_its_stream(board: StatusBoard) -> None:
    """The new owner is named, the old one's retirement takes nothing, and its notice about the quarrel goes."""
    _tell(board, LOADED, events.PluginLoaded("other", "other-package", "1.0"), OFFERED, events.Registered(GPU, 0.1))
    quarrel = _tell(board, events.ResourceContended(GPU, "gpu", "other"))
    assert [notice.text for notice in quarrel.plugins[1].notices] == ["plugin gpu has it"]
    settled = _tell(board, events.ResourceOffered("other", GPU), events.ResourceRetired("gpu", GPU))
    assert (_resource(settled).plugin, _resource(settled).connected) == ("other", True)
    assert settled.plugins[1].notices == ()


def test_a_list_that_is_refused_shows_until_one_is_sent(board: StatusBoard) -> None:
    """The reason stays beside the old list, which stays in force."""
    _tell(board, OFFERED, events.ListRefused(GPU, "5 MiB are too much"))
    assert _resource(board.current).list_problem == "5 MiB are too much"
    assert _resource(_tell(board, events.InventoryPublished("gpu", GPU, 1, 0))).list_problem == ""


def test_tombstones_are_counted(board: StatusBoard) -> None:
    """Up, down, and never below none."""
    gone, cleared = events.DeviceTombstoned(GPU, "a"), events.TombstoneCleared(GPU, "a", "free")
    assert _resource(_tell(board, OFFERED, gone, gone)).tombstones == 2
    assert _resource(_tell(board, cleared, cleared, cleared)).tombstones == 0


def test_an_absent_kubelet_is_dated_by_its_first_sign(board: StatusBoard, clock: Clock) -> None:
    """Later signs tell it better but do not make it younger; a new socket or an answer ends it."""
    _tell(board, AWAITED)
    clock.now = 200.0
    kubelet = _tell(board, events.KubeletAwaited("nobody listens")).kubelet
    assert (kubelet.connected, kubelet.reason, kubelet.since) == (False, "nobody listens", 100.0)
    for found in (events.KubeletRestarted(), events.KubeletFound()):
        assert _tell(board, AWAITED).kubelet.reason
        assert _tell(board, found).kubelet.reason == ""


def test_what_a_look_says_replaces_what_the_last_one_said(board: StatusBoard) -> None:
    """Notices and quarantined devices are told anew whenever they change, and nothing of the old ones stays."""
    odd = events.DeviceQuarantined("gpu", GPU, "g0", "its id has a space")
    _tell(board, LOADED, events.PluginNoticed("gpu", ("no driver",)), odd, odd)
    assert [str(notice) for notice in _plugin(board.current).notices] == [
        "no driver",
        f"{GPU} g0: not offered: its id has a space",
    ]
    assert _plugin(_tell(board, events.PluginNoticed("gpu", ()))).notices == ()


def test_a_look_takes_no_other_notice_away(board: StatusBoard) -> None:
    """A quarrel about a resource and a failed event source are not the look's to end."""
    _tell(board, LOADED, events.ResourceContended(GPU, "nic", "gpu"), events.WatchFailed("gpu", "gone", 1.0))
    before = _plugin(board.current).notices
    assert len(before) == 2
    assert _plugin(_tell(board, events.PluginNoticed("gpu", ()))).notices == before


def test_notices_are_bounded(board: StatusBoard) -> None:
    """A thousand quarantined devices leave room for what comes from elsewhere."""
    quarantined = [events.DeviceQuarantined("gpu", GPU, f"g{n}", "bad") for n in range(1000)]
    notices = _plugin(_tell(board, LOADED, *quarantined, events.WatchFailed("gpu", "gone", 1.0))).notices
    assert len(notices) == MOST_NOTICES + 1
    assert notices[-1].origin is NoticeOrigin.WATCH


def test_a_failed_event_source_is_noticed(board: StatusBoard) -> None:
    """Timed looks go on, so the plugin stays up and the notice says what happened."""
    _tell(board, LOADED, events.LookFinished("gpu", 0.1, 1))
    plugin = _plugin(_tell(board, events.WatchFailed("gpu", "OSError: gone", 8.0)))
    assert plugin.state is PluginState.UP
    assert plugin.notices[0].text == "its event source ended: OSError: gone"


def test_an_impaired_udev_is_noticed_until_events_come(board: StatusBoard) -> None:
    """An event is the proof that events come."""
    assert _tell(board, events.UdevImpaired("silent")).notices[0].text == "silent"
    assert _tell(board, events.UeventReceived("usb", "add")).notices == ()


def test_a_memory_that_is_not_written_shows_until_it_is(board: StatusBoard) -> None:
    """Each package's by itself, and events from udev take none of it away."""
    _tell(board, events.MemoryUnwritten("gpu", "no space"), events.MemoryUnwritten("nic", "no space"))
    status = _tell(board, events.UdevImpaired("silent"), events.UeventReceived("usb", "add"))
    assert [str(notice) for notice in status.notices] == ["gpu: no space", "nic: no space"]
    assert "memory: gpu: no space" in ready(status, 100.0)[1]
    assert [notice.about for notice in _tell(board, events.MemoryWritten("gpu")).notices] == ["nic"]
    assert _tell(board, events.MemoryUnwritten("", "no boot id")).notices[-1].text == "no boot id"


def test_the_api_of_the_cluster_is_told_part_by_part() -> None:
    """An outage and a missing permission are two notices; each goes when its own part works again."""
    board = StatusBoard()
    told = _tell(board, events.ClusterUnavailable("API server", "no route"), events.ClusterUnavailable("events", "forbidden"))
    assert [(notice.origin, notice.about) for notice in told.notices] == [
        (NoticeOrigin.CLUSTER, "API server"),
        (NoticeOrigin.CLUSTER, "events"),
    ]
    assert [notice.about for notice in _tell(board, events.ClusterReachable("API server")).notices] == ["events"]


def test_a_file_of_the_http_server_shows_until_it_is_read(board: StatusBoard) -> None:
    """It does not stop the supervisor from being ready; a good certificate says nothing about the tokens."""
    told = _tell(
        board,
        events.HttpFileRefused("certificate", "no key", in_use=True),
        events.HttpFileRefused("token file", "holds no token", in_use=False),
    )
    assert "http: token file: holds no token" in ready(told, 100.0)[1]
    assert [notice.about for notice in _tell(board, events.HttpFileRead("certificate", "/a, /b")).notices] == ["token file"]


def test_a_bad_edit_shows_until_a_good_one(board: StatusBoard) -> None:
    """The generation in force stays what it is."""
    _tell(board, events.ConfigApplied(1, ()))
    bad = _tell(board, events.ConfigRejected(("line 3: unknown key",))).config
    assert (bad.generation, bad.problems) == (1, ("line 3: unknown key",))
    good = _tell(board, events.ConfigApplied(2, ("gpu",), ("http",))).config
    assert (good.generation, good.problems, good.pending) == (2, (), ("http",))


def test_ownership_is_dated(board: StatusBoard, clock: Clock) -> None:
    """The grace after a promotion is counted from here."""
    clock.now = 300.0
    status = _tell(board, events.OwnershipChanged(active=True, reason="the lock is free"))
    assert (status.active, status.active_since, status.active_reason) == (True, 300.0, "the lock is free")


def test_texts_are_made_harmless(board: StatusBoard) -> None:
    """A reason with an undecodable file name and line ends is one line that JSON can hold."""
    plugin = _plugin(_tell(board, LOADED, events.LookFailed("gpu", "no \udcff\nfile", 1, 1.0)))
    assert plugin.reason == "no ? file"


def test_from_start_to_ready_by_events_alone(board: StatusBoard, clock: Clock) -> None:
    """The life of an owner, judged after each step."""
    steps: list[tuple[events.Event, bool]] = [
        (LOADED, False),
        (events.ConfigApplied(1, ()), False),
        (OFFERED, False),
        (events.InventoryPublished("gpu", GPU, 1, 0), False),
        (events.LookFinished("gpu", 0.1, 1), False),
        (events.ResourceBound(GPU, "/d/a.sock"), True),
        (events.OwnershipChanged(active=True, reason="the lock is free"), True),
        (events.Registered(GPU, 0.01), True),
    ]
    for event, expected in steps:
        assert ready(_tell(board, event), clock.now)[0] is expected, event
    _tell(board, LOST)
    assert ready(board.current, clock.now + 5.0)[0]
    assert not ready(board.current, clock.now + 5.1)[0]


_NAMES = st.sampled_from(["gpu", "nic"])
_RESOURCES = st.sampled_from([GPU, "vendor.example/nic"])
_ANY: list[Callable[..., st.SearchStrategy[events.Event]]] = [
    lambda: st.builds(events.PluginLoaded, _NAMES, st.sampled_from(["a", "b"]), st.just("1")),
    lambda: st.builds(events.PluginRejected, _NAMES, st.sampled_from(["a", "b"]), st.just("broken")),
    lambda: st.builds(events.PluginRetired, _NAMES),
    lambda: st.builds(events.LookFinished, _NAMES, st.just(0.1), st.just(1)),
    lambda: st.builds(events.ResourceOffered, _NAMES, _RESOURCES),
    lambda: st.builds(events.ResourceRetired, _NAMES, _RESOURCES),
    lambda: st.builds(events.Registered, _RESOURCES, st.just(0.1)),
    lambda: st.builds(events.StreamLost, _RESOURCES),
    lambda: st.builds(events.DeviceQuarantined, _NAMES, _RESOURCES, st.just("d"), st.just("bad")),
]


@given(st.lists(st.one_of([make() for make in _ANY]), max_size=30))
def test_names_stay_unique_whatever_happens(happened: list[events.Event]) -> None:
    """In any order of events there is one entry for a resource, and one working plugin for a name."""
    status = _tell(StatusBoard(lambda: 0.0), *happened)
    resources = [resource.name for resource in status.resources]
    working = [plugin.name for plugin in status.plugins if plugin.state is not PluginState.REJECTED]
    assert len(set(resources)) == len(resources)
    assert len(set(working)) == len(working)
    assert status.kubelet.connected is any(resource.connected for resource in status.resources)
