"""A scraper gets the format that it prefers, and no header is too odd to be judged."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.observe.accept import wants_openmetrics

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,/;q=0.1"
)
TEXT_FIRST = "text/plain;version=0.0.4;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1"


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        (PROMETHEUS_2, True),
        (PROMETHEUS_3, True),
        (TEXT_FIRST, False),
        ("", False),
        ("*/*", False),
        ("application/*", False),
        ("text/plain;version=0.0.4", False),
        ("application/openmetrics-text", True),
        ("Application/OpenMetrics-Text ; Version=1.0.0 ; Q=0.6 , */* ; q=0.1", True),
        ('application/openmetrics-text; version="1.0.0"', True),
        ("application/openmetrics-text;version=1.0.0,text/plain", True),
        ("application/openmetrics-text;version=1.0.0;q=0.3,text/*;q=0.4", False),
        ("application/openmetrics-text;version=1.0.0;q=0.3,*/*", False),
        ("application/openmetrics-text;version=0.0.1,text/plain", False),
        ("application/openmetrics-text;version=0.0.1,application/openmetrics-text;version=1.0.0", True),
        ("application/openmetrics-text;version=2.0.0", False),
        ("application/openmetrics-text;version=10.0.0", False),
        ("application/openmetrics-text;version=1.0.0;q=0", False),
        ("application/openmetrics-text;version=1.0.0;q=0.000", False),
        ("application/openmetrics-text;version=1.0.0;q=7", False),
        ("application/openmetrics-text;version=1.0.0;q=nan", False),
        ("application/openmetrics-text;version=1.0.0;q=", False),
        ("application/openmetrics-text;version=nonsense", False),
        (",;=,", False),
    ],
)
def test_openmetrics_is_for_who_asks_for_it_and_likes_nothing_more(accept: str, openmetrics: bool) -> None:
    """By name, in version 1, at a quality that text does not exceed."""
    assert wants_openmetrics(accept) is openmetrics


@given(st.text(st.sampled_from('application/openmetrics-text;version=1q.0,*/ \t"é\0')))
def test_no_header_is_too_odd(accept: str) -> None:
    """Anybody may send anything: the judgement is yes or no, never an error."""
    assert wants_openmetrics(accept) in {True, False}


def test_an_endless_header_is_not_read_to_its_end() -> None:
    """What stands behind many other ranges is not seen."""
    assert not wants_openmetrics("a/b," * 10_000 + "application/openmetrics-text")


@given(st.floats(0.001, 1), st.floats(0, 1))
def test_the_greater_quality_wins(openmetrics: float, text: float) -> None:
    """Whatever the two numbers are; the newer format where they are equal."""
    header = f"text/plain;q={text:.3f}, application/openmetrics-text;version=1.0.0;q={openmetrics:.3f}"
    assert wants_openmetrics(header) is (round(openmetrics, 3) >= round(text, 3))
