"""Making a function ready: which steps, in which order, and what is said where one of them fails."""

import ctypes
import errno
import fcntl
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from supervisor_fpga.operating.gbs import header
from supervisor_fpga.operating.simulated import bitstream
from supervisor_fpga.operating.ways import dfl
from supervisor_fpga.simulate.intel import A10_INTERFACE, NLB0, NLB3
from tests.plugins.fpga.machines import CARD, SECOND, VF
from tests.plugins.fpga.operating.yard import ERRORS, PATIENCE, Gate, Yard, until

Plant = Callable[..., Yard]

PROGRAMS = ["open dfl-port.0", "open dfl-fme.0", "program dfl-fme.0"]
RESETS = ["open dfl-port.0", "reset dfl-port.0"]


def test_another_function_is_programmed(plant: Plant) -> None:
    """A region that holds something else gets the bitstream, and what it says then is told."""
    yard = plant()
    prepared = yard.prepare(yard.file())
    assert (prepared.outcome, prepared.programmed, prepared.was_reset, prepared.afu_id) == ("ready", True, False, NLB3)
    assert yard.drivers.calls == PROGRAMS
    assert yard.attribute("dfl-port.0/afu_id") == NLB3


def test_what_it_holds_already_is_reset_only(plant: Plant) -> None:
    """The kubelet tries again: the second time nothing is programmed, but what a tenant left behind goes."""
    yard = plant()
    yard.prepare(yard.file())
    again = yard.prepare(yard.file())
    assert (again.outcome, again.programmed, again.was_reset, again.afu_id) == ("ready", False, True, NLB3)
    assert yard.drivers.calls == PROGRAMS + RESETS


def test_without_a_bitstream_it_is_reset(plant: Plant) -> None:
    """A resource whose policy is a reset keeps what it holds."""
    yard = plant()
    prepared = yard.prepare(reset=True)
    assert (prepared.outcome, prepared.was_reset, prepared.afu_id) == ("ready", True, NLB0)
    assert yard.drivers.calls == RESETS


@pytest.mark.parametrize(("machine", "function"), [("dfl_two_ports", f"{CARD}/port1"), ("dfl_vf_of_card", VF)])
def test_the_card_s_engine_programs_its_ports(plant: Plant, machine: str, function: str) -> None:
    """One of several ports, and the port of a VF, whose card has the engine, are told apart by their numbers."""
    yard = plant(machine)
    wanted = yard.file(content=bitstream(A10_INTERFACE, "5" * 32))
    assert yard.prepare(wanted, function).afu_id == "5" * 32
    assert sum("5" * 32 in file.read_text() for file in yard.tree.sys.rglob("afu_id")) >= 1
    if machine == "dfl_two_ports":
        assert yard.attribute("dfl-port.0/afu_id") == NLB0


def test_an_engine_programs_one_port_at_a_time(plant: Plant) -> None:
    """Who wants the other port waits, and is not told that the card is busy."""
    yard = plant("dfl_two_ports")
    wanted = yard.file(content=bitstream(A10_INTERFACE, "5" * 32))
    gate = yard.drivers.before["program"] = Gate()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(yard.prepare, wanted, f"{CARD}/port0")
        assert gate.reached.wait(PATIENCE)
        second = pool.submit(yard.prepare, wanted, f"{CARD}/port1")
        until(lambda: any(len(queue) == 2 for queue in list(yard.tools.regions._queues.values())))
        assert yard.drivers.calls.count("open dfl-fme.0") == 1
        gate.open()
        assert (first.result().outcome, second.result().outcome) == ("ready", "ready")


def test_a_card_of_the_older_drivers_is_reset(plant: Plant) -> None:
    """OPAE's drivers take the same reset by their own names."""
    yard = plant("opae_tree")
    assert yard.prepare(backend="opae", reset=True).outcome == "ready"
    assert yard.drivers.calls == ["open intel-fpga-port.0", "reset intel-fpga-port.0"]


def test_a_card_of_the_older_drivers_is_programmed(plant: Plant) -> None:
    """OPAE's request is DFL's, with a status after it."""
    yard = plant("opae_tree")
    assert yard.prepare(yard.file(), backend="opae").afu_id == NLB3


