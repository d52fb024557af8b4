"""Since when each device has been as it is."""

from supervisor.ages import Ages
from supervisor.events import DeviceChanged
from supervisor.model import Health

WIDGET = "example.com/widget"


def changed(device: str, health: Health | None) -> DeviceChanged:
    return DeviceChanged("p", WIDGET, device, health, "")


def test_devices_are_as_old_as_their_resource_until_they_change() -> None:
    """A later one is as old as its first list, and one that left and came back begins anew."""
    ages = Ages()
    ages.first_listed(WIDGET, 10.0)
    ages.changed(WIDGET, [changed("b", Health.UNHEALTHY), changed("c", Health.HEALTHY)], 20.0)
    ages.changed(WIDGET, [changed("c", None)], 30.0)
    since = ages.picture()[WIDGET]
    assert [since.of(device) for device in "abc"] == [10.0, 20.0, 10.0]
    ages.changed(WIDGET, [changed("c", Health.HEALTHY)], 40.0)
    assert since.of("c") == 10.0, "a picture that was taken does not change"
    assert ages.picture()[WIDGET].of("c") == 40.0


def test_a_closed_resource_is_forgotten() -> None:
    """Nothing is kept of it."""
    ages = Ages()
    ages.first_listed(WIDGET, 10.0)
    ages.changed(WIDGET, [changed("b", Health.HEALTHY)], 20.0)
    ages.forget(WIDGET)
    assert ages.picture() == {}
