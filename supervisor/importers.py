"""Importers: modules of plugin packages that translate another tool's configuration file into the section of a plugin.

Such a module has ``translate(source)``. It gets the file's content in plain values, as JSON or YAML say it, and returns a
``Translation``, or raises ``SourceRefused``. That the file is bounded, can be read at all and may be wrapped in a ConfigMap, and in
which line things stand, is dealt with here, and so is that the result is a configuration that the supervisor takes.
"""

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata
from typing import Any

import msgspec
import yaml
from msgspec import Struct

from supervisor import plugins
from supervisor.config import API_VERSION, KIND
from supervisor.config_file import LARGEST, parse, read_file, render
from supervisor.contract import describe
from supervisor.decoding import did_you_mean
from supervisor.errors import ConfigError, PluginFailed, PluginRefused, SourceRefused
from supervisor.model import Remark, Translation
from supervisor.status import printable
from supervisor.yamltext import Node, Position, Problem, read, write

GROUP = "device_plugin_supervisor.importers"
STDIN = "-"
USUAL_KEY = "config.json"
"""Of a ConfigMap with several."""
LONGEST = 4096
"""Characters of a line of answer."""


class Importer(Struct, frozen=True):
    """An entry point of an installed distribution; its name is the tool's."""

    name: str
    distribution: str
    version: str
    value: str
    """The module."""

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}, importer {self.name} = {self.value}"


def installed() -> tuple[Importer, ...]:
    """All of this environment, by name, without importing any; of namesakes the first on the path."""
    found: dict[str, Importer] = {}
    for each in metadata.entry_points(group=GROUP):
        name, version = (each.dist.name, each.dist.version) if each.dist else ("?", "?")
        found.setdefault(each.name, Importer(each.name, name, version, each.value))
    return tuple(found[name] for name in sorted(found))


def named(name: str) -> Importer:
    """The importer of a format. Raises ``ConfigError`` where there is none."""
    known = {each.name: each for each in installed()}
    if name not in known:
        hint = did_you_mean(name, known) or f"; installed are: {', '.join(known) or 'none'}"
        raise ConfigError((f"{name}: no installed package translates files of this tool{hint}",))
    return known[name]


class Source:
    """What a file says, and where each thing stands in it."""

    def __init__(self, path: str, data: bytes, above: str = "", lines: int | None = 0) -> None:
        """``above``: the key of a ConfigMap under which ``data`` stands; ``lines`` before its first, ``None`` where nobody knows.

        Raises ``ConfigError`` for what is neither JSON nor YAML.
        """
        self._path = path
        self._above = above
        self._lines = lines
        self.root = self._parsed(data)

    def told(self, remarks: Iterable[Remark]) -> tuple[str, ...]:
        """One line for each remark, as for mistakes in a configuration file: place, key, sentence."""
        return self._rendered(self._problem(each) for each in remarks)

    def _parsed(self, data: bytes) -> Node:
        """JSON as JSON first: YAML takes more for it than it is, such as a missing comma for a part of a word."""
        try:
            if data.lstrip().startswith(b"{"):
                json.loads(data)
        except json.JSONDecodeError as error:
            problem = Problem(Position(error.lineno, error.colno), "", f"is not JSON: {error.msg}")
            raise ConfigError(self._rendered([problem])) from None
        except (ValueError, RecursionError):
            pass  # its encoding, its depth or its numbers, of which the next one tells the place
        root, problems = read(data)
        if root is None or root.value is None:
            problems = problems or [Problem(Position(1, 1), "", "is empty")]
        if root is None or problems:
            raise ConfigError(self._rendered(problems))
        return root

    def _problem(self, remark: Remark) -> Problem:
        node = self.root
        for key in remark.at:
            if key not in node.children:
                break
            node = node.children[key]
        return Problem(node.key_at or node.at, node.path, remark.text)

    def _rendered(self, problems: Iterable[Problem]) -> tuple[str, ...]:
        return tuple(printable(line, LONGEST) for line in render(self._path, [self._placed(each) for each in problems]))

    def _placed(self, problem: Problem) -> Problem:
        """A problem of the text as one of the file that holds it."""
        if not self._above:
            return problem
        at = Position(problem.at.line + self._lines, 1) if problem.at is not None and self._lines is not None else None
        return Problem(at, ": ".join(filter(None, (self._above, problem.path))), problem.text)


def read_source(path: str, key: str | None = None) -> Source:
    """The file, or standard input for ``-``; of a ConfigMap what stands under ``key``. Raises ``ConfigError``."""
    if path == STDIN:
        path, data = "standard input", sys.stdin.buffer.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise ConfigError((f"{path}: is longer than {LARGEST} bytes (1 MiB): no configuration needs that",))
    else:
        data = read_file(path) or b""
    source = Source(path, data)
    texts = source.root.children.get("data")
    return source if texts is None or not isinstance(texts.value, dict) else _inside(path, data, texts.children, key)


def _inside(path: str, data: bytes, texts: Mapping[str, Node], key: str | None) -> Source:
    """What a ConfigMap holds. Raises ``ConfigError``."""
    wanted = key or (next(iter(texts)) if len(texts) == 1 else USUAL_KEY)
    node = texts.get(wanted)
    if node is None or not isinstance(node.value, str):
        known = printable(", ".join(texts), LONGEST)
        raise ConfigError((f"{path}: data: has no text {wanted}: name one of {known or 'none'} with --key",))
    lines = None
    if node.at is not None:
        header = data.decode("utf-8-sig").splitlines()[node.at.line - 1][node.at.column - 1 :]
        lines = node.at.line if header.startswith("|") else None  # of any other style the lines are not those of the file
    return Source(path, node.value.encode(), f"data[{wanted!r}]", lines)


def translate(importer: Importer, source: Source) -> Translation:
    """Ask the importer. Raises ``ConfigError`` for a file that it cannot read, ``PluginRefused`` and ``PluginFailed`` for its own faults."""
    ask = _load(importer)
    try:
        answer = ask(source.root.value)
    except SourceRefused as error:
        raise ConfigError(source.told(error.problems)) from None
    except Exception as error:
        raise PluginFailed(f"{importer}: translate() raised {describe(error)}") from error
    try:
        return msgspec.convert(msgspec.to_builtins(answer), Translation)
    except (msgspec.ValidationError, TypeError) as error:
        raise PluginFailed(f"{importer}: translate() did not return a Translation of plain values: {error}") from error


def _load(importer: Importer) -> Callable[[Any], object]:
    try:
        module = metadata.EntryPoint(importer.name, importer.value, GROUP).load()
        found = module.translate
    except Exception as error:
        raise PluginRefused(f"{importer}: importing it failed: {describe(error)}") from error
    if not callable(found):
        raise PluginRefused(f"{importer}: its translate is no function")
    return found  # type: ignore[no-any-return]  # what it returns is checked


def whole(translation: Translation) -> Mapping[str, Any]:
    """The content of a configuration file with this section alone."""
    return {"apiVersion": API_VERSION, "kind": KIND, "plugins": {translation.plugin: dict(translation.section or {})}}


def text_of(translation: Translation) -> str:
    """That file. Raises ``PluginFailed`` where the plugin of that name, if it is installed, would not take it."""
    try:
        text = write(whole(translation))
        document = parse(text.encode(), "translation")
        for package in plugins.installed():
            if package.name == translation.plugin:
                document.decode_plugin(package.name, plugins.load(package).config_type)
    except (ConfigError, UnicodeError, yaml.YAMLError) as error:
        raise PluginFailed(f"the importer's answer is no configuration: {error}") from error
    return text
