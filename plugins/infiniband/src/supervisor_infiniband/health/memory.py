"""What is believed of the ports, kept over a restart: a small mapping of plain values, for one boot.

Times need no translation: ``time.monotonic()`` goes on from process to process until the machine starts anew, and then the memory is
not handed out any more. What makes no sense is dropped entry by entry, so that one broken line makes nothing else forgotten.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from supervisor_infiniband.health.sight import Kind, PortKey
from supervisor_infiniband.health.slopes import JUDGED, Peak, Slope
from supervisor_infiniband.health.track import Timing, Track, merged

VERSION = 1
"""Raised only when what is written could be misread; new optional fields do not need it."""
BOUND = 4_000
"""Ports, of all timings together."""
_MOST_PEAKS = 8
"""Of one counter; the newest count longest."""
_LONGEST_KEY = 128
_LONGEST_HOLD = 4 * 3_600.0
"""Seconds: no rate counts for longer, since counters are read once an hour at least."""

Tracks = dict[PortKey, Track]


class Known(Struct, frozen=True):
    """What is kept."""

    tracks: Mapping[Timing, Tracks] = {}
    slopes: Mapping[PortKey, Slope] = {}
    """Their peaks alone."""


class _Turning(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A port that is seen as something else than what is believed."""

    believed: Kind
    seen: Kind
    since: float
    left: float


def remember(known: Known, grave: Mapping[str, float]) -> dict[str, Any]:
    """What to keep. Of rates only those that may make a device Unhealthy: ``grave`` has their limits."""
    share = BOUND // max(1, len(known.tracks))
    return {
        "version": VERSION,
        "ports": {
            _name(timing): {_text(key): _plain(track) for key, track in sorted(bounded(tracks, share).items())}
            for timing, tracks in known.tracks.items()
        },
        "rates": {_text(key): peaks for key, slope in sorted(known.slopes.items()) if (peaks := _grave(slope, grave))},
    }


def _name(timing: Timing) -> str:
    return f"{timing.hold_down:g}/{timing.grace:g}"


def _text(key: PortKey) -> str:
    return f"{key[0]}/{key[1]}"


def _plain(track: Track) -> Any:
    """One word for what stays as it is: it is the same as long as nothing changes."""
    if track.seen == track.believed:
        return track.believed
    return [track.believed, track.seen, track.since, track.left]


def _grave(slope: Slope, grave: Mapping[str, float]) -> dict[str, list[list[float]]]:
    told = {
        name: [[peak.per_minute, peak.until] for peak in peaks if peak.per_minute >= grave[name]][-_MOST_PEAKS:]
        for name, peaks in sorted(slope.peaks.items())
        if name in grave
    }
    return {name: peaks for name, peaks in told.items() if peaks}


def bounded(tracks: Mapping[PortKey, Track], bound: int = BOUND) -> Tracks:
    """The same without those beyond the bound: first those that are not there, of these those that are well."""
    if len(tracks) <= bound:
        return dict(tracks)
    worth = sorted(tracks, key=lambda key: (not tracks[key].watched, tracks[key].believed == "active", -tracks[key].since))
    return {key: tracks[key] for key in worth[:bound]}


def recall(mapping: Mapping[str, Any], timings: Iterable[Timing], now: float) -> tuple[Known, int]:
    """What was kept, and how many entries were dropped because they say nothing that can be true.

    For a timing that was not configured then, what was believed with another one is the best that is known.
    """
    if mapping.get("version") != VERSION:
        return Known(), len(mapping)
    kept, dropped = _timed(mapping.get("ports"), now)
    any_timing = {key: track for tracks in kept.values() for key, track in tracks.items()}
    slopes, worse = _slopes(mapping.get("rates"), now)
    return Known({timing: dict(kept.get(_name(timing), any_timing)) for timing in timings}, slopes), dropped + worse


def _timed(value: object, now: float) -> tuple[dict[str, Tracks], int]:
    if not isinstance(value, Mapping):
        return {}, 1
    found, dropped = {}, 0
    for name, entries in value.items():
        tracks, lost = _tracks(entries, now)
        found[str(name)] = tracks
        dropped += lost
    return found, dropped


def _tracks(value: object, now: float) -> tuple[Tracks, int]:
    if not isinstance(value, Mapping):
        return {}, 1
    found: Tracks = {}
    for text, entry in value.items():
        key, track = _key(text), _track(entry, now)
        if key is not None and track is not None and len(found) < BOUND:
            found[key] = track
    return found, len(value) - len(found)


def _key(text: object) -> PortKey | None:
    if not isinstance(text, str) or len(text) > _LONGEST_KEY:
        return None
    device, slash, port = text.rpartition("/")
    return (device, int(port)) if device and slash and port.isascii() and port.isdigit() and len(port) <= 3 else None


def _track(entry: object, now: float) -> Track | None:
    """Nothing has begun later than now, else it would be held up for ever."""
    try:
        if isinstance(entry, str):
            kind = msgspec.convert(entry, Kind)
            return Track(kind, kind, now, now, watched=False)
        turning = msgspec.convert(entry, _Turning)
    except msgspec.ValidationError:
        return None
    if not (math.isfinite(turning.since) and math.isfinite(turning.left)):
        return None
    return Track(turning.believed, turning.seen, min(turning.since, now), min(turning.left, now), watched=False)


def _slopes(value: object, now: float) -> tuple[dict[PortKey, Slope], int]:
    if not isinstance(value, Mapping):
        return {}, 1
    found: dict[PortKey, Slope] = {}
    for text, entry in value.items():
        key = _key(text)
        try:
            peaks = msgspec.convert(entry, dict[str, list[tuple[float, float]]])
        except msgspec.ValidationError:
            continue
        if key is not None and len(found) < BOUND:
            found[key] = Slope(peaks={name: _peaks(peaks[name], now) for name in JUDGED if name in peaks})
    return found, len(value) - len(found)


def _peaks(peaks: Iterable[tuple[float, float]], now: float) -> tuple[Peak, ...]:
    """None counts for longer than one that is new."""
    possible = (each for each in peaks if all(map(math.isfinite, each)) and each[0] > 0)
    return tuple(Peak(rate, min(until, now + _LONGEST_HOLD)) for rate, until in possible)[-_MOST_PEAKS:]


def merge(mine: Mapping[PortKey, Track], kept: Mapping[PortKey, Track]) -> Tracks:
    """What two processes know together: what this one has seen, and what the other believed."""
    return {**kept, **{key: merged(track, kept[key]) if key in kept else track for key, track in mine.items()}}
