"""What happened lately."""

from supervisor.events import DeviceChanged, LookFinished, PluginRecovered, Registered
from supervisor.model import Health
from supervisor.observe.history import MOST, History


class Clock:
    now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def changed(device: str, health: Health = Health.UNHEALTHY) -> DeviceChanged:
    return DeviceChanged("p", "example.com/widget", device, health, "hot")


def test_the_newest_comes_first() -> None:
    """Devices and everything else in one order of time."""
    history = History(Clock())
    history(changed("a"))
    history(PluginRecovered("p"))
    history(changed("b"))
    assert [entry.event for entry in history.newest_first()] == [changed("b"), PluginRecovered("p"), changed("a")]


def test_equal_events_are_one_with_a_count() -> None:
    """Durations do not make them differ; the newest is kept, with the time of the first."""
    history = History(Clock())
    for seconds in (0.1, 0.2, 0.3):
        history(Registered("example.com/widget", seconds))
    (entry,) = history.newest_first()
    assert (entry.count, entry.first, entry.last) == (3, 1.0, 3.0)
    assert entry.event == Registered("example.com/widget", 0.3)


def test_a_flapping_device_has_one_entry_for_each_state() -> None:
    """However often it goes to and fro."""
    history = History(Clock())
    for _ in range(50):
        history(changed("a"))
        history(changed("a", Health.HEALTHY))
    assert [entry.count for entry in history.newest_first()] == [50, 50]


def test_what_nobody_wants_to_read_is_left_out() -> None:
    """Looks come every minute."""
    history = History(Clock())
    history(LookFinished("p", 0.1, 3))
    assert history.newest_first() == ()


def test_a_storm_of_devices_washes_away_only_devices() -> None:
    """It is bounded, and the plugin's recovery stays."""
    history = History(Clock())
    history(PluginRecovered("p"))
    for number in range(1_000):
        history(changed(f"d{number}"))
    entries = history.newest_first()
    assert len(entries) == MOST + 1
    assert entries[0].event == changed("d999")
    assert entries[-1].event == PluginRecovered("p")
