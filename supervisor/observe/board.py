"""An observer that keeps the picture of now: each event turns the frozen status into the next one."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

from msgspec.structs import replace

from supervisor import events
from supervisor.status import (
    ConfigStatus,
    Notice,
    NoticeOrigin,
    Phase,
    PluginState,
    PluginStatus,
    ResourceStatus,
    Status,
    printable,
)

MOST_NOTICES = 32
"""Notices of one plugin from one origin; what is more is counted by nobody, the log has it."""

E_ = TypeVar("E_", bound=events.Event)
Step = Callable[[Status, Any, float], Status]
_STEPS: dict[type[events.Event], Step] = {}


class StatusBoard:
    """Its ``current`` is replaced whole in the supervising thread, so that any thread may read it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.current = Status()
        self._clock = clock

    def __call__(self, event: events.Event) -> None:
        if step := _STEPS.get(type(event)):
            self.current = _latch_started(step(self.current, event, self._clock()))


def _on(kind: type[E_]) -> Callable[[Callable[[Status, E_, float], Status]], Callable[[Status, E_, float], Status]]:
    def register(step: Callable[[Status, E_, float], Status]) -> Callable[[Status, E_, float], Status]:
        _STEPS[kind] = step
        return step

    return register


def _latch_started(status: Status) -> Status:
    if status.started or status.config.generation == 0:
        return status
    waiting = any(plugin.state is PluginState.WAITING for plugin in status.plugins)
    return status if waiting else replace(status, started=True)


# Plugins --------------------------------------------------------------------------------------------------------------


def _is(plugin: PluginStatus, name: str) -> bool:
    """Whether this entry is the working plugin of that name; a rejected one may have the name too."""
    return plugin.name == name and plugin.state is not PluginState.REJECTED


def _rejected(plugin: PluginStatus, event: events.PluginLoaded | events.PluginRejected) -> bool:
    """Whether this entry tells of an earlier refusal of what the event is about."""
    refused = plugin.state is PluginState.REJECTED
    return refused and (plugin.name, plugin.distribution) == (event.plugin, event.distribution)


def _plugin(status: Status, name: str, **changes: Any) -> Status:
    return replace(status, plugins=tuple(replace(one, **changes) if _is(one, name) else one for one in status.plugins))


def _without(notices: tuple[Notice, ...], origin: NoticeOrigin, about: str | None = None) -> tuple[Notice, ...]:
    return tuple(one for one in notices if one.origin is not origin or (about is not None and one.about != about))


def _with(notices: tuple[Notice, ...], new: Notice) -> tuple[Notice, ...]:
    """These notices and the new one, which takes the place of what was said before of the same."""
    others = _without(notices, new.origin, new.about)
    full = sum(one.origin is new.origin for one in others) >= MOST_NOTICES
    return others if full else (*others, new)


def _notices_of(status: Status, name: str) -> tuple[Notice, ...]:
    return next((one.notices for one in status.plugins if _is(one, name)), ())


def _notice(status: Status, name: str, origin: NoticeOrigin, about: str, text: str, now: float) -> Status:
    new = Notice(origin, printable(about, 128), printable(text), now)
    return _plugin(status, name, notices=_with(_notices_of(status, name), new))


@_on(events.PluginLoaded)
def _(status: Status, event: events.PluginLoaded, now: float) -> Status:
    """A plugin that was working already is a new object of the same package: what it said stays until it looks."""
    before = next((one for one in status.plugins if _is(one, event.plugin)), PluginStatus(event.plugin, event.distribution))
    loaded = replace(before, distribution=event.distribution, version=event.version)
    gone = (before, next((one for one in status.plugins if _rejected(one, event)), before))
    return replace(status, plugins=(*(one for one in status.plugins if one not in gone), loaded))


@_on(events.PluginRejected)
def _(status: Status, event: events.PluginRejected, now: float) -> Status:
    rejected = PluginStatus(event.plugin, event.distribution, state=PluginState.REJECTED, reason=printable(event.reason))
    return replace(status, plugins=(*(one for one in status.plugins if not _rejected(one, event)), rejected))


@_on(events.PluginRetired)
def _(status: Status, event: events.PluginRetired, now: float) -> Status:
    return replace(status, plugins=tuple(one for one in status.plugins if one.name != event.plugin))


@_on(events.LookFinished)
def _(status: Status, event: events.LookFinished, now: float) -> Status:
    return _plugin(status, event.plugin, state=PluginState.UP, reason="", last_look=now)


