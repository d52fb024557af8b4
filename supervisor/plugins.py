"""Entry points to plugin objects. Each package is found, imported and asked on its own, so one never hides another.

Everything here blocks, and all but ``installed`` runs code of the package, which may hang: call it in a thread that can be
abandoned. What is refused is refused with one sentence that names the distribution, the entry point and the cure.
"""

import difflib
import inspect
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from importlib import metadata
from itertools import islice
from typing import Any, NamedTuple

import msgspec
import pluggy

from supervisor import hookspecs
from supervisor.config import OPTION_KEYS
from supervisor.contract import capabilities, describe, problems
from supervisor.errors import PluginRefused
from supervisor.hookspecs import CONTRACT_VERSION, ENTRY_POINT_GROUP, PROJECT, DevicePlugin, Memory
from supervisor.host import Host
from supervisor.memory import FORGETFUL

__all__ = [
    "LoadedPackage", "Made", "Package", "Refusal", "capabilities", "decode", "installed", "load", "load_objects", "make",
]  # fmt: skip

HOOKS = ("config_type", "device_plugins")
MAX_PLUGINS = 1_000
"""Plugin objects of one package; one that returns more is taken to be broken."""


class Package(msgspec.Struct, frozen=True):
    """An entry point of an installed distribution. ``name`` is also the key of its section in the configuration."""

    name: str
    distribution: str
    version: str
    value: str
    """What the entry point names: ``module`` or ``module:attribute``."""
    problem: str = ""
    """Why it cannot be loaded, when that is known without importing it."""

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}, entry point {self.name} = {self.value}"


class LoadedPackage(msgspec.Struct, frozen=True):
    """A package that keeps the contract as far as can be seen without making its plugins."""

    package: Package
    manager: pluggy.PluginManager
    config_type: type[msgspec.Struct] | None


class Refusal(msgspec.Struct, frozen=True):
    """One object of a package that is left out."""

    plugin: str
    reason: str


class Made(NamedTuple):
    """The plugin objects of a package: those that keep the contract, and what is wrong with the others."""

    plugins: tuple[DevicePlugin, ...]
    refused: tuple[Refusal, ...] = ()
    remembers: bool = False
    """Whether the package asked for its memory."""


def installed() -> tuple[Package, ...]:
    """Every package of this environment, by name, without importing any. Those that share a name are all refused."""
    by_name: dict[str, list[Package]] = defaultdict(list)
    seen: set[str] = set()
    for distribution in metadata.distributions():
        packages = _packages(distribution)
        if not packages or packages[0].distribution in seen:
            continue  # the first on the path wins, as for imports
        seen.add(packages[0].distribution)
        for package in packages:
            by_name[package.name].append(package)
    return tuple(package for name in sorted(by_name) for package in _without_rivals(by_name[name]))


def _packages(distribution: metadata.Distribution) -> tuple[Package, ...]:
    name, version = "(a distribution without a name)", "?"
    try:
        if ENTRY_POINT_GROUP not in (distribution.read_text("entry_points.txt") or ""):
            return ()
        name, version = distribution.metadata["Name"] or name, distribution.metadata["Version"] or version
        found = distribution.entry_points.select(group=ENTRY_POINT_GROUP)
        return tuple(Package(each.name, name, version, each.value) for each in found)
    except Exception as error:  # noqa: BLE001 - damaged metadata of one distribution must not hide the others
        name = distribution.name or name
        return (Package(name, name, version, "?", f"its metadata cannot be read: {describe(error)}; install it again"),)


def _without_rivals(packages: list[Package]) -> Iterator[Package]:
    for package in packages:
        others = " and ".join(str(other) for other in packages if other is not package)
        problem = f"{others} has the same name, so neither is loaded; uninstall one of them" if others else ""
        yield msgspec.structs.replace(package, problem=package.problem or problem)


def load(package: Package) -> LoadedPackage:
    """Import a package and check its hooks. Raises PluginRefused."""
    if package.problem:
        raise _refused(package, package.problem)
    namespace = _import(package)
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    try:
        problem = _namespace_problem(namespace)
        if not problem:
            manager.register(namespace, package.name)
            manager.check_pending()
    except pluggy.PluginValidationError as error:
        problem = f"a hook has another signature than the contract: {_last_lines(error)}"
    except (Exception, SystemExit) as error:
        raise _refused(package, f"looking for its hooks raised {describe(error)}") from error
    if problem:
        raise _refused(package, problem)
    return LoadedPackage(package, manager, _config_type(package, manager))


def _refused(package: Package, problem: str) -> PluginRefused:
    return PluginRefused(f"{package}: {problem}")


def _import(package: Package) -> object:
    try:
        return metadata.EntryPoint(package.name, package.value, ENTRY_POINT_GROUP).load()
    except (Exception, SystemExit) as error:
        raise _refused(package, f"importing it failed: {describe(error)}") from error


def _namespace_problem(namespace: object) -> str:
    """What is wrong with the hooks of a module, before pluggy sees them: it takes an unmarked one for none."""
    if inspect.isroutine(namespace):
        return "its entry point names a function; name the module that holds the hooks"
    version = getattr(namespace, "CONTRACT_VERSION", CONTRACT_VERSION)
    if version != CONTRACT_VERSION:
        return (
            f"it was written for contract version {version!r}, and this supervisor has {CONTRACT_VERSION}; "
            "install a release of it for this supervisor"
        )
    hooks = {name: hook for name in dir(namespace) if (hook := _hook(namespace, name))}
    for name, hook in hooks.items():
        if hook not in HOOKS:
            return f"{name} implements the hook {hook}, which does not exist; {_guess(hook)}"
        if inspect.iscoroutinefunction(getattr(namespace, name)):
            return f"{name} is async, but nothing awaits a hook; write a plain function"
    for hook in HOOKS:
        if list(hooks.values()).count(hook) > 1:
            return f"it implements the hook {hook} more than once; keep one"
        if hook not in hooks.values() and callable(getattr(namespace, hook, None)):
            return f"{hook} is no hook yet: put @hookimpl, imported from supervisor, above it"
    if "device_plugins" not in hooks.values():
        return "it has no @hookimpl def device_plugins(config, host), so it offers nothing; write one"
    return ""


