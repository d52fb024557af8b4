"""What a plugin object must look like: the contract of ``supervisor.hookspecs``, checked once, before anything calls it.

The checks look at attributes and signatures and call no method, so a plugin that passes can still raise or lie: that is met
where it is called.
"""

import importlib
import inspect
import os
import re
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

import msgspec

from supervisor.hookspecs import (
    Allocator,
    Cleaner,
    Examiner,
    Explainer,
    MetricsSource,
    NodeLearner,
    Noticer,
    PreferredAllocator,
    PreStarter,
    Successor,
    Watcher,
)

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBSYSTEM = re.compile(r"[^\s/\0]+")
_MACHINERY = ("<frozen importlib", str(Path(importlib.__file__).parent), f"{Path(__file__).parent}{os.sep}")
"""Where an import, or this program, comes by: never the line that an author has to change."""


class Method(msgspec.Struct, frozen=True):
    """How the supervisor calls one method: with these arguments by position, awaiting it or not."""

    arguments: tuple[str, ...]
    awaited: bool = False
    generated: bool = False
    """It may be a generator."""


def _methods(protocol: type) -> Mapping[str, Method]:
    return {
        name: Method(
            tuple(inspect.signature(function).parameters)[1:],
            awaited=protocol is Watcher,
            generated=protocol in {MetricsSource, Examiner, Cleaner},
        )
        for name, function in vars(protocol).items()
        if inspect.isfunction(function) and not name.startswith("_")
    }


CAPABILITIES: Mapping[str, Mapping[str, Method]] = {
    "watch": _methods(Watcher),
    "allocate": _methods(Allocator),
    "preferred_allocation": _methods(PreferredAllocator),
    "pre_start": _methods(PreStarter),
    "notices": _methods(Noticer),
    "explain": _methods(Explainer),
    "examine": _methods(Examiner),
    "take_over": _methods(Successor),
    "leftovers": _methods(Cleaner),
    "learn_node": _methods(NodeLearner),
    "collect_metrics": _methods(MetricsSource),
}
"""Each optional capability, by name, with the methods that make it up."""


def capabilities(plugin: object) -> frozenset[str]:
    """The optional capabilities that a plugin has, by the names in ``CAPABILITIES``."""
    return frozenset(name for name, methods in CAPABILITIES.items() if any(hasattr(plugin, method) for method in methods))


def problems(plugin: object) -> tuple[str, ...]:
    """Everything that breaks the contract, each as a sentence with its cure; empty for a good plugin."""
    if isinstance(plugin, type):
        return (f"device_plugins() returned the class {plugin.__name__} itself: return an instance, {plugin.__name__}()",)
    try:
        return tuple(_problems(plugin))
    except Exception as error:  # noqa: BLE001 - an attribute of a plugin may be a property, and that may raise anything
        return (f"looking at its attributes raised {describe(error)}",)


def describe(error: BaseException) -> str:
    """An exception of plugin code in one line: its type, its text, and the innermost line of code that is not ours."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - the text is made by plugin code too
        text = "(its text cannot be shown)"
    named = f"{type(error).__name__}: {text[:500]}" if text else type(error).__name__
    where = _innermost(error)
    return f"{named} ({where})" if where else named


def _innermost(error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith(_MACHINERY):
            return f"{frame.filename}, line {frame.lineno}: {frame.line}"
    return ""


def _problems(plugin: object) -> Iterator[str]:
    yield from _name_problems(plugin)
    yield from _subsystem_problems(plugin)
    yield from _method_problems(plugin, "discover", Method(()))
    for methods in CAPABILITIES.values():
        if any(hasattr(plugin, name) for name in methods):
            for name, method in methods.items():
                yield from _method_problems(plugin, name, method)


def _name_problems(plugin: object) -> Iterator[str]:
    name = getattr(plugin, "name", None)
    if not isinstance(name, str):
        yield f"name must be a string, not {type(name).__name__}: give it a short one, such as name = 'widgets'"
    elif not _NAME.fullmatch(name):
        yield f"name {name[:80]!r} must be 1 to 63 of [a-z0-9-] that begin and end alphanumeric"


def _subsystem_problems(plugin: object) -> Iterator[str]:
    missing = object()
    subsystems = getattr(plugin, "udev_subsystems", missing)
    if subsystems is missing:
        yield "udev_subsystems is missing: name the kernel subsystems whose events mean 'look again', or say ()"
    elif isinstance(subsystems, str) or not isinstance(subsystems, Collection):
        yield f"udev_subsystems must be a collection of strings, such as ('usb',), not {type(subsystems).__name__}"
    elif bad := [each for each in subsystems if not (isinstance(each, str) and _SUBSYSTEM.fullmatch(each))]:
        yield f"udev_subsystems must hold names of kernel subsystems, such as 'usb'; {bad[0]!r} is none"


def _method_problems(plugin: object, name: str, method: Method) -> Iterator[str]:
    found = getattr(plugin, name, None)
    wanted = f"{'async ' if method.awaited else ''}def {name}({', '.join(('self', *method.arguments))})"
    if found is None:
        yield f"{name} is missing: write {wanted}"
    elif not callable(found):
        yield f"{name} is {type(found).__name__}, not a method: write {wanted}"
    elif problem := _kind_problem(found, method):
        yield f"{name} {problem}: write {wanted}"
    elif not _takes(found, len(method.arguments)):
        yield f"{name}{inspect.signature(found)} cannot be called with {len(method.arguments)} arguments: write {wanted}"


def _kind_problem(function: object, method: Method) -> str:
    if inspect.isasyncgenfunction(function):
        return "is an async generator"
    if inspect.iscoroutinefunction(function):
        return "" if method.awaited else "is async, but runs in a worker thread where nothing awaits it"
    if inspect.isgeneratorfunction(function) and not method.generated:
        return "is a generator, but its answer must be complete"
    return "is not async" if method.awaited else ""


def _takes(function: Callable[..., object], arguments: int) -> bool:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a function written in C may have no signature to look at
        return True
    try:
        signature.bind(*range(arguments))
    except TypeError:
        return False
    return True
