"""What happens to simulated RDMA devices, line by line, and what each step makes of a machine.

    after 10s down mlx5_0/1        port 1 loses its link; `init` gives it one without a subnet manager, `up` a whole one
    after 20s remove mlx5_1        a device goes with its PCI function and all that this carries
    after 30s add mlx5_1           it comes back as it was in the beginning, with new numbers
    after 40s rename mlx5_0 to a   as udev's rules do it
    after 50s vfs mlx5_0 4         it has four virtual functions, new ones
    after 60s move mlx5_1 away     to another network namespace, and `back`; the RDMA mode is `exclusive` in such a script
    after 70s hang mlx5_0          its firmware does not answer any more; `unhang`: it does

Times count from the beginning, in ms, s, m or h; devices go by their names of then, or by their ids.
"""

import re
from collections.abc import Callable, Iterable, Sequence

from msgspec import structs

from supervisor import ScriptStep, rehearse, script_steps
from supervisor_infiniband.simulate import changes
from supervisor_infiniband.simulate.layouts import layout
from supervisor_infiniband.simulate.machine import VIRTUAL, Machine

_DEVICE = r"([^\s/]{1,64})"
_PORT = (re.compile(rf"{_DEVICE}/([0-9]{{1,3}})"), "{} mlx5_0/1")
_WHOLE = (re.compile(_DEVICE), "{} mlx5_0")
_FORMS = {
    "up": _PORT,
    "down": _PORT,
    "init": _PORT,
    "remove": _WHOLE,
    "add": _WHOLE,
    "hang": _WHOLE,
    "unhang": _WHOLE,
    "rename": (re.compile(rf"{_DEVICE}\s+to\s+{_DEVICE}"), "{} mlx5_0 to rocep1s0"),
    "vfs": (re.compile(rf"{_DEVICE}\s+([0-9]{{1,4}})"), "{} mlx5_0 4"),
    "move": (re.compile(rf"{_DEVICE}\s+(away|back)"), "{0} mlx5_0 away` or `{0} mlx5_0 back"),
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
    rehearse(steps, opening(beginning, steps), lambda step, machine: apply(step, machine, beginning))
    return steps


def opening(beginning: Machine, steps: Iterable[ScriptStep]) -> Machine:
    """The machine on which a script begins: the RDMA mode cannot change once there are devices that will move."""
    if any(step.action == "move" for step in steps):
        return structs.replace(beginning, netns_mode="exclusive")
    return beginning


def apply(step: ScriptStep, machine: Machine, beginning: Machine) -> Machine:
    """The machine after a step; ``beginning`` has what can be added again. Raises ``ValueError`` for what cannot happen."""
    device, *rest = step.words
    try:
        return _CHANGES[step.action](machine, beginning, device, *rest)
    except KeyError as error:
        known = beginning if step.action == "add" else machine
        names = ", ".join(hca.name for _, hca in known.hcas()) or "none"
        raise ValueError(f"there is no {error.args[0]} to {step.action} then; there are {names}") from None


def _add(machine: Machine, beginning: Machine, device: str) -> Machine:
    function, hca = beginning.find(device)
    if any(hca.name == one.name if function.id == VIRTUAL else function.id == other.id for other, one in machine.hcas()):
        raise ValueError(f"{device} is there already")
    after = changes.restored(machine, device, beginning)
    names = [hca.name for _, hca in after.hcas()]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"another device has the name {twice[0]} then")
    return after


def _move(machine: Machine, device: str, where: str) -> Machine:
    _, hca = machine.find(device)
    if hca.away == (where == "away"):
        raise ValueError(f"{device} is {'away' if hca.away else 'here'} already")
    return changes.moved(machine, device, away=where == "away")


_Change = Callable[..., Machine]
"""Of the machine, the one in the beginning, and the words of the step."""

_CHANGES: dict[str, _Change] = {
    "up": lambda machine, _, device, port: changes.port(machine, device, int(port), "up"),
    "down": lambda machine, _, device, port: changes.port(machine, device, int(port), "down"),
    "init": lambda machine, _, device, port: changes.port(machine, device, int(port), "init"),
    "remove": lambda machine, _, device: changes.without(machine, device),
    "add": _add,
    "rename": lambda machine, _, device, name: changes.renamed(machine, device, name),
    "vfs": lambda machine, _, device, number: changes.with_vfs(machine, device, int(number)),
    "move": lambda machine, _, device, where: _move(machine, device, where),
    "hang": lambda machine, _, device: changes.hanging(machine, device, hangs=True),
    "unhang": lambda machine, _, device: changes.hanging(machine, device, hangs=False),
}