def _hook(namespace: object, name: str) -> str | None:
    """The hook that a function of a module is marked to implement."""
    options = getattr(getattr(namespace, name, None), f"{PROJECT}_impl", None)
    return (options.get("specname") or name) if isinstance(options, dict) else None


def _guess(hook: str) -> str:
    close = difflib.get_close_matches(hook, HOOKS, n=1)
    return f"did you mean {close[0]}?" if close else f"the hooks are {' and '.join(HOOKS)}"


def _last_lines(error: Exception) -> str:
    """What pluggy found, in one line, without the plugin's name that it begins with."""
    return " ".join(line.strip() for line in str(error).splitlines()[1:] if line.strip()) or str(error)


def _config_type(package: Package, manager: pluggy.PluginManager) -> type[msgspec.Struct] | None:
    try:
        (found,) = manager.hook.config_type() or [None]
        problem = _config_type_problem(found)
    except (Exception, SystemExit) as error:
        raise _refused(package, f"config_type() raised {describe(error)}") from error
    if problem:
        raise _refused(package, f"config_type() {problem}")
    checked: type[msgspec.Struct] | None = found
    return checked


def _config_type_problem(found: object) -> str:
    if found is None:
        return ""
    if not (isinstance(found, type) and issubclass(found, msgspec.Struct)):
        return f"must return a class derived from msgspec.Struct, not {found!r:.80}"
    form = f"class {found.__name__}(msgspec.Struct, frozen=True, forbid_unknown_fields=True)"
    if not (found.__struct_config__.frozen and found.__struct_config__.forbid_unknown_fields):
        return f"must return a frozen struct that forbids unknown fields: write {form}"
    if taken := OPTION_KEYS.intersection(found.__struct_encode_fields__):
        return f"returned {found.__name__}, whose keys {sorted(taken)} belong to the supervisor: choose other names"
    try:
        msgspec.json.Decoder(found)
    except (TypeError, NameError) as error:
        return f"returned {found.__name__}, which has a field that no YAML value fits: {describe(error)}"
    return ""


def decode(loaded: LoadedPackage, section: Mapping[str, Any] | None) -> msgspec.Struct | None:
    """The package's section as the struct it asked for, ``None`` when it asked for none. Raises PluginRefused."""
    if loaded.config_type is None:
        if section:
            raise _refused(loaded.package, f"it has no configuration, so its section must not hold {sorted(section)}")
        return None
    try:
        return msgspec.convert(section or {}, loaded.config_type)
    except msgspec.ValidationError as error:
        raise _refused(loaded.package, f"its section does not fit: {error}") from error


def make(loaded: LoadedPackage, config: msgspec.Struct | None, host: Host, memory: Memory = FORGETFUL) -> Made:
    """Ask the package for its plugins and check each. Raises PluginRefused when there is no answer to check."""
    hook = loaded.manager.hook.device_plugins
    try:
        (answer,) = hook(config=config, host=host, memory=memory) or [None]
        objects = _listed(answer)
    except (Exception, SystemExit) as error:
        raise _refused(loaded.package, f"device_plugins() raised {describe(error)}") from error
    if objects is None:
        problem = f"must return a list of plugins, not {type(answer).__name__}"
        raise _refused(loaded.package, f"device_plugins() {problem}")
    if len(objects) > MAX_PLUGINS:
        raise _refused(loaded.package, f"device_plugins() returned more than {MAX_PLUGINS} plugins; return one for each family")
    remembers = any("memory" in implementation.argnames for implementation in hook.get_hookimpls())
    return _sorted_out(loaded.package, objects)._replace(remembers=remembers)


def _listed(answer: object) -> list[object] | None:
    if isinstance(answer, (str, bytes, Mapping)) or not isinstance(answer, Iterable):
        return None
    return list(islice(answer, MAX_PLUGINS + 1))


def _sorted_out(package: Package, objects: Collection[object]) -> Made:
    good: dict[str, DevicePlugin] = {}
    refused = []
    for each in objects:
        kind = f"{type(each).__module__}.{type(each).__qualname__}"
        wrong = problems(each)
        name = kind if wrong else str(getattr(each, "name", kind))
        if not wrong and name in good:
            rival = type(good[name])
            wrong = (f"{kind} and {rival.__module__}.{rival.__qualname__} are both named {name!r}; rename one of them",)
        if wrong:
            refused.append(Refusal(name, f"{package}: {kind}: {'; '.join(wrong)}"))
        else:
            good[name] = each  # type: ignore[assignment]  # it has all that DevicePlugin asks for
    return Made(tuple(good.values()), tuple(refused))


def load_objects(name: str, section: Mapping[str, Any] | None, host: Host, memory: Memory = FORGETFUL) -> Made:
    """The plugins of the entry point with this name, all steps at once, for a child that runs one package.

    Raises PluginRefused, also when there is no such entry point.
    """
    found = [package for package in installed() if package.name == name]
    if not found:
        raise PluginRefused(f"no installed distribution has an entry point {name} in {ENTRY_POINT_GROUP}")
    loaded = load(found[0])
    return make(loaded, decode(loaded, section), host, memory)
