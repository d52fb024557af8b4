"""Each optional capability of a plugin, used as the supervisor uses it."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from supervisor.allocation import merge
from supervisor.errors import EditConflict
from supervisor.families import check_families
from supervisor.findings import check_findings
from supervisor.inventory import edits_problem
from supervisor.leftovers import check_leftovers
from supervisor.model import ContainerEdits, Device, NodeFacts
from supervisor.testing.trial import Trial

WATCH_SECONDS = 0.2
"""So long a ``watch`` must wait without ending."""
THREADS = 4
"""Containers that are allocated to at the same time."""
_NO_SUCH_DEVICE = "no-such-device"
_NODE = NodeFacts("node", {"example.com/zone": "a"}, "containerd://2.1.4", "v1.34.1", "6.12.0", "Debian GNU/Linux 12", "amd64")


def _watch(trial: Trial) -> None:
    """It waits, does not block its loop, and can be cancelled."""
    if not trial.call("watch", _still_waiting, trial.plugin):
        trial.problems.append("watch ended by itself: wait for the next event, or leave watch out")


def _still_waiting(plugin: Any) -> bool:
    import trio

    async def main() -> bool:
        with trio.move_on_after(WATCH_SECONDS) as scope:
            await plugin.watch(lambda: None)
        return scope.cancelled_caught

    return trio.run(main)


def _allocate(trial: Trial) -> None:
    """For one device and for several, one call after the other and at the same time: always the same answer."""
    for resource, devices in trial.devices().items():
        for given in (devices[:1], devices)[: len(devices)]:
            try:
                default = merge(device.edits for device in given)
            except EditConflict:
                continue  # the supervisor refuses such a container without asking the plugin
            _allocate_to(trial, resource, given, default)


def _allocate_to(trial: Trial, resource: str, given: tuple[Device, ...], default: ContainerEdits) -> None:
    def allocate() -> Any:
        return trial.plugin.allocate(resource, given, default)

    answers = [trial.call("allocate", allocate), *trial.call_at_once("allocate", allocate, THREADS)]
    if problem := next(filter(None, map(edits_problem, answers)), None):
        trial.problems.append(f"allocate of {resource} returned no usable answer: {problem}")
    elif any(answer != answers[0] for answer in answers):
        trial.problems.append(f"allocate of {resource} differs for the same devices, but the kubelet may ask again")


def _preferred_allocation(trial: Trial) -> None:
    """For one device, for some and for all, with and without one that must be there."""
    for resource, devices in trial.devices().items():
        available = [device.id for device in devices]
        for size in range(1, len(available) + 1):
            for must_include in ([], available[-1:]):
                arguments = (resource, tuple(available), tuple(must_include), size)
                answer = trial.call("preferred_allocation", trial.plugin.preferred_allocation, *arguments)
                if problem := _preference_problem(answer, available, must_include, size):
                    trial.problems.append(f"preferred_allocation{arguments} {problem}")


def _preference_problem(answer: Any, available: Sequence[str], must_include: Sequence[str], size: int) -> str:
    if not _is_texts(answer):
        return f"must return a list of ids, not {answer!r:.80}"
    if len(answer) != size:
        return f"returned {len(answer)} ids"
    if len(set(answer)) != len(answer):
        return f"returned an id twice: {answer}"
    if not set(answer) <= set(available):
        return f"returned ids that are not available: {sorted(set(answer) - set(available))}"
    if not set(must_include) <= set(answer):
        return f"left out {must_include[0]}, which must be included"
    return ""


def _pre_start(trial: Trial) -> None:
    """For each resource that needs it, twice, as for a container that restarts."""
    for resource in trial.inventories:
        needed = trial.call("pre_start_required", trial.plugin.pre_start_required, resource)
        if not isinstance(needed, bool):
            trial.problems.append(f"pre_start_required({resource!r}) must return a bool, not {needed!r:.80}")
    for resource, devices in trial.devices().items():
        if trial.plugin.pre_start_required(resource) is True:
            for _ in range(2):
                trial.call("pre_start", trial.plugin.pre_start, resource, devices)


def _notices(trial: Trial) -> None:
    """Sentences, whatever the last look found."""
    notices = trial.call("notices", trial.plugin.notices)
    if not _is_texts(notices):
        trial.problems.append(f"notices must return a list of sentences, not {notices!r:.80}")


def _explain(trial: Trial) -> None:
    """Something about each of its devices, and nothing about what it does not know."""
    known = [device.id for devices in trial.devices().values() for device in devices]
    for text in (*known, _NO_SUCH_DEVICE):
        sentences = trial.call("explain", trial.plugin.explain, text)
        if not _is_texts(sentences):
            trial.problems.append(f"explain must return a list of sentences, not {sentences!r:.80}")
        elif bool(sentences) is (text == _NO_SUCH_DEVICE):
            trial.problems.append(
                f"explain({text!r}) must return nothing: it is not of this plugin"
                if sentences
                else f"explain({text!r}) must say something: it is a device of this plugin"
            )


def _examine(trial: Trial) -> None:
    """Findings that all can be shown, each with its cure where something is to be done."""
    _, problems = trial.call("examine", lambda: check_findings(trial.plugin.examine()))
    trial.problems.extend(f"examine: {problem}" for problem in problems)


def _leftovers(trial: Trial) -> None:
    """Files, while nothing is held and while its devices are; the same each time, for asking changes nothing."""
    held = {resource: tuple(device.id for device in devices) for resource, devices in trial.devices().items()}
    for question in ({}, held, held):
        found, problems = trial.call("leftovers", lambda held=question: check_leftovers(trial.plugin.leftovers(held), held))
        trial.problems.extend(f"leftovers: {problem}" for problem in problems)
        if gone := [each.path for each in found if not os.path.lexists(each.path)]:
            trial.problems.append(f"leftovers names {gone[0]}, which is not there")


def _take_over(trial: Trial) -> None:
    """Twice, for it may be asked again."""
    for _ in range(2):
        trial.call("take_over", trial.plugin.take_over)


def _learn_node(trial: Trial) -> None:
    """Of a node with everything, and of one of which only the name is known."""
    trial.call("learn_node", trial.plugin.learn_node, _NODE)
    trial.call("learn_node", trial.plugin.learn_node, NodeFacts("node"))


def _collect_metrics(trial: Trial) -> None:
    """Metrics that all can be exposed, and the same ones each time."""
    answers = [
        trial.call("collect_metrics", lambda: check_families(trial.plugin.name, trial.plugin.collect_metrics()))
        for _ in range(2)
    ]
    trial.problems.extend(f"collect_metrics: {problem}" for _, problems in answers for problem in problems)
    first, second = ({family.name for family in families} for families, _ in answers)
    if first != second:
        trial.advice.append(f"the metrics {sorted(first ^ second)} come and go: return a family without samples instead")


def _is_texts(answer: Any) -> bool:
    return isinstance(answer, Sequence) and not isinstance(answer, str) and all(isinstance(text, str) for text in answer)


EXERCISES: Mapping[str, Callable[[Trial], None]] = {
    "watch": _watch,
    "allocate": _allocate,
    "preferred_allocation": _preferred_allocation,
    "pre_start": _pre_start,
    "notices": _notices,
    "explain": _explain,
    "examine": _examine,
    "leftovers": _leftovers,
    "take_over": _take_over,
    "learn_node": _learn_node,
    "collect_metrics": _collect_metrics,
}
"""For each capability what is tried with it."""
