"""What is believed of one port: what has been seen for long enough. Pure.

What is seen first is believed at once, but for the wait for a subnet manager, which every port has to go through. After that what is
believed gives way only to something that has been seen without a break for its time: the hold-down, or the grace for that wait.
"""

import msgspec
from msgspec import Struct

from supervisor_infiniband.health.sight import Kind


class Timing(Struct, frozen=True):
    """For how long something must be seen until it is believed, in seconds."""

    hold_down: float
    grace: float
    """For ``waiting``."""

    def patience(self, kind: Kind) -> float:
        return self.grace if kind == "waiting" else self.hold_down


class Track(Struct, frozen=True):
    """One port, with times in ``time.monotonic()`` seconds."""

    believed: Kind
    seen: Kind
    since: float
    """When ``seen`` began."""
    left: float
    """When something else than what is believed began to be seen."""
    watched: bool = True
    """Whether anybody has looked since; if not, it may have been anything meanwhile."""


def step(track: Track | None, kind: Kind, now: float, timing: Timing) -> Track:
    """The track after ``kind`` was seen at ``now``.

    An absence of evidence is no evidence for a port: after a time in which nobody looked it must be active for the whole hold-down
    again. Evidence against it counts on: else a process that dies often would never find anything wrong.
    """
    if track is None:
        track = Track("active" if kind == "waiting" else kind, kind, now, now)
    elif kind != track.seen:
        left = now if track.seen == track.believed else track.left
        track = Track(track.believed, kind, now, left)
    elif not track.watched:
        track = Track(track.believed, kind, now if kind == "active" else track.since, track.left)
    at = due(track, timing)
    return Track(kind, kind, track.since, track.since) if at is not None and at <= now else track


def due(track: Track, timing: Timing) -> float | None:
    """When what is seen will be believed if it stays; ``None``: it is already.

    A port that comes and goes between states none of which is ``active`` is not spared for being in none of them long enough.
    """
    if track.seen == track.believed:
        return None
    at = track.since + timing.patience(track.seen)
    return at if track.seen == "active" else min(at, track.left + timing.hold_down + timing.grace)


def unwatched(track: Track) -> Track:
    """The same for a port that cannot be seen now."""
    return msgspec.structs.replace(track, watched=False)


def merged(mine: Track, kept: Track) -> Track:
    """What two processes believe of one port, where this one has seen it last: no restart makes a broken port whole."""
    if mine.believed != "active" or kept.believed == "active":
        return mine
    return msgspec.structs.replace(mine, believed=kept.believed)
