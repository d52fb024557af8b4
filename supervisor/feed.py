"""The newest inventory of one resource: the only hand-over from the deciding thread to the answering one."""

from collections.abc import Callable

from supervisor.inventory import Inventory


class Feed:
    """Holds one immutable value; the latest wins, so a slow kubelet never makes a queue.

    ``publish`` is called by one thread, ``current`` may be read by any. A subscriber is called in the publishing thread and
    must only wake its own.
    """

    def __init__(self, resource: str) -> None:
        self.resource = resource
        self.current: Inventory | None = None
        """``None`` until the first look: the kubelet must never read "not looked yet" as "all hardware gone"."""
        self._wake: tuple[Callable[[], None], ...] = ()

    def publish(self, inventory: Inventory) -> None:
        self.current = inventory
        for wake in self._wake:
            wake()

    def subscribe(self, wake: Callable[[], None]) -> None:
        self._wake = (*self._wake, wake)

    def unsubscribe(self, wake: Callable[[], None]) -> None:
        self._wake = tuple(other for other in self._wake if other != wake)
