"""A region of an FPGA from its first container to that of another resource: it is free when the kubelet's lists show so."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from supervisor.kubelet.simulator import EventKind, KubeletSimulator, Paths
from supervisor_fpga.simulate.intel import NLB0, NLB3
from tests.system.fpga import CARD, DMA, NLB, PATIENCE, Bitstreams, Node, said, waiting
from tests.system.rig import Process, assert_sound, wait_for

pytestmark = pytest.mark.requires("patience")


@pytest.fixture
def running() -> Iterator[ExitStack]:
    """What is ended when the test is over, the last first."""
    with ExitStack() as stack:
        yield stack


def made(folder: Path, kubelet: KubeletSimulator, running: ExitStack, monkeypatch: pytest.MonkeyPatch) -> Node:
    """A node with one card."""
    bitstreams = Bitstreams(folder / "bitstreams")
    node = Node(folder, kubelet, running, bitstreams)
    monkeypatch.setenv("FPGA_BITSTREAMS", str(bitstreams.folder))
    monkeypatch.setenv("FPGA_SIMULATED", str(node.tree.root))
    node.cards(CARD)
    return node


def change_hands(node: Node, process: Process, again: Callable[[], Process], patience: float) -> None:
    """A pod has the region, over a restart of the supervisor; after its end another resource's pod gets it, with what that wants."""
    (nlb,), (dma,) = node.wait(NLB, 1), node.wait(DMA, 1)
    taken = ("Occupied", f"its hardware is in use as {nlb} of {NLB}")
    assert node.kubelet.add_pod("first", {NLB: 1}).phase == "Running"
    assert node.held() == {CARD: NLB3}
    node.kubelet.wait_devices(DMA, {dma: "Unhealthy"}, PATIENCE)
    process.kill()
    since = node.kubelet.events.position
    process = again()
    event = node.kubelet.wait_event(EventKind.LIST_RECEIVED, PATIENCE, since, resource=DMA)
    assert (event["healthy"], event["unhealthy"]) == (0, 1)
    wait_for(lambda: said(process, DMA).get(dma) == taken, PATIENCE, "the status")
    node.kubelet.wait_devices(NLB, {nlb: "Healthy"}, PATIENCE)
    assert waiting(node.kubelet.restart_container("first")) == ""
    node.kubelet.delete_pod("first")
    assert not node.kubelet.add_pod("early", {DMA: 1}).admitted
    node.kubelet.wait_devices(DMA, {dma: "Healthy"}, patience)
    wait_for(lambda: said(process, DMA).get(dma) == ("Healthy", ""), PATIENCE, "the status")
    second = node.kubelet.add_pod("second", {DMA: 1})
    assert (second.phase, second.device_ids) == ("Running", [dma])
    assert node.held() == {CARD: NLB0}
    node.kubelet.wait_devices(NLB, {nlb: "Unhealthy"}, PATIENCE)
    assert_sound(node.kubelet)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_ledger_frees_a_region(
    tmp_path: Path, kubelet: KubeletSimulator, running: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a minute of quiet, and two readings that agree."""
    node = made(tmp_path, kubelet, running, monkeypatch)
    section = node.bitstreams.both()
    change_hands(node, node.start(**section), lambda: node.start(**section), 200)


def test_where_nobody_can_be_asked_the_setting_frees_a_region(
    tmp_path: Path, short_dir: Path, running: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are neither podresources nor a checkpoint; a claim ends so long after it was last named."""
    kubelet = running.enter_context(KubeletSimulator(short_dir, sources_delay=0.0, checkpoints=False))
    node = made(tmp_path, kubelet, running, monkeypatch)
    node.paths = Paths(kubelet.paths.device_plugins, short_dir / "nowhere")
    node.sections = {"ledger": {"tombstoneSeconds": 10}}
    section = node.bitstreams.both()
    change_hands(node, node.start(**section), lambda: node.start(**section), 60)
