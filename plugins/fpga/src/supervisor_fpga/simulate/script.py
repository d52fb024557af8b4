"""What happens to simulated FPGAs, line by line, and what each step makes of a machine.

    after 5s program 0000:3b:00.0 d8424dc4-a4a3-c413-f89e-433683f9040b    somebody else programs a function: no event tells of it
    after 6s state fpga0 "write error" "reconfig CRC error"     what a manager says, and what it reports of that
    after 7s error 0000:3b:00.0 port/errors 0x20                an error register is not 0; `fme/catfatal_errors`, and so on
    after 8s offline 0000:65:00.1                               XRT's driver has taken a card offline
    after 9s hot 0000:3b:00.0 110                               it is 110 °C warm
    after 20s clear 0000:3b:00.0                                all of that is over
    after 30s remove 0000:3b:00.0                               a function goes, with its virtual ones
    after 40s add 0000:3b:00.0                                  it comes back as it was in the beginning
    after 50s hang 0000:3b:00.0                                 its hardware does not answer any more; `unhang`: it does

Times count from the beginning, in ms, s, m or h; functions go by their PCI addresses, a port of several by `0000:3b:00.0/port1`, embedded
ones by the names of their managers, and all by the kernel's names of what belongs to them, like `dfl-port.0`.
"""

import re
from collections.abc import Callable, Iterable, Sequence

from supervisor import ScriptStep, rehearse, script_steps
from supervisor_fpga.simulate import changes
from supervisor_fpga.simulate.layouts import layout
from supervisor_fpga.simulate.machine import Machine

_WORD = r"(\S{1,64})"
_WHOLE = (re.compile(_WORD), "{} 0000:3b:00.0")
_FORMS = {
    "program": (
        re.compile(rf"{_WORD}\s+([0-9A-Fa-f]{{32}}|[0-9A-Fa-f-]{{36}})"),
        "{} 0000:3b:00.0 d8424dc4-a4a3-c413-f89e-433683f9040b",
    ),
    "state": (
        re.compile(rf'{_WORD}\s+"([a-z ]{{1,32}})"(?:\s+"([^"]{{1,64}})")?'),
        '{} fpga0 "write error" "reconfig CRC error"',
    ),
    "error": (re.compile(rf"{_WORD}\s+([a-z0-9]+/[a-z0-9_-]+)\s+0x([0-9A-Fa-f]{{1,16}})"), "{} 0000:3b:00.0 port/errors 0x20"),
    "offline": _WHOLE,
    "hot": (re.compile(rf"{_WORD}\s+(-?[0-9]{{1,4}}(?:\.[0-9]{{1,3}})?)"), "{} 0000:3b:00.0 110"),
    "clear": _WHOLE,
    "remove": _WHOLE,
    "add": _WHOLE,
    "hang": _WHOLE,
    "unhang": _WHOLE,
}
"""The words after each action, and an example."""


def mistake(name: str, script: Sequence[str]) -> str:
    """What is wrong with a simulation, in one sentence; empty for one that can be played."""
    try:
        parse(script, layout(name))
    except ValueError as error:
        return str(error)
    return ""


def parse(lines: Iterable[str], beginning: Machine) -> tuple[ScriptStep, ...]:
    """The steps in the order of their times. Raises ``ValueError`` with all mistakes, each with its line."""
    steps = script_steps(lines, _FORMS)
    rehearse(steps, beginning, lambda step, machine: apply(step, machine, beginning))
    return steps


def apply(step: ScriptStep, machine: Machine, beginning: Machine) -> Machine:
    """The machine after a step; ``beginning`` has what can be added again. Raises ``ValueError`` for what cannot happen."""
    try:
        return _CHANGES[step.action](machine, beginning, *step.words)
    except KeyError as error:
        known = beginning if step.action == "add" else machine
        names = ", ".join(function.id for function in known.functions) or "none"
        raise ValueError(f"there is no {error.args[0]} to {step.action} then; there are {names}") from None


def _add(machine: Machine, beginning: Machine, word: str) -> Machine:
    if beginning.find(word).id in {function.id for function in machine.functions}:
        raise ValueError(f"{word} is there already")
    return changes.restored(machine, word, beginning)


def _state(machine: Machine, word: str, state: str, status: str) -> Machine:
    return changes.in_state(machine, word, state, *([status] if status else []))


_CHANGES: dict[str, Callable[..., Machine]] = {
    "program": lambda machine, _, word, program: changes.programmed(machine, word, program.replace("-", "").lower()),
    "state": lambda machine, _, word, state, status: _state(machine, word, state, status),
    "error": lambda machine, _, word, register, value: changes.failing(machine, word, register, int(value, 16)),
    "offline": lambda machine, _, word: changes.offline(machine, word),
    "hot": lambda machine, _, word, degrees: changes.hot(machine, word, float(degrees)),
    "clear": lambda machine, _, word: changes.cleared(machine, word),
    "remove": lambda machine, _, word: machine.without(word),
    "add": _add,
    "hang": lambda machine, _, word: changes.hanging(machine, word, hangs=True),
    "unhang": lambda machine, _, word: changes.hanging(machine, word, hangs=False),
}
"""Of the machine, the one in the beginning, and the words of the step."""
