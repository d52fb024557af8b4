"""What is believed of the functions, kept over a restart: a small mapping of plain values, for one boot.

Times need no translation: ``time.monotonic()`` goes on from process to process until the machine starts anew, and then the memory is
not handed out any more. What makes no sense is dropped entry by entry, so that one broken line makes nothing else forgotten.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from supervisor_fpga.health.failures import Failure
from supervisor_fpga.health.symptoms import LONGEST_TEXT, SYMPTOMS, Symptom
from supervisor_fpga.health.track import Track, merged

VERSION = 1
"""Raised only when what is written could be misread; new optional fields do not need it."""
BOUND = 1_000
"""Functions, and as many failures."""
_LONGEST_ID = 128

Tracks = dict[Symptom, Track]
_Text = Annotated[str, Meta(max_length=LONGEST_TEXT)]


class Known(Struct, frozen=True):
    """What is kept."""

    tracks: Mapping[str, Tracks] = {}
    """By the function's id; a function that is well is there, too, so that the next process holds its first fault down."""
    failures: Mapping[str, Failure] = {}


class _Turning(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A symptom that is there, or was."""

    believed: bool
    seen: bool
    since: float
    text: _Text


class _Failed(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    region: _Text
    text: _Text
    since: float
    afu_id: _Text | None
    state: _Text


def remember(known: Known) -> dict[str, Any]:
    """What to keep."""
    return {
        "version": VERSION,
        "functions": {
            name: {each: _plain(tracks[each]) for each in SYMPTOMS if each in tracks and not tracks[each].clean}
            for name, tracks in sorted(bounded(known.tracks).items())
        },
        "failures": {
            name: [each.region, each.text, each.since, each.afu_id, each.state]
            for name, each in sorted(known.failures.items())[:BOUND]
        },
    }


def _plain(track: Track) -> list[Any]:
    return [track.believed, track.seen, track.since, track.text]


def bounded(tracks: Mapping[str, Tracks]) -> dict[str, Tracks]:
    """The same without those beyond the bound: first those of which nothing is watched, of these those that are well."""
    if len(tracks) <= BOUND:
        return dict(tracks)
    worth = sorted(
        tracks, key=lambda name: (not _any_watched(tracks[name]), all(each.clean for each in tracks[name].values()), name)
    )
    return {name: tracks[name] for name in worth[:BOUND]}


def _any_watched(tracks: Tracks) -> bool:
    return any(track.watched for track in tracks.values())


def recall(mapping: Mapping[str, Any], now: float) -> tuple[Known, int]:
    """What was kept, and how many entries were dropped because they say nothing that can be true."""
    if mapping.get("version") != VERSION:
        return Known(), len(mapping)
    tracks, lost = _functions(mapping.get("functions"), now)
    failures, worse = _failures(mapping.get("failures"), now)
    return Known(tracks, failures), lost + worse


def _functions(value: object, now: float) -> tuple[dict[str, Tracks], int]:
    if not isinstance(value, Mapping):
        return {}, 1
    found: dict[str, Tracks] = {}
    dropped = 0
    for name, entries in value.items():
        if not _is_id(name) or not isinstance(entries, Mapping) or len(found) == BOUND:
            dropped += 1
            continue
        turning = {each: track for each in SYMPTOMS if (track := _track(entries.get(each), now)) is not None}
        dropped += len(entries) - len(turning)
        found[name] = {each: turning.get(each, Track(False, False, now, watched=False)) for each in SYMPTOMS}
    return found, dropped


def _is_id(name: object) -> bool:
    return isinstance(name, str) and 0 < len(name) <= _LONGEST_ID


def _track(entry: object, now: float) -> Track | None:
    """Nothing has begun later than now, else it would be held up for ever."""
    try:
        turning = msgspec.convert(entry, _Turning)
    except msgspec.ValidationError:
        return None
    if not math.isfinite(turning.since) or not turning.text:
        return None
    return Track(turning.believed, turning.seen, min(turning.since, now), turning.text, watched=False)


def _failures(value: object, now: float) -> tuple[dict[str, Failure], int]:
    if not isinstance(value, Mapping):
        return {}, 1
    found: dict[str, Failure] = {}
    for name, entry in value.items():
        try:
            failed = msgspec.convert(entry, _Failed)
        except msgspec.ValidationError:
            continue
        if _is_id(name) and math.isfinite(failed.since) and len(found) < BOUND:
            found[name] = Failure(failed.region, failed.text, min(failed.since, now), failed.afu_id, failed.state)
    return found, len(value) - len(found)


def merge(mine: Mapping[str, Tracks], kept: Mapping[str, Tracks]) -> dict[str, Tracks]:
    """What two processes know together: what this one has seen, and what the other believed."""
    return {**kept, **{name: _together(tracks, kept.get(name, {})) for name, tracks in mine.items()}}


def _together(mine: Tracks, kept: Tracks) -> Tracks:
    return {**kept, **{each: merged(track, kept[each]) if each in kept else track for each, track in mine.items()}}
