"""Which core events are worth an Event object, and in which words. Nothing here speaks with anybody.

What is there at the first look is no change. A device that appears later is none either, nor is one whose reason alone changes.
"""

import enum
from collections import OrderedDict
from collections.abc import Callable

from msgspec import Struct

from supervisor import events
from supervisor.model import Health
from supervisor.status import printable

MOST_BURIED = 1024
"""Vanished ids whose next health is awaited; it comes in the same breath, unless there are too many to tell."""


class Reason(enum.StrEnum):
    """The ``reason`` of an Event object: stable words that people and programs filter by."""

    DEVICE_LOST = "DeviceLost"
    DEVICE_UNHEALTHY = "DeviceUnhealthy"
    DEVICE_RECOVERED = "DeviceRecovered"
    PLUGIN_FAILING = "PluginFailing"
    PLUGIN_RECOVERED = "PluginRecovered"
    RESOURCE_CONTESTED = "ResourceContested"
    CONFIG_REJECTED = "ConfigRejected"

    @property
    def bad(self) -> bool:
        """Whether it is shown as a warning."""
        return self not in {Reason.DEVICE_RECOVERED, Reason.PLUGIN_RECOVERED}


class Happening(Struct, frozen=True):
    """Something to be told."""

    subject: tuple[str, ...]
    """What it is about; of several happenings about one subject only the last is told."""
    reason: Reason
    message: str
    at: float
    """UNIX seconds: it may be told much later."""
    resource: str = ""
    device: str = ""
    """Only of a device: who holds it is told, too."""
    similar: str = ""
    """What makes it the same again as an earlier one, if not the message."""
    times: int = 1


class Happenings:
    """Remembers no more than what is failing. One call for each core event, in the supervising thread; quick."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._buried: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._failing: set[str] = set()

    def of(self, event: events.Event) -> Happening | None:
        """What is to be told of a core event, if anything."""
        match event:
            case events.DeviceChanged():
                return self._device(event)
            case events.DeviceTombstoned(resource=resource, device=device):
                self._bury(resource, device)
            case events.LookFailed(plugin=plugin, reason=reason):
                return self._failed(plugin, f"plugin {plugin} cannot look at its hardware: {reason}")
            case events.PluginRecovered(plugin=plugin):
                return self._recovered(plugin)
            case events.PluginRetired(plugin=plugin):
                self._failing.discard(plugin)
            case events.ResourceContested(resource=resource):
                text = f"{resource}: another device plugin keeps registering this resource"
                return self._told(("contested", resource), Reason.RESOURCE_CONTESTED, text)
            case events.ConfigRejected(problems=problems):
                text = f"the configuration is not applied, the last good one stays: {'; '.join(problems)}"
                return self._told(("config",), Reason.CONFIG_REJECTED, text)
        return None

    def _told(self, subject: tuple[str, ...], reason: Reason, message: str) -> Happening:
        return Happening(subject, reason, printable(message, 1000), self._wall())

    def _bury(self, resource: str, device: str) -> None:
        self._buried[resource, device] = None
        if len(self._buried) > MOST_BURIED:
            self._buried.popitem(last=False)

    def _device(self, event: events.DeviceChanged) -> Happening | None:
        buried = self._buried.pop((event.resource, event.device), 0) is None
        if event.before is None:
            return None
        before, health = _condition(event.before), _condition(event.health)
        because = f": {event.reason}" if event.reason else ""
        if (buried and health is not None) or (health is None and before is Health.HEALTHY):
            reason, what = Reason.DEVICE_LOST, "is no longer there"
        elif health is before or health is None:
            return None
        elif health is Health.UNHEALTHY:
            reason, what = Reason.DEVICE_UNHEALTHY, f"is unhealthy{because}"
        else:
            reason, what = Reason.DEVICE_RECOVERED, "is healthy again"
        message = printable(f"{event.resource}: device {event.device} {what}", 1000)
        subject = ("device", event.resource, event.device)
        return Happening(subject, reason, message, self._wall(), event.resource, event.device)

    def _failed(self, plugin: str, message: str) -> Happening | None:
        if plugin in self._failing:
            return None
        self._failing.add(plugin)
        return self._told(("plugin", plugin), Reason.PLUGIN_FAILING, message)

    def _recovered(self, plugin: str) -> Happening | None:
        if plugin not in self._failing:
            return None
        self._failing.discard(plugin)
        return self._told(("plugin", plugin), Reason.PLUGIN_RECOVERED, f"plugin {plugin} looks at its hardware again")


def _condition(health: Health | None) -> Health | None:
    """That another id has its hardware, which one pod has caused and another may see, is no news of the device."""
    return Health.HEALTHY if health is Health.OCCUPIED else health
