"""The README of a plugin package, read by tests: its tables, its examples, the keys that it tells, and its links."""

import functools
import json
import os
import re
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml
from msgspec import inspect

from supervisor import MetricFamily
from supervisor.config import API_VERSION, KIND
from supervisor.families import exposed_name
from supervisor.plugins import installed

REQUIRED = "required"
SUFFIXES = {"gauge": "", "counter": "_total", "info": "_info"}
"""Of a metric's name in a scrape."""


def words(cell: str) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`\n]+)`", cell)


class Readme:
    """That of the package in ``plugins/<folder>``."""

    def __init__(self, folder: str) -> None:
        self.path = Path(__file__).parents[2] / "plugins" / folder / "README.md"

    @functools.cached_property
    def text(self) -> str:
        return self.path.read_text()

    def rows(self, *titles: str) -> list[tuple[str, ...]]:
        """The cells of all tables whose first columns have these titles."""
        found: list[tuple[str, ...]] = []
        taken = False
        for line in self.text.splitlines():
            if not line.startswith("|"):
                taken = False
                continue
            cells = tuple(cell.strip() for cell in line.strip("|").split("|"))
            if taken and cells[0] != "---":
                found.append(cells)
            taken = taken or cells[: len(titles)] == titles
        return found

    @property
    def examples(self) -> list[dict[str, Any]]:
        """The pieces of configuration files."""
        return [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", self.text, re.DOTALL)]

    @property
    def keys(self) -> dict[str, Any]:
        """The keys of the section with their defaults, as the tables tell them; each stands in one row."""
        told = [
            (words(key)[0], yaml.safe_load(value.strip("`")) if value else None)
            for key, value, *_ in self.rows("key", "default")
        ]
        assert len({key for key, _ in told}) == len(told)
        return dict(told)

    @property
    def script(self) -> list[str]:
        """The lines of the script for simulated hardware, without what is said of them."""
        (script,) = re.findall(r"```\n(after .*?)```", self.text, re.DOTALL)
        return [re.split(r" {2,}", line)[0] for line in script.splitlines()]

    def assert_metrics(self, plugin: str, families: Iterable[MetricFamily]) -> None:
        """Its table has these, no others, each as a scrape has it, with its labels in their order."""
        told = {words(name)[0]: words(labels) for name, labels, *_ in self.rows("metric", "labels")}
        made = {family.name + SUFFIXES[family.kind]: family for family in families}
        assert told.keys() == made.keys()
        for name, family in made.items():
            for sample in family.samples:
                assert [*sample.labels] == told[name], name
        assert f"`{exposed_name(plugin, '')}`" in self.text

    @property
    def dead_links(self) -> set[str]:
        """Links to a file or a heading that is not there: headings are renamed, and files moved."""
        links = re.findall(r"\]\(([^)]+)\)", self.text)
        assert links
        return {link for link in links if not self._leads(*link.partition("#")[::2])}

    def _leads(self, file: str, heading: str) -> bool:
        there = self.path.parent / file if file else self.path
        return there.exists() and (not heading or heading in _headings(there.read_text()))


def _headings(text: str) -> set[str]:
    """As links name them."""
    found = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^-\w ]", "", heading.lower()).replace(" ", "-") for heading in found}


def refused(documents: list[dict[str, Any]], plugin: str, folder: Path, without: Collection[str] = ()) -> list[str]:
    """What ``check-config`` says of those that it does not accept with this plugin on, on a machine that has nothing.

    ``without``: names of variables that it does not get.
    """
    environ = {name: value for name, value in os.environ.items() if name not in without}
    configs = [_config(document, folder / str(number)) for number, document in enumerate(documents)]
    command = [sys.executable, "-c", _CHECK_ALL, *map(str, configs)]
    answer = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=100, check=True)
    answers = json.loads(answer.stdout)
    assert len(answers) == len(documents)
    return [told for code, told in answers if code or not _is_on(plugin, told)]


_CHECK_ALL = """
import contextlib, io, json, sys
from supervisor.cli import main

answers = []
for config in sys.argv[1:]:
    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        code = main(["check-config", config])
    answers.append((code, told.getvalue()))
print(json.dumps(answers))
"""
"""In one process: most of the time of each would go into its start."""


def _config(document: dict[str, Any], folder: Path) -> Path:
    host = {name: str(folder / name) for name in ("sysfs", "dev", "proc", "runUdev")}
    for root in host.values():
        Path(root).mkdir(parents=True)
    off = {package.name: {"enabled": False} for package in installed()}  # but those that it is about
    plugins = {"plugins": off | document["plugins"]}
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump({"apiVersion": API_VERSION, "kind": KIND, "host": host, **document, **plugins}))
    return config


def _is_on(plugin: str, answer: str) -> bool:
    return re.search(rf"fine\. On: [^.]*\b{plugin}\b", answer) is not None  # others may be installed, too


def documented(section: type[msgspec.Struct], linked: Collection[str] = ()) -> dict[str, Any]:
    """The keys of a section, like ``resources[].match[].kind``, and their defaults. What holds itself is told once.

    ``linked``: keys that are told by a link to others of the same kind; they have no default.
    """
    return dict(_keys(inspect.type_info(section), "", frozenset(), linked))


def _keys(kind: inspect.Type, at: str, outer: frozenset[type], linked: Collection[str]) -> Iterator[tuple[str, Any]]:
    if isinstance(kind, inspect.Metadata):
        yield from _keys(kind.type, at, outer, linked)
    elif isinstance(kind, inspect.UnionType):
        for member in kind.types:
            yield from _keys(member, at, outer, linked)
    elif isinstance(kind, inspect.VarTupleType):
        yield from _keys(kind.item_type, f"{at}[]", outer, linked)
    elif isinstance(kind, inspect.DictType):
        yield from _keys(kind.value_type, f"{at}.*", outer, linked)
    elif isinstance(kind, inspect.StructType) and kind.cls not in outer:
        for field in kind.fields:
            key = f"{at}.{field.encode_name}".lstrip(".")
            if key in linked:
                yield key, None
                continue
            if not isinstance(field.type, inspect.StructType):
                yield key, _default(field)
            yield from _keys(field.type, key, outer | {kind.cls}, linked)


def _default(field: inspect.Field) -> Any:
    if field.required:
        return REQUIRED
    value = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    return [*value] if isinstance(value, tuple) else value
