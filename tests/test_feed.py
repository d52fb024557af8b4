"""A feed holds the newest inventory and wakes whoever asked for it."""

import threading

from supervisor.feed import Feed
from supervisor.inventory import Inventory
from supervisor.model import Device

WIDGET = "example.com/widget"


def inventory(*ids: str) -> Inventory:
    """Devices with these ids."""
    return Inventory.of(WIDGET, [Device(each) for each in ids])


def test_nothing_is_there_before_the_first_look() -> None:
    """Which is something else than an empty list."""
    feed = Feed(WIDGET)
    assert feed.current is None
    feed.publish(inventory())
    assert feed.current == inventory()


def test_a_subscriber_is_woken_after_the_value_is_there() -> None:
    """In the publishing thread, once for each publication."""
    feed, seen = Feed(WIDGET), []
    feed.subscribe(lambda: seen.append((feed.current, threading.current_thread())))
    for value in (inventory("a"), inventory("a", "b")):
        feed.publish(value)
        assert seen[-1] == (value, threading.current_thread())
    assert len(seen) == 2


def test_the_latest_value_wins() -> None:
    """Whoever wakes up late reads only the newest."""
    feed = Feed(WIDGET)
    for count in range(5):
        feed.publish(inventory(*map(str, range(count))))
    assert feed.current == inventory("0", "1", "2", "3")


def test_a_subscriber_that_has_left_is_not_woken() -> None:
    """The others are, and leaving twice is harmless; leaving while being woken too."""
    feed, woken = Feed(WIDGET), []

    def once() -> None:
        woken.append("once")
        feed.unsubscribe(once)

    feed.subscribe(once)
    feed.subscribe(lambda: woken.append("always"))
    feed.publish(inventory())
    feed.publish(inventory("a"))
    feed.unsubscribe(once)
    assert woken == ["once", "always", "always"]
