"""Long work in pieces, between which the other threads get the interpreter: an Allocate must not wait for a long list."""

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

PIECE = 512
"""Devices that are looked at, or compared, in one go: 0.1 ms of work."""


def pieces(items: Sequence[T], size: int = PIECE) -> Iterator[Sequence[T]]:
    """The items, so many at a time.

    A thread that never rests keeps the interpreter for a whole switch interval whenever another one wants it, and an Allocate
    changes threads several times.
    """
    for start in range(0, len(items), size):
        if start:
            time.sleep(0)
        yield items[start : start + size]


def one_by_one(items: Iterable[T]) -> Iterator[T]:
    """The items, where each of them is work enough for one go."""
    for item in items:
        yield item
        time.sleep(0)
