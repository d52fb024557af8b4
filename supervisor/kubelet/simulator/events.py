"""What happened in the simulator, with exact times, and a log that one can wait on.

Times are nanoseconds of ``CLOCK_MONOTONIC``, which all processes of a machine share: a bench may compare them with its
own ``time.monotonic_ns()``.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

KEPT_EVENTS = 100_000
"""The log forgets the oldest events beyond this number."""


class EventKind(StrEnum):
    """All kinds of events, with the fields each one carries."""

    KUBELET_STARTING = "kubelet_starting"
    """A kubelet process begins: ``pid``."""
    SOCKET_BOUND = "socket_bound"
    """``kubelet.sock`` exists but refuses (only with a gap between bind and listen): ``path``."""
    SOCKET_ACCEPTING = "socket_accepting"
    """``kubelet.sock`` accepts and serves: ``path``."""
    PODS_ARRIVED = "pods_arrived"
    """The pods of the node are known to the kubelet and were admitted again: ``pods``."""
    KUBELET_ENDED = "kubelet_ended"
    """The kubelet is gone, its connections are closed and its sockets refuse; its files stay: ``reason``."""
    REGISTER_RECEIVED = "register_received"
    """``resource``, ``endpoint``, ``version``, ``pre_start_required``, ``get_preferred_allocation_available``."""
    REGISTER_ANSWERED = "register_answered"
    """``resource``, ``endpoint``, ``error`` (empty for OK)."""
    DIALLED = "dialled"
    """The dial-back reached READY: ``resource``, ``endpoint``, ``seconds``."""
    CONNECTED = "connected"
    """The plugin is stored as the resource's endpoint: ``resource``, ``endpoint``, and the options that count."""
    CONNECT_FAILED = "connect_failed"
    """``resource``, ``endpoint``, ``error``."""
    STREAM_OPENED = "stream_opened"
    """ListAndWatch was called: ``resource``, ``endpoint``."""
    LIST_RECEIVED = "list_received"
    """Stamped on arrival, before parsing: ``resource``, ``endpoint``, ``healthy``, ``unhealthy``, ``bytes``."""
    STREAM_ENDED = "stream_ended"
    """``resource``, ``endpoint``, ``code``, ``message``."""
    DISCONNECTED = "disconnected"
    """All devices of the resource became unhealthy: ``resource``."""
    SURVIVOR_PROMOTED = "survivor_promoted"
    """Another socket of the resource took over: ``resource``, ``endpoint``."""
    RESOURCE_DROPPED = "resource_dropped"
    """The grace period is over: ``resource``."""
    CALL = "call"
    """One RPC to a plugin: ``resource``, ``method``, ``code``, ``message``, ``seconds``."""
    POD_ADMITTED = "pod_admitted"
    """``pod``, ``seconds``."""
    POD_FAILED = "pod_failed"
    """``pod``, ``reason``, ``message``."""
    POD_DELETED = "pod_deleted"
    """``pod``."""
    CONTAINER_STARTED = "container_started"
    """``pod``, ``container``."""
    CONTAINER_WAITING = "container_waiting"
    """A start that failed and would be retried: ``pod``, ``container``, ``reason``, ``message``."""
    CONFLICT = "conflict"
    """Two resources of a container want different values: ``kind``, ``key``, ``kept``, ``dropped``, ``resources``."""
    WARNING = "warning"
    """Something a real kubelet would not survive or would hide: ``text``, and what it is about."""
    FAULT = "fault"
    """An injected fault took effect: ``fault``."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened; ``life`` counts the kubelets of this directory from 1."""

    kind: EventKind
    at_ns: int
    life: int
    fields: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        """Return one field; raises ``KeyError``."""
        return self.fields[name]

    def matches(self, kind: EventKind, wanted: Mapping[str, Any]) -> bool:
        """Say whether this event has the kind and all the wanted field values."""
        return self.kind == kind and all(self.fields.get(name) == value for name, value in wanted.items())

    def __str__(self) -> str:
        """Render one readable line."""
        details = " ".join(f"{name}={value}" for name, value in self.fields.items())
        return f"{self.at_ns / 1e9:.6f} kubelet#{self.life} {self.kind} {details}".rstrip()

    def to_json(self) -> dict[str, Any]:
        """Return the event as one flat JSON object."""
        return {"event": self.kind.value, "at_ns": self.at_ns, "life": self.life, **self.fields}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Event:
        """Rebuild an event from :meth:`to_json`."""
        fields = {name: value for name, value in data.items() if name not in ("event", "at_ns", "life")}
        return cls(EventKind(data["event"]), data["at_ns"], data["life"], fields)


class EventLog:
    """A bounded log with positions; threads may append, read and wait at the same time."""

    def __init__(self) -> None:
        """Begin empty, at position 0."""
        self._events: deque[Event] = deque(maxlen=KEPT_EVENTS)
        self._count = 0
        self._wakes = 0
        self._changed = threading.Condition()

    @property
    def position(self) -> int:
        """The number of events ever appended; events from here on are the future."""
        with self._changed:
            return self._count

    def append(self, event: Event) -> None:
        """Add an event and wake all who wait."""
        with self._changed:
            self._events.append(event)
            self._count += 1
            self._changed.notify_all()

    def wake(self) -> None:
        """Wake all who wait, so that they look again (the process behind the log has ended)."""
        with self._changed:
            self._wakes += 1
            self._changed.notify_all()

    def since(self, position: int = 0) -> list[Event]:
        """Return the events from a position on, as far as they are still kept."""
        with self._changed:
            return self._since(position)

    def _since(self, position: int) -> list[Event]:
        wanted = self._count - position
        if wanted <= 0:
            return []
        events: list[Event] = []
        for event in reversed(self._events):
            if len(events) >= wanted:
                break
            events.append(event)
        events.reverse()
        return events

    def first(self, test: Callable[[Event], bool], position: int, timeout: float) -> Event | None:
        """Return the first event from a position on that passes ``test``, waiting for it; None after ``timeout`` s."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                fresh = self._since(position)
                position = self._count
                for event in fresh:
                    if test(event):
                        return event
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(left)

    @property
    def turn(self) -> int:
        """A number that grows with each event and each :meth:`wake`."""
        with self._changed:
            return self._count + self._wakes

    def wait_beyond(self, turn: int, timeout: float) -> None:
        """Wait until :attr:`turn` is beyond ``turn``, or ``timeout`` s are over."""
        with self._changed:
            self._changed.wait_for(lambda: self._count + self._wakes > turn, timeout)
