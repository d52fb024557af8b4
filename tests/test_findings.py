"""What a plugin found on the node: the good part is shown, the rest is told to its author."""

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.findings import MOST_FINDINGS, check_findings
from supervisor.model import Finding

FINE = Finding("ok", "a module", "It is loaded.")


def test_good_findings_are_as_they_were() -> None:
    """In their order, from any iterable."""
    broken = Finding("failure", "a node", "It is not there.", "Load the module.")
    assert check_findings(iter([FINE, broken])) == ((FINE, broken), ())


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        ("It is loaded.", "it is str, not Finding"),
        (Finding("bad", "a", "b"), "level: "),  # type: ignore[arg-type]  # the point
        (Finding("ok", "", "b"), "subject: "),
        (Finding("ok", "a", ""), "text: "),
        (Finding("ok", "a", "x" * 1001), "text: "),
        (Finding("ok", "a", "b", None), "cure: "),  # type: ignore[arg-type]  # the point
        (Finding("ok", "a", "\udc80"), "codec can't encode"),
    ],
)
def test_a_bad_finding_is_left_out_alone(found: Any, problem: str) -> None:
    """Its neighbours stay, and its author reads why."""
    good, (told,) = check_findings([FINE, found, FINE])
    assert good == (FINE, FINE)
    assert told.startswith("finding 2 is left out: ")
    assert problem in told


@pytest.mark.parametrize("found", [None, 5, "text", b"bytes", {"a": FINE}])
def test_what_is_no_collection_of_findings_is_none(found: object) -> None:
    """A mapping and a text can be iterated, and are none all the same."""
    assert check_findings(found) == ((), (f"examine() must return Finding objects, not {type(found).__name__}",))


def test_endless_findings_end() -> None:
    """A generator that never stops costs nothing but the rest of itself."""

    def endless() -> Iterator[Finding]:
        for number in count():
            yield Finding("note", f"subject {number}", "It is there.")

    good, (told,) = check_findings(endless())
    assert len(good) == MOST_FINDINGS
    assert told == f"it has more than {MOST_FINDINGS} findings; the others are left out"


def test_what_is_wrong_has_a_cure() -> None:
    """It is shown without one too, but its author is told."""
    lame = Finding("warning", "a module", "It is old.")
    assert check_findings([lame]) == ((lame,), ("the warning about 'a module' has no cure: say what to do",))


@given(st.lists(st.one_of(st.just(FINE), st.integers(), st.text(), st.none()), max_size=20))
def test_every_finding_is_shown_or_told(found: list[Any]) -> None:
    """Nothing is lost without a word."""
    good, problems = check_findings(found)
    assert len(good) + len(problems) == len(found)
