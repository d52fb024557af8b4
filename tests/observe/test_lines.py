"""What is written is what the readers of both formats read."""

import math
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from supervisor.observe.lines import PIECE, Family, Row, escaped, family, line, number, write
from supervisor.status import printable

VALUES = st.one_of(st.text(), st.text(st.sampled_from('\\"\n\r\t\0n{},= é語\u2028\udcff'))).map(printable)
LABELS = st.dictionaries(st.from_regex(r"\A[a-z][a-z0-9_]{0,5}\Z"), VALUES, max_size=4)
NUMBERS = st.one_of(st.integers(-(2**53), 2**53), st.floats(allow_nan=False))


def read(families: list[Family], *, openmetrics: bool) -> dict[str, Metric]:
    page = write(families, openmetrics=openmetrics).decode()
    if openmetrics:
        found = parse_openmetrics(page)  # type: ignore[no-untyped-call]  # the library leaves it without types
        return {one.name: one for one in found}
    return {one.name: one for one in parse_text(page)}


def rows(metric: Metric) -> list[tuple[str, Mapping[str, str], float]]:
    return [(sample.name, sample.labels, sample.value) for sample in metric.samples]


ROWS = st.lists(st.tuples(LABELS, NUMBERS), max_size=5, unique_by=lambda row: tuple(sorted(row[0].items())))


@pytest.mark.parametrize("openmetrics", [True, False])
@given(given_=ROWS, text=VALUES)
def test_every_text_and_number_comes_back(openmetrics: bool, given_: list[Row], text: str) -> None:
    """Quotes, backslashes and marks of all scripts in labels and helps, whole numbers and infinities as values."""
    metric = read([family("a_gauge", text, given_)], openmetrics=openmetrics)["a_gauge"]
    assert [(labels, value) for _, labels, value in rows(metric)] == [(dict(labels), float(value)) for labels, value in given_]
    assert metric.type == "gauge"
    assert metric.documentation.strip() == text.strip()


@given(st.text())
def test_escaping_loses_nothing(text: str) -> None:
    """No quote ends a value early, no line is broken, and two texts never become the same."""
    written = escaped(text)
    assert "\n" not in written
    assert not written.replace("\\\\", "").replace('\\"', "").count('"')
    back = written.replace("\\\\", "\0\0").replace('\\"', '"').replace("\\n", "\n").replace("\0\0", "\\")
    assert back == text or "\0" in text


def test_numbers_that_are_none_have_names() -> None:
    """As Go writes them."""
    assert [number(value) for value in (math.nan, math.inf, -math.inf, 1, 0.25)] == ["NaN", "+Inf", "-Inf", "1.0", "0.25"]


def test_a_line_without_labels_has_no_braces() -> None:
    """The shortest form."""
    assert line("up", {}, 1) == "up 1.0\n"
    assert line("up", {"a": "b", "c": 'd"'}, 0) == 'up{a="b",c="d\\""} 0.0\n'


def test_each_kind_is_called_as_its_format_calls_it() -> None:
    """A counter and an info are named by their samples in the older format, and by their family in the newer one."""
    families = [family("faults", "Faults.", [({}, 3)], "counter"), family("driver", "It.", [({"version": "1"}, 1)], "info")]
    newer = read(families, openmetrics=True)
    assert [newer[name].type for name in ("faults", "driver")] == ["counter", "info"]
    older = read(families, openmetrics=False)
    assert [older["faults"].type, older["driver_info"].type] == ["counter", "gauge"]
    assert rows(newer["faults"]) == rows(older["faults"]) == [("faults_total", {}, 3.0)]
    assert rows(newer["driver"]) == rows(older["driver_info"]) == [("driver_info", {"version": "1"}, 1.0)]
    assert b"# TYPE faults_total counter\n" in write(families, openmetrics=False)


@pytest.mark.parametrize("openmetrics", [True, False])
def test_pieces_and_kept_lines_make_one_family(openmetrics: bool) -> None:
    """However many samples there are, and whether they were written now or before."""
    many = [("g", {"number": str(number)}, float(number)) for number in range(3 * PIECE + 1)]
    kept = [line("g", {"number": "kept"}, 1).encode()]
    metric = read([Family("g", "Numbers.", "gauge", many, kept)], openmetrics=openmetrics)["g"]
    assert rows(metric) == [*many, ("g", {"number": "kept"}, 1.0)]


def test_only_openmetrics_says_where_it_ends() -> None:
    """Also when there is nothing on the page."""
    assert write([], openmetrics=True) == b"# EOF\n"
    assert write([], openmetrics=False) == b""
