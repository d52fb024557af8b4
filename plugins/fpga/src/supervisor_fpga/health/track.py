"""What is believed of one symptom of one function: what has been seen for long enough. Pure.

What is seen first is believed at once. After that what is believed gives way only to what has been seen without a break for the hold-down.
"""

import msgspec
from msgspec import Struct


class Track(Struct, frozen=True):
    """One symptom, with times in ``time.monotonic()`` seconds."""

    believed: bool
    """Whether the function counts as having it."""
    seen: bool
    since: float
    """When ``seen`` began."""
    text: str = ""
    """Why it was seen last; empty: never."""
    watched: bool = True
    """Whether anybody could tell since; if not, it may have been anything meanwhile."""

    @property
    def clean(self) -> bool:
        """Whether there is nothing to know of it."""
        return not self.believed and not self.seen


def step(track: Track | None, text: str, now: float, hold_down: float) -> Track:
    """The track after a symptom was seen at ``now`` with this reason, or was not there: the reason is empty.

    An absence of evidence is no evidence for a function: after a time in which nobody could tell, the symptom must be absent for the whole
    hold-down again. Evidence against it counts on: else a process that dies often would never find anything wrong.
    """
    seen = bool(text)
    if track is None:
        return Track(seen, seen, now, text)
    broken = seen != track.seen or (not seen and not track.watched)
    track = Track(track.believed, seen, now if broken else track.since, text or track.text)
    at = due(track, hold_down)
    return msgspec.structs.replace(track, believed=seen) if at is not None and at <= now else track


def due(track: Track, hold_down: float) -> float | None:
    """When what is seen will be believed if it stays; ``None``: it is already."""
    return None if track.seen == track.believed else track.since + hold_down


def unwatched(track: Track) -> Track:
    """The same where nobody can tell now."""
    return msgspec.structs.replace(track, watched=False)


def merged(mine: Track, kept: Track) -> Track:
    """What two processes believe, where this one has looked last: no restart makes a broken function whole."""
    if mine.believed or not kept.believed:
        return mine
    return msgspec.structs.replace(mine, believed=True, text=mine.text or kept.text)
