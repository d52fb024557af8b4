"""Headers of bitstreams, whatever bytes they have."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor_fpga.operating.gbs import MAGIC, Header, header, plain_id
from supervisor_fpga.operating.simulated import bitstream

UUIDS = st.uuids().map(str)


@given(UUIDS, UUIDS, st.binary(max_size=64))
def test_what_is_written_is_read(interface: str, afu: str, data: bytes) -> None:
    """Ids lose their dashes; the data begins where the header says."""
    content = bitstream(interface, afu.replace("-", ""), data)
    found = header(content)
    assert (found.interface_id, found.afu_id) == (interface.replace("-", ""), afu.replace("-", ""))
    assert content[found.length :].endswith(data)
    assert content[found.length :].startswith(b"simulated accelerator ")


@given(st.binary(max_size=200))
def test_any_bytes_have_a_header_or_none(content: bytes) -> None:
    """A file without the mark is all data, whatever is in it."""
    if not content.startswith(MAGIC):
        assert header(content) == Header()


@given(st.binary(max_size=200))
def test_what_makes_no_sense_is_refused(content: bytes) -> None:
    """After the mark, whatever comes is either a header or refused in words."""
    try:
        found = header(MAGIC + content)
    except ValueError:
        return
    assert found.length > len(MAGIC)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (MAGIC, "it ends within its header"),
        (MAGIC + b"\xff\xff\xff\xff", "its header is longer than it may be"),
        (MAGIC + b"\x02\x00\x00\x00{", "its header is longer than it may be"),
        (MAGIC + b"\x02\x00\x00\x00{}", "its header makes no sense"),
    ],
)
def test_broken_headers_say_why(content: bytes, why: str) -> None:
    """Each by a sentence of its own."""
    with pytest.raises(ValueError, match=why):
        header(content)


def test_odd_ids_are_refused() -> None:
    """An id of another length could never fit."""
    text = json.dumps({"afu-image": {"interface-uuid": "123"}}).encode()
    with pytest.raises(ValueError, match="'123' is no id"):
        header(MAGIC + len(text).to_bytes(4, "little") + text)
    assert plain_id("") == ""
