"""From the frozen values that the supervising thread keeps to the document that people are told. Drawn in any thread."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from msgspec import Struct

from supervisor import __version__
from supervisor.ages import Since
from supervisor.attribution import Attribution
from supervisor.inventory import Inventory
from supervisor.ledger import Holding
from supervisor.model import Device
from supervisor.observe.history import Entry
from supervisor.observe.sentences import sentence
from supervisor.pieces import pieces
from supervisor.report import (
    API_VERSION,
    AttributionReport,
    ConfigReport,
    DeviceReport,
    EventReport,
    Heartbeats,
    HolderReport,
    KubeletReport,
    NoticeReport,
    PluginReport,
    Report,
    ResourceReport,
)
from supervisor.status import Liveness, Notice, PluginStatus, ResourceStatus, Status, live, printable, ready


class View(Struct, frozen=True):
    """Everything that is shown, as it was at one moment."""

    status: Status
    liveness: Liveness
    now: float
    """``time.monotonic()`` of that moment."""
    wall: float
    """Unix time of that moment."""
    started: float
    """When the process started, in ``time.monotonic()`` seconds."""
    node: str = ""
    inventories: tuple[Inventory, ...] = ()
    ages: Mapping[str, Since] = {}
    attribution: Attribution = Attribution()
    history: tuple[Entry, ...] = ()


def report(view: View) -> Report:
    """The document."""
    return _Drawing(view).whole()


class _Drawing:
    """One view; what is done once for all its devices is kept here."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._moments: dict[float, str] = {}

    def whole(self) -> Report:
        view, status = self._view, self._view.status
        is_ready, reasons = ready(status, view.now)
        is_live, late = live(view.liveness)
        return Report(
            api_version=API_VERSION,
            kind="Status",
            version=__version__,
            time=self._moment(view.now),
            node=view.node,
            started_at=self._moment(view.started),
            ready=is_ready,
            live=is_live,
            active=status.active,
            active_reason=status.active_reason,
            active_since=self._perhaps(status.active_since),
            started=status.started,
            reasons=(*late, *reasons),
            heartbeats=Heartbeats(round(view.liveness.supervising, 3), round(view.liveness.wire, 3)),
            kubelet=KubeletReport(status.kubelet.connected, status.kubelet.reason, self._perhaps(status.kubelet.since)),
            config=self._config(),
            attribution=self._attribution(),
            resources=self._resources(),
            plugins=tuple(map(self._plugin, status.plugins)),
            notices=self._notices(status.notices),
            events=tuple(map(self._event, view.history)),
        )

    # --- devices ------------------------------------------------------------------------------------------------------

    def _resources(self) -> tuple[ResourceReport, ...]:
        inventories = {inventory.resource: inventory for inventory in self._view.inventories}
        return tuple(self._resource(one, inventories.get(one.name)) for one in self._view.status.resources)

    def _resource(self, resource: ResourceStatus, inventory: Inventory | None) -> ResourceReport:
        devices = self._devices(inventory) if inventory is not None else ()
        held = sum(any(holder.certain for holder in device.holders) for device in devices)
        return ResourceReport(
            name=resource.name,
            plugin=resource.plugin,
            phase=resource.phase,
            since=self._moment(resource.since),
            reason=resource.reason,
            healthy=resource.healthy,
            unhealthy=resource.unhealthy,
            tombstones=resource.tombstones,
            held=held if self._view.attribution.known else None,
            list_problem=resource.list_problem,
            devices=devices,
        )

    def _devices(self, inventory: Inventory) -> tuple[DeviceReport, ...]:
        since = self._view.ages.get(inventory.resource) or Since(self._view.now)
        return tuple(
            self._device(device, self._moment(since.of(device.id)), self._holders(inventory.resource, device.id))
            for piece in pieces(inventory.devices)
            for device in piece
        )

    def _device(self, device: Device, since: str, holders: tuple[HolderReport, ...]) -> DeviceReport:
        reason = printable(device.reason) if device.reason else ""
        return DeviceReport(device.id, device.health, since, reason, device.topology.numa_nodes, holders)

    def _holders(self, resource: str, device_id: str) -> tuple[HolderReport, ...]:
        key, attribution = (resource, device_id), self._view.attribution
        sure = (_holder(one, certain=True) for one in attribution.holders.get(key, ()))
        perhaps = (_holder(one, certain=False) for one in attribution.perhaps.get(key, ()))
        return (*sure, *perhaps)

    def _config(self) -> ConfigReport:
        config = self._view.status.config
        return ConfigReport(config.generation, config.problems, config.pending, config.profiles)

    def _attribution(self) -> AttributionReport:
        known = self._view.attribution
        return AttributionReport(known.known, printable(known.reason), known.source, self._perhaps(known.read_at))

    # --- plugins and events -------------------------------------------------------------------------------------------

    def _plugin(self, plugin: PluginStatus) -> PluginReport:
        return PluginReport(
            name=printable(plugin.name, 128),
            distribution=printable(plugin.distribution, 128),
            version=printable(plugin.version, 128),
            state=plugin.state,
            reason=plugin.reason,
            last_look=self._perhaps(plugin.last_look),
            notices=self._notices(plugin.notices),
        )

    def _notices(self, notices: Iterable[Notice]) -> tuple[NoticeReport, ...]:
        return tuple(NoticeReport(one.origin, one.about, one.text, self._moment(one.since)) for one in notices)

    def _event(self, entry: Entry) -> EventReport:
        grade, text = sentence(entry.event)
        about = {name: printable(str(getattr(entry.event, name, "")), 128) for name in ("plugin", "resource", "device")}
        return EventReport(
            first=self._moment(entry.first),
            last=self._moment(entry.last),
            level=grade.name.lower(),  # type: ignore[arg-type]  # history keeps nothing below info
            event=type(entry.event).__name__,
            text=printable(text),
            count=entry.count,
            **about,
        )

    # --- times --------------------------------------------------------------------------------------------------------

    def _moment(self, at: float) -> str:
        """Most devices came at the same moment, which is worth writing only once."""
        known = self._moments.get(at)
        if known is None:
            date = datetime.fromtimestamp(self._view.wall - self._view.now + at, UTC)
            known = self._moments[at] = date.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return known

    def _perhaps(self, at: float | None) -> str | None:
        return None if at is None else self._moment(at)


def _holder(holding: Holding, *, certain: bool) -> HolderReport:
    return HolderReport(
        printable(holding.namespace, 256), printable(holding.pod, 256), printable(holding.container, 256), certain
    )
