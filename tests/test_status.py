"""The two judgements, and how the picture is shown."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.status import (
    GRACE,
    LATEST_HEARTBEAT,
    ConfigStatus,
    KubeletStatus,
    Liveness,
    Notice,
    NoticeOrigin,
    Phase,
    PluginState,
    PluginStatus,
    ResourceStatus,
    Status,
    live,
    printable,
    ready,
)

UP = PluginStatus("gpu", "gpu-package", "1.0", PluginState.UP, last_look=1.0)
APPLIED = ConfigStatus(generation=1)


def _resource(phase: Phase, since: float = 0.0, **more: Any) -> ResourceStatus:
    return ResourceStatus("vendor.example/gpu", "gpu", since, phase, has_inventory=True, **more)


def _owner(*resources: ResourceStatus, **more: Any) -> Status:
    given: dict[str, Any] = {"plugins": (UP,), "config": APPLIED} | more
    return Status(active=True, started=True, resources=resources, **given)


def test_a_new_process_is_not_ready() -> None:
    """Before the plugins are loaded nothing is ready, be it owner or standby."""
    for active in (True, False):
        assert ready(Status(active=active), 0.0) == (False, ("the plugins are not loaded yet",))


def test_a_plugin_that_has_not_looked_is_waited_for() -> None:
    """The first look, or the end of its time, comes before readiness."""
    waiting = Status(plugins=(PluginStatus("gpu", "gpu-package"),), config=APPLIED)
    assert ready(waiting, 0.0) == (False, ("plugin gpu has not looked yet",))


def test_a_standby_is_ready_when_its_servers_are_bound() -> None:
    """A standby needs no kubelet, but every resource with an inventory needs a server."""
    offered = Status(started=True, plugins=(UP,), config=APPLIED, resources=(_resource(Phase.OFFERED),))
    assert ready(offered, 0.0) == (False, ("resource vendor.example/gpu has no server yet",))
    bound = Status(started=True, plugins=(UP,), config=APPLIED, resources=(_resource(Phase.BOUND),))
    assert ready(bound, 1000.0) == (True, ())


def test_a_resource_without_inventory_binds_nobody() -> None:
    """A name that no look has filled yet stops neither a standby nor an owner."""
    empty = ResourceStatus("vendor.example/gpu", "gpu", 0.0)
    assert ready(_owner(empty), 1000.0)[0]
    assert ready(Status(started=True, plugins=(UP,), config=APPLIED, resources=(empty,)), 1000.0)[0]


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.CONNECTED])
def test_an_owner_needs_every_resource_connected(phase: Phase) -> None:
    """Past the grace, a resource that is not connected is the reason for a 503, and is named."""
    is_ready, reasons = ready(_owner(_resource(phase, reason="refused")), GRACE + 0.1)
    assert not is_ready
    assert reasons == (f"resource vendor.example/gpu is {phase}, not connected: refused",)


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1e6))
def test_the_grace_counts_from_the_later_of_promotion_and_loss(since: float, promoted: float, now: float) -> None:
    """For five seconds after either, an unconnected resource is forgiven, and not longer."""
    status = _owner(_resource(Phase.LOST, since), active_since=promoted)
    assert ready(status, now)[0] is (now - max(since, promoted) <= GRACE)


def test_no_kubelet_is_not_ready() -> None:
    """Without a kubelet an owner is not ready, even with nothing to offer."""
    status = _owner(kubelet=KubeletStatus(reason="no kubelet.sock", since=10.0))
    assert ready(status, 10.0 + GRACE) == (True, ())
    assert ready(status, 10.1 + GRACE) == (False, ("no kubelet: no kubelet.sock",))


def test_what_blocks_no_rollout_is_named_all_the_same() -> None:
    """Missing drivers, broken plugins, quarantined devices and bad edits are in the body of a 200."""
    plugins = (
        PluginStatus("gpu", "gpu-package", state=PluginState.FAILING, reason="no driver"),
        PluginStatus("odd", "odd-package", state=PluginState.REJECTED, reason="it does not import"),
        PluginStatus("nic", "nic-package", state=PluginState.UP, notices=(Notice(NoticeOrigin.LOOK, "nic0", "no id", 0.0),)),
        PluginStatus("fpga", "fpga-package", state=PluginState.STUCK),
    )
    config = ConfigStatus(2, ("config.yaml:3:1: unknown key",), ("http",))
    connected = _resource(Phase.CONNECTED, list_problem="5 MiB")
    status = _owner(connected, plugins=plugins, config=config, notices=(Notice(NoticeOrigin.UDEV, "", "silent", 0.0),))
    is_ready, reasons = ready(status, 1000.0)
    assert is_ready
    assert reasons == (
        "plugin gpu is failing: no driver",
        "plugin odd is rejected: it does not import",
        "plugin nic: nic0: no id",
        "plugin fpga is stuck",
        "resource vendor.example/gpu keeps an older list: 5 MiB",
        "configuration not applied: config.yaml:3:1: unknown key",
        "configuration pending until the next start: http",
        "udev: silent",
    )


@given(st.floats(0, 100), st.floats(0, 100))
def test_it_lives_while_both_threads_turn(supervising: float, wire: float) -> None:
    """Each late thread is named; one is enough for death."""
    is_live, late = live(Liveness(supervising, wire))
    assert is_live is (max(supervising, wire) <= LATEST_HEARTBEAT)
    assert [("supervising" in line, "wire" in line) for line in late] == [
        pair for pair, age in (((True, False), supervising), ((False, True), wire)) if age > LATEST_HEARTBEAT
    ]


@given(st.text(st.characters(exclude_categories=())), st.integers(1, 50))
def test_printable_text_is_one_short_encodable_line(text: str, limit: int) -> None:
    """Whatever an exception says, it is one line that fits and that UTF-8 can hold; plain text is left alone."""
    shown = printable(text, limit)
    assert len(shown) <= limit
    assert shown.isprintable()
    shown.encode()
    if text.isprintable() and len(text) <= limit:
        assert shown == text
