"""Scripts of simulated hardware: lines are read in any order, and rehearsed before anything is played."""

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import ScriptStep, rehearse, script_steps

FORMS = {
    "add": (re.compile("([0-9]+)"), "{} 7"),
    "divide": (re.compile("by ([0-9]+)(?: of ([a-z]+))?"), "{} by 7 of many"),
}


def apply(step: ScriptStep, machine: float) -> float:
    """Counting, for hardware."""
    number = int(step.words[0])
    if step.action == "add":
        return machine + number
    if number == 0:
        raise ValueError("nothing can be divided by 0")
    return machine / number


def test_steps_are_in_the_order_of_their_times() -> None:
    """Units are understood, comments and empty lines are not steps, and words that were left out are empty."""
    lines = ["# first", "", "after 1.5 m add 1", "after 250ms add 2   # a comment", "after 0 s divide by 3", "after 1h add 4"]
    assert script_steps(lines, FORMS) == (
        ScriptStep(0.0, "divide", ("3", ""), 5),
        ScriptStep(0.25, "add", ("2",), 4),
        ScriptStep(90.0, "add", ("1",), 3),
        ScriptStep(3600.0, "add", ("4",), 6),
    )


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["add 1"], "line 1, 'add 1': expected `after TIME`, like 10s, then add, divide"),
        (["after 1s explode"], "line 1, 'after 1s explode': expected `after TIME`, like 10s, then add, divide"),
        (["after 1s add one"], "line 1, 'after 1s add one': expected `add 7`"),
        (["", "x", "after 1s divide"], "line 2, 'x': .*; line 3, 'after 1s divide': expected `divide by 7 of many`"),
    ],
)
def test_mistakes(lines: list[str], told: str) -> None:
    """All are told, each with its line and what would be right."""
    with pytest.raises(ValueError, match=told):
        script_steps(lines, FORMS)


def test_a_rehearsal_finds_all_that_cannot_happen() -> None:
    """Steps count as of their time, and a step that cannot happen does not keep the next from being tried."""
    steps = script_steps(["after 3s divide by 0", "after 1s add 5", "after 2s divide by 0"], FORMS)
    with pytest.raises(ValueError, match=r"^line 3: nothing can be divided by 0; line 1: nothing can be divided by 0$"):
        rehearse(steps, 1.0, apply)
    assert rehearse(steps[:1], 1.0, apply) == 6.0


@given(st.lists(st.text(max_size=30) | st.from_regex(r"\Aafter [0-9]{1,3}(ms|s|m) (add|divide).*\Z", fullmatch=True)))
def test_anything_is_read_or_refused(lines: list[str]) -> None:
    """Whatever is written, it is steps in the order of time, or mistakes with their lines."""
    steps: tuple[ScriptStep, ...] = ()
    with contextlib.suppress(ValueError):
        steps = script_steps(lines, FORMS)
    assert [step.after for step in steps] == sorted(step.after for step in steps)
