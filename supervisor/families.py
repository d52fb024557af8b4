"""What a plugin measured, checked metric by metric: what is exposed cannot break a scrape, nor pass for somebody else's."""

import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import msgspec

from supervisor.inventory import plain
from supervisor.model import MetricFamily, Sample

PREFIX = "device_plugin_"

CORE = frozenset({
    "active", "allocated", "allocation_seconds", "allocations", "attribution_age_seconds", "attribution_known",
    "build_info", "config_errors", "config_generation", "config_problems", "connected", "device_health", "devices",
    "devices_held", "discovery_seconds", "kubelet_connected", "kubelet_restarts", "memory_unwritten", "plugin_info",
    "plugin_notices", "plugin_restarts", "plugin_state", "plugin_up", "registrations", "replicas_in_use", "resource_phase",
    "series_left_out", "tombstones", "uevents",
})  # fmt: skip
"""The families of the supervisor itself, without the prefix."""

MOST_FAMILIES = 50
MOST_SAMPLES = 10_000
"""Of one plugin, in all its families together."""
MOST_PROBLEMS = 10
"""Told after one look."""

_SUFFIXES = ("_total", "_info", "_bucket", "_sum", "_count", "_created")
"""What the formats append to a family's name in the names of its samples."""

_FAMILY = msgspec.msgpack.Decoder(MetricFamily)
_SAMPLE = msgspec.msgpack.Decoder(Sample)


def exposed_name(plugin: str, family: str) -> str:
    """The name in a scrape, but for the suffix that the kind adds."""
    return f"{_stem(plugin)}{family}"


def check_families(plugin: str, found: object) -> tuple[tuple[MetricFamily, ...], tuple[str, ...]]:
    """The good part of what ``collect_metrics`` of this plugin returned, and what is wrong with the rest, in sentences."""
    if isinstance(found, str | bytes | Mapping) or not isinstance(found, Iterable):
        return (), (f"collect_metrics() must return MetricFamily objects, not {type(found).__name__}",)
    check = _Check(plugin)
    good = tuple(check.families(found))
    more = len(check.problems) - MOST_PROBLEMS
    problems = (*check.problems[:MOST_PROBLEMS], *([f"{more} more mistakes in its metrics"] if more > 0 else []))
    return good, problems


def without_others(
    plugin: str, families: Iterable[MetricFamily], plugins: Iterable[str]
) -> tuple[tuple[MetricFamily, ...], tuple[str, ...]]:
    """The families whose names no other plugin can have, and what is wrong with the rest.

    Of a plugin ``a`` the family ``b_c`` has the name that the family ``c`` of a plugin ``a-b`` would have: it is the latter's.
    """
    longer = {stem: other for other in plugins if (stem := _stem(other)).startswith(_stem(plugin)) and other != plugin}
    good, problems = [], []
    for family in families:
        name = exposed_name(plugin, family.name)
        owner = next((other for stem, other in longer.items() if name.startswith(stem)), None)
        if owner is None:
            good.append(family)
        else:
            problems.append(f"metric {family.name!r} is left out: {name} is a name of plugin {owner}; choose another")
    return tuple(good), tuple(problems)


def _stem(plugin: str) -> str:
    return f"{PREFIX}{plugin.replace('-', '_')}_"


class _Check:
    """One answer of one plugin."""

    def __init__(self, plugin: str) -> None:
        self._plugin = plugin
        self._names: set[str] = set()
        self._room = MOST_SAMPLES
        self.problems: list[str] = []

    def families(self, found: Iterable[object]) -> Iterator[MetricFamily]:
        for number, each in enumerate(islice(found, MOST_FAMILIES + 1)):
            if number == MOST_FAMILIES:
                self.problems.append(f"it has more than {MOST_FAMILIES} metrics; the others are left out")
                return
            try:
                family = self._typed(each)
                self._take_name(family)
            except (TypeError, ValueError) as error:
                self.problems.append(f"metric {_label(each)} is left out: {error}")
                continue
            yield msgspec.structs.replace(family, samples=tuple(self._samples(family)))

    def _typed(self, found: object) -> MetricFamily:
        """Raises ``ValueError`` or ``TypeError`` for what is no family. A sample that is none is told and left out."""
        if type(found) is not MetricFamily:
            raise ValueError(f"it is {type(found).__name__}, not MetricFamily")
        try:
            return plain(found, _FAMILY)
        except ValueError:
            head = plain(msgspec.structs.replace(found, samples=()), _FAMILY)
        if not isinstance(found.samples, tuple | list):
            raise TypeError(f"its samples are {type(found.samples).__name__}, not a tuple of Sample")
        return msgspec.structs.replace(head, samples=tuple(self._typed_samples(found)))

    def _typed_samples(self, family: MetricFamily) -> Iterator[Sample]:
        for sample in islice(family.samples, MOST_SAMPLES + 1):
            try:
                if type(sample) is not Sample:
                    raise ValueError(f"it is {type(sample).__name__}, not Sample")
                yield plain(sample, _SAMPLE)
            except ValueError as error:
                self._leave_out(family, sample, str(error))

    def _take_name(self, family: MetricFamily) -> None:
        """Raises ``ValueError`` where a scrape would hold the name twice."""
        base = family.name.removesuffix("_total").removesuffix("_info")
        whole = exposed_name(self._plugin, base).removeprefix(PREFIX)
        if any(whole.removesuffix(suffix) in CORE for suffix in ("", *_SUFFIXES)):
            raise ValueError(f"{PREFIX}{whole} is a name of the supervisor's own; choose another")
        if base in self._names:
            raise ValueError("another one has this name, or has it but for _total or _info")
        self._names.add(base)

    def _samples(self, family: MetricFamily) -> Iterator[Sample]:
        names = family.samples[0].labels.keys() if family.samples else ()
        seen: set[frozenset[tuple[str, str]]] = set()
        for number, sample in enumerate(family.samples):
            if self._room == 0:
                left = len(family.samples) - number
                self.problems.append(f"{left} samples of {family.name!r} are left out: a plugin has at most {MOST_SAMPLES}")
                return
            labels = frozenset(sample.labels.items())
            if problem := _value_problem(family, sample.value):
                self._leave_out(family, sample, problem)
            elif sample.labels.keys() != names:
                self._leave_out(family, sample, f"the first one has the labels {sorted(names)}, and all must have the same")
            elif labels in seen:
                self._leave_out(family, sample, "another one has the same labels")
            else:
                seen.add(labels)
                self._room -= 1
                yield sample

    def _leave_out(self, family: MetricFamily, sample: object, why: str) -> None:
        labels = f" {sample.labels!r:.200}" if type(sample) is Sample else ""
        self.problems.append(f"sample{labels} of metric {family.name!r} is left out: {why}")


def _value_problem(family: MetricFamily, value: float) -> str:
    if not math.isfinite(value):
        return f"its value is {value}"
    if family.kind == "counter" and value < 0:
        return f"a counter is never negative, this one is {value:g}"
    if family.kind == "info" and value != 1:
        return f"the value of an info is 1, not {value:g}"
    return ""


def _label(found: Any) -> str:
    name = getattr(found, "name", None) if type(found) is MetricFamily else None
    return repr(name)[:80] if isinstance(name, str) else f"<{type(found).__name__}>"
