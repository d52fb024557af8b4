"""What a plugin found when it examined the node, checked one by one: what is shown to people is short, and never endless."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

import msgspec

from supervisor.inventory import plain
from supervisor.model import Finding

MOST_FINDINGS = 200
"""Of one plugin."""

_FINDING = msgspec.msgpack.Decoder(Finding)


def check_findings(found: object) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """The good part of what ``examine`` returned, and what is wrong with the rest, in sentences."""
    if isinstance(found, str | bytes | Mapping) or not isinstance(found, Iterable):
        return (), (f"examine() must return Finding objects, not {type(found).__name__}",)
    good: list[Finding] = []
    problems: list[str] = []
    for number, each in enumerate(islice(found, MOST_FINDINGS + 1)):
        if number == MOST_FINDINGS:
            problems.append(f"it has more than {MOST_FINDINGS} findings; the others are left out")
            break
        try:
            good.append(_typed(each))
        except ValueError as error:
            problems.append(f"finding {number + 1} is left out: {error}")
    return tuple(good), (*problems, *_without_cure(good))


def _typed(found: object) -> Finding:
    """Raises ``ValueError`` for what is no finding."""
    if type(found) is not Finding:
        raise ValueError(f"it is {type(found).__name__}, not Finding")
    return plain(found, _FINDING)


def _without_cure(findings: Iterable[Finding]) -> Iterator[str]:
    for each in findings:
        if each.level in {"warning", "failure"} and not each.cure:
            yield f"the {each.level} about {each.subject!r} has no cure: say what to do"
