"""What is known of the GPUs, kept over a restart: a small mapping of plain values, for one boot.

Times need no translation: ``time.monotonic()`` goes on from process to process until the machine starts anew, and then the memory is
not handed out any more. What does not decode is dropped entry by entry, so that one broken line makes nothing else forgotten.
"""

import math
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from supervisor_nvidia_gpu.health.evidence import Seen
from supervisor_nvidia_gpu.health.state import DAY, FALLS, SEVERITY, State, worse
from supervisor_nvidia_gpu.health.survey import Known
from supervisor_nvidia_gpu.health.targets import Key

VERSION = 1
"""Raised only when what is written could be misread; new optional fields do not need it."""
BOUND = 1_000
"""Entries of each kind."""
_LONGEST_KEY = 128
_LONGEST_TEXT = 1_024

_T = TypeVar("_T", bound=Struct)


def remember(known: Known) -> dict[str, Any]:
    """What to keep. A device that is and was healthy needs no entry; beyond the bound the least grave and oldest go."""
    told = {key: state for key, state in known.states.items() if state.phase != "healthy" or state.falls}
    gravest = sorted(told, key=lambda key: _gravity(told[key]), reverse=True)[:BOUND]
    return {
        "version": VERSION,
        "states": {key: msgspec.to_builtins(told[key]) for key in sorted(gravest)},
        "seen": {key: msgspec.to_builtins(known.seen[key]) for key in sorted(known.seen)[:BOUND]},
    }


def bounded(known: Known) -> Known:
    """The same without the least grave and oldest entries beyond the bound: keys may be made up by what happens outside."""
    if len(known.states) <= BOUND and len(known.seen) <= BOUND:
        return known
    gravest = sorted(known.states, key=lambda key: _gravity(known.states[key]), reverse=True)[:BOUND]
    states = {key: known.states[key] for key in gravest}
    seen = sorted(known.seen, key=lambda key: key not in states)[:BOUND]
    return Known(states, {key: known.seen[key] for key in seen})


def _gravity(state: State) -> tuple[bool, int, float]:
    return state.needs_reset, SEVERITY.index(state.phase), state.clock


def recall(mapping: Mapping[str, Any], now: float) -> tuple[Known, int]:
    """What was kept, and how many entries were dropped because they say nothing that can be true."""
    if mapping.get("version") != VERSION:
        return Known(), len(mapping)
    states, bad_states = _entries(mapping.get("states"), State)
    seen, bad_seen = _entries(mapping.get("seen"), Seen)
    possible = {key: _no_later(state, now) for key, state in states.items() if _is_possible(state)}
    return Known(possible, seen), bad_states + bad_seen + len(states) - len(possible)


def _entries(value: object, kind: type[_T]) -> tuple[dict[Key, _T], int]:
    if not isinstance(value, Mapping):
        return {}, 1
    found: dict[Key, _T] = {}
    for key, entry in value.items():
        try:
            if isinstance(key, str) and 0 < len(key) <= _LONGEST_KEY and len(found) < BOUND:
                found[key] = msgspec.convert(entry, kind)
        except msgspec.ValidationError:
            continue
    return found, len(value) - len(found)


def _is_possible(state: State) -> bool:
    times = (state.since, state.clock, *state.falls)
    texts = (state.gpu, state.reason)
    return all(map(math.isfinite, times)) and all(len(text) <= _LONGEST_TEXT for text in texts) and len(state.falls) <= FALLS


def _no_later(state: State, now: float) -> State:
    """Without times that have not come yet: nothing may be held up by them for ever."""
    return msgspec.structs.replace(
        state,
        since=min(state.since, now),
        clock=min(state.clock, now),
        falls=tuple(sorted(min(fall, now) for fall in state.falls if now - fall < DAY)),
    )


def merge(mine: Known, recalled: Known, looked: float) -> Known:
    """What two processes know together. Of a device the worse account counts, of two equals the newer.

    Looks of mine stay what the next one is held against; ``looked`` is when the last of them began.
    """
    states = dict(recalled.states)
    for key, state in mine.states.items():
        states[key] = worse(states[key], state) if key in states else state
    for key, state in states.items():
        if state.gpu in mine.seen:
            states[key] = msgspec.structs.replace(state, witnessed=state.clock <= looked)
    return bounded(Known(states, {**recalled.seen, **mine.seen}))
