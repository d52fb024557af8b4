"""What people are told: one frozen document behind ``/status``, the status page and the command ``status``.

Its JSON Schema is published (``status --schema``). Fields may be added within one ``apiVersion``; none changes its meaning. All
times are RFC 3339 in UTC.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from supervisor.model import Health
from supervisor.status import NoticeOrigin, Phase, PluginState

API_VERSION: Final = "device-plugin-supervisor/v1alpha1"

Moment = Annotated[str, Meta(description="RFC 3339, UTC")]


class _Told(Struct, frozen=True, rename="camel"):
    """What all parts have in common: the field names of Kubernetes' own documents."""


class HolderReport(_Told, frozen=True, gc=False):
    """A container that holds a device."""

    namespace: str
    """Empty where only the kubelet's checkpoint could be read."""
    pod: str
    """Its name; its UID where only the checkpoint could be read."""
    container: str
    certain: bool = True
    """False: only the checkpoint shows it, so it is an init container, or belongs to a pod that has ended."""


class DeviceReport(_Told, frozen=True, gc=False):
    id: str
    health: Health
    since: Moment
    """When it came into this state, as far as this process saw it."""
    reason: str = ""
    numa_nodes: tuple[int, ...] = ()
    """Empty: nowhere special."""
    holders: tuple[HolderReport, ...] = ()
    """Empty: nobody is known to hold it, which is no proof that nobody does."""


class ResourceReport(_Told, frozen=True):
    name: str
    plugin: str
    phase: Phase
    since: Moment
    reason: str = ""
    """Why it is not connected."""
    healthy: int = 0
    unhealthy: int = 0
    tombstones: int = 0
    """Vanished ids that stay listed because they may still be allocated; counted as unhealthy, too."""
    held: int | None = None
    """Devices that some container is known to hold; null where that is not known."""
    list_problem: str = ""
    """Why the newest device list could not be sent; the one before it stays in force."""
    devices: tuple[DeviceReport, ...] = ()


class NoticeReport(_Told, frozen=True):
    """Something to know that stops nothing."""

    origin: NoticeOrigin
    about: str
    text: str
    since: Moment


class PluginReport(_Told, frozen=True):
    name: str
    distribution: str
    version: str
    state: PluginState
    reason: str = ""
    last_look: Moment | None = None
    """When a look last gave a usable answer."""
    notices: tuple[NoticeReport, ...] = ()


class KubeletReport(_Told, frozen=True):
    connected: bool
    """At least one resource has its stream."""
    reason: str = ""
    """Why no kubelet can be reached."""
    since: Moment | None = None


class ConfigReport(_Told, frozen=True):
    generation: int
    """How many configurations have been applied."""
    problems: tuple[str, ...] = ()
    """What is wrong with the newest edit; the last good one is in force."""
    pending: tuple[str, ...] = ()
    """Sections that take effect at the next start."""
    profiles: tuple[str, ...] = ()
    """The names of those that hold on this node."""


class AttributionReport(_Told, frozen=True):
    """How far it is known who holds what."""

    known: bool
    reason: str = ""
    """Why it is not."""
    source: str = ""
    """``podresources`` or ``checkpoint``."""
    read_at: Moment | None = None


class EventReport(_Told, frozen=True):
    """Something that happened, in words; equal ones in one."""

    first: Moment
    last: Moment
    level: Literal["info", "warning", "error"]
    event: str
    """Its kind, like ``DeviceChanged``."""
    text: str
    count: int = 1
    plugin: str = ""
    resource: str = ""
    device: str = ""


class Heartbeats(_Told, frozen=True):
    """Seconds since each thread last turned."""

    supervising: float
    wire: float


class Report(_Told, frozen=True):
    """The whole."""

    api_version: Literal["device-plugin-supervisor/v1alpha1"]
    kind: Literal["Status"]
    version: str
    """Of the program."""
    time: Moment
    """When this was written."""
    node: str
    """The node's name, where it is known."""
    started_at: Moment
    ready: bool
    live: bool
    active: bool
    """This process registers; otherwise it stands by for one that does."""
    active_reason: str
    active_since: Moment | None
    started: bool
    """Every plugin has been loaded and has looked once, or ran out of time for it."""
    reasons: tuple[str, ...]
    """What stops it, first, and what else a person should know."""
    heartbeats: Heartbeats
    kubelet: KubeletReport
    config: ConfigReport
    attribution: AttributionReport
    resources: tuple[ResourceReport, ...] = ()
    plugins: tuple[PluginReport, ...] = ()
    notices: tuple[NoticeReport, ...] = ()
    events: tuple[EventReport, ...] = ()
    """The newest first."""


_DECODER = msgspec.json.Decoder(Report)


def decode(document: bytes) -> Report:
    """Read what a running supervisor, perhaps a newer one, has written. Raises ``ValueError`` for anything else."""
    return _DECODER.decode(document)


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the document."""
    title = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "The status of a device-plugin-supervisor"}
    return title | msgspec.json.schema(Report)
