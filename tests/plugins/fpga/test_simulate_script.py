"""Layouts and scripts of simulated FPGAs."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import rehearse
from supervisor_fpga.simulate.layouts import NAMES, layout
from supervisor_fpga.simulate.machine import Machine
from supervisor_fpga.simulate.script import apply, mistake, parse

CARD, SECOND, USER = "0000:3b:00.0", "0000:af:00.0", "0000:65:00.1"
PROGRAM = "d8424dc4-a4a3-c413-f89e-433683f9040b"


def play(name: str, *lines: str) -> Machine:
    """The machine after all steps."""
    beginning = layout(name)
    return rehearse(parse(lines, beginning), beginning, lambda step, machine: apply(step, machine, beginning))


def said(machine: Machine, device: str, attribute: str) -> object:
    """What a device of the machine says, by its kernel name."""
    (value,) = (one.attributes[attribute] for one in machine.devices() if one.name == device)
    return value


def test_layouts_are_what_their_names_say() -> None:
    """So many functions, each by its own address or name; the same layout is the same machine."""
    ids = {name: [function.id for function in layout(name).functions] for name in NAMES}
    assert {name: len(set(functions)) for name, functions in ids.items()} == {"alveo": 6, "dfl-card": 2, "zynq": 1}
    assert all(layout(name) is layout(name) for name in NAMES)


def test_unknown_layout() -> None:
    """The reason names those that there are."""
    assert mistake("arria", ()) == "there is no layout 'arria'; there are alveo, dfl-card, zynq"


def test_programming() -> None:
    """A function has another program, with or without dashes; where none can be read, the manager operates."""
    plain = PROGRAM.replace("-", "")
    for written in (PROGRAM, plain, plain.upper()):
        machine = play("dfl-card", f"after 5s program {SECOND} {written}")
        assert said(machine, "dfl-port.1", "afu_id") == plain
    assert said(play("alveo", f"after 5s program {USER} {PROGRAM}"), USER, "xclbinuuid") == plain
    failed = play("zynq", 'after 1s state fpga0 "write error" "reconfig CRC error"')
    assert (said(failed, "fpga0", "state"), said(failed, "fpga0", "status")) == ("write error", b"reconfig CRC error\n")
    again = play("zynq", 'after 1s state fpga0 "write error"', f"after 2s program fpga0 {PROGRAM}")
    assert again == layout("zynq")


def test_errors() -> None:
    """Registers, heat and a driver's word come, and go with one step."""
    broken = play("dfl-card", f"after 1s error {CARD} fme/catfatal_errors 0x2", f"after 2s hot {CARD} 110.5")
    assert said(broken, "dfl-fme.0", "errors/catfatal_errors") == "0x2"
    assert said(broken, "hwmon0", "temp1_input") == 110_500
    lines = (f"after 1s error {CARD} port/errors 0x1", f"after 2s hot {CARD} 110", f"after 3s clear {CARD}")
    assert play("dfl-card", *lines) == layout("dfl-card")
    assert said(play("alveo", f"after 1s offline {USER}"), USER, "dev_offline") == 1


def test_functions_come_and_go() -> None:
    """A function goes and comes back as it was, and hangs until it is told to answer."""
    assert [one.id for one in play("dfl-card", f"after 1s remove {CARD}").functions] == [SECOND]
    back = play("dfl-card", f"after 1s remove {CARD}", f"after 2s add {CARD}")
    assert {one.id: one for one in back.functions} == {one.id: one for one in layout("dfl-card").functions}
    assert play("dfl-card", f"after 1s hang {CARD}").find(CARD).spoilt
    assert play("dfl-card", f"after 1s hang {CARD}", f"after 2s unhang {CARD}") == layout("dfl-card")


@pytest.mark.parametrize(
    ("name", "line", "reason"),
    [
        ("dfl-card", f"program {CARD} {PROGRAM}", "expected `after TIME`"),
        ("dfl-card", f"after 1s explode {CARD}", "expected `after TIME`"),
        ("dfl-card", f"after 1s program {CARD} abc", "expected `program 0000:3b:00.0 d8424dc4-"),
        ("dfl-card", f"after 1s error {CARD} port/errors 20", "expected `error 0000:3b:00.0 port/errors 0x20`"),
        ("dfl-card", "after 1s remove fpga7", f"there is no fpga7 to remove then; there are {CARD}, {SECOND}"),
        ("dfl-card", f"after 1s error {CARD} port/nothing 0x1", f"there is no {CARD} with port/nothing to error then"),
        ("dfl-card", f"after 1s add {CARD}", f"{CARD} is there already"),
        ("zynq", 'after 1s state fpga0 "fine"', "there is no state 'fine'; there are unknown, power off"),
        ("zynq", "after 1s hot fpga0 90", "there is no fpga0 to hot then"),
        ("alveo", f'after 1s state {USER} "operating"', f"there is no {USER} to state then"),
    ],
)
def test_mistakes(name: str, line: str, reason: str) -> None:
    """Each mistake is told with its line and what would be right."""
    told = mistake(name, (line,))
    assert told.startswith("line 1")
    assert reason in told


def test_mistakes_that_follow_from_earlier_steps() -> None:
    """What is played counts as it is then."""
    script: Sequence[str] = (f"after 2s hot {CARD} 90", f"after 1s remove {CARD}")
    assert mistake("dfl-card", script) == f"line 1: there is no {CARD} to hot then; there are {SECOND}"


@given(
    st.lists(
        st.text(max_size=40)
        | st.from_regex(r"\Aafter [0-9]s (remove|add|hang|hot|error|clear|program) 0000:(3b|af):00\.0.*\Z", fullmatch=True)
    )
)
def test_any_script_is_played_or_refused(script: list[str]) -> None:
    """Whatever is written, there is a sentence why not, or a machine in the end in which no two functions share an id."""
    if not mistake("dfl-card", script):
        left = [one.id for one in play("dfl-card", *script).functions]
        assert len(set(left)) == len(left)
