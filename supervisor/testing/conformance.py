"""Everything that the supervisor will do with a plugin, done here, and judged by what the contract promises."""

import difflib
import os
import threading
from collections.abc import Mapping
from contextlib import suppress

from supervisor.allocation import merge
from supervisor.contract import CAPABILITIES, capabilities, problems
from supervisor.errors import EditConflict
from supervisor.inventory import Inventory, check_look
from supervisor.testing.exercise import EXERCISES
from supervisor.testing.report import Report
from supervisor.testing.trial import Failed, Hung, Trial


def check_plugin(plugin: object, *, looks: int = 3, deadline: float = 60.0) -> Report:
    """Look ``looks`` times, then use every capability on what was found.

    The hardware must stay as it is meanwhile. The capabilities are really called, each several times: give the plugin hardware
    that may be allocated, reset or programmed. A call that takes longer than ``deadline`` seconds ends the check.
    """
    trial = Trial(plugin, deadline)
    trial.problems.extend(problems(plugin))
    if not trial.problems:
        with suppress(Hung, Failed):
            _attributes(trial)
            _looks(trial, looks)
            for name in sorted(capabilities(plugin)):
                with suppress(Failed):
                    EXERCISES[name](trial)
    return Report(
        plugin=str(getattr(plugin, "name", type(plugin).__name__)),
        devices={resource: len(inventory.devices) for resource, inventory in trial.inventories.items()},
        capabilities=tuple(sorted(capabilities(plugin))),
        problems=tuple(dict.fromkeys(trial.problems)),
        advice=tuple(dict.fromkeys(trial.advice)),
        seconds=trial.seconds,
    )


def _attributes(trial: Trial) -> None:
    plugin = trial.plugin
    if plugin.name != plugin.name:
        trial.problems.append("name changes from one reading to the next")
    if not plugin.udev_subsystems and "watch" not in capabilities(plugin):
        trial.advice.append("no udev subsystem and no watch: only the timed looks will notice a change")
    known = {"discover", *(method for methods in CAPABILITIES.values() for method in methods)}
    for name in set(dir(type(plugin))) - known:
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.85)
        if close and not name.startswith("_"):
            trial.advice.append(f"{name} means nothing to the supervisor; did you mean {close[0]}?")


def _looks(trial: Trial, looks: int) -> None:
    _look(trial)
    descriptors, threads = _descriptors(), threading.active_count()
    for _ in range(looks - 1):
        before = trial.inventories
        _look(trial)
        _compare(trial, before, trial.inventories)
    if looks > 2 and _descriptors() - descriptors >= looks - 1:
        trial.problems.append("each look leaves a file descriptor open")
    if looks > 2 and threading.active_count() - threads >= looks - 1:
        trial.problems.append("each look leaves a thread running")
    trial.problems.extend(problems(trial.plugin))  # attributes are read again after each look
    for resource, inventory in trial.inventories.items():
        _think(trial, resource, inventory)


def _look(trial: Trial) -> None:
    look = trial.call("discover", lambda: check_look(trial.plugin.discover()))
    for left_out in look.quarantined:
        trial.problems.append(f"{' '.join(filter(None, (left_out.resource, left_out.device)))}: {left_out.reason}")
    trial.inventories = look.inventories


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def _compare(trial: Trial, before: Mapping[str, Inventory], now: Mapping[str, Inventory]) -> None:
    """The hardware is the same in both looks, so what was said about it should be the same."""
    for resource in sorted(before.keys() | now.keys()):
        if resource not in before or resource not in now:
            trial.problems.append(f"{resource} is there in one look and not in the next")
            continue
        changed = sorted(before[resource].index.keys() ^ now[resource].index.keys())
        if changed:
            trial.problems.append(
                f"{resource} has other ids at each look, such as {changed[0]}: an id must mean the same device, also "
                "after a reboot"
            )
        elif before[resource].index != now[resource].index:
            trial.advice.append(f"{resource} is in another order at each look: sort it, or the kubelet gets a list each time")
        elif before[resource].devices != now[resource].devices:
            trial.advice.append(f"{resource} differs between looks, and the kubelet gets a list each time")


def _think(trial: Trial, resource: str, inventory: Inventory) -> None:
    for device in inventory.devices:
        if not (device.healthy or device.reason):
            trial.advice.append(f"{resource} device {device.id} is unhealthy without a reason: say why, for the operator")
    try:
        merge(device.edits for device in inventory.devices)
    except EditConflict as error:
        trial.advice.append(f"not every two {resource} can be given to one container: {error}")
