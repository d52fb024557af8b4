"""Columns on terminals of every width, and documents of every kind."""

import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from supervisor.cli.columns import Columns
from supervisor.cli.picture import Wanted, paint, show
from supervisor.cli.reading import read
from supervisor.errors import SupervisorError
from tests.cli.canned import edited

_WORDS = st.lists(st.text("ab/-.é漢", min_size=1, max_size=30), max_size=8).map(" ".join)
_ROWS = st.lists(st.tuples(_WORDS, st.sampled_from(["Healthy", "Unhealthy"]), _WORDS), min_size=1, max_size=5)


def _drawn(columns: Columns, width: int) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=width, color_system=None, markup=False, highlight=False).print(columns, end="", soft_wrap=True)
    return file.getvalue().splitlines()


@given(rows=_ROWS, width=st.integers(45, 200), indent=st.integers(0, 4))
def test_whatever_the_width_all_is_there_and_fits(rows: list[tuple[str, str, str]], width: int, indent: int) -> None:
    """No line is wider than the terminal, and what is folded has all its letters in their order."""
    columns = Columns("NAME*", "HEALTH", "WHY*", indent=indent)
    for row in rows:
        columns.add(*row)
    lines = _drawn(columns, width)
    assert max(map(cell_len, lines)) <= width
    shown = re.sub(r"\s", "", "".join(lines))
    letters = "".join(("NAMEHEALTHWHY", *("".join(row) for row in rows))).replace(" ", "")
    assert sorted(shown) == sorted(letters)
    assert sum(line[indent:].strip() != "" for line in lines) >= 1 + len(rows)


def test_where_all_fits_nothing_is_folded() -> None:
    """One line a row; several lines in a cell stay in their column."""
    columns = Columns("A", "BB*", indent=1)
    columns.add("漢", "x\ny y")
    columns.add("zzz", "")
    assert [line.rstrip() for line in _drawn(columns, 80)] == [" A    BB", " 漢   x", "      y y", " zzz"]


def test_without_heads_there_is_no_line_for_them() -> None:
    """As in a list of bullets."""
    columns = Columns("", "*", gap=1)
    assert _drawn(columns, 80) == []
    columns.add("-", "\x1b[1m")
    assert _drawn(columns, 80) == ["- ?[1m"]


def _paths(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, member in members for found in _paths(member, (*path, key)))]


_DOCUMENT = json.loads(edited())
_JSON: st.SearchStrategy[object] = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just([]) | st.just({}) | st.just([{}])
)


@given(path=st.sampled_from([path for path in _paths(_DOCUMENT) if path]), value=_JSON)
def test_a_document_with_anything_anywhere_is_read_or_refused(path: tuple[str | int, ...], value: object) -> None:
    """Nothing else than a ``SupervisorError`` of one line comes of it, and what is read can be shown."""
    document = json.loads(edited())
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    file = io.StringIO()
    try:
        show(Console(file=file, width=100), paint(read(json.dumps(document).encode()), "http://node", Wanted()))
    except SupervisorError as error:
        file.write(str(error))
    assert file.getvalue()
    assert all(line.isprintable() for line in file.getvalue().split("\n"))


@given(st.binary(max_size=200))
def test_bytes_are_no_document(document: bytes) -> None:
    """They are refused, whatever they are."""
    with pytest.raises(SupervisorError, match="what came is no status of a supervisor"):
        read(document)
