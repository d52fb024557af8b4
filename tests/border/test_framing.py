"""Framing: messages of any size arrive whole, and whatever bytes come instead of them, the error is an expected one."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.border import framing
from supervisor.border.messages import Open


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The two ends of a connection."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def send_all(connection: socket.socket, texts: list[str]) -> None:
    """One message for each text."""
    for text in texts:
        framing.send(connection, Open(text))


@given(st.lists(st.text(max_size=200_000), max_size=5))
def test_messages_arrive_whole_and_in_order(texts: list[str]) -> None:
    """Also those that are larger than the buffers of the socket."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender = threading.Thread(target=lambda: send_all(ours, texts))
        sender.start()
        got = [msgspec.msgpack.decode(framing.receive(theirs), type=Open) for _ in texts]
        sender.join()
    assert got == [Open(text) for text in texts]


def test_waiting_has_an_end(pair: tuple[socket.socket, socket.socket]) -> None:
    """Neither a reader nor a writer waits past its deadline, nor begins after it."""
    with pytest.raises(TimeoutError):
        framing.receive(pair[0], time.monotonic() + 0.01)
    with pytest.raises(TimeoutError):
        framing.send(pair[0], Open("x" * (8 << 20)), time.monotonic() + 0.01)
    with pytest.raises(TimeoutError):
        framing.send(pair[1], Open("p"), time.monotonic() - 1)


@pytest.mark.parametrize("part", [b"", b"\0\0", b"\0\0\0\5abc"])
def test_an_end_in_the_middle_is_an_end(pair: tuple[socket.socket, socket.socket], part: bytes) -> None:
    """Half a message is none."""
    pair[0].sendall(part)
    pair[0].close()
    with pytest.raises(EOFError):
        framing.receive(pair[1])


def test_a_length_is_believed_only_up_to_the_limit(pair: tuple[socket.socket, socket.socket]) -> None:
    """A broken sender must not make the receiver reserve gigabytes."""
    pair[0].sendall(b"\xff\xff\xff\xff")
    with pytest.raises(ValueError, match="the limit is"):
        framing.receive(pair[1])
    with pytest.raises(ValueError, match="the limit is"):
        framing.send(pair[0], Open("x" * (framing.MAX_FRAME + 1)))


@given(st.lists(st.binary(max_size=300)), st.integers(1, 50))
def test_messages_are_put_together_from_any_pieces(payloads: list[bytes], size: int) -> None:
    """A reader that does not block gets the same messages, however they were cut."""
    stream = b"".join(len(payload).to_bytes(4, "big") + payload for payload in payloads)
    inbox = framing.Inbox()
    got: list[bytes] = []
    for start in range(0, len(stream), size):
        inbox.put(stream[start : start + size])
        got += inbox.take()
    assert got == payloads


@given(st.binary(max_size=100))
def test_junk_is_at_worst_a_message_too_long(junk: bytes) -> None:
    """Bytes that are no message raise the one expected error, or are no message yet."""
    inbox = framing.Inbox()
    inbox.put(junk)
    with contextlib.suppress(ValueError):
        assert sum(4 + len(message) for message in inbox.take()) <= len(junk)
