"""``DP_DISABLE_HEALTHCHECKS`` and ``DP_ENABLE_HEALTHCHECKS`` as rules for XIDs.

Both hold a list of numbers with commas between; the first may say ``all`` or ``xids``, the second ``all``. What is enabled counts
even where all is disabled, as NVIDIA documents it: ``DISABLE=all`` with ``ENABLE=79`` watches for XID 79 alone.

A disabled XID is still told and counted. With ``all``, no other evidence takes a GPU away either, as nothing but XIDs does in
NVIDIA's plugin.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from supervisor_nvidia_gpu.health.policy import DEFAULTS, MODELS

DISABLE = "DP_DISABLE_HEALTHCHECKS"
ENABLE = "DP_ENABLE_HEALTHCHECKS"

_EVERYTHING = frozenset({"all", "xids"})
_SEVERE = frozenset({"unhealthy", "until-reset"})


def health(disabled: str, enabled: str) -> tuple[dict[str, Any], list[str]]:
    """The part of our section that two texts mean, in its words, and what is wrong with them."""
    off, problems = _words(DISABLE, disabled, _EVERYTHING)
    on, more = _words(ENABLE, enabled, frozenset({"all"}))
    rules = [*_off(off), *_on(on)]
    section: dict[str, Any] = {"xids": rules} if rules else {}
    if "all" in off and "all" not in on:
        section["unhealthyOn"] = []
    return section, [*problems, *more]


def _words(name: str, text: str, special: frozenset[str]) -> tuple[list[str | int], list[str]]:
    """The words of a list, each once and in its order, and what is no word of it."""
    found: dict[str | int, None] = {}
    problems = []
    for word in filter(None, (part.strip().lower() for part in text.split(","))):
        number = int(word) if word.isascii() and word.isdigit() and len(word) <= 6 else 0
        if word in special or 1 <= number <= 100_000:
            found[number or word] = None
        else:
            problems.append(f"{name}: {word[:80]!r} is no XID, and none of {', '.join(sorted(special))}")
    return [*found], problems


def _off(words: Iterable[str | int]) -> Iterator[dict[str, Any]]:
    words = [*words]
    if not _EVERYTHING.isdisjoint(map(str, words)):
        yield {"xid": "all", "action": "event"}
        return
    for xid in words:
        yield {"xid": xid, "action": "event"}


def _on(words: Iterable[str | int]) -> Iterator[dict[str, Any]]:
    """At least ``unhealthy``; what takes a reset anyway keeps doing so."""
    words = [*words]
    if "all" in words:
        yield {"xid": "all", "action": "unhealthy"}
        words = [xid for xid, decision in DEFAULTS.items() if decision.action == "until-reset"]
        words += [xid for xid, _, _ in MODELS if xid not in words]
    for xid in words:
        usual = DEFAULTS[xid].action if isinstance(xid, int) and xid in DEFAULTS else "event"
        yield {"xid": xid, "action": usual if usual in _SEVERE else "unhealthy"}
        for number, pattern, decision in MODELS:
            if number == xid and decision.action in _SEVERE:
                yield {"xid": xid, "action": decision.action, "model": pattern}
