"""What survives a restart: neither is the broken laundered, nor the good condemned, whatever the file has become."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from supervisor_nvidia_gpu.health.evidence import Seen
from supervisor_nvidia_gpu.health.memory import BOUND, VERSION, bounded, merge, recall, remember
from supervisor_nvidia_gpu.health.state import SEVERITY, State, fresh
from supervisor_nvidia_gpu.health.survey import Known

NOW = 1_000.0
TIMES = st.floats(0.0, NOW)
STATES = st.builds(
    State,
    gpu=st.sampled_from(["GPU-a", "GPU-b"]),
    since=TIMES,
    clock=TIMES,
    phase=st.sampled_from(SEVERITY),
    reason=st.text(max_size=20),
    needs_reset=st.booleans(),
    standing=st.booleans(),
    witnessed=st.booleans(),
    falls=st.lists(TIMES, max_size=4).map(sorted).map(tuple),
)
SEEN = st.builds(
    Seen, pci=st.text(max_size=12), driver_load=st.none() | st.integers(), uncorrected_ecc=st.none() | st.integers(0, 9)
)
KEYS = st.text(min_size=1, max_size=40)
KNOWN = st.builds(Known, st.dictionaries(KEYS, STATES, max_size=6), st.dictionaries(KEYS, SEEN, max_size=6))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)
UNHEALTHY = State("GPU-a", 5.0, 6.0, "unhealthy", "XID 95: broken", needs_reset=True, falls=(5.0,))


def through_json(mapping: dict[str, Any]) -> dict[str, Any]:
    """What the file gives back."""
    loaded: dict[str, Any] = json.loads(json.dumps(mapping))
    return loaded


@given(KNOWN)
def test_what_is_kept_comes_back(known: Known) -> None:
    """All but devices that were never anything but healthy; nothing is dropped."""
    back, dropped = recall(through_json(remember(known)), NOW)
    assert dropped == 0
    assert back.seen == known.seen
    assert back.states == {key: state for key, state in known.states.items() if state.phase != "healthy" or state.falls}


@given(KNOWN)
def test_it_is_the_same_as_long_as_nothing_changes(known: Known) -> None:
    """In whatever order it came to be, so that nothing is written twice."""
    turned = Known(dict(reversed([*known.states.items()])), dict(reversed([*known.seen.items()])))
    assert json.dumps(remember(known)) == json.dumps(remember(turned))


@given(st.dictionaries(st.sampled_from(["version", "states", "seen", "else"]), JSON | st.just(VERSION), max_size=4))
def test_any_mapping_can_be_recalled(mapping: dict[str, Any]) -> None:
    """Nonsense is nothing, never an error, and what comes of it can be kept again."""
    known, _ = recall(mapping, NOW)
    json.dumps(remember(known), allow_nan=False)


@given(st.dictionaries(KEYS.filter(lambda key: key != "good"), JSON, max_size=5))
def test_a_broken_entry_takes_no_other_with_it(broken: dict[str, Any]) -> None:
    """Each is judged alone, and those that are dropped are counted."""
    kept = remember(Known({"good": UNHEALTHY}))
    known, dropped = recall({**kept, "states": {**broken, **kept["states"]}}, NOW)
    assert known.states["good"] == UNHEALTHY
    assert dropped == len(broken) - len(known.states) + 1


def test_entries_that_cannot_be_true_are_dropped() -> None:
    """Times that are no times, phases that are none, texts that nobody wrote."""
    good = remember(Known({"k": UNHEALTHY}))["states"]["k"]
    for field, value in [
        ("since", float("nan")),
        ("clock", "6"),
        ("phase", "sleepy"),
        ("reason", "x" * 2_000),
        ("falls", [1.0] * 5),
    ]:
        known, dropped = recall({"version": VERSION, "states": {"k": {**good, field: value}}, "seen": {}}, NOW)
        assert (known, dropped) == (Known(), 1)


def test_times_that_have_not_come_yet_hold_nothing_up() -> None:
    """They are taken for now."""
    state = State("GPU-a", 9e9, 9e9, "probation", "XID 48", falls=(9e9,))
    known, _ = recall(through_json(remember(Known({"k": state}))), NOW)
    assert known.states["k"] == State("GPU-a", NOW, NOW, "probation", "XID 48", falls=(NOW,))


def test_another_version_is_not_guessed_at() -> None:
    """Nor is an empty memory an error."""
    assert recall({**remember(Known({"k": UNHEALTHY})), "version": VERSION + 1}, NOW)[0] == Known()
    assert recall({}, NOW) == (Known(), 0)


def test_a_field_that_a_newer_version_added_does_no_harm() -> None:
    """It is passed over."""
    kept = remember(Known({"k": UNHEALTHY}))
    kept["states"]["k"]["mood"] = "good"
    assert recall(kept, NOW) == (Known({"k": UNHEALTHY}), 0)


def test_the_gravest_outlive_the_bound() -> None:
    """In the memory as in the process; what is dropped is the healthiest and oldest."""
    many = {f"k{at}": State("g", 0.0, float(at), "unhealthy", "XID 48", falls=(0.0,)) for at in range(BOUND + 5)}
    known = Known({**many, "worst": UNHEALTHY, "well": fresh("GPU-a", NOW)}, {"GPU-a": Seen(), **{k: Seen() for k in many}})
    for kept in (bounded(known), recall(remember(known), NOW)[0]):
        assert len(kept.states) == BOUND
        assert "worst" in kept.states
        assert "well" not in kept.states
        assert "k0" not in kept.states
        assert len(kept.seen) == BOUND


@given(KNOWN, KNOWN)
def test_merging_loses_nothing_bad(mine: Known, recalled: Known) -> None:
    """The worse account of each device counts, whoever gave it; of looks the one of this process is the newer."""
    both = merge(mine, recalled, NOW)
    assert {*both.states} == {*mine.states} | {*recalled.states}
    for known in (mine, recalled):
        for key, state in known.states.items():
            assert both.states[key].needs_reset >= state.needs_reset
            assert both.states[key].needs_reset > state.needs_reset or (
                SEVERITY.index(both.states[key].phase) >= SEVERITY.index(state.phase)
            )
    assert {key: both.seen[key] for key in mine.seen} == mine.seen