@_on(events.LookFailed)
def _(status: Status, event: events.LookFailed, now: float) -> Status:
    return _plugin(status, event.plugin, state=PluginState.FAILING, reason=printable(event.reason))


@_on(events.PluginStuck)
def _(status: Status, event: events.PluginStuck, now: float) -> Status:
    reason = f"a look has not come back for {event.seconds:.0f} s"
    return _plugin(status, event.plugin, state=PluginState.STUCK, reason=reason)


@_on(events.PluginRecovered)
def _(status: Status, event: events.PluginRecovered, now: float) -> Status:
    return _plugin(status, event.plugin, state=PluginState.UP, reason="")


@_on(events.WatchFailed)
def _(status: Status, event: events.WatchFailed, now: float) -> Status:
    return _notice(status, event.plugin, NoticeOrigin.WATCH, "", f"its event source ended: {event.reason}", now)


@_on(events.PluginNoticed)
def _(status: Status, event: events.PluginNoticed, now: float) -> Status:
    """All that a look has to say begins anew; what it quarantined follows."""
    said = tuple(Notice(NoticeOrigin.LOOK, "", printable(text), now) for text in event.notices[:MOST_NOTICES])
    return _plugin(status, event.plugin, notices=(*_without(_notices_of(status, event.plugin), NoticeOrigin.LOOK), *said))


@_on(events.DeviceQuarantined)
def _(status: Status, event: events.DeviceQuarantined, now: float) -> Status:
    about = f"{event.resource} {event.device}".rstrip()
    return _notice(status, event.plugin, NoticeOrigin.LOOK, about, f"not offered: {event.reason}", now)


@_on(events.ResourceContended)
def _(status: Status, event: events.ResourceContended, now: float) -> Status:
    text = f"plugin {event.owner} has it"
    return _notice(status, event.claimant, NoticeOrigin.CLAIM, event.resource, text, now)


# Resources and the kubelet --------------------------------------------------------------------------------------------


def _resource(status: Status, name: str, **changes: Any) -> Status:
    """The status with this resource changed, and with what that says about the kubelet."""
    resources = tuple(replace(one, **changes) if one.name == name else one for one in status.resources)
    return _with_resources(status, resources)


def _with_resources(status: Status, resources: tuple[ResourceStatus, ...]) -> Status:
    connected = any(one.connected for one in resources)
    return replace(status, resources=resources, kubelet=replace(status.kubelet, connected=connected))


@_on(events.ResourceOffered)
def _(status: Status, event: events.ResourceOffered, now: float) -> Status:
    """A resource that another plugin had keeps its server and its stream."""
    if any(one.name == event.resource for one in status.resources):
        status = _resource(status, event.resource, plugin=event.plugin)
    else:
        status = replace(status, resources=(*status.resources, ResourceStatus(event.resource, event.plugin, now)))
    settled = _without(_notices_of(status, event.plugin), NoticeOrigin.CLAIM, event.resource)
    return _plugin(status, event.plugin, notices=settled)


@_on(events.ResourceRetired)
def _(status: Status, event: events.ResourceRetired, now: float) -> Status:
    gone = (event.resource, event.plugin)
    return _with_resources(status, tuple(one for one in status.resources if (one.name, one.plugin) != gone))


@_on(events.InventoryPublished)
def _(status: Status, event: events.InventoryPublished, now: float) -> Status:
    found = {"plugin": event.plugin, "healthy": event.healthy, "unhealthy": event.unhealthy}
    return _resource(status, event.resource, has_inventory=True, list_problem="", **found)


@_on(events.ListRefused)
def _(status: Status, event: events.ListRefused, now: float) -> Status:
    return _resource(status, event.resource, list_problem=printable(event.reason))


@_on(events.DeviceTombstoned)
def _(status: Status, event: events.DeviceTombstoned, now: float) -> Status:
    return _tombstones(status, event.resource, 1)


@_on(events.TombstoneCleared)
def _(status: Status, event: events.TombstoneCleared, now: float) -> Status:
    return _tombstones(status, event.resource, -1)


def _tombstones(status: Status, resource: str, more: int) -> Status:
    held = next((one.tombstones for one in status.resources if one.name == resource), 0)
    return _resource(status, resource, tombstones=max(0, held + more))


@_on(events.ResourceBound)
def _(status: Status, event: events.ResourceBound, now: float) -> Status:
    """Bound afresh under another path, it may have kept its stream: only the end of the stream says that it is lost."""
    bound = any(one.name == event.resource and one.phase is Phase.OFFERED for one in status.resources)
    return _resource(status, event.resource, phase=Phase.BOUND) if bound else status


