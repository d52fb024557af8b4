"""The health of all RDMA devices of the node: the one thing here that changes, behind one lock.

Looks and verdicts come from the thread that looks, polls from the one that watches. A poll tells what differs from the newest look, so
a look that crossed one is put right by the next. Nothing is believed because time went by: when enough has, a look is due, and what it sees counts.
"""

import math
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from supervisor_infiniband.config import InfinibandConfig, Judgement
from supervisor_infiniband.health import memory
from supervisor_infiniband.health.memory import Known, Tracks
from supervisor_infiniband.health.policy import Verdict, judge
from supervisor_infiniband.health.scene import Scene
from supervisor_infiniband.health.sight import Kind, PortKey, seen
from supervisor_infiniband.health.slopes import JUDGED, Slope, counted, together, unseen
from supervisor_infiniband.health.track import Timing, due, step, unwatched
from supervisor_infiniband.report import Change, Counters, Link, Poll, Port, RdmaDevice, Report
from supervisor_infiniband.units import Unit

__all__ = ["Counts", "Monitor", "Readings", "Verdict"]


class Counts(Struct, frozen=True):
    """For metrics, since the start of the process."""

    polls: int
    changes: Mapping[PortKey, int]
    """How often a port was seen as something else than before, of devices that are there."""


class Readings(Struct, frozen=True):
    """The newest that is known of the ports of devices that are there and answer."""

    links: Mapping[PortKey, Link] = {}
    counters: Mapping[PortKey, Counters] = {}


