"""The probe of a simulated machine: the real process reads a tree on which a script plays."""

import gc
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path

import pytest
import trio

from supervisor import Border, BorderFailed
from supervisor_fpga.config import FpgaConfig
from supervisor_fpga.operating.messages import PROGRAM, Bitstream, Options, Prepare, Prepared
from supervisor_fpga.operating.simulated import bitstream
from supervisor_fpga.report import Function, Report
from supervisor_fpga.simulate.intel import A10_INTERFACE, NLB3
from supervisor_fpga.simulate.layouts import NAMES
from supervisor_fpga.simulated import SimulatedProbe
from tests.plugins.fpga.machines import CARD, SECOND

PATIENCE = 60
Simulate = Callable[..., SimulatedProbe]


@pytest.fixture
def simulate(tmp_path: Path) -> Iterator[Simulate]:
    """Makes simulations whose trees lie in the test's own directory, and ends them."""
    made = []

    def begin(name: str, *script: str, places: Sequence[str | None] = (str(tmp_path),)) -> SimulatedProbe:
        made.append(SimulatedProbe(name, script, FpgaConfig(poll=1), places))
        return made[-1]

    yield begin
    for probe in made:
        probe.close()


async def seen(probe: SimulatedProbe, condition: Callable[[Report], bool]) -> Report:
    """Look whenever a poll asks for it, until a report is as it shall be."""
    with trio.fail_after(PATIENCE):
        report = await trio.to_thread.run_sync(probe.look)
        async with aclosing(probe.events()) as polls:
            while not condition(report):
                poll = await anext(polls)
                if poll.structure or poll.changes:
                    report = await trio.to_thread.run_sync(probe.look)
    return report


def one(report: Report, name: str) -> Function:
    """The function with this id."""
    (found,) = (function for function in report.functions if function.id == name)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_layout_is_seen_whole(name: str, simulate: Simulate) -> None:
    """The process that reads sysfs finds all functions, none of them broken, with their nodes, and says that they are simulated."""
    report = simulate(name).look()
    assert report.simulated == name
    assert {function.id for function in report.functions} == {
        "dfl-card": {CARD, SECOND},
        "alveo": {"0000:65:00.1", "0000:b3:00.1", "0000:b4:00.1"},
        "zynq": {"fpga0"},
    }[name]
    assert not report.refused
    for function in report.functions:
        assert (function.problem, function.unresponsive, function.evidence.errors) == ("", False, {})
        assert all(node.present for node in function.nodes)
        assert "user" in {node.role for node in function.nodes} or "port" in {node.role for node in function.nodes}


async def test_somebody_else_programs_a_function(simulate: Simulate) -> None:
    """No event tells of it: the polls do, and the other card is as it was."""
    probe = simulate("dfl-card", f"after 0s program {CARD} {NLB3}")
    report = await seen(probe, lambda report: one(report, CARD).afu_id == NLB3)
    assert one(report, SECOND).afu_id == NLB3


async def test_errors(simulate: Simulate) -> None:
    """Registers and heat are told by the polls."""
    probe = simulate("dfl-card", f"after 0s error {CARD} fme/catfatal_errors 0x2", f"after 0s hot {CARD} 110")
    report = await seen(probe, lambda report: any(sensor.alarm for sensor in one(report, CARD).evidence.sensors))
    assert one(report, CARD).evidence.errors == {"fme/catfatal_errors": 2}
    assert 110 in {sensor.value for sensor in one(report, CARD).evidence.sensors}
    assert one(report, SECOND).evidence.errors == {}


async def test_a_manager_fails(simulate: Simulate) -> None:
    """Its state has no events either."""
    probe = simulate("zynq", 'after 0s state fpga0 "write error" "reconfig CRC error"')
    report = await seen(probe, lambda report: one(report, "fpga0").evidence.state == "write error")
    assert one(report, "fpga0").evidence.status == ("reconfig CRC error",)


