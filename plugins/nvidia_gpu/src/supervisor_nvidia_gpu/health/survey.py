"""One look at all GPUs: what is known of them, and what a report makes of it. Pure."""

import functools
from collections.abc import Iterable, Mapping

import msgspec
from msgspec import Struct

from supervisor_nvidia_gpu.config import Health
from supervisor_nvidia_gpu.health.evidence import Facts, Seen, judge, on_bus, sight
from supervisor_nvidia_gpu.health.state import Change, State, fresh, step, witnessed, worse
from supervisor_nvidia_gpu.health.targets import Key, keys
from supervisor_nvidia_gpu.report import Gpu, Report


class Known(Struct, frozen=True):
    """What is known of all GPUs of the node, those included that are not there now."""

    states: Mapping[Key, State] = {}
    seen: Mapping[Key, Seen] = {}
    """By the UUID of the GPU."""


def look(known: Known, report: Report, now: float, config: Health) -> tuple[Known, tuple[tuple[Key, Change], ...]]:
    """What is known after a look that began at ``now``, and what changed with it."""
    states, seen = dict(known.states), dict(known.seen)
    lying: dict[str, list[Key]] = {}
    for key, state in states.items():
        lying.setdefault(state.gpu, []).append(key)
    changes: list[tuple[Key, Change]] = []
    for gpu in report.gpus:
        if gpu.uuid:
            on_it = lying.get(gpu.uuid, [])
            facts, seen[gpu.uuid] = judge(gpu, report, seen.get(gpu.uuid), config.unhealthy_on)
            if not all(states[key].witnessed for key in on_it):
                # What is older than the last that spoke against it must not look like a reset later on.
                seen[gpu.uuid] = sight(gpu, report)
            changes += _apply(states, gpu, on_it, facts, now, config)
    present = {gpu.uuid for gpu in report.gpus}
    for uuid, last in seen.items():
        if uuid not in present and on_bus(last.pci, report) is False:
            seen[uuid] = msgspec.structs.replace(last, gone=True)
            states.update({key: witnessed(states[key], now) for key in lying.get(uuid, ())})
    return Known(states, seen), tuple(changes)


def _apply(
    states: dict[Key, State], gpu: Gpu, lying: Iterable[Key], facts: Facts, now: float, config: Health
) -> list[tuple[Key, Change]]:
    """Put what a look says of a GPU into ``states``: it holds for all that lies on it, also for MIG devices that are no more.

    A MIG device that is found for the first time takes over the worst of these, so that another layout launders nothing.
    """
    present = keys(gpu)
    absent = [key for key in lying if key not in present]
    changes: list[tuple[Key, Change]] = []
    states.setdefault(gpu.uuid, fresh(gpu.uuid, now))
    for key in (*(each for each in present if each in states), *absent):
        # An event may have named a MIG device before any look told on which GPU it lies.
        states[key], found = step(msgspec.structs.replace(states[key], gpu=gpu.uuid), facts, now, config)
        changes += [(key, each) for each in found]
    heritage = functools.reduce(worse, (states[key] for key in absent), states[gpu.uuid])
    states.update({key: heritage for key in present if key not in states})
    for key in absent:
        if states[key].phase == "healthy":
            del states[key]
    return changes
