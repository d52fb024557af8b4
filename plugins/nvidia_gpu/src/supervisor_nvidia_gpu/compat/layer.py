"""One source of settings beside our own section: what it says in our words, and where it says it."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import inspect

from supervisor_nvidia_gpu.compat.keys import Key
from supervisor_nvidia_gpu.config import NvidiaGpuConfig
from supervisor_nvidia_gpu.section import merged

_STEP = re.compile(r"\.(?P<field>[^.\[\]]+)|\[(?P<number>\d+|\.\.\.)\]")
_PLACED = re.compile(r"([A-Za-z_]\w*(?:\.\w+|\[\d+\])*): (.+)", re.DOTALL)


class Layer:
    """What has been read from one source."""

    def __init__(self) -> None:
        self.said: dict[str, Any] = {}
        """Our keys and plain values, nested as in our section."""
        self.origins: dict[str, str] = {}
        """A path of ours, ``sharing.timeSlicing.resources[0].name``, to where it was said: ``nvidia.yaml:12: sharing.…``."""
        self.unsupported: list[str] = []
        self.problems: list[str] = []

    def put(self, key: Key, value: Any, origin: str, *, into: dict[str, Any] | None = None, at: str = "") -> None:
        """Take over a value, or say why not. ``into`` and ``at``: the entry of a list, and its path."""
        try:
            value = key.change(value)
        except ValueError as error:
            self.problems.append(f"{origin}: {error}")
            return
        if not key.target:
            return
        tree = self.said if into is None else into
        for name in key.target[:-1]:
            tree = tree.setdefault(name, {})
        tree[key.target[-1]] = value
        self.origins[_path(at, key.target)] = origin

    def append(self, target: tuple[str, ...], origin: str) -> tuple[dict[str, Any], str]:
        """Add an empty entry to a list; returns it and its path."""
        tree = self.said
        for name in target[:-1]:
            tree = tree.setdefault(name, {})
        entries = tree.setdefault(target[-1], [])
        entries.append({})
        path = f"{_path('', target)}[{len(entries) - 1}]"
        self.origins[path] = origin
        return entries[-1], path

    def add(self, other: "Layer") -> None:
        """Take over what another one says, or, where there is a problem with it, the problem alone."""
        problems = other.problems or [*filter(None, (misfit(other.said, other.origins),))]
        if not problems:
            self.said = merged(self.said, other.said)
            self.origins |= other.origins
        self.problems += problems
        self.unsupported += other.unsupported


def _path(at: str, target: tuple[str, ...]) -> str:
    return ".".join(filter(None, (at, *target))).replace(".*", "[...]")


def misfit(said: dict[str, Any], origins: dict[str, str]) -> str:
    """What our keys do not allow, in one sentence that begins with where it was said; empty where all fits."""
    try:
        msgspec.convert(said, NvidiaGpuConfig)
    except msgspec.ValidationError as error:
        message, _, at = str(error).rpartition(" - at `$.")
        message, path = (message, at.removesuffix("`")) if message else (at, "")
        if placed := _PLACED.fullmatch(message):
            path, message = ".".join(filter(None, (path, placed[1]))), placed[2]
        return ": ".join(filter(None, (_origin(path, origins) or path, _plainly(message, path))))
    return ""


def _origin(path: str, origins: dict[str, str]) -> str:
    """Where a value was said, or the nearest thing around it, or any of the things in it."""
    inner = next((where for known, where in origins.items() if known.startswith(path)), "")
    while path and path not in origins:
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return origins.get(path) or inner


def _plainly(message: str, path: str) -> str:
    """A message of msgspec in the words of a YAML file, with what helps to mend it."""
    kinds = _kinds(path)
    if "matching regex" in message:
        found = (kind.extra_json_schema or {} for kind in kinds if isinstance(kind, inspect.Metadata))
        return "".join(f"Expected {extra['description']}" for extra in found if "description" in extra) or message
    for theirs, ours in (("`", ""), (" | null", ""), ("array", "list"), ("object", "mapping")):
        message = message.replace(theirs, ours)
    if message.startswith("Invalid enum value"):
        words = [str(word) for kind in kinds if isinstance(kind, inspect.LiteralType) for word in kind.values]
        return f"{message}: choose from {', '.join(words)}"
    return message


def _kinds(path: str) -> list[inspect.Type]:
    """What may stand at a path of ours."""
    kinds: list[inspect.Type] = [inspect.type_info(NvidiaGpuConfig)]
    for step in _STEP.finditer(f".{path}") if path else ():
        kinds = [each for kind in kinds for inner in _inside(kind, step["field"]) for each in _apart(inner)]
    return kinds


def _inside(kind: inspect.Type, name: str | None) -> Iterator[inspect.Type]:
    """What may stand under a key, or as an entry."""
    if isinstance(kind, inspect.StructType):
        yield from (field.type for field in kind.fields if field.encode_name == name)
    elif isinstance(kind, inspect.VarTupleType):
        yield kind.item_type
    elif isinstance(kind, inspect.DictType):
        yield kind.value_type


def _apart(kind: inspect.Type) -> Iterator[inspect.Type]:
    """A type with its descriptions and the members of a union."""
    yield kind
    if isinstance(kind, inspect.Metadata):
        yield from _apart(kind.type)
    elif isinstance(kind, inspect.UnionType):
        for member in kind.types:
            yield from _apart(member)
