"""Ways of programming other than ioctls: what they write and run, and what they refuse."""

import errno
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from supervisor_fpga.operating.outcome import Clock, Stopped
from supervisor_fpga.simulate.embedded import Fabric, embedded_machine
from tests.plugins.fpga.machines import CARD
from tests.plugins.fpga.operating.yard import PATIENCE, Gate, Yard, until

Plant = Callable[..., Yard]


def zynq(plant: Plant) -> Yard:
    """A Zynq whose kernel has the vendor's attributes, and where the kernel looks for firmware."""
    return plant("layout zynq")


def firmware_class(yard: Yard) -> Path:
    return yard.tree.sys / "module/firmware_class/parameters/path"


def test_the_manager_loads_a_file(plant: Plant) -> None:
    """The kernel is told where bitstreams are, loads one as a whole, and looks there no longer."""
    yard = zynq(plant)
    prepared = yard.prepare(yard.file("design.bin", b"fabric"), "fpga0", backend="manager")
    assert (prepared.outcome, prepared.programmed, prepared.afu_id) == ("ready", True, "")
    assert yard.drivers.calls == ["write parameters/path", "write fpga0/flags", "write fpga0/firmware", "write parameters/path"]
    assert yard.attribute("fpga0/firmware") == "design.bin"
    assert (yard.tree.sys / "module/firmware_class/parameters/path").read_text() == "\n"


def test_what_it_holds_no_file_says(plant: Plant) -> None:
    """So it is programmed at each start."""
    yard = zynq(plant)
    wanted = yard.file("design.bin", b"fabric")
    assert yard.prepare(wanted, "fpga0", backend="manager").programmed
    assert yard.prepare(wanted, "fpga0", backend="manager").programmed


def test_a_kernel_that_reads_no_firmware_by_itself_is_no_broken_fpga(plant: Plant) -> None:
    """It has no parameter for that: the start is refused, and the device stays Healthy."""
    yard = zynq(plant)
    firmware_class(yard).unlink()
    prepared = yard.prepare(yard.file("design.bin", b"fabric"), "fpga0", backend="manager")
    assert (prepared.outcome, "firmware_class.path" in prepared.text) == ("refused", True)
    assert yard.drivers.calls == []


def test_another_directory_of_firmware_is_left_alone(plant: Plant) -> None:
    """What an administrator has set is not taken away, not even for a moment."""
    yard = zynq(plant)
    (yard.tree.sys / "module/firmware_class/parameters/path").write_text("/lib/other\n")
    prepared = yard.prepare(yard.file("design.bin", b"fabric"), "fpga0", backend="manager")
    assert prepared.outcome == "refused"
    assert "/lib/other" in prepared.text
    assert yard.drivers.calls == []


def test_two_managers_do_not_take_it_from_each_other(plant: Plant) -> None:
    """Where the kernel looks is one setting for all: who sets it second waits until the first has put it back."""
    yard = plant(embedded_machine(Fabric(attributes=True), Fabric(index=1, attributes=True)))
    parameter = firmware_class(yard)
    wanted = yard.file("design.bin", b"fabric")
    searched: list[str] = []
    gate = yard.drivers.before["write fpga0/firmware"] = Gate()
    yard.drivers.before["write fpga1/firmware"] = lambda: searched.append(parameter.read_text())
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(yard.prepare, wanted, "fpga0", backend="manager")
        assert gate.reached.wait(PATIENCE)
        second = pool.submit(yard.prepare, wanted, "fpga1", backend="manager")
        until(lambda: len(yard.tools.regions._queues["firmware_class/parameters/path"]) == 2)
        gate.open()
        assert (first.result().outcome, second.result().outcome) == ("ready", "ready")
    assert searched == [f"{yard.folder}\n"]
    assert parameter.read_text() == "\n"


@pytest.mark.parametrize("state", ["write error", "firmware request error", "power off"])
def test_a_manager_that_does_not_operate_has_failed(plant: Plant, state: str) -> None:
    """The write succeeds when the kernel has begun; the state tells the end."""
    yard = zynq(plant)
    write = yard.drivers.write

    def failing(path: str, text: str) -> None:
        write(path, text)
        yard.attribute("fpga_manager/fpga0/state", state)

    yard.drivers.write = failing  # type: ignore[method-assign]  # the driver of this test's hardware
    prepared = yard.prepare(yard.file("design.bin", b"fabric"), "fpga0", backend="manager")
    assert prepared.outcome == ("refused" if state == "firmware request error" else "failed")
    assert state in prepared.text


def test_a_file_that_the_kernel_does_not_find_is_no_broken_hardware(plant: Plant) -> None:
    """It looks for it on the host, where the directory may be another one: the device is there, and as it was."""
    yard = zynq(plant)
    yard.drivers.fail("write fpga0/firmware", errno.ENOENT)
    prepared = yard.prepare(yard.file("design.bin", b"fabric"), "fpga0", backend="manager")
    assert prepared.outcome == "refused"
    assert f"does not find design.bin in {yard.folder}" in prepared.text


def test_a_manager_that_goes_has_failed(plant: Plant) -> None:
    """The same error, where it is the device that is not there."""
    yard = zynq(plant)
    manager = (yard.tree.sys / "class/fpga_manager/fpga0").resolve()
    yard.drivers.before["write fpga0/firmware"] = lambda: shutil.rmtree(manager)
    prepared = yard.prepare(yard.file("design.bin", b"fabric"), "fpga0", backend="manager")
    assert (prepared.outcome, "the device is gone" in prepared.text) == ("failed", True)