class Monitor:
    """Gives verdicts, and says when a look is due. Every ``now`` is in ``time.monotonic()`` seconds."""

    def __init__(self, config: InfinibandConfig) -> None:
        self._lock = threading.Lock()
        judgements = [config.judgement_of(pool) for pool in config.pools]
        self._grave = _grave(judgements)
        self._tracks: dict[Timing, Tracks] = {_timing(each): {} for each in judgements}
        self._slopes: dict[PortKey, Slope] = {}
        self._links: dict[PortKey, Link] = {}
        self._counters: dict[PortKey, Counters] = {}
        self._devices: dict[str, RdmaDevice] = {}
        self._nodes: frozenset[str] = frozenset()
        self._looked = -math.inf
        self._asked = -math.inf
        self._recalled = False
        """Something was recalled since the last look."""
        self._said: dict[tuple[str, str], tuple[Unit, Judgement, Verdict]] = {}
        """What was said of each unit after the last look: what the kubelet knows."""
        self._polls = 0
        self._changes: Counter[PortKey] = Counter()

    def look(self, report: Report, now: float) -> None:
        """Take in a look that began at ``now``."""
        with self._lock:
            self._devices = {device.id: device for device in report.devices}
            self._nodes = report.nodes
            self._looked, self._recalled = now, False
            self._said.clear()
            visible: set[PortKey] = set()
            for device in report.devices:
                visible.update(self._see(device, now))
            self._lose_sight(visible, now)

    def poll(self, poll: Poll, now: float) -> bool:
        """Take in a poll; whether a look would say something new."""
        with self._lock:
            self._polls += 1
            unknown = [change for change in poll.changes if not self._hear(change, now)]
            for counters in poll.counters:
                self._count(counters, now)
            return poll.structure or bool(unknown) or (bool(poll.changes or poll.counters) and self._differs(now))

    def verdict(self, unit: Unit, judgement: Judgement, now: float) -> Verdict:
        """Whether a unit of the last look is healthy, and why. Its replicas share it.

        Raises ``KeyError`` for a judgement of another configuration.
        """
        with self._lock:
            verdict = judge(unit, judgement, self._scene(judgement, now))
            first = self._said.get((unit.resource, unit.id))
            if first is None or first[0] != unit:  # asked again it is no news to the kubelet
                self._said[unit.resource, unit.id] = unit, judgement, verdict
            return verdict

    def wake_at(self) -> float | None:
        """When the next look is due, if nothing happens before; ``None``: whenever. It may be in the past."""
        with self._lock:
            return self._wake_at()

    def due(self, now: float) -> bool:
        """Whether a look is due. Saying so counts as having asked for it: nothing asks twice for one that fails."""
        with self._lock:
            at = self._wake_at()
            if at is None or at > now:
                return False
            self._asked, self._recalled = now, False
            return True

    def remember(self) -> dict[str, Any]:
        """What to keep over a restart within this boot. It is the same as long as nothing changes."""
        with self._lock:
            return memory.remember(Known(self._tracks, self._slopes), self._grave)

    def recall(self, mapping: Mapping[str, Any], now: float) -> int:
        """Take in what the owner before kept; how many of its entries made no sense. Look again after it."""
        known, dropped = memory.recall(mapping, self._tracks, now)
        with self._lock:
            for timing, tracks in known.tracks.items():
                self._tracks[timing] = memory.bounded(memory.merge(self._tracks[timing], tracks))
            for key, slope in known.slopes.items():
                self._slopes[key] = together(self._slopes[key], slope) if key in self._slopes else slope
            self._recalled |= any(known.tracks.values())
        return dropped

    def counts(self) -> Counts:
        """The counters as they are now."""
        with self._lock:
            return Counts(self._polls, dict(self._changes))

    def readings(self) -> Readings:
        """What polls and looks have read last."""
        with self._lock:
            return Readings(dict(self._links), dict(self._counters))

    # --- taking in ----------------------------------------------------------------------------------------------------

    def _see(self, device: RdmaDevice, now: float) -> Iterator[PortKey]:
        """Take in what a look saw of a device; the keys of what is in sight."""
        if device.elsewhere or device.problem:
            return
        yield device.id, 0
        yield from ((device.id, port.number) for port in device.ports)
        if device.unresponsive:
            self._silent(device, now)
            return
        self._observe((device.id, 0), "active", now)
        for port in device.ports:
            self._link(device, port, port.link, now)

    def _hear(self, change: Change, now: float) -> bool:
        """Take in what a poll tells; whether the last look knows whom it is about."""
        device = self._devices.get(change.device)
        if device is None:
            return False
        if change.link is None:
            self._silent(device, now)
            return True
        self._observe((device.id, 0), "active", now)
        port = next((port for port in device.ports if port.number == change.port), None)
        if port is None:
            return change.port == 0  # only that it answers
        self._link(device, port, change.link, now)
        return True

    def _silent(self, device: RdmaDevice, now: float) -> None:
        """It does not answer: of its ports nothing is known now."""
        self._observe((device.id, 0), "silent", now)
        for port in device.ports:
            self._links.pop((device.id, port.number), None)

    def _link(self, device: RdmaDevice, port: Port, link: Link, now: float) -> None:
        self._links[device.id, port.number] = link
        self._observe((device.id, port.number), seen(device, port, link), now)

    def _observe(self, key: PortKey, kind: Kind, now: float) -> None:
        before = {tracks[key].seen for tracks in self._tracks.values() if key in tracks}
        if before and before != {kind}:
            self._changes[key] += 1
        for timing, tracks in self._tracks.items():
            tracks[key] = step(tracks.get(key), kind, now, timing)

    def _count(self, counters: Counters, now: float) -> None:
        key = counters.device, counters.port
        if counters.device in self._devices:
            self._counters[key] = counters
            self._slopes[key] = counted(self._slopes.get(key, Slope()), counters.values, now)

    def _lose_sight(self, visible: set[PortKey], now: float) -> None:
        """Forget what is shown of ports that are not in sight, and remember what was believed of them."""
        for timing, tracks in self._tracks.items():
            lost = {key: track if key in visible else unwatched(track) for key, track in tracks.items()}
            self._tracks[timing] = memory.bounded(lost)
        for shown in (self._links, self._counters):
            for key in [key for key in shown if key not in visible]:
                del shown[key]
        for key in [key for key in self._changes if key[0] not in self._devices]:
            del self._changes[key]
        slopes = {key: slope if key in visible else unseen(slope, now) for key, slope in self._slopes.items()}
        self._slopes = {key: slope for key, slope in slopes.items() if slope != Slope()}

    # --- telling ------------------------------------------------------------------------------------------------------

    def _scene(self, judgement: Judgement, now: float) -> Scene:
        tracks = self._tracks[_timing(judgement)]
        return Scene(now, self._devices, self._nodes, tracks, self._links, self._slopes)

    def _differs(self, now: float) -> bool:
        """Whether any unit would be said to be in another state than it was after the last look."""
        return any(
            (said.healthy, said.state) != ((new := judge(unit, judgement, self._scene(judgement, now))).healthy, new.state)
            for unit, judgement, said in self._said.values()
        )

    def _wake_at(self) -> float | None:
        if self._recalled:
            return max(self._looked, self._asked)
        times = (due(track, timing) for timing, tracks in self._tracks.items() for track in tracks.values() if track.watched)
        # A look that came when it was due and changed nothing is not asked for again: something else holds the state.
        return min((at for at in times if at is not None and at > max(self._looked, self._asked)), default=None)


def _timing(judgement: Judgement) -> Timing:
    return Timing(judgement.hold_down, judgement.subnet_manager_grace)


def _grave(judgements: list[Judgement]) -> dict[str, float]:
    """The lowest limit of each counter above which a device is Unhealthy."""
    limits = [each.error_rates for each in judgements if each.error_rates.action == "unhealthy"]
    found = {name: [limit for each in limits if (limit := getattr(each, name))] for name in JUDGED}
    return {name: min(some) for name, some in found.items() if some}
