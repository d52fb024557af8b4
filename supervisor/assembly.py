"""From installed packages to running plugins, at start and again when their sections change."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import trio

from supervisor import plugins
from supervisor.config import Change
from supervisor.config_file import Document
from supervisor.errors import PluginFailed, PluginRefused
from supervisor.events import Observer, PluginLoaded, PluginRejected
from supervisor.host import Host
from supervisor.inventory import Look
from supervisor.isolation import IsolatedPackage, Limits
from supervisor.offers import Offers
from supervisor.plugins import LoadedPackage, Made, Package
from supervisor.units import PluginUnit

LOAD_TIMEOUT = 20.0
"""Seconds for importing a package, or for its hook. One that hangs is left behind in its thread and refused."""

T = TypeVar("T")


class Assembly:
    """All plugins of the process. Its mutable state: the units by plugin name, and what has been imported."""

    def __init__(self, offers: Offers, nursery: trio.Nursery, host: Host, observe: Observer) -> None:
        self._offers = offers
        self._nursery = nursery
        self._host = host
        self._observe = observe
        self._packages = {package.name: package for package in plugins.installed()}
        self._loaded: dict[str, LoadedPackage] = {}
        self._isolated: dict[str, IsolatedPackage] = {}
        self._starting: dict[str, IsolatedPackage] = {}
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

    async def prepare(self, document: Document) -> Sequence[PluginUnit]:
        """Load, make, look once: all plugins at the same time, and each in its own thread. Nothing is offered yet.

        Raises ``ConfigError`` with the problems of all sections.
        """
        names = [name for name in self._packages if document.section(name).options.enabled]
        made = await self._make(document, names)
        units: dict[str, PluginUnit] = {}
        for name in sorted(made):
            units |= {unit.name: unit for unit in self._units(name, made[name], document, units)}
        await _look_at_once(units.values())
        return list(units.values())

    def offer(self, units: Sequence[PluginUnit]) -> None:
        """Offer what the prepared plugins found, and let them run."""
        self._offers.start({unit.name: (unit.look, unit.calls) for unit in units if unit.look is not None})
        for unit in units:
            self._adopt(unit)
        self._isolated.update(self._starting)
        self._starting.clear()

    def _replace_process(self, name: str) -> None:
        """The process of a package's retired objects ends; the one that its new objects use stays."""
        if name in self._isolated:
            self._isolated.pop(name).close()
        if name in self._starting:
            self._isolated[name] = self._starting.pop(name)

    async def apply(self, document: Document, change: Change) -> None:
        """Bring the plugins of the changed sections in line; the others notice nothing.

        New objects look once before old ones retire. Raises ``ConfigError`` before anything has changed.
        """
        concerned = [name for name in change.plugins if name in self._packages]
        enabled = [name for name in concerned if document.section(name).options.enabled]
        made = await self._make(document, enabled)
        for name in concerned:
            old = {unit.name: unit for unit in self.units.values() if unit.package == name}
            if name in enabled and name not in made:
                continue  # refused, and said so: the old objects go on
            others = {unit.name: unit for unit in self.units.values() if unit.package != name}
            new = self._units(name, made[name], document, others) if name in made else []
            await _look_at_once(new)
            self._swap(old, new)
            self._replace_process(name)

    # --- loading ------------------------------------------------------------------------------------------------------

    async def _make(self, document: Document, names: Iterable[str]) -> Mapping[str, Made]:
        """The plugin objects of these packages; a package that is refused is told and left out."""
        names = list(names)
        isolated = {name for name in names if document.section(name).options.isolation == "process"}
        async with trio.open_nursery() as nursery:
            for name in names:
                if name not in isolated and name not in self._loaded:
                    nursery.start_soon(self._told, self._packages[name], self._load, name)
        types = {name: self._loaded[name].config_type for name in names if name in self._loaded and name not in isolated}
        values = document.decode_plugins(types)
        made: dict[str, Made] = {}

        async def make(name: str) -> None:
            if name in isolated:
                made[name] = await self._make_isolated(name, document)
            else:
                made[name] = await _in_thread(plugins.make, self._loaded[name], values[name], self._host)

        async with trio.open_nursery() as nursery:
            for name in (*types, *isolated):
                nursery.start_soon(self._told, self._packages[name], make, name)
        return made

    async def _load(self, name: str) -> None:
        self._loaded[name] = await _in_thread(plugins.load, self._packages[name])

    async def _make_isolated(self, name: str, document: Document) -> Made:
        """In a process of its own, whose predecessor (another section, another limit) ends once its plugins have retired."""
        section = document.section(name)
        options = section.options
        limits = Limits(
            load=LOAD_TIMEOUT,
            look=options.look_timeout,
            allocate=options.allocate_timeout,
            pre_start=options.pre_start_timeout,
            memory=options.memory_limit_bytes,
        )
        package = IsolatedPackage(name, section.own, self._host, limits)
        try:
            made = await _in_thread(package.load)
        except BaseException:
            package.close()
            raise
        self._starting[name] = package
        return made

    async def _told(self, package: Package, work: Callable[..., Any], name: str) -> None:
        """Do a package's work; a refusal is told and stops nothing else."""
        try:
            await work(name)
        except (PluginRefused, PluginFailed) as error:
            self._observe(PluginRejected(package.name, package.distribution, str(error)))

    def _units(
        self, name: str, made: Made, document: Document, others: Mapping[str, PluginUnit]
    ) -> list[PluginUnit]:
        """The units of one package; a plugin whose name is taken by one of the ``others`` is refused, and both are named."""
        package = self._packages[name]
        for refusal in made.refused:
            self._observe(PluginRejected(refusal.plugin, package.distribution, refusal.reason))
        units = []
        for plugin in made.plugins:
            if plugin.name in others:
                rival = self._packages[others[plugin.name].package]
                reason = f"{package}: {rival} has a plugin named {plugin.name!r} too; uninstall one of them"
                self._observe(PluginRejected(plugin.name, package.distribution, reason))
                continue
            self._observe(PluginLoaded(plugin.name, package.distribution, package.version))
            units.append(PluginUnit(plugin, name, document.section(name).options, self._observe))
        return units

    # --- swapping -----------------------------------------------------------------------------------------------------

    def _swap(self, old: Mapping[str, PluginUnit], new: Iterable[PluginUnit]) -> None:
        """No await in here: for everybody else it is one step."""
        for unit in old.values():
            unit.retire()
            del self.units[unit.name]
        kept = set()
        for unit in new:
            kept.add(unit.name)
            if unit.look is not None:
                self._offers.update(unit.name, unit.look, unit.calls, reconfigured=True)
            self._adopt(unit)
        for name in old.keys() - kept:
            self._offers.retire(name)

    def _adopt(self, unit: PluginUnit) -> None:
        self.units[unit.name] = unit
        unit.deliver = self._deliver
        self._nursery.start_soon(unit.run)

    def _deliver(self, unit: PluginUnit, look: Look) -> None:
        self._offers.update(unit.name, look, unit.calls)


async def _look_at_once(units: Iterable[PluginUnit]) -> None:
    async with trio.open_nursery() as nursery:
        for unit in units:
            nursery.start_soon(unit.discovery.look_now)


async def _in_thread(work: Callable[..., T], *arguments: Any) -> T:
    """Run code of a package where it can be left behind. Raises ``PluginRefused`` when it does not come back."""
    with trio.move_on_after(LOAD_TIMEOUT):
        limiter = trio.CapacityLimiter(1)
        return await trio.to_thread.run_sync(work, *arguments, abandon_on_cancel=True, limiter=limiter)
    raise PluginRefused(f"its code has not come back for {LOAD_TIMEOUT:g} s")
