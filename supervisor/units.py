"""One plugin in life: its worker slots, its looks, and its own event source."""

import contextlib
import random
import threading
from collections.abc import Callable, Iterable, Mapping

import msgspec
import trio

from supervisor.calls import PluginCalls
from supervisor.config import PluginOptions
from supervisor.contract import describe
from supervisor.discovery import Discovery
from supervisor.errors import PluginFailed
from supervisor.events import Observer, WatchFailed
from supervisor.families import without_others
from supervisor.hookspecs import DevicePlugin, NodeLearner, Successor, Watcher
from supervisor.inventory import Inventory, Look
from supervisor.looking import Looker
from supervisor.model import NodeFacts
from supervisor.slots import Slots

WATCH_BACKOFF = (1.0, 60.0)
"""Seconds before a plugin's own event source is started again, doubled each time up to the second figure."""

Deliver = Callable[["PluginUnit", Look], None]


class PluginUnit:
    """Everything that belongs to one plugin object. ``deliver`` gets its looks, once ``deliver`` has been set.

    ``neighbours`` tells the names of all plugins, and ``taken_over`` is told when this one has taken over.
    """

    def __init__(
        self,
        plugin: DevicePlugin,
        package: str,
        options: PluginOptions,
        observe: Observer,
        neighbours: Callable[[], Iterable[str]] = tuple,
        taken_over: Callable[[str], None] = lambda _: None,
    ) -> None:
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
        self._starts = Slots(f"{plugin.name} start", options.rpc_slots)
        self.calls = PluginCalls(
            plugin,
            self._slots,
            self._starts,
            allocate_timeout=options.allocate_timeout,
            pre_start_timeout=options.pre_start_timeout,
            preferred_allocation_timeout=options.preferred_allocation_timeout,
        )
        self._looker = Looker(plugin, options.look_timeout, self._look_again)
        self.discovery = Discovery(plugin.name, self._look, options, self._looked, observe)
        self._neighbours = neighbours
        self._taken_over = taken_over
        self._owner = False
        self._is_to_take_over = False
        self._is_to_learn: NodeFacts | None = None
        self._scope = trio.CancelScope()
        self._attention = trio.CancelScope()

    def _look_again(self) -> None:
        self.discovery.look_again()

    async def _look(self, trusted: Mapping[str, Inventory]) -> Look:
        if self._is_to_take_over and isinstance(self.plugin, Successor):
            self._is_to_take_over = False
            try:
                await self._looker.take_over(self.plugin)
            except PluginFailed:
                self._is_to_take_over = self._owner
                raise
            if not self._is_to_take_over:  # the node may have been lost and won meanwhile
                self._taken_over(self.name)
        if self._is_to_learn is not None and isinstance(self.plugin, NodeLearner):
            node, self._is_to_learn = self._is_to_learn, None
            try:
                await self._looker.learn_node(self.plugin, node)
            except PluginFailed:
                if self._is_to_learn is None:  # else something newer came meanwhile
                    self._is_to_learn = node
                raise
        return await self._looker.look(trusted)

    def _looked(self, look: Look) -> None:
        families, problems = without_others(self.name, look.families, self._neighbours())
        if problems:
            look = msgspec.structs.replace(look, families=families, notices=(*look.notices, *problems))
        self.look = look
        if self.deliver is not None:
            self.deliver(self, look)

    async def run(self) -> None:
        """Look once, then look and watch until ``retire``."""
        with self._scope:
            try:
                with self._attention:
                    await self._look_and_watch()
                await trio.sleep_forever()  # it rests
            finally:
                self.looked.set()
                self._slots.close()
                self._starts.close()
                self._looker.close()
                self.discovery.close()

    async def _look_and_watch(self) -> None:
        await self.discovery.look_now()
        self.discovery.look_again()  # until it had looked, nobody knew which events to pass on to it
        self.looked.set()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.discovery.run)
            if isinstance(self.plugin, Watcher):
                nursery.start_soon(self._keep_watching, self.plugin)

    def own(self) -> None:
        """This process owns the node: a plugin that is a successor takes over before its next look, which is soon."""
        self._owner = True
        if isinstance(self.plugin, Successor):
            self._is_to_take_over = True
            self.discovery.look_again()

    def disown(self) -> None:
        """This process owns the node no longer, or not yet."""
        self._owner = self._is_to_take_over = False

    def learn_node(self, node: NodeFacts) -> None:
        """This is known of the node now: a plugin that wants to know is told before its next look, which is soon."""
        if isinstance(self.plugin, NodeLearner):
            self._is_to_learn = node
            self.discovery.look_again()

    async def rest(self) -> None:
        """Look and watch no more, and wait for a look that is under way. Calls of the kubelet are still answered."""
        self._attention.cancel()
        await self._looker.idle()

    def dismiss(self) -> None:
        """Another one has its place: it looks and watches no more, and answers what it is asked until ``retire``."""
        self.deliver = None
        self._attention.cancel()

    @property
    def answering(self) -> bool:
        """Whether somebody waits for its answer."""
        return self._slots.busy or self._starts.busy

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
