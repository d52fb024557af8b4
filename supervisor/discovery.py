"""Look again, and hand on what was found: the life of one plugin, and the only thing that decides when to look."""

import random
from collections.abc import Awaitable, Callable, Mapping

import msgspec
import trio
from msgspec import Struct

from supervisor.config import PluginOptions
from supervisor.errors import PluginFailed
from supervisor.events import LookFailed, LookFinished, Observer, PluginRecovered, PluginStuck
from supervisor.inventory import Inventory, Look
from supervisor.looking import LookLate
from supervisor.model import Device, Health
from supervisor.wakeup import WakeUp

COALESCE = 0.05
"""Seconds after an event before the look: a burst is one look, and each list costs the kubelet a synced write."""
OWN = 0.02
"""The same for what a plugin's own watch has seen, which need not wait for udev; looks are ``COALESCE`` apart for it, too."""
AFTERMATH = (1.0, 5.0)
"""Seconds after the last event at which to look again: udevd writes its database late, drivers make nodes late."""
BACKOFF = (1.0, 30.0)
"""Seconds before the look after a failed one, doubled each time up to the second figure."""


class Schedule(Struct, frozen=True):
    """What decides when to look next. Times are the trio clock's."""

    looked_at: float
    """When the last look began."""
    due: float | None = None
    """When the look comes that answers the events since the last one began; without an event, none."""
    last_event: float | None = None
    failures: int = 0

    def event(self, now: float, within: float = COALESCE) -> "Schedule":
        """``within``: seconds until the look that answers it, at least; and no look is sooner than ``COALESCE`` after another."""
        due = max(now + within, self.looked_at + COALESCE)
        return msgspec.structs.replace(self, due=due if self.due is None else min(self.due, due), last_event=now)

    def began(self, now: float) -> "Schedule":
        return msgspec.structs.replace(self, looked_at=now, due=None)

    def next_look(self, interval: float, jitter: float) -> float:
        """``interval``: seconds between looks when nothing happens. ``jitter``: 0 to 1."""
        due = [self.looked_at + interval]
        if self.due is not None:
            # A plugin that fails is not to be asked at the rate of a storm of events.
            due.append(max(self.due, self.looked_at + (BACKOFF[0] if self.failures else 0.0)))
        if self.last_event is not None:
            due += [at for delay in AFTERMATH if (at := self.last_event + delay) > self.looked_at]
        if self.failures:
            first, most = BACKOFF
            due.append(self.looked_at + min(most, interval, first * float(2 ** min(self.failures - 1, 10))) * (1 + jitter / 4))
        return min(due)


LookFunction = Callable[[Mapping[str, Inventory]], Awaitable[Look]]
Deliver = Callable[[Look], None]


class Discovery:
    """Looks at one plugin for as long as ``run`` runs.

    ``deliver`` gets every good look, and the last good one without a healthy device once it can no longer be trusted.
    """

    def __init__(self, name: str, look: LookFunction, options: PluginOptions, deliver: Deliver, observe: Observer) -> None:
        self.name = name
        self._look = look
        self._options = options
        self._deliver = deliver
        self._observe = observe
        self._wake = WakeUp()
        self._own_word = False
        self._good: Look | None = None
        self._failing_since: float | None = None
        self._schedule = Schedule(looked_at=trio.current_time())
        self.subsystems: frozenset[str] = frozenset()
        """Kernel subsystems whose events are to wake this plugin, as it said at its last good look."""

    def look_again(self) -> None:
        """From the trio loop: something may have changed."""
        self._schedule = self._schedule.event(trio.current_time())
        self._wake.set()

    def look_again_from_thread(self) -> None:
        """From any thread: the plugin itself has seen something change."""
        self._own_word = True  # another thread cannot read our clock
        self._wake.set_from_thread()

    async def look_now(self) -> None:
        """Look, deliver, and count a failure if it is one."""
        began = trio.current_time()
        self._schedule = self._schedule.began(began)
        trusted = self._good.inventories if self._good else {}
        try:
            look = await self._look(trusted)
        except PluginFailed as error:
            self._failed(error)
        else:
            self._succeeded(look, trio.current_time() - began)

    async def run(self) -> None:
        """Look whenever it is time, for ever. The first look, by ``look_now``, comes before."""
        while True:
            due = self._schedule.next_look(self._options.look_interval, random.random())  # noqa: S311  # spreads load only
            with trio.move_on_at(due):
                await self._wake.wait()
                if self._own_word:
                    self._own_word = False
                    self._schedule = self._schedule.event(trio.current_time(), OWN)
                continue
            await self.look_now()

    def close(self) -> None:
        """After ``run``: let go of the plugin, so that what it holds, like a process, ends with the last who refers to it."""
        self._look, self._deliver = _no_look, _to_nobody

    # --- outcomes -----------------------------------------------------------------------------------------------------

    def _succeeded(self, look: Look, seconds: float) -> None:
        devices = sum(len(inventory.devices) for inventory in look.inventories.values())
        if self._failing_since is not None:
            self._observe(PluginRecovered(self.name))
        self._failing_since = None
        self._schedule = msgspec.structs.replace(self._schedule, failures=0)
        self._good = look
        self.subsystems = look.subsystems
        self._deliver(look)
        self._observe(LookFinished(self.name, seconds, devices))

    def _failed(self, error: PluginFailed) -> None:
        now = trio.current_time()
        if self._failing_since is None:
            self._failing_since = now
        failures = self._schedule.failures + 1
        self._schedule = msgspec.structs.replace(self._schedule, failures=failures)
        retry_in = max(0.0, self._schedule.next_look(self._options.look_interval, 0.0) - now)
        self._observe(LookFailed(self.name, str(error), failures, retry_in))
        if isinstance(error, LookLate):
            self._observe(PluginStuck(self.name, now - self._failing_since))
        doubtful = (
            failures >= self._options.unhealthy_after_looks and now - self._failing_since >= self._options.unhealthy_after
        )
        if doubtful and self._good is not None:
            self._deliver(vouched_by_nobody(self._good, self.name))


async def _no_look(trusted: Mapping[str, Inventory]) -> Look:
    raise PluginFailed("it is retired")


def _to_nobody(look: Look) -> None:
    """It is retired."""


def vouched_by_nobody(look: Look, plugin: str) -> Look:
    """The same devices, none of them healthy, and no metrics: their plugin has been silent for too long."""
    reason = f"plugin {plugin} cannot look at its hardware"

    def doubted(device: Device) -> Device:
        return msgspec.structs.replace(device, health=Health.UNHEALTHY, reason=reason) if device.healthy else device

    inventories = {
        resource: msgspec.structs.replace(inventory, devices=tuple(doubted(device) for device in inventory.devices))
        for resource, inventory in look.inventories.items()
    }
    return msgspec.structs.replace(look, inventories=inventories, families=())
