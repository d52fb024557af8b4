"""What an XID means: a table of numbers and models, with the fact behind each line.

The facts are those of NVIDIA's XID catalogue (docs.nvidia.com/deploy/xid-errors), which names an immediate action for each number:
restart the application, reset the GPU, restart the machine, ignore. Three thoughts turn them into the defaults:

* What an application did to itself, and what the catalogue says to ignore, takes no GPU away: ``event``.
* Drivers from R565 on sum up what a GPU needs in its *recovery action*, and say so with XID 154. That is evidence of its own, read
  in each look. So a number whose repair may or may not be needed is ``unhealthy``: it heals with quiet, unless the action stands.
* ``until-reset`` is for numbers after which nothing but a reset helps, on drivers old and new.

A number that is not in the table is an ``event``. A driver new enough to have numbers that this table lacks also has the recovery
action, and to condemn a GPU for a number that may be merely informative takes a working one away.
"""

import fnmatch
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from supervisor_nvidia_gpu.config import XidAction, XidRule


class Decision(Struct, frozen=True):
    """What one XID means for one GPU."""

    action: XidAction
    why: str
    """The fact, in a few words; for people."""
    count: int = 1
    """So many within ``window`` seconds before the action counts; until then it is an ``event``."""
    window: float = 60.0


def _lines(action: XidAction, facts: Iterable[tuple[tuple[int, ...], str]]) -> dict[int, Decision]:
    return {xid: Decision(action, why) for xids, why in facts for xid in xids}


DEFAULTS: Mapping[int, Decision] = {
    **_lines(
        "ignore",
        (
            ((14,), "an error injected on purpose"),
            ((106, 107), "a test message of the management bus"),
        ),
    ),
    **_lines(
        "event",
        (
            ((8, 11, 25, 32, 80), "the application's command stream was corrupt or stopped; it has to be restarted"),
            ((13,), "the application used the graphics engine wrongly, as by walking past the end of an array"),
            ((31,), "the application touched memory that is not mapped"),
            ((37, 38, 66, 67), "a fault in the context-switch firmware that the catalogue says to ignore"),
            (
                (39, 40, 41, 70, 71, 72, 75, 76, 77, 85, *range(126, 136)),
                "an exception of a copy engine; the application restarts",
            ),
            ((43,), "the application hit a fault of its own and was stopped; the GPU stays well"),
            ((44,), "a graphics fault during a context switch, which the catalogue says to ignore"),
            ((45,), "an application was torn down, by a signal or because of an error told on its own"),
            (
                (60, 68, 82, 83, 84, 86, 88, 89, *range(96, 106), 139, 142),
                "an exception of a video engine; the application restarts",
            ),
            ((63,), "memory rows or pages were marked for replacement; it goes on as it is until the next reset"),
            ((69,), "the application used a graphics class wrongly"),
            ((78,), "a virtual GPU could not start; software on the host has to be updated"),
            ((92,), "many corrected single-bit errors; the catalogue says to ignore it"),
            ((93,), "the wear limit of the information ROM was reached; no work is hurt by it"),
            ((94,), "a memory error that was contained in one application, which has to be restarted; all others go on"),
            ((108, 137), "an application's access over NVLink was refused; the catalogue says to ignore it"),
            ((121,), "corrected errors on the link to the CPU; no work is hurt by them"),
            ((141,), "an error on a fast path of CUDA, which the catalogue says to ignore"),
            (
                (144, 145, 146, 147, 148, 150),
                "an NVLink event, mostly harmless by its status; a fatal one comes with a recovery action",
            ),
            ((152, 153, 159), "an error of another unit that the GPU survives"),
            ((154,), "the recovery action changed; the next look reads it"),
            ((155,), "a link went down, maybe on purpose; a fatal case comes with a recovery action"),
            ((157,), "nothing is left to replace a broken part with; work may go on"),
            ((160, 161), "a channel to the CPU was retired; the catalogue says to ignore it"),
            ((162, 163, 164, 165), "a change of the power smoothing; no work is hurt by it"),
            ((171, 172), "where the uncorrectable error told by XID 48 happened"),
        ),
    ),
    **_lines(
        "unhealthy",
        (
            ((46,), "it stopped processing and may need a reset"),
            ((48,), "an uncorrectable memory error; where it could not be contained, XID 95 or a recovery action says so"),
            ((54,), "its auxiliary power is not connected"),
            ((57, 58), "its memory interface does not work reliably"),
            ((61, 169), "one of its micro-controllers stopped"),
            ((64,), "broken memory could not be marked for replacement; where that lasts, the remapping says so"),
            # A GPU whose neighbour fails tells of it too, for the link between them is gone: no reset of this one would help.
            ((74,), "an error of an NVLink, its own or that of the device at the other end"),
            # Mostly an application's doing, which is why others skip it, yet the catalogue asks for a reset: quiet tells them apart.
            ((109,), "a context switch timed out; it may need a reset"),
            ((119, 120), "its system processor failed or did not answer; it may need a reset"),
            ((136,), "an NVLink could not be trained"),
            ((149,), "an NVLink went down"),
            ((156,), "a part of it was retired, which takes effect with a reset"),
            ((167,), "its PCI Express link timed out"),
        ),
    ),
    **_lines(
        "until-reset",
        (
            ((62,), "an internal micro-controller halted, and only a reset starts it again"),
            ((79,), "it has fallen off the bus; it takes a restart of the machine or a new load of the driver"),
            ((95,), "an uncontained memory error; no application may start before a reset"),
            ((110,), "a security fault; the machine has to be switched off and on"),
            ((140,), "a memory error that could not even be marked for repair"),
            ((143,), "it could not be initialised"),
            ((151,), "the keys of its confidential mode could not be changed; the virtual machine has to be restarted"),
            ((158,), "a fatal time-out"),
        ),
    ),
}

UNKNOWN = Decision("event", "a number that is not in the table")

_UNCONTAINED = Decision("until-reset", "an uncorrectable memory error, which this model cannot contain")
_OLD = ("*K40*", "*K80*", "*M40", "*M60", "*P4", "*P40", "*P100*", "*V100*", "*T4", "*Quadro RTX*", "*Quadro GV100*")
MODELS: Sequence[tuple[int, str, Decision]] = tuple((48, pattern, _UNCONTAINED) for pattern in _OLD)
"""Where a model differs from the table. Before Ampere nothing contains a double-bit error: a reset or a reboot has to clear it."""

TELLING = frozenset({63, 64, 154, 156, 157})
"""After these a look finds more than the number says: remapped rows, the recovery action."""


def decide(xid: int, model: str, rules: Sequence[XidRule] = ()) -> Decision:
    """What an XID means for a GPU of this model: the last rule that fits, else the model's default, else the number's."""
    for rule in reversed(rules):
        if rule.xid in {xid, "all"} and (rule.model is None or _fits(model, rule.model)):
            return Decision(rule.action, default(xid, model).why, rule.count, rule.window)
    return default(xid, model)


def default(xid: int, model: str) -> Decision:
    """What is meant without any configuration."""
    for number, pattern, decision in MODELS:
        if number == xid and _fits(model, pattern):
            return decision
    return DEFAULTS.get(xid, UNKNOWN)


def _fits(model: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(model.lower(), pattern.lower())
