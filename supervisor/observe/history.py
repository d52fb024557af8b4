"""An observer that remembers what happened lately, for the status page. Equal events are one entry with a count."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

from msgspec import Struct
from msgspec.structs import astuple

from supervisor.events import DeviceChanged, Event
from supervisor.observe.sentences import SENTENCES, Grade

MOST = 100
"""Entries about devices, and as many about everything else: a storm of the one must not wash away the other."""


class Entry(Struct, frozen=True):
    """One kind of happening. Times are ``time.monotonic()`` seconds."""

    event: Event
    """The newest of them."""
    first: float
    last: float
    count: int = 1


class History:
    """Called with each event, in the supervising thread. It keeps events as they are: words are made when somebody asks."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._devices: OrderedDict[Hashable, Entry] = OrderedDict()
        self._others: OrderedDict[Hashable, Entry] = OrderedDict()

    def __call__(self, event: Event) -> None:
        if SENTENCES[type(event)][0] < Grade.INFO:
            return
        kept = self._devices if isinstance(event, DeviceChanged) else self._others
        key = (
            type(event),
            *(value for value in astuple(event) if isinstance(value, bool) or not isinstance(value, float | int)),
        )
        now = self._clock()
        before = kept.pop(key, None)
        kept[key] = Entry(event, now, now) if before is None else Entry(event, before.first, now, before.count + 1)
        if len(kept) > MOST:
            kept.popitem(last=False)

    def newest_first(self) -> tuple[Entry, ...]:
        return tuple(sorted((*self._devices.values(), *self._others.values()), key=lambda entry: entry.last, reverse=True))
