"""The probe of a simulated machine: the real process reads a tree on which a script plays."""

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path

import pytest
import trio

from supervisor import BorderFailed
from supervisor_infiniband.config import InfinibandConfig
from supervisor_infiniband.report import PortState, Report
from supervisor_infiniband.simulate.layouts import NAMES
from supervisor_infiniband.simulated import SimulatedProbe

PATIENCE = 60
DUAL = "dual-port-infiniband"
Simulate = Callable[..., SimulatedProbe]


@pytest.fixture
def simulate(tmp_path: Path) -> Iterator[Simulate]:
    """Makes simulations whose trees lie in the test's own directory, and ends them."""
    made = []

    def begin(name: str, *script: str, places: Sequence[str | None] = (str(tmp_path),)) -> SimulatedProbe:
        probe = SimulatedProbe(name, script, InfinibandConfig(poll=0.1), places)
        made.append(probe)
        return probe

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


@pytest.mark.parametrize("name", NAMES)
def test_every_layout_is_seen_whole(name: str, simulate: Simulate) -> None:
    """The process that reads sysfs finds all devices, none of them broken, and says that they are simulated."""
    report = simulate(name).look()
    assert report.simulated == name
    assert len(report.devices) == {"dual-port-infiniband": 2, "rails-8": 8, "roce-16-vfs": 17}[name]
    assert not report.refused
    for one in report.devices:
        assert not one.problem
        assert one.uverbs in report.nodes
        assert len(one.endpoints) == 1


def links(report: Report) -> dict[str, PortState]:
    """The state of the first port of each device that answers, by its name."""
    return {one.name: one.ports[0].link.state for one in report.devices if not one.unresponsive}


async def test_a_port_goes_down(simulate: Simulate) -> None:
    """What a script does to a port is told by the polls, as on a real machine; the other port is as it was."""
    probe = simulate(DUAL, "after 0s down mlx5_0/1")
    report = await seen(probe, lambda report: links(report)["mlx5_0"] is PortState.DOWN)
    assert links(report)["mlx5_1"] is PortState.ACTIVE


async def test_a_port_comes_back(simulate: Simulate) -> None:
    """One port has lost its link and found it again by the time that the other loses its own."""
    probe = simulate(DUAL, "after 0s down mlx5_0/1", "after 200ms up mlx5_0/1", "after 300ms init mlx5_1/1")
    report = await seen(probe, lambda report: links(report)["mlx5_1"] is PortState.INIT)
    assert links(report)["mlx5_0"] is PortState.ACTIVE


async def test_devices_change(simulate: Simulate) -> None:
    """Virtual functions, other names and devices that move are seen without any uevent."""
    probe = simulate(DUAL, "after 0s vfs mlx5_0 2", "after 0s rename mlx5_0 to ibp59s0f0", "after 0s move mlx5_1 away")
    report = await seen(probe, lambda report: any(one.elsewhere for one in report.devices) and len(report.devices) == 4)
    assert {(one.id, one.name, one.kind, one.elsewhere) for one in report.devices} == {
        ("0000:3b:00.0", "ibp59s0f0", "pf", False),
        ("0000:3b:00.1", "mlx5_1", "pf", True),
        ("0000:3b:00.2", "mlx5_2", "vf", False),
        ("0000:3b:00.3", "mlx5_3", "vf", False),
    }


async def test_a_device_hangs(simulate: Simulate) -> None:
    """Firmware that does not answer costs its own device the answers, and no other."""
    probe = simulate(DUAL, "after 0s hang mlx5_0")
    report = await seen(probe, lambda report: any(one.unresponsive for one in report.devices))
    assert [one.name for one in report.devices if one.unresponsive] == ["mlx5_0"]


async def test_a_device_answers_again(simulate: Simulate) -> None:
    """What happens to a device after it has hung is seen."""
    probe = simulate(DUAL, "after 0s hang mlx5_0", "after 1s unhang mlx5_0", "after 1.1s down mlx5_0/1")
    await seen(probe, lambda report: links(report).get("mlx5_0") is PortState.DOWN)


def test_nothing_stays_behind(simulate: Simulate, tmp_path: Path) -> None:
    """At the end its tree is gone; ending it again does nothing."""
    probe = simulate(DUAL, "after 1h down mlx5_0/1")
    probe.look()
    assert any(tmp_path.iterdir())
    probe.close()
    probe.close()
    assert not any(tmp_path.iterdir())


def test_a_forgotten_simulation_ends(tmp_path: Path) -> None:
    """Nobody says when a plugin is not needed any more: then its tree goes, too."""
    probe = SimulatedProbe(DUAL, (), InfinibandConfig(), (str(tmp_path),))
    assert any(tmp_path.iterdir())
    del probe
    gc.collect()
    assert not any(tmp_path.iterdir())


def test_trees_of_others_that_have_ended_are_swept(simulate: Simulate, tmp_path: Path) -> None:
    """What a process has left that was killed goes at the next start; what is in use, or might be in a moment, stays."""
    living = simulate(DUAL)
    (used,) = tmp_path.iterdir()
    old, young, other = (tmp_path / name for name in ("supervisor-infiniband-old", "supervisor-infiniband-young", "other"))
    for path in (old, young, other):
        (path / "sys").mkdir(parents=True)
    for path in (old, other, used):
        os.utime(path, (0, 0))
    simulate(DUAL)
    assert {path for path in (used, old, young, other) if path.exists()} == {used, young, other}
    assert len(living.look().devices) == 2


def test_another_place(simulate: Simulate, tmp_path: Path) -> None:
    """Where there can be no directory in the first place, the next one is taken."""
    probe = simulate(DUAL, places=(str(tmp_path / "missing"), str(tmp_path)))
    assert len(probe.look().devices) == 2


def test_no_place(simulate: Simulate, tmp_path: Path) -> None:
    """Without any directory there is no machine, which is not a machine without devices."""
    probe = simulate(DUAL, places=(str(tmp_path / "missing"),))
    with pytest.raises(BorderFailed, match=r"needs a directory that can be written.*missing"):
        probe.look()
    assert probe.restarts == 0


async def test_no_place_has_no_polls(simulate: Simulate, tmp_path: Path) -> None:
    """Who waits for polls of a machine that could not be made waits, and can be told to stop."""
    probe = simulate(DUAL, places=(str(tmp_path / "missing"),))
    with trio.move_on_after(0.1) as waiting:
        async with aclosing(probe.events()) as polls:
            await anext(polls)
    assert waiting.cancelled_caught


def test_a_mistake(simulate: Simulate) -> None:
    """What cannot be played is refused before anything is written."""
    with pytest.raises(ValueError, match="there is no mlx5_7 to down then"):
        simulate(DUAL, "after 1s down mlx5_7/1")
