"""Requests and responses as values."""

import gzip
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.observe.exchange import (
    LEAST_TO_COMPRESS,
    MOST_PARAMETERS,
    MOST_QUERY_BYTES,
    Request,
    Response,
    compressed,
    parameters,
    wants_gzip,
)


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=MOST_PARAMETERS))
def test_parameters_come_back_as_they_were(wanted: dict[str, str]) -> None:
    """Whatever a client encodes, a page gets; empty values too."""
    assert parameters(urlencode(wanted)) == wanted


@given(st.text(max_size=3000) | st.text("&=%a", max_size=40))
def test_any_query_is_read_or_refused(query: str) -> None:
    """Never more than the bounds, and no other error."""
    if len(query) > MOST_QUERY_BYTES or query.count("&") >= MOST_PARAMETERS:
        with pytest.raises(ValueError, match="query"):
            parameters(query)
    else:
        assert len(parameters(query)) <= MOST_PARAMETERS


@pytest.mark.parametrize(
    ("held", "tag", "enough"),
    [
        ("", '"1"', False),
        ('"1"', '"1"', True),
        ('W/"1"', '"1"', True),
        ('"0", W/"1"', 'W/"1"', True),
        ("*", '"1"', True),
        ('"11"', '"1"', False),
    ],
)
def test_a_held_page_is_known_by_its_tag(held: str, tag: str, enough: bool) -> None:
    """Compared weakly, as If-None-Match asks for."""
    assert Request("/", if_none_match=held).has(tag) is enough


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("gzip", True),
        ("br, GZIP ; q=0.2", True),
        ("gzip;q=0", False),
        ("gzip;q=0.000", False),
        ("gzip;q=much", False),
        ("gzip;q=nan", False),
        ("deflate, br", False),
        ("", False),
    ],
)
def test_gzip_is_sent_only_where_it_is_wanted(header: str, wanted: bool) -> None:
    """A weight of zero forbids it, and so does one that is no number."""
    assert wants_gzip(header) is wanted


@given(st.binary(min_size=LEAST_TO_COMPRESS + 1, max_size=5000))
def test_a_compressed_body_is_the_same_body(body: bytes) -> None:
    """With the headers that say so, and with those of the page."""
    response = compressed(Response(200, body, headers=(("ETag", 'W/"1"'),)), Request("/", accepts_gzip=True))
    assert gzip.decompress(response.body) == body
    assert dict(response.headers) == {"ETag": 'W/"1"', "Vary": "Accept-Encoding", "Content-Encoding": "gzip"}


@pytest.mark.parametrize("response", [Response(200, b"x" * LEAST_TO_COMPRESS), Response(503, b"x" * 5000), Response(304, b"")])
def test_short_pages_and_refusals_stay_as_they_are(response: Response) -> None:
    """Nothing is gained by compressing them."""
    assert compressed(response, Request("/", accepts_gzip=True)) == response