async def test_a_card_goes_and_comes(simulate: Simulate) -> None:
    """Without any uevent it is seen that a card has gone, and that it is back."""
    probe = simulate("dfl-card", f"after 0s remove {CARD}", f"after 5s add {CARD}")
    await seen(probe, lambda report: [function.id for function in report.functions] == [SECOND])
    await seen(probe, lambda report: [function.id for function in report.functions] == [CARD, SECOND])


async def test_a_card_hangs(simulate: Simulate) -> None:
    """Hardware that does not answer costs its own function the answers, and no other."""
    probe = simulate("dfl-card", f"after 1s hang {CARD}")
    report = await seen(probe, lambda report: any(function.unresponsive for function in report.functions))
    assert [function.unresponsive for function in report.functions] == [True, False]


async def test_what_is_programmed_is_seen(
    simulate: Simulate, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that operates FPGAs works on simulated ones, where its own environment says so; the script goes on from there."""
    folder = tmp_path_factory.mktemp("bitstreams")
    content = bitstream(A10_INTERFACE, NLB3)
    (folder / "nlb3.gbs").write_bytes(content)
    (folder / "nlb3.gbs").chmod(0o644)
    probe = simulate("dfl-card", f"after 0s error {CARD} port/errors 0x20", f"after 1h hot {CARD} 110")
    await seen(probe, lambda report: one(report, CARD).evidence.errors == {"port/errors": 0x20})
    for name, path in (("SIMULATED", Path(probe.host.sysfs).parent), ("BITSTREAMS", folder), ("LOCKS", folder / "locks")):
        monkeypatch.setenv(f"FPGA_{name}", str(path))
    border = Border(PROGRAM, probe.host, Options(probe.host.sysfs, probe.host.dev))
    try:
        wanted = Bitstream("nlb3.gbs", hashlib.sha256(content).hexdigest())
        deadline = time.monotonic() + PATIENCE
        request = Prepare(CARD, "", "dfl", deadline, wanted, ("dfl-ioctl",))
        answer = await trio.to_thread.run_sync(border.ask, request, Prepared, deadline)
        assert (answer.outcome, answer.programmed, answer.text) == ("ready", True, "")
        report = await seen(probe, lambda report: one(report, CARD).afu_id == NLB3)
        assert one(report, CARD).evidence.errors == {}
    finally:
        border.close()


def test_nothing_stays_behind(simulate: Simulate, tmp_path: Path) -> None:
    """At the end its tree is gone; ending it again does nothing."""
    probe = simulate("zynq", "after 1h remove fpga0")
    probe.look()
    assert Path(probe.host.sysfs).is_relative_to(tmp_path)
    probe.close()
    probe.close()
    assert not any(tmp_path.iterdir())


def test_a_forgotten_simulation_ends(tmp_path: Path) -> None:
    """Nobody says when a plugin is not needed any more: then its tree goes, too."""
    probe = SimulatedProbe("zynq", (), FpgaConfig(), (str(tmp_path),))
    assert any(tmp_path.iterdir())
    del probe
    gc.collect()
    assert not any(tmp_path.iterdir())


async def test_no_place(simulate: Simulate, tmp_path: Path) -> None:
    """Without any directory there is no machine, which is not a machine without FPGAs; who waits for its polls waits."""
    probe = simulate("zynq", places=(str(tmp_path / "missing"),))
    with pytest.raises(BorderFailed, match=r"needs a directory that can be written.*missing"):
        probe.look()
    assert probe.restarts == 0
    with trio.move_on_after(0.1) as waiting:
        async with aclosing(probe.events()) as polls:
            await anext(polls)
    assert waiting.cancelled_caught


def test_a_mistake(simulate: Simulate) -> None:
    """What cannot be played is refused before anything is written."""
    with pytest.raises(ValueError, match="there is no fpga7 to remove then"):
        simulate("zynq", "after 1s remove fpga7")
