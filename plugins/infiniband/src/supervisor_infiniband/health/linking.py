"""Whether a device has a link: its own ports', and for VFs and SFs the physical function's. Pure.

A VF or SF is as good as the port that it shares. Its own port counts for it only where somebody has brought it up here in vain
(``sight.excuse``), or where the operator asks for it.
"""

from collections.abc import Iterator

from msgspec import Struct

from supervisor_infiniband.config import Judgement
from supervisor_infiniband.health.scene import Fault, PortOf, Scene, own
from supervisor_infiniband.health.sight import Kind, awaited, excuse, is_function, telling
from supervisor_infiniband.health.track import Track
from supervisor_infiniband.report import RdmaDevice


class _Wanted(Struct, frozen=True):
    """Ports of which one or all must be in one of some states."""

    ports: tuple[PortOf, ...]
    good: frozenset[Kind]


def link_faults(device: RdmaDevice, judgement: Judgement, scene: Scene) -> Iterator[Fault]:
    """Why a device has no link to be used; nothing: it has."""
    for wanted in _wanted(device, judgement, scene):
        tracked = [(each, track) for each in wanted.ports if (track := _track(each, scene))]
        bad = [(each, track) for each, track in tracked if track.believed not in wanted.good]
        if bad and (judgement.ports == "all" or len(bad) == len(tracked)):
            yield from (_fault(each, device, track, judgement, scene) for each, track in bad)


def link_notes(device: RdmaDevice, judgement: Judgement, scene: Scene) -> Iterator[str]:
    """What is not as it could be with the ports of a device, whether it counts or not."""
    for wanted in _wanted(device, judgement, scene):
        for each in wanted.ports:
            track = _track(each, scene)
            if track is None or track.seen == track.believed == "active":
                continue
            if track.believed == "active":
                waits = f"waits in INIT for {awaited(each[1])}"
                now = waits if track.seen == "waiting" else f"is {telling(scene.link(*each))}"
                yield f"{_named(each, device)} {now}, not for long enough to count"
            else:
                yield _fault(each, device, track, judgement, scene).text


def _wanted(device: RdmaDevice, judgement: Judgement, scene: Scene) -> Iterator[_Wanted]:
    carrying = scene.carrying(device)
    if carrying:
        yield _Wanted(carrying, frozenset({"active"}))
    good: set[Kind] = {"active"}
    if is_function(device) and not judgement.vf_require_active:
        good |= {"idle", "waiting"} if carrying else {"idle"}
    yield _Wanted(own(device), frozenset(good))


def _track(port: PortOf, scene: Scene) -> Track | None:
    return scene.tracks.get((port[0].id, port[1].number))


def _fault(each: PortOf, device: RdmaDevice, track: Track, judgement: Judgement, scene: Scene) -> Fault:
    """What is believed of a port that is not active, in the words of what is seen."""
    link, port = scene.link(*each), _named(each, device)
    if track.believed == "waiting":
        text = f"{port} has waited {judgement.subnet_manager_grace:g} s in INIT for {awaited(each[1])}"
        state = "PortDown" if each[1].link_layer == "Ethernet" else "NoSubnetManager"
        return Fault(state, text if track.seen == "waiting" else f"{text}, and is {telling(link)} now")
    if track.seen == "active":
        return Fault("PortDown", f"{port} was down, and is not active for {judgement.hold_down:g} s yet")
    why = excuse(*each, link)
    return Fault("PortDown", f"{port} is {telling(link)}" + (f"; {why}" if why else ""))


def _named(each: PortOf, device: RdmaDevice) -> str:
    owner, port = each
    return f"port {port.number}" if owner.id == device.id else f"port {port.number} of its physical function {owner.id}"
