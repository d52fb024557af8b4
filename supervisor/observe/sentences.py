"""What each event says to a person: how grave it is, and one sentence with what happens next."""

from collections.abc import Mapping
from enum import IntEnum

from msgspec.structs import asdict

from supervisor import events
from supervisor.model import Health


class Grade(IntEnum):
    """How grave a line is, in the numbers of the standard library's logging."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


SENTENCES: Mapping[type[events.Event], tuple[Grade, str]] = {
    events.PluginLoaded: (Grade.INFO, "plugin {plugin} loaded from {distribution} {version}"),
    events.PluginRejected: (Grade.ERROR, "plugin {plugin}{whose} is not used: {reason}"),
    events.PluginRetired: (Grade.INFO, "plugin {plugin} retired: the configuration has it no longer"),
    events.LookFinished: (Grade.DEBUG, "plugin {plugin} saw {devices} devices in {seconds:.3f} s"),
    events.LookFailed: (
        Grade.WARNING,
        "plugin {plugin} could not look: {reason}; its last devices stay, it looks again in {retry_in:.3g} s",
    ),
    events.PluginStuck: (
        Grade.ERROR,
        "plugin {plugin} is stuck: a look has not come back for {seconds:.3g} s; no other is started until it does",
    ),
    events.PluginRecovered: (Grade.INFO, "plugin {plugin} recovered"),
    events.WatchFailed: (
        Grade.WARNING,
        "the event source of plugin {plugin} ended: {reason}; it is started again in {retry_in:.3g} s, timed looks go on",
    ),
    events.PluginNoticed: (Grade.INFO, "plugin {plugin} {details}"),
    events.DeviceQuarantined: (Grade.WARNING, "{resource}: {device!r} is not offered: {reason}"),
    events.ResourceContended: (Grade.ERROR, "{resource} stays with plugin {owner}; plugin {claimant} claims it too"),
    events.ResourceOffered: (Grade.INFO, "{resource} is offered by plugin {plugin}"),
    events.ResourceBound: (Grade.DEBUG, "{resource} is served at {path}"),
    events.ResourceRetired: (Grade.INFO, "{resource} is no longer offered by plugin {plugin}"),
    events.DeviceChanged: (Grade.INFO, "{resource}: {device} is {health}"),
    events.InventoryPublished: (Grade.DEBUG, "{resource}: a list with {healthy} healthy and {unhealthy} unhealthy devices"),
    events.ListRefused: (Grade.ERROR, "{resource}: the new list is not sent: {reason}; the last good one stays"),
    events.Registered: (Grade.INFO, "{resource} is connected to the kubelet after {seconds:.3f} s"),
    events.RegistrationFailed: (Grade.WARNING, "{resource} could not register: {reason}; retrying in {retry_in:.3g} s"),
    events.StreamLost: (Grade.WARNING, "{resource} lost the kubelet's stream; it registers again"),
    events.ResourceContested: (
        Grade.ERROR,
        "{resource} is contested: a rival plugin keeps taking it; retrying in {retry_in:.3g} s",
    ),
    events.KubeletRestarted: (Grade.INFO, "the kubelet has a new socket; everything registers again"),
    events.KubeletAwaited: (Grade.WARNING, "waiting for the kubelet: {reason}"),
    events.KubeletFound: (Grade.INFO, "the kubelet answers"),
    events.OwnershipChanged: (Grade.INFO, "this process {standing}: {reason}"),
    events.DirectoryReplaced: (Grade.WARNING, "{path} was replaced; everything is bound and registered again"),
    events.UeventReceived: (Grade.DEBUG, "uevent: {action} in {subsystem}"),
    events.UdevImpaired: (Grade.WARNING, "udev: {reason}"),
    events.ConfigApplied: (Grade.INFO, "configuration {generation} applied{details}"),
    events.ConfigRejected: (Grade.ERROR, "the configuration was not applied, the last good one stays: {details}"),
    events.DeviceTombstoned: (Grade.WARNING, "{resource}: {device} is gone but may be allocated; it stays listed as unhealthy"),
    events.TombstoneCleared: (Grade.INFO, "{resource}: {device} is no longer listed: {reason}"),
    events.MemoryUnwritten: (Grade.WARNING, "memory{details}: {reason}"),
    events.MemoryWritten: (Grade.INFO, "the memory of {package} is written again"),
    events.HttpListening: (Grade.INFO, "probes and metrics are served at {scheme}://{address}"),
    events.HttpUnavailable: (Grade.WARNING, "no probes and metrics: {reason}; retrying in {retry_in:.3g} s"),
    events.HttpFileRead: (Grade.INFO, "the {what} of the HTTP server is in use: {paths}"),
    events.HttpFileRefused: (Grade.ERROR, "the {what} of the HTTP server cannot be used: {reason}; {meanwhile}"),
    events.ClusterUnavailable: (Grade.WARNING, "Kubernetes API, {about}: {reason}; everything else goes on"),
    events.ClusterReachable: (Grade.INFO, "Kubernetes API, {about}: it works"),
}
"""A sentence may name the event's fields and what ``_more`` adds."""


def sentence(event: events.Event) -> tuple[Grade, str]:
    """Grade and words of an event. One that nobody wrote a sentence for is shown as it is."""
    known = SENTENCES.get(type(event))
    if known is None:
        return Grade.INFO, repr(event)
    grade, words = known
    if isinstance(event, events.DeviceChanged):
        return _device(event, words)
    return grade, words.format_map(asdict(event) | _more(event))


def _device(event: events.DeviceChanged, words: str) -> tuple[Grade, str]:
    health = "gone" if event.health is None else event.health.lower()
    text = words.format_map(asdict(event) | {"health": health}) + (f": {event.reason}" if event.reason else "")
    if event.health is Health.UNHEALTHY:
        return Grade.WARNING, f"{text}; no new pod gets it until it recovers"
    return Grade.INFO, text


def _more(event: events.Event) -> dict[str, str]:
    match event:
        case events.OwnershipChanged(active=active):
            return {"standing": "is the owner and registers" if active else "stands by"}
        case events.ConfigApplied(changed=changed, pending=pending, profiles=profiles):
            parts = [f"for {', '.join(profiles)}"] if profiles else []
            parts += [f"changed: {', '.join(changed)}"] if changed else []
            parts += [f"at the next start: {', '.join(pending)}"] if pending else []
            return {"details": "".join(f"; {part}" for part in parts)}
        case events.PluginRejected(distribution=distribution):
            return {"whose": f" of {distribution}" if distribution else ""}
        case events.MemoryUnwritten(package=package):
            return {
                "details": f" of {package} is not written, it is tried again" if package else " over restarts is not to be had"
            }
        case events.PluginNoticed(notices=notices):
            return {"details": f"says: {'; '.join(notices)}" if notices else "has nothing to say any more"}
        case events.HttpFileRefused(in_use=in_use):
            return {"meanwhile": "the last good one holds on" if in_use else "nobody is let in by it"}
        case events.ConfigRejected(problems=problems):
            return {"details": "; ".join(problems)}
    return {}
