"""Looking back at what happened in a simulator, and waiting for what will."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from supervisor.kubelet.simulator.errors import KubeletDownError, NotFoundError
from supervisor.kubelet.simulator.events import Event, EventKind, EventLog


class Witness:
    """Holds the events of one node over all its kubelets, also those that were killed."""

    def __init__(self) -> None:
        """Begin with nothing seen."""
        self.events = EventLog()

    def log(self, kind: EventKind, /, since: int = 0, **fields: Any) -> list[Event]:
        """Return the events of a kind with these field values, from an ``events.position`` on."""
        return [event for event in self.events.since(since) if event.matches(kind, fields)]

    def _of(self, kind: EventKind, resource: str | None) -> list[Event]:
        return self.log(kind) if resource is None else self.log(kind, resource=resource)

    def registrations(self, resource: str | None = None) -> list[Event]:
        """Return all Register calls with their outcome (``error``, empty for OK)."""
        return self._of(EventKind.REGISTER_ANSWERED, resource)

    def calls(self, resource: str | None = None) -> list[Event]:
        """Return all unary calls the kubelet made, with their outcome."""
        return self._of(EventKind.CALL, resource)

    def warnings(self) -> list[Event]:
        """Return what a real kubelet would not have survived or would have hidden."""
        return self.log(EventKind.WARNING)

    def conflicts(self) -> list[Event]:
        """Return where two resources of one container wanted different values."""
        return self.log(EventKind.CONFLICT)

    def wait_event(self, kind: EventKind, /, timeout: float = 10.0, since: int = 0, **fields: Any) -> Event:
        """Wait for an event with these field values; raises ``TimeoutError`` that shows the latest events."""
        found = self.events.first(lambda event: event.matches(kind, fields), since, timeout)
        if found is None:
            raise TimeoutError(f"no {kind} {fields} within {timeout} s; {self._latest()}")
        return found

    def wait_for(self, condition: Callable[[], bool], timeout: float = 10.0, what: str = "the condition") -> None:
        """Wait until ``condition()`` holds, looking after each event; a kubelet that is down counts as False."""
        deadline = time.monotonic() + timeout
        while True:
            turn = self.events.turn
            try:
                if condition():
                    return
            except (KubeletDownError, NotFoundError):
                pass
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"{what} did not come true within {timeout} s; {self._latest()}")
            self.events.wait_beyond(turn, left)

    def _latest(self) -> str:
        position = self.events.position
        lines = "\n".join(f"  {event}" for event in self.events.since(max(0, position - 12)))
        return f"the latest of {position} events:\n{lines}"
