"""Whether one match of the configuration fits one function, and why not, in a sentence.

There are three answers: it fits, it does not, and a fact is missing. A missing fact fits nothing, and what a ``not`` holds then does
not fit, so its match may. But such an answer is not certain: a card that does not answer has no ids, or ones of nothing but ones, which
is no reason to take its functions from the resource that they belong to.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from re import Pattern

from msgspec import Struct
from msgspec.structs import fields

from supervisor import glob_pattern
from supervisor_fpga import pci
from supervisor_fpga.config import Match
from supervisor_fpga.naming import bare_id, known_id
from supervisor_fpga.report import Function

_TOLD = 5
"""Matches that one sentence tells one by one."""


class Answer(Struct, frozen=True):
    """What a match or a rule says of a function."""

    fits: bool
    reason: str = ""
    """Why it does not fit; where it fits without being certain, what is not known."""
    certain: bool = True
    """Whether no fact that is missing could turn it around."""


FITS = Answer(fits=True)

_FIELDS = fields(Match)


def answer(match: Match, function: Function) -> Answer:
    """Whether all that is given fits."""
    return all_of(_answers(match, function))


def all_of(answers: Iterable[Answer]) -> Answer:
    """All must fit: what certainly does not decides, then what may not, then what only may. The first of a kind has the word."""
    return min(answers, key=_rank, default=FITS)


def _rank(found: Answer) -> int:
    if found.fits:
        return (3 if found.reason else 4) if found.certain else 2
    return 0 if found.certain else 1


def any_of(matches: tuple[Match, ...], function: Function) -> Answer:
    """One must fit; without any, all functions do."""
    found = [answer(match, function) for match in matches]
    for each, match in zip(found, matches, strict=True):
        if each.fits and each.certain:
            return Answer(fits=True, reason=words(match))
    doubts = [each for each in found if not each.certain]
    if fitting := [each for each in doubts if each.fits]:
        return fitting[0]
    return Answer(fits=False, reason=_joint(found), certain=not doubts) if found else FITS


def words(match: Match) -> str:
    """A match in one line, in the words of the configuration: ``kind vf, driver vfio-pci``."""
    return ", ".join(_words(match))


def _words(match: Match) -> Iterator[str]:
    for each in _FIELDS:
        value = getattr(match, each.name)
        if each.name == "not_":
            yield from (f"not ({words(inner)})" for inner in value)
        elif value:
            yield f"{each.encode_name} {' or '.join(str(one) for one in value)}"


def _joint(found: list[Answer]) -> str:
    if len(found) == 1:
        return found[0].reason
    told = "; ".join(f"match[{number}]: {each.reason}" for number, each in enumerate(found[:_TOLD]))
    return told + (f"; and {len(found) - _TOLD} matches more" if len(found) > _TOLD else "")


def _answers(match: Match, function: Function) -> Iterator[Answer]:
    for fact in _FACTS:
        if wanted := getattr(match, fact.field):
            yield fact.answer(wanted, function)
    for number, inner in enumerate(match.not_):
        yield _negated(number, inner, answer(inner, function))


def _negated(number: int, match: Match, inner: Answer) -> Answer:
    if inner.fits:
        return Answer(fits=False, reason=f"not[{number}] fits it ({words(match)})", certain=inner.certain)
    return FITS if inner.certain else Answer(fits=True, reason=inner.reason, certain=False)


# --- facts ------------------------------------------------------------------------------------------------------------------


class _Fact(Struct, frozen=True):
    """One field of a match: what a function has that may fit it, and how. An empty text stands for something that is not known."""

    field: str
    word: str
    of: Callable[[Function], Iterable[str]]
    fits: Callable[[str, str], bool]
    """A wanted text and a function's."""

    def answer(self, wanted: Iterable[object], function: Function) -> Answer:
        asked = [str(one) for one in wanted]
        known = tuple(dict.fromkeys(filter(None, self.of(function))))
        if any(self.fits(one, text) for one in asked for text in known):
            return FITS
        if not known:
            return Answer(fits=False, reason=f"{self.word} is not known", certain=False)
        verdict = f"is none of {', '.join(asked)}" if len(asked) > 1 else f"is not {asked[0]}"
        return Answer(fits=False, reason=f"{self.word} {', '.join(known)} {verdict}")


@lru_cache(maxsize=1024)
def _pattern(pattern: str) -> Pattern[str]:
    return glob_pattern(pattern.lower())


def _is(wanted: str, text: str) -> bool:
    return wanted.lower() == text.lower()


def _is_pattern_of(pattern: str, text: str) -> bool:
    return _pattern(pattern).match(text.lower()) is not None


def _is_address(pattern: str, text: str) -> bool:
    return pci.normal(pattern) == text or _is_pattern_of(pattern, text)


def _is_id(pattern: str, text: str) -> bool:
    return _is_pattern_of(bare_id(pattern), text)


_FACTS = (
    _Fact("backend", "back end", lambda function: (function.backend,), _is),
    _Fact("kind", "kind", lambda function: (function.kind,), _is),
    _Fact("id", "id", lambda function: (function.id, function.pci), _is_address),
    _Fact("vendor", "vendor", lambda function: (function.vendor,), _is),
    _Fact("device", "device", lambda function: (function.device,), _is),
    _Fact("driver", "driver", lambda function: (function.driver,), _is_pattern_of),
    _Fact("shell", "shell", lambda function: (function.shell,), _is_pattern_of),
    _Fact("interface_id", "interface id", lambda function: (known_id(function.interface_id),), _is_id),
    _Fact("afu_id", "AFU id", lambda function: (known_id(function.afu_id),), _is_id),
    _Fact("group", "serial number", lambda function: (function.group,), _is_pattern_of),
    _Fact("numa_node", "NUMA node", lambda function: ("" if function.numa_node is None else str(function.numa_node),), _is),
)
"""Those first that tell most to whoever wonders why a function is refused."""
