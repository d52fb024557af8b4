"""Hotplug by event, with real netlink and libudev: what is plugged wakes those who want it, whatever goes wrong on the way."""

import sys
from pathlib import Path

import pytest

from tests.bed import hardware
from tests.bed.fakesys import Tree
from tests.bed.nsbed import IMPORT_ROOT, Bed
from tests.bed.program import Program


def watching(bed: Bed, *arguments: str, **env: str) -> Program:
    """Start the event source and wait until it listens."""
    program = bed.spawn(sys.executable, "-m", "tests.bed.watching", *arguments, PYTHONPATH=str(IMPORT_ROOT), **env)
    assert program.json() == "ready"
    return program


def assert_told(program: Program, action: str, subsystems: list[str]) -> None:
    """Each event is told in order, and each is followed by a wake of its subsystem; one turn may have taken several."""
    events: list[str] = []
    unwoken: set[str] = set()
    while len(events) < len(subsystems) or unwoken:
        match program.json():
            case ["event", str(subsystem), str(said)]:
                assert said == action
                events.append(subsystem)
                unwoken.add(subsystem)
            case woken:
                unwoken.remove(woken)
    assert events == subsystems


def test_each_event_of_an_adapter_wakes_its_subsystem(bed: Bed) -> None:
    """Arrival and departure are both told; no udevd is needed."""
    program = watching(bed, "pci", "infiniband")
    adapter = hardware.infiniband(bed.tree)
    told = [bed.tree.subsystem(devpath) for devpath in adapter if bed.tree.subsystem(devpath) in {"pci", "infiniband"}]
    for devpath in adapter:
        bed.plugged(devpath, sources=("kernel",))
    assert_told(program, "add", told)
    for devpath in reversed(adapter):
        bed.unplug(devpath, sources=("kernel",))
    assert_told(program, "remove", told[::-1])
    program.close_input()
    assert program.wait() == 0


def test_a_plugin_may_want_everything(bed: Bed) -> None:
    """A star wants every subsystem, the one of a camera too."""
    program = watching(bed, "*")
    camera = hardware.camera(bed.tree)
    bed.plugged(*camera, sources=("kernel",))
    assert_told(program, "add", [bed.tree.subsystem(devpath) for devpath in camera])


def test_lost_events_become_a_full_look_and_the_source_lives_on(bed: Bed) -> None:
    """After ENOBUFS everyone is woken, once more when the rest is drained, and the next event arrives as ever."""
    program = watching(bed, "mem", "pci", "--overflow")
    said = [program.json()]
    while said.count("*") < 2:
        said.append(program.json())
    assert said[0] == ["impaired", "more events came than the kernel could keep; all plugins look again"]
    assert said[1] == "*"
    assert said.count(["event", "mem", "change"]) > 0
    assert said.count(said[0]) == 1
    (gpu,) = hardware.gpu(bed.tree)
    bed.plugged(gpu, sources=("kernel",))
    assert program.json() == ["event", "pci", "add"]
    assert program.json() == "pci"


@pytest.mark.requires("user-namespaces")
def test_a_user_namespace_of_its_own_is_said_to_be_deaf(short_dir: Path) -> None:
    """There the kernel sends no events; the reason and the cure are told, and made-up events still arrive."""
    with Bed(Tree(short_dir / "tree", real_nodes=False), privileged=False) as bed:
        program = bed.spawn(sys.executable, "-m", "tests.bed.watching", "pci", PYTHONPATH=str(IMPORT_ROOT))
        kind, reason = program.json()
        assert kind == "impaired"
        assert "hostUsers: true" in reason
        assert program.json() == "ready"
        (gpu,) = hardware.gpu(bed.tree)
        bed.plugged(gpu, sources=("kernel",))
        assert program.json() == ["event", "pci", "add"]
