"""What happened, as frozen records in the past tense. The core emits them; log, metrics and page subscribe.

Nothing here says how an event is shown, and no event carries an object that lives on. Times are ``time.monotonic()`` seconds.
Counts of RPCs are not events: the wire thread keeps them as levels (``supervisor.levels``).
"""

from collections.abc import Callable

from msgspec import Struct

from supervisor.model import Health


class Event(Struct, frozen=True, tag=True):
    """The root of all records."""


class PluginLoaded(Event, frozen=True):
    plugin: str
    distribution: str
    version: str


class PluginRejected(Event, frozen=True):
    """A package, or one of its plugin objects, is not used; ``reason`` says what its author or the operator must do."""

    plugin: str
    distribution: str
    reason: str


class PluginRetired(Event, frozen=True):
    """The configuration no longer has this plugin."""

    plugin: str


class LookFinished(Event, frozen=True):
    """A look at the hardware gave a usable answer."""

    plugin: str
    seconds: float
    devices: int


class LookFailed(Event, frozen=True):
    """A look raised, was late or returned nonsense. The last inventory stays; the next look is in ``retry_in`` seconds."""

    plugin: str
    reason: str
    failures: int
    retry_in: float


class PluginStuck(Event, frozen=True):
    """A look is past its deadline and its thread has not come back; no second one is started."""

    plugin: str
    seconds: float


class PluginRecovered(Event, frozen=True):
    plugin: str


class WatchFailed(Event, frozen=True):
    """A plugin's own event source ended; it is started again in ``retry_in`` seconds. Timed looks go on."""

    plugin: str
    reason: str
    retry_in: float


class PluginNoticed(Event, frozen=True):
    """What a plugin waits for or cannot see, in its own words; all of it each time, empty when nothing is left."""

    plugin: str
    notices: tuple[str, ...]


class DeviceQuarantined(Event, frozen=True):
    plugin: str
    resource: str
    device: str
    reason: str


class ResourceContended(Event, frozen=True):
    """Two plugins claim one resource name; ``owner`` keeps it."""

    resource: str
    owner: str
    claimant: str


class ResourceOffered(Event, frozen=True):
    """A resource name appeared."""

    plugin: str
    resource: str


class ResourceBound(Event, frozen=True):
    """The server of this resource accepts connections at ``path``."""

    resource: str
    path: str


class ResourceRetired(Event, frozen=True):
    plugin: str
    resource: str


class DeviceChanged(Event, frozen=True):
    """A device appeared, changed its health, or left. ``health`` is ``None`` when it is no longer listed."""

    plugin: str
    resource: str
    device: str
    health: Health | None
    reason: str
    before: Health | None = None
    """What it was in the list before; ``None`` when it was not listed."""


class InventoryPublished(Event, frozen=True):
    plugin: str
    resource: str
    healthy: int
    unhealthy: int


class ListRefused(Event, frozen=True):
    """A device list is too long for the kubelet; the last good one stays."""

    resource: str
    reason: str


class Registered(Event, frozen=True):
    """The kubelet opened ``ListAndWatch``: the only proof of a registration. ``seconds`` since the first attempt."""

    resource: str
    seconds: float


class RegistrationFailed(Event, frozen=True):
    resource: str
    reason: str
    retry_in: float


class StreamLost(Event, frozen=True):
    """The kubelet's ``ListAndWatch`` ended although we did not end it."""

    resource: str


class ResourceContested(Event, frozen=True):
    """A rival plugin keeps taking this resource; the next try is in ``retry_in`` seconds."""

    resource: str
    retry_in: float


class KubeletRestarted(Event, frozen=True):
    """``kubelet.sock`` is another one than before."""


class KubeletAwaited(Event, frozen=True):
    """No kubelet answers; ``reason`` says what was found instead."""

    reason: str


class KubeletFound(Event, frozen=True):
    """What ``KubeletAwaited`` told of is over: a kubelet answers."""


class OwnershipChanged(Event, frozen=True):
    """This process registers (``active``) or stands by for another one that does."""

    active: bool
    reason: str


class DirectoryReplaced(Event, frozen=True):
    """The device-plugins directory is another one than before; everything is bound again."""

    path: str


class UeventReceived(Event, frozen=True):
    subsystem: str
    action: str


class UdevImpaired(Event, frozen=True):
    """The event source lost events or delivers none; a full look follows. ``reason`` says what was seen."""

    reason: str


class ConfigApplied(Event, frozen=True):
    """``pending`` names the sections that take effect only at the next start."""

    generation: int
    changed: tuple[str, ...]
    pending: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    """The names of those that hold on this node."""


class ConfigRejected(Event, frozen=True):
    """The file was edited into something invalid; the last good one stays in force."""

    problems: tuple[str, ...]


class DeviceTombstoned(Event, frozen=True):
    """An id vanished that may still be allocated: it stays listed, Unhealthy."""

    resource: str
    device: str


class TombstoneCleared(Event, frozen=True):
    resource: str
    device: str
    reason: str


class MemoryUnwritten(Event, frozen=True):
    """What a package asked to keep over restarts is not on the disk; it is tried again. Without a package: nothing can be."""

    package: str
    reason: str


class MemoryWritten(Event, frozen=True):
    """What ``MemoryUnwritten`` told of this package is over."""

    package: str


class HttpListening(Event, frozen=True):
    """The probes and the metrics can be fetched at ``address``."""

    address: str
    scheme: str = "http"


class HttpUnavailable(Event, frozen=True):
    """The HTTP port cannot be had; the work for the kubelet goes on without it. The next try is in ``retry_in`` seconds."""

    reason: str
    retry_in: float


class ClusterUnavailable(Event, frozen=True):
    """The Kubernetes API does not answer, or refuses what this program wants of it; the work for the kubelet goes on without it.

    ``about`` says what is concerned: all of it, or one part that its service account may not do. It is tried again.
    """

    about: str
    reason: str


class ClusterReachable(Event, frozen=True):
    """What ``ClusterUnavailable`` told of this part is over."""

    about: str


class HttpFileRead(Event, frozen=True):
    """A certificate or a token file of the HTTP server is in use from now on: at the start, and after every replacement."""

    what: str
    paths: str


class HttpFileRefused(Event, frozen=True):
    """A certificate or a token file of the HTTP server is of no use. It is tried again when somebody asks for something."""

    what: str
    reason: str
    in_use: bool
    """Whether what was read before holds on. Otherwise nobody is let in."""


Observer = Callable[[Event], None]
"""Called in the supervising thread for each event. It must be quick and must not raise."""