@_on(events.Registered)
def _(status: Status, event: events.Registered, now: float) -> Status:
    status = replace(status, kubelet=replace(status.kubelet, reason="", since=now))
    return _resource(status, event.resource, phase=Phase.CONNECTED, reason="", since=now)


@_on(events.RegistrationFailed)
def _(status: Status, event: events.RegistrationFailed, now: float) -> Status:
    return _resource(status, event.resource, phase=Phase.REGISTERING, reason=printable(event.reason))


@_on(events.StreamLost)
def _(status: Status, event: events.StreamLost, now: float) -> Status:
    return _resource(status, event.resource, phase=Phase.LOST, reason="the kubelet's stream ended", since=now)


@_on(events.ResourceContested)
def _(status: Status, event: events.ResourceContested, now: float) -> Status:
    return _resource(status, event.resource, phase=Phase.CONTESTED, reason="a rival plugin keeps taking it")


@_on(events.KubeletAwaited)
def _(status: Status, event: events.KubeletAwaited, now: float) -> Status:
    """The first sign of its absence counts; later ones only tell it better."""
    since = status.kubelet.since if status.kubelet.reason else now
    return replace(status, kubelet=replace(status.kubelet, reason=printable(event.reason), since=since))


@_on(events.KubeletFound)
def _(status: Status, event: events.KubeletFound, now: float) -> Status:
    return _kubelet_found(status, now)


@_on(events.KubeletRestarted)
def _(status: Status, event: events.KubeletRestarted, now: float) -> Status:
    return _kubelet_found(status, now)


def _kubelet_found(status: Status, now: float) -> Status:
    """Whether it takes what we have is told by each resource."""
    return replace(status, kubelet=replace(status.kubelet, reason="", since=now))


# The process ----------------------------------------------------------------------------------------------------------


@_on(events.OwnershipChanged)
def _(status: Status, event: events.OwnershipChanged, now: float) -> Status:
    return replace(status, active=event.active, active_reason=printable(event.reason), active_since=now)


@_on(events.ConfigApplied)
def _(status: Status, event: events.ConfigApplied, now: float) -> Status:
    return replace(status, config=ConfigStatus(event.generation, (), event.pending, event.profiles))


@_on(events.ConfigRejected)
def _(status: Status, event: events.ConfigRejected, now: float) -> Status:
    problems = tuple(printable(problem) for problem in event.problems[:MOST_NOTICES])
    return replace(status, config=replace(status.config, problems=problems))


@_on(events.UdevImpaired)
def _(status: Status, event: events.UdevImpaired, now: float) -> Status:
    return _to_know(status, NoticeOrigin.UDEV, "", event.reason, now)


@_on(events.UeventReceived)
def _(status: Status, event: events.UeventReceived, now: float) -> Status:
    """Events come: whatever was wrong with their source is over."""
    return replace(status, notices=_without(status.notices, NoticeOrigin.UDEV)) if status.notices else status


@_on(events.MemoryUnwritten)
def _(status: Status, event: events.MemoryUnwritten, now: float) -> Status:
    return _to_know(status, NoticeOrigin.MEMORY, event.package, event.reason, now)


@_on(events.MemoryWritten)
def _(status: Status, event: events.MemoryWritten, now: float) -> Status:
    return replace(status, notices=_without(status.notices, NoticeOrigin.MEMORY, printable(event.package, 128)))


@_on(events.ClusterUnavailable)
def _(status: Status, event: events.ClusterUnavailable, now: float) -> Status:
    return _to_know(status, NoticeOrigin.CLUSTER, event.about, event.reason, now)


@_on(events.ClusterReachable)
def _(status: Status, event: events.ClusterReachable, now: float) -> Status:
    return replace(status, notices=_without(status.notices, NoticeOrigin.CLUSTER, event.about))


@_on(events.HttpFileRefused)
def _(status: Status, event: events.HttpFileRefused, now: float) -> Status:
    return _to_know(status, NoticeOrigin.HTTP, event.what, event.reason, now)


@_on(events.HttpFileRead)
def _(status: Status, event: events.HttpFileRead, now: float) -> Status:
    return replace(status, notices=_without(status.notices, NoticeOrigin.HTTP, event.what))


def _to_know(status: Status, origin: NoticeOrigin, about: str, text: str, now: float) -> Status:
    new = Notice(origin, printable(about, 128), printable(text), now)
    return replace(status, notices=_with(status.notices, new))
