"""What a running supervisor says of a device, where one answers: state and since, who holds it, what has happened to it."""

from collections.abc import Collection, Iterator, Sequence

from msgspec import Struct

from supervisor.cli.asking import ask
from supervisor.cli.door import Door
from supervisor.cli.picture import age, holder_text
from supervisor.cli.reading import read
from supervisor.errors import SupervisorError
from supervisor.model import Health
from supervisor.report import DeviceReport, NoticeReport, Report, ResourceReport
from supervisor.status import Phase

SHORT_PATIENCE = 3.0
"""Seconds: what it says only adds to what the plugins say."""
MOST_SHOWN = 8
"""Devices, in text; replicas come in hundreds."""
MOST_EVENTS = 5


class Listed(Struct, frozen=True):
    """A device that a running supervisor lists."""

    resource: str
    plugin: str
    phase: str
    device: DeviceReport


class Running(Struct, frozen=True):
    """What it says, or why it says nothing."""

    address: str
    problem: str = ""
    listed: tuple[Listed, ...] = ()
    sentences: tuple[str, ...] = ()
    """The same and more, for people."""

    @property
    def silence(self) -> str:
        """Why it helps nobody, in one sentence; empty where it lists the device."""
        if self.problem:
            where = f"answers at {self.address}" if self.address else "was asked"
            return f"No running supervisor {where}: {self.problem}"
        return "" if self.listed else f"The running supervisor at {self.address} does not list it"


def ask_running(door: Door, names: Collection[str]) -> Running:
    """What the supervisor behind that door knows of the devices with these ids. Raises nothing: there may be none."""
    try:
        report = read(ask(door, SHORT_PATIENCE))
    except SupervisorError as error:
        return Running(door.url, str(error).removeprefix(f"{door.url}: "))
    return found_in(report, door.url, names)


def found_in(report: Report, url: str, names: Collection[str]) -> Running:
    """What this report says of the devices with these ids."""
    found = [(one, device) for one in report.resources for device in one.devices if device.id in names]
    # Those that a person asks about first: broken ones, then held ones.
    found.sort(key=lambda pair: (pair[1].health == Health.HEALTHY, not pair[1].holders))
    listed = tuple(Listed(one.name, one.plugin, one.phase, device) for one, device in found)
    return Running(url, "", listed, (*_devices(found, report), *_remarks({one.name: one for one, _ in found}, names, report)))


def _devices(found: Sequence[tuple[ResourceReport, DeviceReport]], report: Report) -> Iterator[str]:
    for resource, device in found[:MOST_SHOWN]:
        since = f"for {age(device.since, report.time)}, since {device.since}"
        why = f": {device.reason}" if device.reason else ""
        yield f"{resource.name}: {device.id} is {device.health} {since}{why}; {_held(resource, device, report)}"
    if len(found) > MOST_SHOWN:
        yield f"… {len(found) - MOST_SHOWN} more"
    if not found:
        yield "it does not list it"


def _held(resource: ResourceReport, device: DeviceReport, report: Report) -> str:
    if device.holders:
        return f"held by {', '.join(map(holder_text, device.holders))}"
    if report.attribution.known and resource.held is not None:
        return "no container is known to hold it"
    return "who holds it is not known" + (f" ({report.attribution.reason})" if report.attribution.reason else "")


def _remarks(resources: dict[str, ResourceReport], names: Collection[str], report: Report) -> Iterator[str]:
    """What else concerns these devices: their resources, notices, events."""
    if not report.active:
        yield f"it stands by, so another process offers to the kubelet: {report.active_reason}"
    for resource in resources.values():
        if resource.phase != Phase.CONNECTED:
            yield f"{resource.name} is {resource.phase}, not connected" + (f": {resource.reason}" if resource.reason else "")
        if resource.list_problem:
            yield f"the kubelet has an older list of {resource.name}: {resource.list_problem}"
    notices = [*report.notices, *(notice for plugin in report.plugins for notice in plugin.notices)]
    for notice in notices:
        if notice.about in resources or _is_about(notice, names):
            yield f"{notice.about}: {notice.text}"
    events = [event for event in report.events if event.device in names]
    for event in events[:MOST_EVENTS]:
        yield f"{age(event.last, report.time)} ago: {event.text}" + (f" ({event.count} times)" if event.count > 1 else "")


def _is_about(notice: NoticeReport, names: Collection[str]) -> bool:
    """Of a device it says the resource and the id."""
    return notice.about.partition(" ")[2] in names
