"""What survives a restart: neither is the broken laundered, nor the good condemned, whatever the file has become."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor_infiniband.health.memory import BOUND, VERSION, Known, bounded, merge, recall, remember
from supervisor_infiniband.health.sight import Kind
from supervisor_infiniband.health.slopes import JUDGED, Peak, Slope
from supervisor_infiniband.health.track import Timing, Track

NOW = 1_000.0
TIMING, OTHER = Timing(5, 60), Timing(0.5, 0)
KIND = st.sampled_from(["active", "waiting", "down", "idle", "silent"])
TIMES = st.floats(0, NOW)
KEYS = st.tuples(st.text(min_size=1, max_size=40), st.integers(0, 254))
TRACKS = st.dictionaries(KEYS, st.builds(Track, KIND, KIND, TIMES, TIMES, watched=st.booleans()), max_size=8)
PEAKS = st.lists(st.builds(Peak, st.floats(1, 1e6), st.floats(0, NOW + 7_200)), max_size=4).map(tuple)
SLOPES = st.dictionaries(KEYS, st.builds(Slope, peaks=st.dictionaries(st.sampled_from(JUDGED), PEAKS)), max_size=4)
KNOWN = st.builds(Known, st.fixed_dictionaries({TIMING: TRACKS, OTHER: TRACKS}), SLOPES)
GRAVE = dict.fromkeys(JUDGED, 1.0)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)


def through_json(mapping: dict[str, Any]) -> dict[str, Any]:
    """What the file gives back."""
    loaded: dict[str, Any] = json.loads(json.dumps(mapping))
    return loaded


def shown(track: Track) -> tuple[object, ...]:
    """All of a track that matters: when that began which is believed already does not."""
    return (track.believed, track.seen, *((track.since, track.left) if track.seen != track.believed else ()))


@given(KNOWN)
def test_what_is_kept_comes_back(known: Known) -> None:
    """Every port of every timing, as something that nobody has watched since; and the rates that may count."""
    back, dropped = recall(through_json(remember(known, GRAVE)), [TIMING, OTHER], NOW)
    assert dropped == 0
    for timing in (TIMING, OTHER):
        assert {key: shown(track) for key, track in back.tracks[timing].items()} == {
            key: shown(track) for key, track in known.tracks[timing].items()
        }
        assert not any(track.watched for track in back.tracks[timing].values())
    told = {key: {name: peaks for name, peaks in slope.peaks.items() if peaks} for key, slope in known.slopes.items()}
    assert {key: dict(slope.peaks) for key, slope in back.slopes.items()} == {
        key: peaks for key, peaks in told.items() if peaks
    }


@given(KNOWN)
def test_it_is_the_same_as_long_as_nothing_changes(known: Known) -> None:
    """In whatever order it came to be, so that nothing is written twice."""
    turned = Known({timing: dict(reversed([*tracks.items()])) for timing, tracks in known.tracks.items()}, known.slopes)
    assert remember(known, GRAVE) == remember(turned, GRAVE)
    assert json.dumps(remember(known, GRAVE)["rates"]) == json.dumps(remember(turned, GRAVE)["rates"])


def test_what_it_looks_like() -> None:
    """One word for what stays as it is; the limits of rates decide which are kept."""
    tracks = {("0000:3b:00.0", 1): Track("down", "down", 5, 5), ("0000:3b:00.0", 0): Track("active", "silent", 7.5, 7.5)}
    slopes = {("a", 1): Slope(peaks={"link_downed": (Peak(2, 50), Peak(4, 40)), "symbol_error": (Peak(9, 9),)})}
    assert through_json(remember(Known({TIMING: tracks}, slopes), {"link_downed": 3})) == {
        "version": VERSION,
        "ports": {"5/60": {"0000:3b:00.0/0": ["active", "silent", 7.5, 7.5], "0000:3b:00.0/1": "down"}},
        "rates": {"a/1": {"link_downed": [[4, 40]]}},
    }


def test_times_to_come_have_come() -> None:
    """Nothing is held up for ever by a time that cannot be."""
    kept = {"version": VERSION, "ports": {"5/60": {"a/1": ["active", "down", 1e300, 1e300]}}, "rates": {}}
    back, _ = recall(kept, [TIMING], NOW)
    assert back.tracks[TIMING]["a", 1] == Track("active", "down", NOW, NOW, watched=False)
    kept = {"version": VERSION, "ports": {}, "rates": {"a/1": {"link_downed": [[9.0, 1e300]]}}}
    back, _ = recall(kept, [TIMING], NOW)
    assert back.slopes["a", 1].rate("link_downed", NOW + 86_400) == 0


def test_another_timing_knows_what_was_believed() -> None:
    """An operator who changes the hold-down does not launder what is down."""
    kept = remember(Known({OTHER: {("a", 1): Track("down", "down", 1, 1)}}), {})
    back, dropped = recall(kept, [TIMING], NOW)
    assert (back.tracks[TIMING]["a", 1].believed, dropped) == ("down", 0)


@pytest.mark.parametrize(
    "entry",
    ["broken", ["down"], ["down", "up", 1, 1], ["down", "active", "x", 1], 7, None, ["down", "active", float("nan"), 1]],
)
def test_one_broken_entry_loses_no_other(entry: object) -> None:
    """It is dropped and counted."""
    kept = {"version": VERSION, "ports": {"5/60": {"a/1": entry, "b/1": "down"}}, "rates": {"a/1": entry}}
    back, dropped = recall(kept, [TIMING], NOW)
    assert ([*back.tracks[TIMING]], dropped) == ([("b", 1)], 2)


@pytest.mark.parametrize("key", ["", "a", "a/", "/1", "a/x", "a/-1", "a/1234", "a/²", "x" * 200 + "/1"])
def test_broken_names(key: str) -> None:
    """Only a device and a number are a port."""
    back, dropped = recall({"version": VERSION, "ports": {"5/60": {key: "down"}}, "rates": {}}, [TIMING], NOW)
    assert (dict(back.tracks[TIMING]), dropped) == ({}, 1)


@given(st.dictionaries(st.text(max_size=10), JSON), JSON, JSON)
def test_any_file_is_read(rest: dict[str, Any], ports: Any, rates: Any) -> None:
    """It raises nothing, and what it gives can be kept again."""
    back, dropped = recall({**rest, "version": VERSION, "ports": ports, "rates": rates}, [TIMING], NOW)
    assert dropped >= 0
    json.dumps(remember(back, GRAVE))
    recall(rest, [TIMING], NOW)


def test_another_version_is_not_guessed_at() -> None:
    """All of it is dropped."""
    back, dropped = recall({"version": VERSION + 1, "ports": {"5/60": {"a/1": "down"}}}, [TIMING], NOW)
    assert (back, dropped) == (Known(), 2)


def test_it_is_bounded() -> None:
    """Ports that are there stay before those that are not, of these the broken before the good, and then the newer."""
    there = {("there", number): Track("active", "active", number, number) for number in range(BOUND - 1)}
    gone: dict[tuple[str, int], Track] = {
        ("gone", number): Track(kind, kind, number, number, watched=False)
        for number, kind in enumerate[Kind](["active", "down", "down", "active"])
    }
    assert bounded({**gone, **there}) == {**there, ("gone", 2): gone["gone", 2]}
    kept = remember(Known({TIMING: {**gone, **there}, OTHER: there}), {})
    assert sum(map(len, kept["ports"].values())) == BOUND


@given(TRACKS, TRACKS)
def test_merging_loses_no_port_and_no_fault(mine: dict[Any, Track], kept: dict[Any, Track]) -> None:
    """What either believes to be broken is; what this process saw last it keeps."""
    both = merge(mine, kept)
    assert both.keys() == mine.keys() | kept.keys()
    for key, track in both.items():
        accounts = [one[key] for one in (mine, kept) if key in one]
        assert (track.believed == "active") == all(each.believed == "active" for each in accounts)
        assert track.seen == accounts[0].seen
