"""What the commands that look share: installed packages, loaded and asked once, each in a thread of its own with a deadline.

A thread that does not come back is left behind: it cannot hold up the others, nor the end of the program.
"""

import argparse
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from supervisor import plugins
from supervisor.cli.tables import complain
from supervisor.config_file import DEFAULT_PATH, Document, load
from supervisor.errors import ConfigError, PluginFailed, SupervisorError
from supervisor.hookspecs import DevicePlugin, Explainer
from supervisor.host import Host
from supervisor.inventory import Look
from supervisor.isolation import IsolatedPackage, Limits
from supervisor.looking import explain_once, look_once
from supervisor.memory import NOTHING, Keeper, PackageMemory
from supervisor.plugins import LoadedPackage, Made, Package, Refusal
from supervisor.profiles import here

LOAD_TIMEOUT = 20.0
"""Seconds for importing a package, and again for making its plugins."""

T = TypeVar("T")


class Surveyed(Struct, frozen=True):
    """One installed package, as far as it came."""

    package: Package
    enabled: bool = True
    plugins: tuple[DevicePlugin, ...] = ()
    refused: tuple[Refusal, ...] = ()
    problem: str = ""
    """Why none of it can be used."""
    bad_config: tuple[str, ...] = ()
    """The mistakes in its section, each with its place."""


class Looked(Struct, frozen=True):
    """What one look at one plugin gave."""

    plugin: str
    package: str
    look: Look | None
    problem: str = ""
    sentences: tuple[str, ...] = ()
    """What the plugin says about the device that was asked for."""


def add_config_argument(parser: argparse.ArgumentParser) -> None:
    """The option that all commands but ``check-config`` share."""
    parser.add_argument("--config", metavar="FILE", help=f"configuration file (default: {DEFAULT_PATH}, if there is one)")


def load_config(args: argparse.Namespace) -> Document:
    """The file that ``--config`` names, else the default one, else, with a note, the defaults. Raises ``ConfigError``."""
    document = here(load(args.config or DEFAULT_PATH, required=args.config is not None))
    if document.data is None:
        complain(f"note: {document.path} does not exist, so the defaults hold; --config names another file")
    return document


def survey(document: Document, keepers: Mapping[str, Keeper] | None = None) -> list[Surveyed]:
    """Every installed package, by name, with its plugins made from its section. Blocks; raises nothing.

    ``keepers``: only these packages, each with its memory, and also where its section switches it off.
    """
    packages = {package.name: package for package in plugins.installed() if keepers is None or package.name in keepers}
    disabled = {name for name in packages if keepers is None and not document.section(name).options.enabled}
    loaded = load_packages(package for name, package in packages.items() if name not in disabled)
    typed = {name: found for name, found in loaded.items() if isinstance(found, LoadedPackage)}
    host = document.config.host.roots
    keeper = (keepers or {}).get
    makers = {name: _maker(document, found, host, keeper(name, NOTHING)) for name, found in typed.items()}
    made = concurrently(makers, _load_timeout)
    return _without_namesakes(
        Surveyed(package, enabled=False) if name in disabled else _surveyed(package, made.get(name, loaded[name]))
        for name, package in packages.items()
    )


def load_packages(packages: Iterable[Package]) -> dict[str, Any]:
    """Import packages at the same time: a ``LoadedPackage`` or an error for each."""
    return concurrently({package.name: _loader(package) for package in packages}, _load_timeout)


def _load_timeout(_: str) -> float:
    return LOAD_TIMEOUT


def look(document: Document, surveyed: Iterable[Surveyed], about: str | None = None) -> list[Looked]:
    """Look once at every plugin, all at the same time, and ask those that can what they know ``about`` a device."""
    owners = {plugin.name: (found.package.name, plugin) for found in surveyed for plugin in found.plugins}
    looks = {name: _looker(plugin, package, about) for name, (package, plugin) in sorted(owners.items())}
    patience = {name: document.section(package).options.look_timeout for name, (package, _) in owners.items()}
    return [
        answer if isinstance(answer, Looked) else Looked(name, owners[name][0], None, str(answer))
        for name, answer in concurrently(looks, patience.__getitem__).items()
    ]


def concurrently(tasks: Mapping[str, Callable[[], T]], patience: Callable[[str], float]) -> dict[str, T | SupervisorError]:
    """Do all at the same time; the result of each, or the error that it raised or, if it is late, deserves.

    ``patience``: seconds that a task may take, by its name.
    """
    results: dict[str, T | SupervisorError] = {}

    def do(name: str, task: Callable[[], T]) -> None:
        try:
            results[name] = task()
        except SupervisorError as error:
            results[name] = error

    threads = {name: threading.Thread(target=do, args=(name, task), daemon=True) for name, task in tasks.items()}
    began = time.monotonic()
    for thread in threads.values():
        thread.start()
    for name, thread in threads.items():
        thread.join(max(0.0, began + patience(name) - time.monotonic()))
    return {name: results.get(name, SupervisorError(f"it has not come back for {patience(name):g} s")) for name in tasks}


def _loader(package: Package) -> Callable[[], LoadedPackage]:
    return lambda: plugins.load(package)


def _maker(document: Document, loaded: LoadedPackage, host: Host, keeper: Keeper) -> Callable[[], Made]:
    name = loaded.package.name
    section = document.section(name)

    def make() -> Made:
        config = document.decode_plugin(name, loaded.config_type)
        if section.options.isolation == "thread":
            return plugins.make(loaded, config, host, PackageMemory(keeper))
        limits = Limits(look=section.options.look_timeout, memory=section.options.memory_limit_bytes)
        return IsolatedPackage(name, section.own, host, limits, keeper).load()

    return make


def _looker(plugin: DevicePlugin, package: str, about: str | None) -> Callable[[], Looked]:
    def look_and_ask() -> Looked:
        found = look_once(plugin, {})
        if about is None or not isinstance(plugin, Explainer):
            return Looked(plugin.name, package, found)
        try:
            return Looked(plugin.name, package, found, sentences=explain_once(plugin, about))
        except PluginFailed as error:
            return Looked(plugin.name, package, found, str(error))

    return look_and_ask


def _surveyed(package: Package, found: Any) -> Surveyed:
    if isinstance(found, Made):
        return Surveyed(package, plugins=found.plugins, refused=found.refused)
    if isinstance(found, ConfigError):
        return Surveyed(package, problem="its section of the configuration has mistakes", bad_config=found.problems)
    return Surveyed(package, problem=str(found).removeprefix(f"{package}: "))


def _without_namesakes(surveyed: Iterable[Surveyed]) -> list[Surveyed]:
    """The first package by name keeps a plugin name that two of them use, as when the supervisor starts."""
    taken: dict[str, Package] = {}
    unique = []
    for found in surveyed:
        rivals = {plugin.name: taken[plugin.name] for plugin in found.plugins if plugin.name in taken}
        taken |= {plugin.name: found.package for plugin in found.plugins if plugin.name not in taken}
        refused = (
            Refusal(name, f"{rival} has a plugin of the same name; uninstall one of them") for name, rival in rivals.items()
        )
        kept = tuple(plugin for plugin in found.plugins if plugin.name not in rivals)
        unique.append(replace(found, plugins=kept, refused=(*found.refused, *refused)))
    return unique
