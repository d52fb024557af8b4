"""The demo as people start it: its acts come true, and nothing of it stays."""

import re
from collections.abc import Iterator

import pytest

from supervisor.demo import fpgas
from tests.demo.showing import ACTS, Showing


@pytest.fixture(scope="module")
def shown() -> Iterator[Showing]:
    """A demo without a terminal, which has ended by itself with 0."""
    with Showing() as demo:
        assert demo.end() == (0, ""), demo.output
        yield demo


def test_all_acts_come_true(shown: Showing) -> None:
    """Without a terminal it writes plain lines, and leaves nothing behind."""
    assert shown.done == ACTS
    assert "\x1b" not in shown.output
    assert not [line for line in shown.output.splitlines() if line != line.rstrip()]
    assert re.search(r"^ +gadget-user +\S+ +/dev/\S+ +rw +\d+:\d+ +opened$", shown.output, re.MULTILINE)
    assert "demo --keep" in shown.output
    assert shown.left_behind() == []


def test_simulated_gpus_fail_and_recover(shown: Showing) -> None:
    """They join the running supervisor; a pod gets two that are near to each other; one fails with its reason, and comes back."""
    numa = dict(re.findall(r"^ +(GPU-\S+) +([01]) +Healthy +\S+$", shown.output, re.MULTILINE))
    assert sorted(numa.values()) == ["0"] * 4 + ["1"] * 4
    near = re.findall(r"^ +(GPU-\S+) .* inference$", shown.output, re.MULTILINE)
    assert [numa[device] for device in near] == ["1", "1"]
    failed, end, *_ = shown.output.split(" is Unhealthy at the kubelet")
    assert failed.split()[-1] in numa
    assert re.search(r"^ +XID 95: .*reset[^✗]*Healthy at the kubelet", end, re.MULTILINE)


def test_a_port_of_a_simulated_card_goes_down_and_comes_back(shown: Showing) -> None:
    """A pod gets two cards that are near to each other; a port of one goes down, with its reason, and comes back by itself."""
    numa = dict(re.findall(r"^ +(0000:\S+) +([01]) +Healthy +\S+$", shown.output, re.MULTILINE))
    assert sorted(numa.values()) == ["0"] * 4 + ["1"] * 4
    near = re.findall(r"^ +(0000:\S+) .* storage$", shown.output, re.MULTILINE)
    assert [numa[device] for device in near] == ["1", "1"]
    *_, failed, end = shown.output.split(" is Unhealthy at the kubelet")
    assert failed.split()[-1] in near
    assert re.search(
        r"^ +PortDown: port 1 is DOWN.*allocatable 7 of 8.*Healthy at the kubelet.*✓", end, re.MULTILINE | re.DOTALL
    )


def test_an_fpga_is_programmed_before_its_pod_starts(shown: Showing) -> None:
    """A pod's container starts on a region that has become another one; a pod that wants the region's other resource is refused."""
    _, _, act = shown.output.partition("An FPGA that is not here")
    (before,) = re.findall(r"^ +before the pod +([0-9a-f]{32})$", act, re.MULTILINE)
    (programmed,) = re.findall(
        r"^ +when its container started +([0-9a-f]{32}), programmed by compress\.gbs$", act, re.MULTILINE
    )
    assert programmed == fpgas.WANTED.afu_id != before
    assert re.search(
        r"^ +Pod `vault` asked for encrypt, and was refused\. (\S+)@\S+ is Occupied:\n"
        r" +its hardware is in use as \1@\S+ of demo\.example\.com/compress$",
        act,
        re.MULTILINE,
    )
