"""Tokens as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.observe.guard import MOST_TOKENS, tokens

_TOKENS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)


@given(st.lists(_TOKENS, min_size=1, max_size=MOST_TOKENS), st.sampled_from(["\n", "\r\n", "\n\n", " \n\t"]))
def test_a_file_gives_its_tokens(wanted: list[str], between: str) -> None:
    """In their order, whatever blanks and line ends are around them."""
    data = between.join(["", *wanted, ""]).encode()
    assert tokens("/t", data) == tuple(word.encode() for word in wanted)


@given(st.binary(max_size=200))
def test_any_bytes_are_tokens_or_refused(data: bytes) -> None:
    """Never an empty token, nor one with a blank in it; a refusal does not repeat what is in the file."""
    try:
        found = tokens("/t", data)
    except ValueError as error:
        text = str(error)
    else:
        text = "/t: "
        assert found
        assert all(token and not any(byte <= 32 or byte >= 127 for byte in token) for token in found)
    assert text.startswith("/t: ")


@pytest.mark.parametrize("data", [b"", b"\n \n", b"a b", b"a\n\xc3\xa9", b"a\0", b"a\n" * (MOST_TOKENS + 1)])
def test_what_is_no_token_is_refused(data: bytes) -> None:
    """All of it, so that nobody takes half a file for the whole."""
    with pytest.raises(ValueError, match="/t: "):
        tokens("/t", data)
