"""What was known of devices that cannot be read now: nothing is lost while they are away, and they come back as they are."""

from typing import Any

import pytest
from msgspec.structs import replace

from supervisor_infiniband.known import MOST, MOVING, Known
from supervisor_infiniband.report import Link, Port, RdmaDevice, Report
from tests.plugins.infiniband.functions import ACTIVE, DOWN, pf, port, vf

AWAY = RdmaDevice(id="0000:3b:00.0", name="mlx5_0", kind="pf", uverbs="uverbs7", elsewhere=True, ports=(Port(1, umad="umad7"),))
"""What the kernel tells of ``pf(0)`` from here while it is elsewhere; its character devices were made anew."""


def seen(*devices: RdmaDevice, mode: Any = "exclusive") -> Report:
    return Report(devices, netns_mode=mode)


def known(*devices: RdmaDevice, there: bool = True, mode: Any = "exclusive") -> Known:
    """With what a look at 0.0 found; ``there``: whether functions are, as sysfs says."""
    found = Known(lambda _: there)
    found.complete(seen(*devices, mode=mode), 0.0)
    return found


def test_a_device_elsewhere_keeps_its_facts() -> None:
    """Those that cannot be read from here; of its ports everything but what changes, with the character devices of now."""
    (device,) = known(pf(0)).complete(seen(AWAY), 1.0).devices
    before = pf(0)
    away = replace(before.ports[0], link=Link(), umad="umad7", issm=None)
    assert device == replace(before, elsewhere=True, uverbs="uverbs7", ports=(away,))


def test_a_device_that_comes_back_is_as_it_is_read() -> None:
    """Nothing of before stays with it."""
    found = known(pf(0))
    found.complete(seen(AWAY), 1.0)
    back = pf(0, name="ibp59s0", firmware="20.99.1", ports=(port(link=DOWN),))
    assert found.complete(seen(back), 2.0).devices == (back,)
    assert found.complete(seen(AWAY), 3.0).devices[0].firmware == "20.99.1"


def test_a_device_that_hangs_keeps_what_its_firmware_told() -> None:
    """The function is read without it, and counts as it is now."""
    hanging = pf(0, firmware="", ports=(), unresponsive=True, numa_node=1)
    (device,) = known(pf(0)).complete(seen(hanging), 1.0).devices
    assert device == replace(pf(0), unresponsive=True, numa_node=1)


def test_what_was_never_seen_is_as_it_is_told() -> None:
    """A device may be elsewhere since before the first look."""
    assert known().complete(seen(AWAY), 1.0).devices == (AWAY,)


def test_a_device_on_its_way_is_waited_for() -> None:
    """Taken away here and not yet made anew there, it is nowhere; no longer than that takes."""
    found = known(pf(0), vf(1))
    first, other = found.complete(seen(vf(1)), 10.0).devices[::-1]
    assert (first.id, first.elsewhere, first.uverbs) == (pf(0).id, True, None)
    assert other == vf(1)
    assert found.wake_at() == 10.0 + MOVING
    assert len(found.complete(seen(vf(1)), 9.9 + MOVING).devices) == 2
    assert found.complete(seen(vf(1)), 10.0 + MOVING).devices == (vf(1),)
    assert found.wake_at() is None


def test_one_that_arrives_is_waited_for_anew_when_it_leaves() -> None:
    """Each way has its own time."""
    found = known(pf(0))
    found.complete(seen(), 10.0)
    found.complete(seen(AWAY), 11.0)
    assert found.wake_at() is None
    assert len(found.complete(seen(), 15.0).devices) == 1
    assert found.wake_at() == 15.0 + MOVING


@pytest.mark.parametrize(("there", "mode"), [(False, "exclusive"), (True, "shared"), (True, "")])
def test_a_device_that_is_gone_is_gone(*, there: bool, mode: str) -> None:
    """Where its function went with it, and where devices do not move."""
    found = known(pf(0), there=there, mode=mode)
    assert found.complete(seen(mode=mode), 1.0).devices == ()
    assert found.wake_at() is None


def test_a_look_is_asked_for_once() -> None:
    """When the wait is over; nothing asks twice for one that fails."""
    found = known(pf(0))
    found.complete(seen(), 1.0)
    assert not found.due(0.9 + MOVING)
    assert found.due(1.0 + MOVING)
    assert not found.due(2.0 + MOVING)
    assert found.wake_at() is None


def test_nonsense_is_not_remembered() -> None:
    """A quarantined device that moves has no facts to keep."""
    assert known(pf(0, problem="garbage")).complete(seen(AWAY), 1.0).devices == (AWAY,)


def test_a_restart_forgets_nothing() -> None:
    """A pod may have its device for days; what its ports were in is not kept, for nobody knows it then."""
    found = Known(lambda _: True)
    found.recall(known(pf(0)).remember())
    assert found.complete(seen(AWAY), 1.0).devices == known(pf(0)).complete(seen(AWAY), 1.0).devices
    kept = known(pf(0, ports=(port(link=ACTIVE),))).remember()
    assert kept == known(pf(0, ports=(port(link=DOWN),))).remember(), "a flap would be written to disk"


def test_only_where_devices_move_anything_is_kept() -> None:
    """Elsewhere the next look knows all of it."""
    assert known(pf(0), mode="shared").remember() == {}


@pytest.mark.parametrize(
    "remembered",
    [None, [], {"0000:3b:00.0": None}, {"0000:3b:00.0": {"id": "x", "name": "mlx5_0", "kind": "pf"}}, {"a": {"id": 1}}],
)
def test_a_memory_that_makes_no_sense_is_passed_over(remembered: object) -> None:
    """It is no reason to know less than without one."""
    found = Known(lambda _: True)
    found.recall(remembered)
    assert found.complete(seen(AWAY), 1.0).devices == (AWAY,)


def test_what_was_seen_is_newer_than_what_is_recalled() -> None:
    """A process that stood by has looked meanwhile."""
    found = known(pf(0, firmware="20.99.1"))
    found.recall(known(pf(0)).remember())
    assert found.complete(seen(AWAY), 1.0).devices[0].firmware == "20.99.1"


def test_what_is_kept_is_bounded() -> None:
    """No memory grows without end."""
    many = tuple(pf(0, id=f"mlx5_core.sf.{number}") for number in range(MOST + 1))
    assert len(known(*many).remember()) == MOST
