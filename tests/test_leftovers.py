"""What a plugin says it has left on the node: a file that is wrongly named is nobody's."""

from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.leftovers import MOST_LEFTOVERS, check_leftovers
from supervisor.model import Leftover

HELD = {"acme.example/gadget": ("g1", "g2"), "acme.example/board": ("b1",)}
FREE = Leftover("/run/acme/a.json")
NEEDED = Leftover("/run/acme/b.json", ("g2", "b1"))


def test_good_leftovers_are_as_they_were() -> None:
    """In their order, from any iterable."""
    assert check_leftovers(iter([FREE, NEEDED]), HELD) == ((FREE, NEEDED), ())


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        ("/run/acme/a.json", "it is str, not Leftover"),
        (Leftover("run/acme/a.json"), "path: it must be the absolute path of a file"),
        (Leftover("/"), "path: "),
        (Leftover("/run/acme/"), "path: "),
        (Leftover("/run/acme/../../etc/passwd"), "path: it must be"),
        (Leftover("/run/\0"), "path: "),
        (Leftover("/run/\udc80"), "codec can't encode"),
        (Leftover("/run/acme/a.json", ("g3",)), "needed_by: g3 is not held"),
        (Leftover("/run/acme/a.json", "g1"), "needed_by: "),  # type: ignore[arg-type]  # the point
        (Leftover(5), "path: "),  # type: ignore[arg-type]  # the point
    ],
)
def test_a_bad_leftover_is_left_out_alone(found: Any, problem: str) -> None:
    """Its neighbours stay, and the problem is told."""
    good, (told,) = check_leftovers([FREE, found, NEEDED], HELD)
    assert good == (FREE, NEEDED)
    assert told.startswith("leftover 2 is none: ")
    assert problem in told


@pytest.mark.parametrize("found", [None, 5, "text", b"bytes", {"a": FREE}])
def test_what_is_no_collection_of_leftovers_is_none(found: object) -> None:
    """A mapping and a text can be iterated, and are none all the same."""
    assert check_leftovers(found, HELD) == ((), (f"leftovers() must return Leftover objects, not {type(found).__name__}",))


def test_endless_leftovers_end() -> None:
    """A generator that never stops costs nothing but the rest of itself."""
    good, problems = check_leftovers((Leftover(f"/run/{number}") for number in count()), {})
    assert len(good) == MOST_LEFTOVERS
    assert problems == (f"it has left more than {MOST_LEFTOVERS} files",)


@given(st.text(), st.lists(st.text(), max_size=3))
def test_whatever_is_let_through_names_a_file(path: str, ids: list[str]) -> None:
    """Absolute, without a way up, and needed by held devices alone."""
    good, problems = check_leftovers([Leftover(path, tuple(ids))], HELD)
    assert len(good) + len(problems) == 1
    for each in good:
        assert each.path.startswith("/")
        assert not each.path.endswith("/")
        assert ".." not in each.path.split("/")
        assert set(each.needed_by) <= {"g1", "g2", "b1"}
