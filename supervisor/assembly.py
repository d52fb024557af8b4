"""From installed packages to running plugins, at start and again when their sections change."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import trio

from supervisor import plugins
from supervisor.config import Change, PluginOptions
from supervisor.config_file import Document
from supervisor.errors import ConfigError, PluginFailed, PluginRefused
from supervisor.events import DirectoryReplaced, Event, Observer, OwnershipChanged, PluginLoaded, PluginRejected
from supervisor.generation import Generation
from supervisor.host import Host
from supervisor.inventory import Look
from supervisor.isolation import IsolatedPackage, Limits
from supervisor.memories import Memories
from supervisor.memory import PackageMemory
from supervisor.model import MetricFamily, NodeFacts
from supervisor.offers import Offers
from supervisor.plugins import LoadedPackage
from supervisor.units import PluginUnit

LOAD_TIMEOUT = 20.0
"""Seconds for importing a package, or for its hook. One that hangs is left behind in its thread and refused."""
GRACE = 1.0
"""Seconds that the start waits for slow packages and first looks. Later ones join when they come; nobody waits for them."""

T = TypeVar("T")


@dataclass
class _Arrivals:
    """The packages that are ready while the start still waits."""

    waiting: set[str]
    made: dict[str, Generation] = field(default_factory=dict)
    problems: dict[str, tuple[str, ...]] = field(default_factory=dict)
    complete: trio.Event = field(default_factory=trio.Event)
    closed: bool = False

    def arrived(self, name: str) -> None:
        self.waiting.discard(name)
        if not self.waiting:
            self.complete.set()


class Assembly:
    """All plugins of the process. Its mutable state: the units by plugin name, and what has been imported or started."""

    def __init__(self, offers: Offers, nursery: trio.Nursery, host: Host, memories: Memories, observe: Observer) -> None:
        self._offers = offers
        self._nursery = nursery
        self._host = host
        self._memories = memories
        self._observe = observe
        self._packages = {package.name: package for package in plugins.installed()}
        self._loaded: dict[str, LoadedPackage] = {}
        self._generations: dict[str, Generation] = {}
        self._owner = False
        self._node: NodeFacts | None = None
        self.units: dict[str, PluginUnit] = {}

    @property
    def subsystems(self) -> frozenset[str]:
        """Kernel subsystems that any plugin wants to hear of."""
        return frozenset().union(*(unit.discovery.subsystems for unit in self.units.values()))

    def wake(self, concerned: Callable[[frozenset[str]], bool]) -> None:
        """Let the plugins look again whose subsystems are concerned."""
        for unit in self.units.values():
            if concerned(unit.discovery.subsystems):
                unit.discovery.look_again()

    def __call__(self, event: Event) -> None:
        """As an observer: pass on to the plugins who owns the node."""
        if isinstance(event, OwnershipChanged) and event.active:
            self._owner = True
            self._memories.owned()
            for generation in self._generations.values():
                generation.own()
        elif isinstance(event, OwnershipChanged | DirectoryReplaced):
            self._owner = False
            for generation in self._generations.values():
                generation.disown()

    def learn_node(self, node: NodeFacts) -> None:
        """What the cluster says of this node now, for the plugins that want to know."""
        self._node = node
        for unit in self.units.values():
            unit.learn_node(node)

    def families(self) -> Mapping[str, tuple[MetricFamily, ...]]:
        """What each plugin measured at its newest good look."""
        return {unit.name: unit.look.families for unit in self.units.values() if unit.look is not None}

    # --- start --------------------------------------------------------------------------------------------------------

    async def start(self, document: Document) -> None:
        """Load, make, look once: all plugins at the same time, and each in its own thread. Nothing is offered yet.

        Raises ``ConfigError`` with the problems of all sections.
        """
        self._tell_strangers(document)
        names = [name for name in self._packages if document.section(name).options.enabled]
        arrivals = _Arrivals(set(names))
        deadline = trio.current_time() + GRACE
        for name in names:
            self._nursery.start_soon(self._arrive, name, document, arrivals)
        with trio.move_on_at(deadline if names else 0):
            await arrivals.complete.wait()
        arrivals.closed = True
        if arrivals.problems:
            raise _mistakes(arrivals.problems, document)
        for name in sorted(arrivals.made):  # in the order of names: of two plugins with one name the first is kept
            self._run(self._units(arrivals.made[name], document.section(name).options))
        with trio.move_on_at(deadline):
            await _all_looked(self.units.values())

    def offer(self) -> None:
        """Offer what has been found so far; from now on each look is delivered."""
        found = {unit.name: (unit.look, unit.calls) for unit in self.units.values() if unit.look is not None}
        self._offers.start(found)
        for unit in self.units.values():
            unit.deliver = self._deliver

    async def _arrive(self, name: str, document: Document, arrivals: _Arrivals) -> None:
        """Make a package ready, in time or later."""
        try:
            generation = await self._make(name, document, await self._value(name, document))
        except ConfigError as error:
            arrivals.problems[name] = error.problems
            if arrivals.closed:
                self._reject(name, str(error))
        except (PluginRefused, PluginFailed) as error:
            self._reject(name, str(error))
        else:
            if arrivals.closed:
                units = self._units(generation, document.section(name).options)
                for unit in units:
                    unit.deliver = self._deliver
                self._run(units)
            else:
                arrivals.made[name] = generation
        arrivals.arrived(name)

    def _run(self, units: Iterable[PluginUnit]) -> None:
        for unit in units:
            self.units[unit.name] = unit
            self._nursery.start_soon(unit.run)

    def _deliver(self, unit: PluginUnit, look: Look) -> None:
        self._offers.update(unit.name, look, unit.calls)

    # --- another configuration ----------------------------------------------------------------------------------------

    async def apply(self, document: Document, change: Change) -> None:
        """Bring the plugins of the changed sections in line; the others notice nothing.

        New objects look once before old ones retire. Raises ``ConfigError`` before anything has changed.
        """
        self._tell_strangers(document)
        concerned = [name for name in change.plugins if name in self._packages]
        values = await self._values(document, [name for name in concerned if document.section(name).options.enabled])
        async with trio.open_nursery() as nursery:
            for name in concerned:
                if not document.section(name).options.enabled:
                    self._swap(name, [], None)
                elif name in values:
                    nursery.start_soon(self._renew, name, document, values[name])

    async def _values(self, document: Document, names: Iterable[str]) -> Mapping[str, Any]:
        """The decoded sections of these packages. One that cannot be loaded is told and left out: its old objects go on."""
        values: dict[str, Any] = {}
        problems: dict[str, tuple[str, ...]] = {}

        async def decode(name: str) -> None:
            try:
                values[name] = await self._value(name, document)
            except ConfigError as error:
                problems[name] = error.problems
            except (PluginRefused, PluginFailed) as error:
                self._reject(name, str(error))

        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(decode, name)
        if problems:
            raise _mistakes(problems, document)
        return values

    async def _renew(self, name: str, document: Document, value: Any) -> None:
        try:
            generation = await self._make(name, document, value)
        except (PluginRefused, PluginFailed) as error:
            self._reject(name, str(error))
            return
        before = self._generations.get(name)
        if before is not None:
            await before.make_way()
        new = self._units(generation, document.section(name).options)
        for unit in new:
            self._nursery.start_soon(unit.run)
        await _all_looked(new)
        self._swap(name, new, before)

    def _swap(self, name: str, new: Sequence[PluginUnit], before: Generation | None) -> None:
        """Put the new objects of a package in the place of its old ones. No await in here: for everybody else it is one step."""
        old = {unit.name: unit for unit in self.units.values() if unit.package == name}
        for unit in old.values():
            unit.dismiss()
            del self.units[unit.name]
        for unit in new:
            self.units[unit.name] = unit
            unit.deliver = self._deliver
            if unit.look is not None:
                self._offers.update(unit.name, unit.look, unit.calls, reconfigured=True)
        for plugin in old.keys() - self.units.keys():
            self._offers.retire(plugin)
        if not new:
            before = self._generations.pop(name, before)
        if before is not None:
            before.close()
            self._nursery.start_soon(before.end)

    # --- packages -----------------------------------------------------------------------------------------------------

    async def _value(self, name: str, document: Document) -> Any:
        """A package's section as the struct that it asks for; raw for a process, which decodes it itself.

        Raises ``ConfigError``, or ``PluginRefused`` for a package that cannot be loaded.
        """
        if document.section(name).options.isolation == "process":
            return document.section(name).own
        if name not in self._loaded:
            self._loaded[name] = await _in_thread(plugins.load, self._packages[name])
        return document.decode_plugin(name, self._loaded[name].config_type)

    async def _make(self, name: str, document: Document, value: Any) -> Generation:
        options = document.section(name).options
        gate = self._memories.gate(name)
        if options.isolation == "thread":
            made = await _in_thread(plugins.make, self._loaded[name], value, self._host, PackageMemory(gate))
            return Generation(name, gate, made)
        package = IsolatedPackage(name, value, self._host, _limits(options), gate)
        try:
            return Generation(name, gate, await _in_thread(package.load), package)
        except BaseException:
            package.close()
            raise

    def _units(self, generation: Generation, options: PluginOptions) -> Sequence[PluginUnit]:
        """The units of one package, the newest from now on. A plugin whose name another package has is refused, and both are named."""
        name, made = generation.package, generation.made
        package = self._packages[name]
        for refusal in made.refused:
            self._observe(PluginRejected(refusal.plugin, package.distribution, refusal.reason))
        units = []
        for plugin in made.plugins:
            rival = self.units.get(plugin.name)
            if rival is not None and rival.package != name:
                other = self._packages[rival.package]
                reason = f"{package}: {other} has a plugin named {plugin.name!r} too; uninstall one of them"
                self._observe(PluginRejected(plugin.name, package.distribution, reason))
                continue
            self._observe(PluginLoaded(plugin.name, package.distribution, package.version))
            unit = PluginUnit(plugin, name, options, self._observe, self.units.keys, generation.gate.taken_over)
            if self._node is not None:
                unit.learn_node(self._node)
            units.append(unit)
        generation.units = units
        self._generations[name] = generation
        if self._owner:
            generation.own()
        return units

    def _reject(self, name: str, reason: str) -> None:
        self._observe(PluginRejected(name, self._packages[name].distribution, reason))

    def _tell_strangers(self, document: Document) -> None:
        for name, reason in document.strangers(self._packages).items():
            self._observe(PluginRejected(name, "", reason))


def _mistakes(problems: Mapping[str, tuple[str, ...]], document: Document) -> ConfigError:
    """Those of all sections in the order of the file; a plugin that has no section there comes last."""
    in_order = [*document.config.plugins, *sorted(problems.keys() - document.config.plugins.keys())]
    return ConfigError(tuple(problem for name in in_order for problem in problems.get(name, ())))


def _limits(options: PluginOptions) -> Limits:
    return Limits(
        load=LOAD_TIMEOUT,
        look=options.look_timeout,
        allocate=options.allocate_timeout,
        pre_start=options.pre_start_timeout,
        memory=options.memory_limit_bytes,
    )


async def _all_looked(units: Iterable[PluginUnit]) -> None:
    for unit in tuple(units):
        await unit.looked.wait()


async def _in_thread(work: Callable[..., T], *arguments: Any) -> T:
    """Run code of a package where it can be left behind. Raises ``PluginRefused`` when it does not come back."""
    with trio.move_on_after(LOAD_TIMEOUT):
        limiter = trio.CapacityLimiter(1)
        return await trio.to_thread.run_sync(work, *arguments, abandon_on_cancel=True, limiter=limiter)
    raise PluginRefused(
        f"its code has not come back for {LOAD_TIMEOUT:g} s; mend or uninstall it, or switch it off with enabled: false"
    )