def test_errors_are_cleared_by_what_they_say(plant: Plant) -> None:
    """The sticky registers of the port and of its card are written back as they are; those that are 0 are left alone."""
    yard = plant()
    yard.attribute("dfl-port.0/errors/errors", "0x21")
    yard.attribute("dfl-fme.0/errors/pcie0_errors", "0x4")
    assert yard.prepare().outcome == "ready"
    assert yard.drivers.calls == [*RESETS, "write errors/errors", "write errors/pcie0_errors"]
    assert yard.attribute("dfl-port.0/errors/errors") == yard.attribute("dfl-fme.0/errors/pcie0_errors") == "0x0"


def test_what_others_use_is_left_alone(plant: Plant) -> None:
    """On a card with two ports, its engine's errors are evidence for both."""
    yard = plant("dfl_two_ports")
    yard.attribute("dfl-fme.0/errors/pcie0_errors", "0x4")
    assert yard.prepare(function=f"{CARD}/port0").outcome == "ready"
    assert yard.attribute("dfl-fme.0/errors/pcie0_errors") == "0x4"


def test_an_error_that_comes_back_is_a_failure(plant: Plant) -> None:
    """What is there again at once is no memory of something past."""
    yard = plant()
    yard.attribute("dfl-port.0/errors/errors", "0x1")
    write = yard.drivers.write

    def again(path: str, text: str) -> None:
        write(path, text)
        yard.attribute("dfl-port.0/errors/errors", "0x2")

    yard.drivers.write = again  # type: ignore[method-assign]  # the driver of this test's hardware
    prepared = yard.prepare()
    assert (prepared.outcome, prepared.text) == ("failed", f"errors of {CARD} is 0x2 again after it was cleared")


