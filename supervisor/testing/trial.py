"""One plugin on trial: calls of its methods, each in a thread of its own and timed, and what is held against it."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from supervisor.contract import describe
from supervisor.errors import AllocationRefused
from supervisor.inventory import Inventory
from supervisor.model import Device

AT_ONCE = 4
"""Devices given to one container in the checks."""


class Failed(Exception):
    """A call raised; that is noted already."""


class Hung(Exception):
    """A call did not come back; that is noted already. Nothing more can be said about the plugin."""


class Trial:
    """What is known so far."""

    def __init__(self, plugin: Any, deadline: float) -> None:
        self.plugin = plugin
        self.deadline = deadline
        self.problems: list[str] = []
        self.advice: list[str] = []
        self.seconds: dict[str, float] = {}
        self.inventories: Mapping[str, Inventory] = {}
        """What the last look gave."""

    def call(self, method: str, function: Callable[..., Any], *args: Any) -> Any:
        """What ``function`` returns. Plugin code never runs in the main thread, so it does not here. Raises Failed and Hung."""
        return self.call_at_once(method, lambda: function(*args), 1)[0]

    def call_at_once(self, method: str, function: Callable[[], Any], times: int) -> list[Any]:
        """What ``function`` returns in so many threads that begin together. Raises Failed and Hung."""
        outcomes: list[Any] = []
        errors: list[BaseException] = []
        together = threading.Barrier(times)

        def run() -> None:
            together.wait()
            try:
                outcomes.append(function())
            except BaseException as error:  # noqa: BLE001 - plugin code may raise anything, SystemExit too
                errors.append(error)

        threads = [threading.Thread(target=run, name=f"trial of {method}", daemon=True) for _ in range(times)]
        started = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, started + self.deadline - time.monotonic()))
        if any(thread.is_alive() for thread in threads):
            self.problems.append(f"{method} did not come back within {self.deadline:g} s")
            raise Hung
        self.seconds[method] = max(self.seconds.get(method, 0.0), time.monotonic() - started)
        if errors:
            self._note(method, errors[0])
            raise Failed
        return outcomes

    def _note(self, method: str, error: BaseException) -> None:
        if method == "allocate" and isinstance(error, AllocationRefused):
            self.advice.append(f"allocate refused {AT_ONCE} or fewer devices: {error}")
        else:
            self.problems.append(f"{method} raised {describe(error)}")

    def devices(self) -> dict[str, tuple[Device, ...]]:
        """Of each resource the first few devices that the kubelet could give to one container."""
        found = {resource: _together(inventory.devices) for resource, inventory in self.inventories.items()}
        return {resource: devices for resource, devices in found.items() if devices}


def _together(devices: Iterable[Device]) -> tuple[Device, ...]:
    """The first few that are well, none of which is the same hardware as another."""
    different = {device.claim or device.id: device for device in devices if device.healthy}
    return tuple(different.values())[:AT_ONCE]