@pytest.mark.parametrize(("state", "outcome"), [("operating", "refused"), ("write error", "failed")])
def test_a_tool_that_fails_does_not_condemn_the_hardware(plant: Plant, state: str, outcome: str) -> None:
    """The bitstream or the tool may be to blame, unless the manager itself says that it has failed; it is programmed again then."""
    yard = zynq(plant)

    def run(arguments: Sequence[str], clock: Clock, lock: int) -> None:
        yard.attribute("fpga_manager/fpga0/state", state)
        raise Stopped("failed", "busctl ended with 1: no such file")

    yard.drivers.run = run  # type: ignore[method-assign]  # the tool of this test
    prepared = yard.prepare(yard.file("design.bin", b"x"), "fpga0", backend="manager", ways=("fpgad",))
    assert (prepared.outcome, prepared.text) == (outcome, "busctl ended with 1: no such file")
    assert "once began" in yard.prepare(function="fpga0", backend="manager").text or state != "operating"


def test_a_card_s_manager_is_no_embedded_one(plant: Plant) -> None:
    """Whoever asks for it by its name would get around the lock of the card's region."""
    yard = plant("dfl_a10")
    prepared = yard.prepare(yard.file("design.bin", b"x"), "fpga0", backend="manager", ways=("fpgad",))
    assert (prepared.outcome, yard.drivers.commands) == ("refused", [])


def test_a_manager_has_no_reset(plant: Plant) -> None:
    """A policy that asks for what the driver cannot do is said to be wrong."""
    yard = zynq(plant)
    assert yard.prepare(function="fpga0", backend="manager", reset=True).text == "the driver of fpga0 has no reset"


def test_fpgad_is_called_on_the_bus(plant: Plant) -> None:
    """It gets the manager's name and the file's path, and finds out the rest."""
    yard = zynq(plant)
    assert yard.prepare(yard.file("design.bin", b"x"), "fpga0", backend="manager", ways=("fpgad",)).outcome == "ready"
    (command,) = yard.drivers.commands
    assert command[:3] == ["busctl", "--system", "--quiet"]
    assert command[-6:] == ["WriteBitstreamDirect", "ssss", "", "fpga0", str(yard.folder / "design.bin"), ""]


def test_xrt_programs_and_resets(plant: Plant) -> None:
    """Its tool does both, by the address of the user function."""
    yard = plant("u250")
    function = user(yard)
    assert yard.prepare(yard.file("a.xclbin", b"x"), function, backend="xrt", ways=("xrt",)).programmed
    assert yard.prepare(function=function, backend="xrt", reset=True).was_reset
    program, reset = yard.drivers.commands
    assert program[1:] == ["program", "--device", function, "--user", str(yard.folder / "a.xclbin")]
    assert reset[1:] == ["reset", "--device", function, "--force"]


def test_xrt_resets_before_it_programs(plant: Plant) -> None:
    """Its driver does nothing where the card has that bitstream already, and then the tenant before would be there still."""
    yard = plant("u250")
    function = user(yard)
    prepared = yard.prepare(yard.file("a.xclbin", b"x"), function, backend="xrt", ways=("xrt",), reset=True)
    assert (prepared.programmed, prepared.was_reset) == (True, True)
    assert [command[1] for command in yard.drivers.commands] == ["reset", "program"]


def test_what_xrt_has_programmed_is_verified(plant: Plant) -> None:
    """The tool's word is not enough where the driver tells which bitstream the card has."""
    yard = plant("u250")
    spelt = "-".join(("5" * 8, "5" * 4, "5" * 4, "5" * 4, "5" * 12))
    wanted = yard.file("a.xclbin", b"x", afu_id=spelt)
    prepared = yard.prepare(wanted, user(yard), backend="xrt", ways=("xrt",))
    assert (prepared.outcome, prepared.text.startswith(f"after programming, {user(yard)} says ")) == ("failed", True)
    yard.attribute("xclbinuuid", spelt)
    assert yard.prepare(wanted, user(yard), backend="xrt", ways=("xrt",)).afu_id == "5" * 32
    yard.attribute("xclbinuuid", "(null)")
    assert yard.prepare(function=user(yard), backend="xrt", reset=True).outcome == "ready"


@pytest.mark.parametrize("number", [0, 1])
def test_only_user_functions_of_xrt_are_reset(plant: Plant, number: int) -> None:
    """No other function of a machine is touched, be it of the same card or of another kind."""
    yard = plant("u250" if number == 0 else "dfl_a10")
    function = f"{user(yard)[:-1]}0" if number == 0 else CARD
    prepared = yard.prepare(function=function, backend="xrt", reset=True)
    assert (prepared.outcome, yard.drivers.commands) == ("refused", [])


def user(yard: Yard) -> str:
    """The user function of a machine with one."""
    return next(each.id for each in yard.tree.machine.functions if each.id.endswith(".1"))


def test_a_command_of_the_administrator_s(plant: Plant, tmp_path: Path) -> None:
    """It is run with the id and the file, for hardware that nothing else knows."""
    program = tmp_path / "flash"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    yard = plant("dfl_a10", command=str(program))
    wanted = yard.file("a.bit", b"x")
    assert yard.prepare(wanted, "board0", backend="declared", ways=("command",)).outcome == "ready"
    assert yard.drivers.commands == [["flash", "program", "board0", str(yard.folder / "a.bit")]]
    program.chmod(0o777)
    refused = yard.prepare(wanted, "board0", backend="declared", ways=("command",))
    assert refused.outcome == "refused"
    assert len(yard.drivers.commands) == 1
