"""What happens to simulated hardware, line by line: ``after 10s ACTION WORDS``, in ms, s, m or h since the beginning.

Empty lines and what follows a ``#`` are passed over. What the actions are, and what they do, is the plugin's.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from msgspec import Struct, structs

Form = tuple[re.Pattern[str], str]
"""The words after an action, and an example with ``{}`` in the action's place."""
_Machine = TypeVar("_Machine")

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_LINE = re.compile(r"after\s+([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*(ms|s|m|h)\s+(\S+)(?:\s+(.+))?")


class ScriptStep(Struct, frozen=True):
    """One thing that happens."""

    after: float
    """Seconds since the beginning."""
    action: str
    words: tuple[str, ...]
    """What the action takes; the first says to what it happens."""
    line: int = 0


def script_steps(lines: Iterable[str], forms: Mapping[str, Form]) -> tuple[ScriptStep, ...]:
    """The steps in the order of their times. Raises ``ValueError`` with all mistakes, each with its line."""
    steps, mistakes = [], []
    for number, line in enumerate(lines, start=1):
        text = line.partition("#")[0].strip()
        try:
            if text:
                steps.append(structs.replace(_step(text, forms), line=number))
        except ValueError as mistake:
            mistakes.append(f"line {number}, {text[:80]!r}: {mistake}")
    if mistakes:
        raise ValueError("; ".join(mistakes))
    return tuple(sorted(steps, key=lambda step: step.after))


def rehearse(steps: Iterable[ScriptStep], machine: _Machine, apply: Callable[[ScriptStep, _Machine], _Machine]) -> _Machine:
    """The machine in the end. Raises ``ValueError`` with all steps that cannot happen, each with its line."""
    mistakes = []
    for step in steps:
        try:
            machine = apply(step, machine)
        except ValueError as mistake:
            mistakes.append(f"line {step.line}: {mistake}")
    if mistakes:
        raise ValueError("; ".join(mistakes))
    return machine


def _step(text: str, forms: Mapping[str, Form]) -> ScriptStep:
    match = _LINE.fullmatch(text)
    if match is None or match[3] not in forms:
        raise ValueError(f"expected `after TIME`, like 10s, then {', '.join(forms)}")
    pattern, example = forms[match[3]]
    words = pattern.fullmatch(match[4] or "")
    if words is None:
        raise ValueError(f"expected `{example.format(match[3])}`")
    return ScriptStep(float(match[1]) * _SECONDS[match[2]], match[3], words.groups(default=""))
