"""One look at one plugin's hardware, or its taking over, in a worker thread, with a deadline; never two at once."""

import contextlib
import time
from collections.abc import Callable, Collection, Mapping
from typing import TypeVar

import msgspec
import trio

from supervisor.contract import describe
from supervisor.errors import PluginFailed
from supervisor.families import check_families
from supervisor.findings import check_findings
from supervisor.hookspecs import (
    Cleaner,
    DevicePlugin,
    Examiner,
    Explainer,
    MetricsSource,
    NodeLearner,
    Noticer,
    PreStarter,
    Successor,
)
from supervisor.inventory import Inventory, Look, check_look
from supervisor.leftovers import check_leftovers
from supervisor.model import Finding, Leftover, MetricFamily, NodeFacts

T = TypeVar("T")


class LookLate(PluginFailed):
    """The look is past its deadline; its thread has not come back."""


class Looker:
    """Looks at one plugin. Its ``returned`` is called in the trio loop when a late look has come back after all."""

    def __init__(self, plugin: DevicePlugin, timeout: float, returned: Callable[[], None]) -> None:
        self._plugin = plugin
        self._timeout = timeout
        self._returned = returned
        self._slot = trio.CapacityLimiter(1)
        self._began = 0.0
        self._what = ""

    @property
    def stuck(self) -> bool:
        """Whether a look that nobody waits for any more is still running."""
        return self._slot.borrowed_tokens > 0

    async def look(self, trusted: Mapping[str, Inventory]) -> Look:
        """Raises ``PluginFailed`` when the plugin raises or answers nonsense, ``LookLate`` when it is late, or still is."""
        return await self._call("discover()", lambda: look_once(self._plugin, trusted))

    async def take_over(self, plugin: Successor) -> None:
        """Tell the plugin that this process owns the node. Raises as ``look`` does."""
        await self._call("take_over()", lambda: take_over_once(plugin))

    async def learn_node(self, plugin: NodeLearner, node: NodeFacts) -> None:
        """Tell the plugin what is known of the node. Raises as ``look`` does."""
        await self._call("learn_node()", lambda: learn_once(plugin, node))

    async def idle(self) -> None:
        """Wait until nothing of the plugin's runs here, but no longer than for a look."""
        with trio.move_on_after(self._timeout):
            async with self._slot:
                pass

    def close(self) -> None:
        """Nobody wants to know any more; what is told of a late look is let go, and with it the plugin."""
        self._returned = _nothing

    async def _call(self, what: str, function: Callable[[], T]) -> T:
        if self.stuck:
            raise LookLate(f"{self._what} has not come back for {time.monotonic() - self._began:.0f} s")
        self._began, self._what = time.monotonic(), what
        token = trio.lowlevel.current_trio_token()

        def work() -> T:
            try:
                return function()
            finally:
                with contextlib.suppress(trio.RunFinishedError):
                    token.run_sync_soon(self._came_back)

        with trio.move_on_after(self._timeout):
            try:
                return await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._slot)
            except RuntimeError as error:  # none of the plugin's errors comes out as one
                raise PluginFailed(f"no thread can be started for {what}: {error}") from error
        raise LookLate(f"{what} has not come back for {self._timeout:.0f} s")

    def _came_back(self) -> None:
        if time.monotonic() - self._began >= self._timeout:
            self._returned()


def _nothing() -> None:
    """For nobody."""


def look_once(plugin: DevicePlugin, trusted: Mapping[str, Inventory]) -> Look:
    """Ask the plugin what is there, and check the answer. Blocks. Raises ``PluginFailed``.

    ``trusted``: the inventories of the last look; what has not changed since keeps its identity.
    """
    try:
        look = check_look(plugin.discover(), trusted)
        if isinstance(plugin, PreStarter):
            look = _with_pre_start(plugin, look)
        notices = tuple(str(notice)[:500] for notice in plugin.notices()) if isinstance(plugin, Noticer) else ()
        subsystems = frozenset(plugin.udev_subsystems)
    except BaseException as error:
        raise PluginFailed(f"discover() failed: {describe(error)}") from error
    families, problems = _measured(plugin.name, plugin) if isinstance(plugin, MetricsSource) else ((), ())
    look = msgspec.structs.replace(look, notices=(*notices, *problems), subsystems=subsystems, families=families)
    return _same_where_unchanged(look, trusted)


def _measured(name: str, plugin: MetricsSource) -> tuple[tuple[MetricFamily, ...], tuple[str, ...]]:
    """The plugin's metrics, and what is wrong with them: none of it spoils the look."""
    try:
        families, problems = check_families(name, plugin.collect_metrics())
    except BaseException as error:  # noqa: BLE001 - plugin code may raise anything
        return (), (f"it has no metrics: collect_metrics() failed: {describe(error)}"[:500],)
    return families, tuple(problem[:500] for problem in problems)


def _with_pre_start(plugin: PreStarter, look: Look) -> Look:
    inventories = {
        resource: msgspec.structs.replace(inventory, pre_start_required=bool(plugin.pre_start_required(resource)))
        for resource, inventory in look.inventories.items()
    }
    return msgspec.structs.replace(look, inventories=inventories)


def _same_where_unchanged(look: Look, trusted: Mapping[str, Inventory]) -> Look:
    inventories = {
        resource: trusted[resource] if inventory.same_list(trusted.get(resource)) else inventory
        for resource, inventory in look.inventories.items()
    }
    return msgspec.structs.replace(look, inventories=inventories)


def take_over_once(plugin: Successor) -> None:
    """Tell the plugin that this process owns the node. Blocks. Raises ``PluginFailed``."""
    try:
        plugin.take_over()
    except BaseException as error:
        raise PluginFailed(f"take_over() failed: {describe(error)}") from error


def learn_once(plugin: NodeLearner, node: NodeFacts) -> None:
    """Tell the plugin what is known of the node. Blocks. Raises ``PluginFailed``."""
    try:
        plugin.learn_node(node)
    except BaseException as error:
        raise PluginFailed(f"learn_node() failed: {describe(error)}") from error


def explain_once(plugin: Explainer, text: str) -> tuple[str, ...]:
    """What the plugin knows about a device, after a look. Blocks. Raises ``PluginFailed``."""
    try:
        return tuple(str(sentence)[:500] for sentence in plugin.explain(text))
    except BaseException as error:
        raise PluginFailed(f"explain() failed: {describe(error)}") from error


def examine_once(plugin: Examiner) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """What the plugin found on this node, and what is wrong with its findings. Blocks. Raises ``PluginFailed``."""
    try:
        return check_findings(plugin.examine())
    except BaseException as error:
        raise PluginFailed(f"examine() failed: {describe(error)}") from error


def leftovers_once(plugin: Cleaner, held: Mapping[str, Collection[str]]) -> tuple[Leftover, ...]:
    """The files that the plugin has left on this node. Blocks. Raises ``PluginFailed``, also where any of them is nonsense."""
    try:
        found, problems = check_leftovers(plugin.leftovers(held), held)
    except BaseException as error:
        raise PluginFailed(f"leftovers() failed: {describe(error)}") from error
    if problems:
        raise PluginFailed(problems[0])
    return found
