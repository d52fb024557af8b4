"""What survives a restart: neither is the broken laundered, nor the good condemned, whatever the file has become."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor_fpga.health.failures import Failure
from supervisor_fpga.health.memory import BOUND, VERSION, Known, Tracks, bounded, merge, recall, remember
from supervisor_fpga.health.symptoms import LONGEST_TEXT, SYMPTOMS, Symptom
from supervisor_fpga.health.track import Track

NOW = 1_000.0
TIMES = st.floats(0, NOW)
IDS = st.text(min_size=1, max_size=60)
TEXTS = st.text(max_size=LONGEST_TEXT)
REASONS = st.text(min_size=1, max_size=40)
TRACK = st.builds(Track, st.booleans(), st.booleans(), TIMES, REASONS, watched=st.booleans())
TRACKS = st.dictionaries(IDS, st.dictionaries(st.sampled_from(SYMPTOMS), TRACK), max_size=6)
FAILURES = st.dictionaries(IDS, st.builds(Failure, TEXTS, TEXTS, TIMES, st.none() | TEXTS, TEXTS), max_size=6)
KNOWN = st.builds(Known, TRACKS, FAILURES)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)


def through_json(mapping: dict[str, Any]) -> dict[str, Any]:
    """What the file gives back."""
    loaded: dict[str, Any] = json.loads(json.dumps(mapping))
    return loaded


def shown(tracks: Tracks) -> dict[Symptom, tuple[object, ...]]:
    """All that matters of what is not simply well."""
    return {name: (each.believed, each.seen, each.since, each.text) for name, each in tracks.items() if not each.clean}


@given(KNOWN)
def test_what_is_kept_comes_back(known: Known) -> None:
    """Every function and every failure, as something that nobody has watched since."""
    back, dropped = recall(through_json(remember(known)), NOW)
    assert dropped == 0
    assert {name: shown(tracks) for name, tracks in back.tracks.items()} == {
        name: shown(tracks) for name, tracks in known.tracks.items()
    }
    assert not any(track.watched for tracks in back.tracks.values() for track in tracks.values())
    assert back.failures == known.failures
    assert remember(back) == remember(known)


@given(KNOWN)
def test_it_is_the_same_as_long_as_nothing_changes(known: Known) -> None:
    """In whatever order it came to be, so that nothing is written twice."""
    tracks = {name: dict(reversed([*each.items()])) for name, each in reversed([*known.tracks.items()])}
    turned = Known(tracks, dict(reversed([*known.failures.items()])))
    assert json.dumps(remember(known)) == json.dumps(remember(turned))


def test_what_it_looks_like() -> None:
    """A function that is well takes a name and no more."""
    tracks: dict[str, Tracks] = {
        "fpga0": {"TooHot": Track(False, False, 3.0)},
        "0000:3b:00.0": {"TooHot": Track(True, False, 7.5, "hot"), "Offline": Track(False, True, 8.0, "offline")},
    }
    failures = {"fpga0": Failure("region0", "programming ended with EIO", 9.0, None)}
    assert through_json(remember(Known(tracks, failures))) == {
        "version": VERSION,
        "functions": {
            "0000:3b:00.0": {"Offline": [False, True, 8.0, "offline"], "TooHot": [True, False, 7.5, "hot"]},
            "fpga0": {},
        },
        "failures": {"fpga0": ["region0", "programming ended with EIO", 9.0, None, ""]},
    }


def test_times_to_come_have_come() -> None:
    """Nothing is held up for ever by a time that cannot be."""
    kept = {
        "version": VERSION,
        "functions": {"a": {"TooHot": [False, True, 1e300, "hot"]}},
        "failures": {"a": ["", "x", 1e300, None, ""]},
    }
    back, dropped = recall(kept, NOW)
    assert dropped == 0
    assert back.tracks["a"]["TooHot"] == Track(False, True, NOW, "hot", watched=False)
    assert back.failures["a"].since == NOW


@pytest.mark.parametrize(
    "entry",
    [
        {"TooHot": "yes"},
        {"TooHot": [True, True, 1.0]},
        {"TooHot": [True, True, 1.0, ""]},
        {"TooHot": [True, True, float("nan"), "hot"]},
        {"TooHot": [True, True, 1.0, "x" * 301]},
        {"UnheardOf": [True, True, 1.0, "hot"]},
    ],
)
def test_entries_that_make_no_sense_are_dropped_alone(entry: Any) -> None:
    """Their neighbours are kept."""
    good = {"Offline": [True, True, 1.0, "offline"]}
    back, dropped = recall({"version": VERSION, "functions": {"a": {**good, **entry}, "b": good}, "failures": {}}, NOW)
    assert dropped == 1
    assert shown(back.tracks["a"]) == shown(back.tracks["b"]) == {"Offline": (True, True, 1.0, "offline")}


@pytest.mark.parametrize("entry", [None, [], ["r", "t", 1.0], ["r", "t", float("inf"), None, ""], ["r", 5, 1.0, None, ""]])
def test_failures_that_make_no_sense_are_dropped_alone(entry: Any) -> None:
    """Each is counted."""
    kept = {"version": VERSION, "functions": {}, "failures": {"a": entry, "b": ["", "t", 1.0, None, ""]}}
    back, dropped = recall(kept, NOW)
    assert dropped == 1
    assert back.failures == {"b": Failure("", "t", 1.0)}


@given(st.dictionaries(st.sampled_from(["functions", "failures", "other"]), JSON) | st.dictionaries(st.text(), JSON))
def test_any_file_can_be_read(mapping: dict[str, Any]) -> None:
    """Nothing in it raises, and what is taken from it can be kept again."""
    for version in (VERSION, mapping.get("version")):
        back, dropped = recall({**mapping, "version": version}, NOW)
        assert dropped >= 0
        assert recall(through_json(remember(back)), NOW)[1] == 0


def test_another_version_is_not_read() -> None:
    """It could be misread."""
    assert recall({"version": VERSION + 1, "functions": {"a": {}}}, NOW) == (Known(), 2)


def test_the_bound() -> None:
    """Beyond it those are kept that are there, and of the others those that are not well."""
    ill, well = Track(True, True, 0.0, "hot"), Track(False, False, 0.0)
    there: dict[str, Tracks] = {f"there{number}": {"TooHot": well} for number in range(BOUND - 1)}
    gone: dict[str, Tracks] = {"gone": {"TooHot": Track(False, False, 0.0, watched=False)}}
    bad: dict[str, Tracks] = {"bad": {"TooHot": Track(True, True, 0.0, "hot", watched=False)}}
    assert bounded(gone | bad | there).keys() == bad.keys() | there.keys()
    many: dict[str, Tracks] = {str(number): {"TooHot": ill} for number in range(2 * BOUND)}
    failures = {str(number): Failure("", "text", 0.0) for number in range(2 * BOUND)}
    kept = remember(Known(many, failures))
    assert len(kept["functions"]) == len(kept["failures"]) == BOUND
    kept["functions"] = {name: {} for name in many}
    back, dropped = recall(kept, NOW)
    assert (len(back.tracks), dropped) == (BOUND, BOUND)


def test_two_processes() -> None:
    """What this one has seen, and what the other has believed; functions that only one knows are kept."""
    mine: dict[str, Tracks] = {"a": {"TooHot": Track(False, False, 1.0)}, "b": {}}
    kept: dict[str, Tracks] = {
        "a": {"TooHot": Track(True, True, 0.0, "hot"), "Offline": Track(True, True, 0.0, "off")},
        "c": {},
    }
    merged = merge(mine, kept)
    assert merged.keys() == {"a", "b", "c"}
    assert merged["a"] == {"TooHot": Track(True, False, 1.0, "hot"), "Offline": Track(True, True, 0.0, "off")}
