"""Output of children: passed on as it is, but never waited for, and not without end."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.border.output import BURST, Output


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe that is read when the test does."""
    read, write = os.pipe()
    yield read, write
    os.close(read)
    os.close(write)


def test_what_is_printed_is_passed_on(pipe: tuple[int, int]) -> None:
    """Byte for byte; the end of the output is seen."""
    output = Output(pipe[1])
    assert output.pass_on(b"one\nt")
    assert output.pass_on(b"wo\n\xff\n")
    assert not output.pass_on(b"")
    assert os.read(pipe[0], 100) == b"one\ntwo\n\xff\n"


def test_nobody_waits_for_a_reader_that_is_gone(pipe: tuple[int, int]) -> None:
    """A pipe that is full takes no more; what does not fit is left out, and the last words are kept all the same."""
    output = Output(pipe[1])
    for number in range(1000):
        output.pass_on(b"%d " % number * 500 + b"\n")
    output.pass_on(b"the last line\n")
    assert output.last_line == "the last line"


def test_a_closed_reader_is_no_error() -> None:
    """Our own error output may be closed, or its other end."""
    read, write = os.pipe()
    os.close(read)
    assert Output(write).pass_on(b"words")
    os.close(write)
    assert Output(write).pass_on(b"words")


def test_a_flood_is_cut_off_and_counted(tmp_path: Path) -> None:
    """What is left out is told when there is room again."""
    descriptor = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT)
    output = Output(descriptor)
    for _ in range(100):
        output.pass_on(b"x" * 65536)
    written = os.fstat(descriptor).st_size
    assert BURST / 2 < written < 2 * BURST
    output._at -= 3600  # an hour later
    output.pass_on(b"after the flood\n")
    said = os.pread(descriptor, 1000, written)
    assert said == b"\n[%d bytes of output were left out here]\nafter the flood\n" % (100 * 65536 - written)
    os.close(descriptor)


@given(st.lists(st.binary(max_size=600), max_size=8))
def test_the_last_line_is_the_last_that_says_something(pieces: list[bytes]) -> None:
    """However the output was cut; at most a few hundred bytes of it."""
    with Path(os.devnull).open("wb") as null:
        output = Output(null.fileno())
        for piece in pieces:
            output.pass_on(piece)
    whole = b"".join(pieces)[-500:].decode(errors="replace").strip()
    assert output.last_line == whole.rpartition("\n")[2]