def test_open_elsewhere_is_busy(plant: Plant) -> None:
    """While another process has it open, nothing is done to it."""
    yard = plant()
    (port,) = {file.resolve() for file in yard.tree.sys.rglob("dfl-port.0")}
    descriptor = os.open(port, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        prepared = yard.prepare(yard.file())
    finally:
        os.close(descriptor)
    assert (prepared.outcome, prepared.text) == ("busy", f"opening {CARD}: it is in use elsewhere")
    assert yard.drivers.calls == ["open dfl-port.0"]
    assert yard.prepare(yard.file()).outcome == "ready"


@pytest.mark.parametrize("interface", ["0" * 31 + "1", ""])
def test_another_interface_is_refused(plant: Plant, interface: str) -> None:
    """A bitstream that does not fit, or does not say so, never reaches the hardware."""
    yard = plant()
    prepared = yard.prepare(yard.file(content=bitstream(interface, NLB3)))
    assert prepared.outcome == "refused"
    assert "another interface" in prepared.text
    assert yard.drivers.calls == ["open dfl-port.0"]


def test_only_named_ways_are_used(plant: Plant) -> None:
    """Programming is off until the configuration names a way that fits."""
    yard = plant()
    prepared = yard.prepare(yard.file(), ways=("xrt",))
    assert prepared.outcome == "refused"
    assert "(enabled: xrt)" in prepared.text
    assert yard.prepare(yard.file(), ways=()).text.endswith("(enabled: none)")
    assert yard.attribute("dfl-port.0/afu_id") == NLB0


@pytest.mark.parametrize("number", ERRORS)
@pytest.mark.parametrize("step", ["open dfl-port.0", "open dfl-fme.0", "program", "reset", "write"])
def test_a_step_that_fails_is_never_ready(plant: Plant, step: str, number: int) -> None:
    """Wherever a driver fails and however: it is said, the region is free again, and the next try makes it ready."""
    yard = plant()
    yard.attribute("dfl-port.0/errors/errors", "0x1")
    wanted = None if step == "reset" else yard.file()
    yard.drivers.fail(step, number)
    prepared = yard.prepare(wanted)
    busy = "failed" if step == "write" else "busy"
    expected = {errno.EBUSY: busy, errno.EPERM: "refused"}.get(number, "failed")
    assert prepared.outcome == expected
    assert CARD in prepared.text
    yard.drivers.before.clear()
    assert yard.prepare(wanted).outcome == "ready"


def test_half_of_a_programming_is_not_believed(plant: Plant) -> None:
    """After programming has failed, a region that says what is wanted has to be programmed all the same."""
    yard = plant()
    yard.drivers.fail("program", errno.EIO)
    yard.attribute("fpga_manager/fpga0/status", "reconfig CRC error")
    prepared = yard.prepare(yard.file())
    assert (prepared.outcome, prepared.text) == (
        "failed",
        f"programming {CARD}: input/output error (reconfig CRC error)",
    )
    yard.attribute("dfl-port.0/afu_id", NLB3)
    yard.drivers.before.clear()
    assert "once began" in yard.prepare(reset=True).text
    assert yard.prepare(yard.file()).programmed
    assert yard.prepare(reset=True).outcome == "ready"


def test_what_was_refused_has_not_begun(plant: Plant) -> None:
    """A process that may not program leaves the region as it is: a reset is enough afterwards."""
    yard = plant()
    yard.drivers.fail("open dfl-fme.0", errno.EPERM)
    assert yard.prepare(yard.file()).outcome == "refused"
    assert yard.prepare(reset=True).outcome == "ready"


@pytest.mark.parametrize("size", range(5))
def test_the_hardware_gets_whole_words(plant: Plant, size: int) -> None:
    """What follows the header goes to the driver, filled up with zeros to a multiple of four bytes."""
    yard = plant()
    got: list[bytes] = []
    ioctl = yard.drivers.ioctl

    def noting(descriptor: int, request: int, argument: bytes = b"") -> None:
        if request == dfl.PORT_PR:
            _, _, _, length, address = dfl.REQUEST.unpack_from(argument)
            got.append(ctypes.string_at(address, length))
        ioctl(descriptor, request, argument)

    yard.drivers.ioctl = noting  # type: ignore[method-assign]  # the driver of this test's hardware
    content = bitstream(A10_INTERFACE, NLB3, b"x" * size)
    assert yard.prepare(yard.file(content=content)).outcome == "ready"
    data = content[header(content).length :]
    assert got == [data + bytes(-len(data) % 4)]


def test_a_manager_in_an_error_is_programmed_again(plant: Plant) -> None:
    """Its state tells that somebody else's programming failed, whatever the port says."""
    yard = plant()
    yard.attribute("fpga_manager/fpga0/state", "write error")
    assert "'write error'" in yard.prepare().text
    wanted = yard.file(content=bitstream(A10_INTERFACE, NLB0))
    assert yard.prepare(wanted).programmed


def test_hardware_that_does_not_become_what_is_wanted_has_failed(plant: Plant) -> None:
    """What the region says after programming decides, and not what the driver's call returned."""
    yard = plant()
    wanted = yard.file(
        content=bitstream(A10_INTERFACE, NLB3).replace(b"accelerator " + NLB3.encode(), b"accelerator " + b"1" * 32)
    )
    prepared = yard.prepare(wanted)
    assert (prepared.outcome, prepared.text) == ("failed", f"after programming, {CARD} says {'1' * 32}, and not {NLB3}")
    assert yard.prepare(wanted).outcome == "failed"


@pytest.mark.parametrize("step", ["program", "reset"])
def test_a_card_that_is_lost_has_failed(plant: Plant, step: str) -> None:
    """It disappears in the middle."""
    yard = plant()
    function = yard.tree.sys / "bus/pci/devices" / CARD
    yard.drivers.before[step] = lambda: shutil.rmtree(function.resolve())
    prepared = yard.prepare(yard.file() if step == "program" else None)
    assert prepared.outcome == "failed"
    assert yard.prepare(yard.file()).text == f"there is no PCI function {CARD} now"


@pytest.mark.parametrize("machine", ["dfl_odd_afu_id", "dfl_empty_afu_id", "dfl_unreadable_afu_id"])
def test_what_makes_no_sense_is_programmed_away(plant: Plant, machine: str) -> None:
    """A region whose accelerator has no id holds nothing that is wanted; as it is, it is not ready for anybody."""
    yard = plant(machine)
    assert yard.prepare(reset=True).outcome == "failed"
    assert yard.prepare(yard.file()).afu_id == NLB3


def test_a_port_that_is_disabled_is_not_ready(plant: Plant) -> None:
    """Its reset succeeds and changes nothing; what it holds cannot be read, as after somebody else's programming has failed."""
    yard = plant("dfl_unreadable_afu_id")
    prepared = yard.prepare(reset=True)
    assert (prepared.outcome, prepared.text) == ("failed", f"{CARD} does not say what it holds, as a port that is disabled")
    assert yard.drivers.calls == RESETS


def test_a_port_that_never_says_what_it_holds_is_reset(plant: Plant) -> None:
    """Its driver has no file for that where the hardware tells of no accelerator; nothing is wrong then."""
    yard = plant()
    (afu_id,) = {file.resolve() for file in yard.tree.sys.rglob("dfl-port.0/afu_id")}
    afu_id.unlink()
    assert (yard.prepare(reset=True).outcome, yard.drivers.calls) == ("ready", RESETS)


def test_a_port_that_is_shut_off_is_not_in_use(plant: Plant) -> None:
    """Its driver clears nothing then and says EBUSY, which means no other user: the hardware has failed."""
    yard = plant()
    yard.attribute("dfl-port.0/errors/errors", "0x1")
    yard.drivers.fail("write errors/errors", errno.EBUSY)
    prepared = yard.prepare()
    assert prepared.outcome == "failed"
    assert "shut the port off (AP6)" in prepared.text


def test_all_ones_are_no_answer(plant: Plant) -> None:
    """A card that has fallen off its bus is not ready, although each step succeeds."""
    yard = plant("dfl_all_ones")
    assert yard.prepare().text == f"{CARD} does not answer: afu_id is all ones"
    assert yard.prepare(yard.file()).text == f"{CARD} does not answer: compat_id is all ones"
    assert yard.prepare(function=SECOND).outcome == "ready"


@pytest.mark.parametrize("step", ["open dfl-port.0", "program", "reset", "write"])
def test_what_hangs_is_left_behind(plant: Plant, step: str) -> None:
    """The answer comes in time; the function stays busy until the driver returns, which then goes no further."""
    yard = plant("dfl_two_cards")
    yard.attribute("dfl-port.0/errors/errors", "0x1")
    gate = yard.drivers.before[step] = Gate()
    late = yard.prepare(yard.file() if step == "program" else None, seconds=0.3)
    assert late.outcome == "late"
    assert gate.reached.is_set()
    del yard.drivers.before[step]
    busy = yard.prepare()
    assert busy.outcome == "busy"
    assert busy.text.startswith("the driver has not come back from ")
    assert yard.prepare(function=SECOND).outcome == "ready"
    before = list(yard.drivers.calls)
    gate.open()
    until(lambda: yard.prepare().outcome != "busy")
    assert yard.drivers.calls[: len(before)] == before
    assert yard.prepare(yard.file()).outcome == "ready"


def test_a_hang_keeps_its_region_from_others_of_it(plant: Plant) -> None:
    """Those who ask for the same region by other means are told so at once, and not after their own deadline."""
    yard = plant()
    gate = yard.drivers.before["reset"] = Gate()
    assert yard.prepare(seconds=0.2).outcome == "late"
    del yard.drivers.before["reset"]
    yard.preparer._late.clear()
    assert yard.prepare().outcome == "busy"
    gate.open()
    until(lambda: yard.prepare().outcome == "ready")


def test_no_time_is_late(plant: Plant) -> None:
    """A request whose deadline is over touches nothing."""
    yard = plant()
    assert yard.prepare(yard.file(), seconds=-1).outcome == "late"
    assert yard.drivers.calls == []


def test_a_card_that_hangs_in_sysfs_is_late(plant: Plant) -> None:
    """Even looking for it may not come back."""
    yard = plant("dfl_hanging")
    assert yard.prepare(seconds=0.2).outcome == "late"
    assert yard.prepare(seconds=0.2).outcome == "busy"


def test_locks_that_cannot_be_made_are_said(plant: Plant) -> None:
    """Without a lock nothing is touched."""
    yard = plant()
    Path(yard.settings.locks).write_text("")
    prepared = yard.prepare()
    assert prepared.outcome == "refused"
    assert "no lock can be made" in prepared.text


def test_seconds_are_told(plant: Plant) -> None:
    """How long it took is part of the answer."""
    yard = plant()
    begun = time.monotonic()
    assert 0 < yard.prepare().seconds <= time.monotonic() - begun
