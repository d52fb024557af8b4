"""Since when each device has been in the state that it is in, as this process saw it."""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from supervisor.events import DeviceChanged


class Since(Struct, frozen=True):
    """The devices of one resource. Times are ``time.monotonic()`` seconds."""

    offered: float
    """When the resource was first listed: so old is every device that has not changed."""
    changed: Mapping[str, float] = {}
    """When each device appeared later, or last changed its health or its reason."""

    def of(self, device_id: str) -> float:
        return self.changed.get(device_id, self.offered)


class Ages:
    """All resources of the process. Owned by the supervising thread."""

    def __init__(self) -> None:
        self._offered: dict[str, float] = {}
        self._changed: dict[str, dict[str, float]] = {}

    def first_listed(self, resource: str, now: float) -> None:
        self._offered[resource] = now
        self._changed[resource] = {}

    def changed(self, resource: str, changes: Iterable[DeviceChanged], now: float) -> None:
        """Note what a new list of a resource changed."""
        known = self._changed[resource]
        for change in changes:
            if change.health is None:
                known.pop(change.device, None)
            else:
                known[change.device] = now

    def forget(self, resource: str) -> None:
        """The resource is closed."""
        self._offered.pop(resource, None)
        self._changed.pop(resource, None)

    def picture(self) -> Mapping[str, Since]:
        """By resource, for another thread to read."""
        return {resource: Since(at, dict(self._changed[resource])) for resource, at in self._offered.items()}
