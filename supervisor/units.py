"""One plugin in life: its worker slots, its looks, and its own event source."""

import contextlib
import random
import threading
from collections.abc import Callable

import trio

from supervisor.calls import PluginCalls
from supervisor.config import PluginOptions
from supervisor.contract import describe
from supervisor.discovery import Discovery
from supervisor.events import Observer, WatchFailed
from supervisor.hookspecs import DevicePlugin, Watcher
from supervisor.inventory import Look
from supervisor.looking import Looker
from supervisor.slots import Slots

WATCH_BACKOFF = (1.0, 60.0)
"""Seconds before a plugin's own event source is started again, doubled each time up to the second figure."""

Deliver = Callable[["PluginUnit", Look], None]


class PluginUnit:
    """Everything that belongs to one plugin object. ``deliver`` gets its looks, once ``deliver`` has been set."""

    def __init__(self, plugin: DevicePlugin, package: str, options: PluginOptions, observe: Observer) -> None:
        self.name = plugin.name
        self.package = package
        self.plugin = plugin
        self.look: Look | None = None
        """The newest good look."""
        self.looked = trio.Event()
        """Set when the first look has ended, well or not."""
        self.deliver: Deliver | None = None
        self._observe = observe
        self._slots = Slots(plugin.name, options.rpc_slots)
        self.calls = PluginCalls(
            plugin,
            self._slots,
            allocate_timeout=options.allocate_timeout,
            pre_start_timeout=options.pre_start_timeout,
            preferred_allocation_timeout=options.preferred_allocation_timeout,
        )
        looker = Looker(plugin, options.look_timeout, self._look_again)
        self.discovery = Discovery(plugin.name, looker.look, options, self._looked, observe)
        self._scope = trio.CancelScope()

    def _look_again(self) -> None:
        self.discovery.look_again()

    def _looked(self, look: Look) -> None:
        self.look = look
        if self.deliver is not None:
            self.deliver(self, look)

    async def run(self) -> None:
        """Look once, then look and watch until ``retire``."""
        with self._scope:
            try:
                await self.discovery.look_now()
                self.discovery.look_again()  # until it had looked, nobody knew which events to pass on to it
                self.looked.set()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self.discovery.run)
                    if isinstance(self.plugin, Watcher):
                        nursery.start_soon(self._keep_watching, self.plugin)
            finally:
                self.looked.set()
                self._slots.close()

    def retire(self) -> None:
        self.deliver = None
        self._scope.cancel()

    async def _keep_watching(self, plugin: Watcher) -> None:
        limiter = trio.CapacityLimiter(1)
        failures = 0
        first, most = WATCH_BACKOFF
        while True:
            began = trio.current_time()
            reason = await _watch(plugin, self.discovery.look_again_from_thread, limiter)
            if trio.current_time() - began > most:
                failures = 0  # it has worked for a while
            pause = min(most, first * float(2 ** min(failures, 10))) * (1 + random.random() / 4)  # noqa: S311  # spreads load only
            self._observe(WatchFailed(self.name, reason, pause))
            failures += 1
            await trio.sleep(pause)


async def _watch(plugin: Watcher, look_again: Callable[[], None], limiter: trio.CapacityLimiter) -> str:
    """Run ``plugin.watch`` under a trio loop of its own, in a thread of its own; why it ended."""
    scopes: list[tuple[trio.lowlevel.TrioToken, trio.CancelScope]] = []
    unwanted = threading.Event()

    async def main() -> None:
        with trio.CancelScope() as scope:
            scopes.append((trio.lowlevel.current_trio_token(), scope))
            if not unwanted.is_set():
                await plugin.watch(look_again)

    def work() -> str:
        try:
            trio.run(main)
        except BaseException as error:  # noqa: BLE001 - plugin code may raise anything, and this thread is its own
            return f"watch() failed: {describe(error)}"
        return "watch() returned"

    try:
        return await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=limiter)
    finally:
        unwanted.set()
        for token, scope in scopes:
            with contextlib.suppress(trio.RunFinishedError):  # it has ended by itself
                token.run_sync_soon(scope.cancel)
