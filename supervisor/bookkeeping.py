"""The task that reads who holds which device, and lets go of the ids that are free."""

import contextlib
import math
import time
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import trio

from supervisor.attribution import OFF, Attribution, attribute
from supervisor.events import DeviceTombstoned, DirectoryReplaced, Event, KubeletRestarted, LookFinished, OwnershipChanged
from supervisor.kubelet.checkpoint import read_checkpoint
from supervisor.kubelet.podresources import list_holdings
from supervisor.kubelet.wire import Wire
from supervisor.landlord import Landlord
from supervisor.ledger import Ledger, Reading, both
from supervisor.node import Node
from supervisor.offers import Offers
from supervisor.tombstones import Tombstones
from supervisor.wakeup import WakeUp

T = TypeVar("T")

POD_RESOURCES_TIMEOUT = 2.0
"""Seconds; after that the checkpoint is read instead."""
WATCHED = 90.0
"""Seconds after somebody has looked who holds what in which that is kept up to date: an idle node is not asked for nobody."""
LOOK_PATIENCE = 0.5
"""Seconds that who looks may wait for an answer that is not old."""
CLOSE_AFTER = 1.0
"""Seconds that the empty list of a retired resource has before its stream ends."""


def sources(wire: Wire, pod_resources_socket: str, directory: Path) -> Callable[[], Awaitable[Reading]]:
    """Podresources, and the kubelet's checkpoint."""

    async def podresources() -> Reading:
        return await on_wire(wire, partial(list_holdings, pod_resources_socket, POD_RESOURCES_TIMEOUT))

    async def checkpoint() -> Reading:
        return await trio.to_thread.run_sync(read_checkpoint, directory)

    return both(podresources, checkpoint)


async def on_wire(wire: Wire, function: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Await a coroutine of the wire thread in this one."""
    token = trio.lowlevel.current_trio_token()
    ended = trio.Event()
    answers: list[T] = []

    def done(answer: T) -> None:
        answers.append(answer)
        with contextlib.suppress(trio.RunFinishedError):
            token.run_sync_soon(ended.set)

    wire.call(function, done)
    await ended.wait()
    return answers[0]


class Bookkeeper:
    """Keeps ledger and tombstones together. One task runs ``run``."""

    def __init__(
        self,
        ledger: Ledger,
        tombstones: Tombstones,
        landlord: Landlord,
        offers: Offers,
        wire: Wire,
        *,
        attribution: bool = True,
    ) -> None:
        """``attribution``: whether it may be shown who holds what."""
        self._ledger = ledger
        self._tombstones = tombstones
        self._landlord = landlord
        self._offers = offers
        self._wire = wire
        self._wake = WakeUp()
        self._read_ended = trio.Event()
        self._watched_until = -math.inf
        self._allocated_at = 0.0
        self.attribution_wanted = attribution
        self._attribution = Attribution()

    def changed(self) -> None:
        self._ledger.changed(time.monotonic())
        self._wake.set()

    def __call__(self, event: Event) -> None:
        """As an observer: these are what a reading may show, or what ends a resource."""
        if isinstance(event, OwnershipChanged) and event.active:
            self._landlord.own()
            self.adopt()
        elif isinstance(event, OwnershipChanged | DirectoryReplaced):
            self._landlord.disown()
        if isinstance(event, DeviceTombstoned | KubeletRestarted | OwnershipChanged):
            self.changed()
        elif self._offers_settled(event):
            self._wake.set()

    def _offers_settled(self, event: Event) -> bool:
        return isinstance(event, LookFinished) and bool(self._offers.settled)

    async def read_first(self, patience: float) -> None:
        """What was held before this process began, so that the first list can name it. Waits ``patience`` seconds at most."""
        with trio.move_on_after(patience):
            self._attribution = attribute(await self._ledger.refresh(), None, self._attribution)

    def adopt(self) -> None:
        """List what the newest reading shows of our resources and no look has found, and know of the shared hardware that is held."""
        reading = self._ledger.newest
        if reading is not None:
            resources = self._offers.resources.keys()
            self._offers.tombstones_changed(self._tombstones.adopt(reading, resources, time.monotonic()))
            self._landlord.adopt(reading)

    @property
    def attribution(self) -> Attribution:
        """Who holds what, as it was when the kubelet was last asked."""
        return self._attribution if self.attribution_wanted else OFF

    async def look_up(self) -> Attribution:
        """Who holds what, now that somebody looks: a recent answer, for which the caller waits ``LOOK_PATIENCE`` seconds at most."""
        if not self.attribution_wanted:
            return OFF
        now = time.monotonic()
        self._watched_until = now + WATCHED
        if (allocated_at := self._wire.allocated_at()) > self._allocated_at:
            self._allocated_at = allocated_at
            self._ledger.changed(allocated_at)
        due = self._next_read_at()
        if due is not None:
            self._wake.set()
        if due is not None and due <= now:
            with trio.move_on_after(LOOK_PATIENCE):
                await self._read_ended.wait()
        return self.attribution

    async def run(self, node: Node) -> None:
        while True:
            if self._offers.settled:
                await trio.sleep(CLOSE_AFTER)
                self._offers.close_settled()
            due = self._next_read_at()
            with trio.move_on_after(math.inf if due is None else max(0.0, due - time.monotonic())) as waiting:
                await self._wake.wait()
            if waiting.cancelled_caught:
                await self._read(node)

    def _next_read_at(self) -> float | None:
        watched = self.attribution_wanted and time.monotonic() < self._watched_until
        awaited = self._tombstones.count > 0 or self._landlord.waiting
        return self._ledger.next_read_at(tombstones=awaited, attribution=watched)

    async def _read(self, node: Node) -> None:
        reading = await self._ledger.refresh()
        kubelet_since = node.registrar.kubelet_since if node.registrar else None
        self._attribution = attribute(reading, kubelet_since, self._attribution)
        self._read_ended.set()
        self._read_ended = trio.Event()
        self.adopt()
        if node.active_since is None:
            return  # the owner answers Allocate now, so a standby cannot tell what was allocated a moment ago
        started = node.active_since if kubelet_since is None else max(node.active_since, kubelet_since)
        cleared = self._tombstones.observe_reading(reading, time.monotonic(), started, self._wire.last_allocated())
        self._offers.tombstones_changed(cleared)
        stale = self._landlord.observe_reading(reading, started)
        if stale or not all(cleared.values()):
            # Only the checkpoint shows something to be held, and it may be old: it is written anew upon a list.
            self._wire.repeat_any()
            self.changed()
