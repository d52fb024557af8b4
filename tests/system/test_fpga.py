"""FPGAs through the whole supervisor: they are programmed before a container starts, and one region has one owner."""

import hashlib
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from supervisor.host import Host
from supervisor.kubelet.simulator import KubeletSimulator
from supervisor_fpga.simulate import changes
from supervisor_fpga.simulate.intel import NLB0, NLB3
from tests.border.conftest import HelperProcess, dead
from tests.system.fpga import (
    CARD,
    DMA,
    NLB,
    PATIENCE,
    SECOND,
    Bitstreams,
    Line,
    Node,
    at_once,
    children,
    notices,
    opened,
    programs,
    said,
    wait_starts,
    waiting,
)
from tests.system.rig import Process, assert_sound, wait_for

RESET = "fpga.example/reset"
CARDS = tuple(f"0000:{bus:02x}:00.0" for bus in range(0x10, 0x20))
FABRIC = "fpga0"
"""Of the layout ``zynq``."""
QUICK = {"holdDown": 0, "nonfatalErrors": "unhealthy"}


@pytest.fixture
def running() -> Iterator[ExitStack]:
    """What is ended when the test is over, the last first."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def bitstreams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bitstreams:
    """The directory that the process which operates FPGAs is told of, by its environment."""
    made = Bitstreams(tmp_path / "bitstreams")
    monkeypatch.setenv("FPGA_BITSTREAMS", str(made.folder))
    return made


@pytest.fixture
def node(
    tmp_path: Path, kubelet: KubeletSimulator, bitstreams: Bitstreams, running: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> Node:
    """A node with one card, whose drivers are simulated; no supervisor runs yet."""
    made = Node(tmp_path, kubelet, running, bitstreams)
    monkeypatch.setenv("FPGA_SIMULATED", str(made.tree.root))
    made.cards(CARD)
    return made


@pytest.fixture
def simulate(
    kubelet: KubeletSimulator, running: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Process]:
    """Start a supervisor whose one resource is the first function of a layout; the rest of the resource a test gives."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # whoever is told to stop clears nothing away

    def start(resource: dict[str, Any], *script: str, layout: str = "dfl-card") -> Process:
        section = {
            "simulate": {"layout": layout, "script": list(script)},
            "poll": 1,
            "health": QUICK,
            "programming": ["dfl-ioctl", "fpga-manager"],
            "resources": [{**resource, "match": [{"id": [CARD, FABRIC]}]}],
        }
        return running.enter_context(Process(kubelet.paths, tmp_path, {"fpga": section}, Host()))

    return start


def ids(node: Node, count: int = 1) -> dict[str, list[str]]:
    """The ids of both resources, in the order of the regions, once all are there."""
    return {resource: node.wait(resource, count) for resource in (NLB, DMA)}


def reason(process: Process) -> str:
    """Why the card that is to be reset is Unhealthy; empty where it is not."""
    return said(process, RESET).get(CARD, ("", ""))[1]


# --- programming ----------------------------------------------------------------------------------------------------------


def test_a_function_is_programmed_before_its_pod_starts(
    kubelet: KubeletSimulator, simulate: Callable[..., Process], bitstreams: Bitstreams
) -> None:
    """Its container is told what it will hold; afterwards everybody sees it; when the container starts again it is reset."""
    process = simulate({"name": NLB, "unit": "region", "program": bitstreams.program()})
    wait_for(lambda: [*kubelet.devices(NLB).values()] == ["Healthy"], PATIENCE, "the region")
    wait_for(lambda: programs(process) == {CARD: NLB0, SECOND: NLB3}, PATIENCE, "the metrics")
    pod = kubelet.add_pod("pod", {NLB: 1})
    assert pod.phase == "Running", (pod.message, pod.containers)
    (info,) = msgspec.json.decode(pod.containers["main"].options.envs["FPGA_DEVICE_INFO"])
    assert (info["id"], info["afuId"]) == (CARD, NLB3)
    wait_for(lambda: programs(process) == {CARD: NLB3, SECOND: NLB3}, PATIENCE, "the new AFU")
    wait_starts(process, {"ready": 1, "programmed": 1, "reset": 0})
    assert waiting(kubelet.restart_container("pod")) == ""
    wait_starts(process, {"ready": 2, "programmed": 1, "reset": 1})
    assert_sound(kubelet)


def test_a_wrong_bitstream_is_an_error_of_the_pod_alone(
    kubelet: KubeletSimulator, simulate: Callable[..., Process], bitstreams: Bitstreams
) -> None:
    """Its status says so in a short sentence, the device stays Healthy, and with the right file the next try succeeds."""
    program = bitstreams.program()
    right = (bitstreams.folder / "nlb.gbs").read_bytes()
    bitstreams.write("nlb.gbs", right + b"more")
    process = simulate({"name": NLB, "unit": "region", "program": program})
    wait_for(lambda: [*kubelet.devices(NLB).values()] == ["Healthy"], PATIENCE, "the region")
    (device,) = kubelet.devices(NLB)
    pod = kubelet.add_pod("pod", {NLB: 1})
    text = waiting(pod)
    assert f"{device} cannot be made ready: the bitstream nlb.gbs has the SHA-256 " in text
    assert len(text) < 400
    assert kubelet.devices(NLB) == {device: "Healthy"}
    wait_for(lambda: said(process, NLB) == {device: ("Healthy", "")}, PATIENCE, "the status")
    wait_for(lambda: programs(process).get(CARD) == NLB0, PATIENCE, "the metrics")
    bitstreams.write("nlb.gbs", right)
    assert waiting(kubelet.start_container("pod")) == ""
    wait_starts(process, {"refused": 1, "ready": 1, "programmed": 1, "reset": 0})


def test_a_fabric_is_programmed_at_each_start(
    kubelet: KubeletSimulator, simulate: Callable[..., Process], bitstreams: Bitstreams
) -> None:
    """An embedded FPGA does not tell what it holds."""
    bitstreams.write("design.bin", b"fabric")
    program = {"bitstream": "design.bin", "sha256": hashlib.sha256(b"fabric").hexdigest()}
    process = simulate({"name": NLB, "program": program}, layout="zynq")
    wait_for(lambda: [*kubelet.devices(NLB).values()] == ["Healthy"], PATIENCE, "the fabric")
    pod = kubelet.add_pod("pod", {NLB: 1})
    assert waiting(pod) == ""
    assert pod.containers["main"].options.envs["FPGA_DEVICES"] == FABRIC
    assert waiting(kubelet.restart_container("pod")) == ""
    wait_starts(process, {"ready": 2, "programmed": 2, "reset": 0})


# --- health ---------------------------------------------------------------------------------------------------------------


def test_an_error_of_the_hardware_is_cleared_by_a_start(
    kubelet: KubeletSimulator, simulate: Callable[..., Process], running: ExitStack
) -> None:
    """The device is Unhealthy with the reason, which does not keep its own container from starting again."""
    process = simulate({"name": RESET, "reset": True}, f"after 100ms error {CARD} port/errors 0x20")
    kubelet.wait_devices(RESET, {CARD: "Unhealthy"}, PATIENCE)
    wait_for(lambda: reason(process).startswith("Errors: "), PATIENCE, "the status")
    assert Line(kubelet, RESET, running).pre_start(CARD) == ""
    kubelet.wait_devices(RESET, {CARD: "Healthy"}, PATIENCE)
    wait_starts(process, {"ready": 1, "programmed": 0, "reset": 1}, RESET)


@pytest.mark.requires("patience")
def test_hardware_that_fails_a_start_is_unhealthy_until_one_succeeds(node: Node) -> None:
    """Also when what has kept it from being ready is over; the sentence is in the pod's status."""
    process = node.start(resources=[{"name": RESET, "reset": True}])
    node.wait(RESET, 1)
    assert node.kubelet.add_pod("pod", {RESET: 1}).phase == "Running"
    node.become(changes.in_state(node.tree.machine, CARD, "write error", "reconfig CRC error"))
    node.kubelet.wait_devices(RESET, {CARD: "Unhealthy"}, PATIENCE)
    text = waiting(node.kubelet.restart_container("pod"))
    assert f"{CARD} has failed: the FPGA manager of {CARD} is in the state 'write error' (reconfig CRC error)" in text
    node.become(changes.in_state(node.tree.machine, CARD, "unknown"))
    wait_for(lambda: reason(process).startswith("ProgrammingFailed: "), PATIENCE, "what is left")
    wait_for(lambda: "ManagerError" not in reason(process), PATIENCE, "the end of what is over")
    assert node.kubelet.devices(RESET) == {CARD: "Unhealthy"}
    assert waiting(node.kubelet.restart_container("pod")) == ""
    node.kubelet.wait_devices(RESET, {CARD: "Healthy"}, PATIENCE)
    wait_starts(process, {"ready": 2, "failed": 1, "programmed": 0, "reset": 2}, RESET)
    assert_sound(node.kubelet)


@pytest.mark.requires("patience")
def test_a_card_that_hangs_costs_its_own_container_alone(node: Node, running: ExitStack) -> None:
    """It is told in time, and the next card is ready at once; when the first answers again, it is ready at the next try."""
    node.cards(CARD, SECOND)
    node.start(resources=[{"name": RESET, "reset": True}], startDeadline=2.5)
    node.wait(RESET, 2)
    line = Line(node.kubelet, RESET, running)
    assert line.pre_start(SECOND) == ""
    node.become(changes.hanging(node.tree.machine, CARD, hangs=True))
    late, ready = at_once([partial(line.pre_start, CARD), partial(line.pre_start, SECOND)])
    assert late.startswith(f"{CARD} was not ready in time: ")
    assert ready == ""
    node.kubelet.wait_devices(RESET, {CARD: "Unhealthy", SECOND: "Healthy"}, PATIENCE)
    node.become(changes.hanging(node.tree.machine, CARD, hangs=False))
    wait_for(lambda: line.pre_start(CARD) == "", PATIENCE, "a start that succeeds")
    node.kubelet.wait_devices(RESET, {CARD: "Healthy", SECOND: "Healthy"}, PATIENCE)


# --- one region, two resources --------------------------------------------------------------------------------------------


def test_of_two_at_once_one_has_the_region(node: Node, running: ExitStack) -> None:
    """Sixteen times, on connections of their own: the other is told in one short sentence, lists show it, restarts change nothing."""
    node.cards(*CARDS)
    process = node.start(**node.bitstreams.both())
    found = ids(node, len(CARDS))
    lines = {resource: Line(node.kubelet, resource, running) for resource in found}
    won: dict[str, str] = {}
    for left, right in zip(found[NLB], found[DMA], strict=True):
        pairs = [(NLB, left), (DMA, right)]
        answers = at_once([partial(lines[resource].allocate, device) for resource, device in pairs])
        assert sorted(answer == "" for answer in answers) == [False, True], answers
        winner, loser = (pairs[answers.index("")], pairs[1 - answers.index("")])
        won[loser[1]] = f"its hardware is in use as {winner[1]} of {winner[0]}"
        assert won[loser[1]] in max(answers)
        assert len(max(answers)) < 250
        assert "\n" not in max(answers)
    assert {device.partition("@")[0] for device in won} == {f"{card}/region0" for card in CARDS}
    _all_occupied(process, won)
    process.kill()
    process = node.start(**node.bitstreams.both())
    _all_occupied(process, won)


def _all_occupied(process: Process, lost: dict[str, str]) -> None:
    def occupied() -> dict[str, str]:
        told = {**said(process, NLB), **said(process, DMA)}
        return {device: reason for device, (health, reason) in told.items() if health == "Occupied"}

    wait_for(lambda: len(occupied()) == len(lost), PATIENCE, "the lists")
    assert occupied() == lost


def test_a_region_in_use_is_programmed_for_nobody_else(node: Node, running: ExitStack) -> None:
    """Whatever list the kubelet holds: neither Allocate nor PreStartContainer gets it by its other id, and nothing is touched."""
    process = node.start(**node.bitstreams.both())
    (nlb,), (dma,) = ids(node).values()
    assert node.kubelet.add_pod("pod", {NLB: 1}).phase == "Running"
    line = Line(node.kubelet, DMA, running)
    for _ in range(3):
        assert f"in use as {nlb} of {NLB}" in line.allocate(dma)
        assert f"in use as {nlb} of {NLB}" in line.pre_start(dma)
    assert node.held() == {CARD: NLB3}
    wait_starts(process, {"programmed": 0, "reset": 0}, DMA)
    assert not node.kubelet.add_pod("second", {DMA: 1}).admitted
    node.kubelet.wait_devices(DMA, {dma: "Unhealthy"}, PATIENCE)
    assert waiting(node.kubelet.restart_container("pod")) == ""
    assert_sound(node.kubelet)


@pytest.mark.requires("patience")
def test_what_a_start_has_taken_is_taken(node: Node, running: ExitStack) -> None:
    """A start for an id shows who has the region, also where nobody remembers an Allocate: the other is refused."""
    node.start(**node.bitstreams.both())
    (nlb,), (dma,) = ids(node).values()
    assert Line(node.kubelet, NLB, running).pre_start(nlb) == ""
    assert f"in use as {nlb} of {NLB}" in Line(node.kubelet, DMA, running).allocate(dma)


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGTERM, marks=pytest.mark.requires("patience")), pytest.param(signal.SIGKILL)]
)
def test_a_hand_over_between_two_allocations(node: Node, running: ExitStack, number: signal.Signals) -> None:
    """The first was answered by the old process; the new one refuses the second, and the region is programmed for the first."""
    first = node.start(**node.bitstreams.both())
    (nlb,), (dma,) = ids(node).values()
    standby = node.start(**node.bitstreams.both())
    standby.wait_ready("standing by")
    assert Line(node.kubelet, NLB, running).allocate(nlb) == ""
    first.signal(number)
    first.wait()
    standby.wait_ready("active")
    node.kubelet.wait_devices(NLB, {nlb: "Healthy"}, PATIENCE)
    node.kubelet.wait_devices(DMA, {dma: "Unhealthy"}, PATIENCE)
    line = Line(node.kubelet, DMA, running)
    assert f"in use as {nlb} of {NLB}" in line.allocate(dma)
    assert f"in use as {nlb} of {NLB}" in line.pre_start(dma)
    assert Line(node.kubelet, NLB, running).pre_start(nlb) == ""
    assert node.held() == {CARD: NLB3}


@pytest.mark.requires("patience")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_hand_over_while_a_function_is_made_ready(node: Node, running: ExitStack, number: signal.Signals) -> None:
    """The start fails with its process, whose programs let go of the region: the next try succeeds."""
    first = node.start(**node.bitstreams.both())
    (nlb,), _ = ids(node).values()
    standby = node.start(**node.bitstreams.both())
    standby.wait_ready("standing by")
    assert waiting(node.kubelet.add_pod("pod", {NLB: 1})) == ""
    line = Line(node.kubelet, NLB, running)
    with node.region_locked(CARD) as lock, ThreadPoolExecutor(1) as pool:
        interrupted = pool.submit(line.pre_start, nlb)
        wait_for(lambda: any(str(lock) in opened(pid) for pid in children(first.pid)), PATIENCE, "the wait for the region")
        first.signal(number)
        assert interrupted.result(PATIENCE) != ""
        first.wait()
        standby.wait_ready("active")
    wait_for(lambda: waiting(node.kubelet.restart_container("pod")) == "", PATIENCE, "a start by the new owner")
    assert node.held() == {CARD: NLB3}


@pytest.mark.requires("patience")
def test_a_pod_has_two_regions_by_two_resources(node: Node) -> None:
    """Whatever the kubelet's lists said when it chose the second one: it is advised to take what is still free."""
    node.cards(CARD, SECOND)
    node.start(**node.bitstreams.both())
    ids(node, 2)
    pod = node.kubelet.add_pod("pod", containers={"first": {NLB: 1}, "second": {DMA: 1}})
    assert pod.phase == "Running", (pod.message, pod.containers)
    assert sorted(node.held().values()) == sorted([NLB0, NLB3])
    assert not node.kubelet.add_pod("third", {NLB: 1}).admitted
    assert_sound(node.kubelet)


@pytest.mark.requires("patience")
def test_an_edit_takes_no_region_from_its_pod(node: Node, running: ExitStack) -> None:
    """The resource of the pod is not offered any more; no other one gets its region for that, also after a restart."""
    section = node.bitstreams.both()
    process = node.start(**section)
    (nlb,), (dma,) = ids(node).values()
    assert node.kubelet.add_pod("pod", {NLB: 1}).phase == "Running"
    left = {**section, "resources": section["resources"][1:], "lookInterval": 3600}
    process.edit(plugins={"fpga": left})
    process.wait_generation(2)
    occupied = ("Occupied", f"its hardware is in use as {nlb} of {NLB}")
    wait_for(lambda: said(process, DMA) == {dma: occupied}, PATIENCE, "the list")
    process.kill()
    process = node.start(**left)
    wait_for(lambda: said(process, DMA) == {dma: occupied}, PATIENCE, "the list")
    assert f"in use as {nlb} of {NLB}" in Line(node.kubelet, DMA, running).allocate(dma)


@pytest.mark.parametrize("isolation", ["thread", pytest.param("process", marks=pytest.mark.requires("patience"))])
def test_fifty_starts_at_once_on_eight_regions(node: Node, running: ExitStack, isolation: str) -> None:
    """All are ready in the end. Never are two at work on one region: the simulated drivers let a card be open but once."""
    node.cards(*CARDS[:8])
    process = node.start(**node.bitstreams.both(), isolation=isolation)
    found = ids(node, 8)[NLB]
    line = Line(node.kubelet, NLB, running)
    calls = [partial(line.pre_start, found[number % 8]) for number in range(50)]
    assert at_once(calls) == [""] * 50
    wait_starts(process, {"ready": 50, "programmed": 8, "reset": 42})
    assert set(node.held().values()) == {NLB3}


@pytest.mark.requires("patience")
def test_of_two_starts_at_once_one_is_carried_out(node: Node, running: ExitStack) -> None:
    """On eight regions: each holds in the end what its winner asked for, and the other start has touched nothing."""
    node.cards(*CARDS[:8])
    process = node.start(**node.bitstreams.both())
    found = ids(node, 8)
    lines = {resource: Line(node.kubelet, resource, running) for resource in found}
    pairs = [(resource, device) for resource in found for device in found[resource]]
    answers = at_once([partial(lines[resource].pre_start, device) for resource, device in pairs])
    won = {pair[1].partition("/")[0]: pair[0] for pair, answer in zip(pairs, answers, strict=True) if not answer}
    assert answers.count("") == len(won) == 8
    assert all("its hardware is in use as " in answer for answer in answers if answer)
    assert node.held() == {card: {NLB: NLB3, DMA: NLB0}[resource] for card, resource in won.items()}
    for resource in found:
        count = [*won.values()].count(resource)
        wait_starts(process, {**({"ready": count} if count else {}), "programmed": count, "reset": 0}, resource)


# --- processes ------------------------------------------------------------------------------------------------------------


def test_an_edit_ends_the_processes_of_the_section_before(node: Node, running: ExitStack) -> None:
    """There are two programs, of which the second starts when it is needed; when the supervisor is told to stop, none is left."""
    process = node.start(**node.bitstreams.both())
    (nlb,), _ = ids(node).values()
    assert Line(node.kubelet, NLB, running).pre_start(nlb) == ""
    before = children(process.pid)
    assert sorted(before.values()) == ["fpga-operate", "fpga-sysfs"]
    process.edit(plugins={"fpga": {"lookInterval": 3600, "poll": 2, **node.bitstreams.both()}})
    process.wait_generation(2)
    wait_for(lambda: all(map(dead, before)), PATIENCE, "the end of the old processes")
    wait_for(lambda: sorted(children(process.pid).values()) == ["fpga-sysfs"], PATIENCE, "a new reader")
    wait_for(lambda: Line(node.kubelet, NLB, running).pre_start(nlb) == "", PATIENCE, "a start by the new section")
    after = children(process.pid)
    assert sorted(after.values()) == ["fpga-operate", "fpga-sysfs"]
    assert process.stop() == 0
    wait_for(lambda: all(map(dead, after)), PATIENCE, "the end of all")


def test_with_a_helper_it_operates(node: Node, short_dir: Path, running: ExitStack) -> None:
    """Its process is the helper's, also after another helper took its place; the supervisor's own only reads."""
    node.helper_socket = str(short_dir / "helper.sock")
    helper = HelperProcess(node.helper_socket)
    running.callback(helper.end)
    process = node.start(**node.bitstreams.both())
    ids(node)
    assert node.kubelet.add_pod("pod", {NLB: 1}).phase == "Running"
    assert node.held() == {CARD: NLB3}
    assert [*children(helper.process.pid).values()] == ["fpga-operate"]
    assert [*children(process.pid).values()] == ["fpga-sysfs"]
    assert not any("cannot start" in notice for notice in notices(process))
    helper.process.kill()
    helper.process.wait(20)
    wait_for(lambda: waiting(node.kubelet.restart_container("pod")) != "", PATIENCE, "a start without a helper")
    assert node.kubelet.devices(NLB).popitem()[1] == "Healthy"
    another = HelperProcess(node.helper_socket)
    running.callback(another.end)
    wait_for(lambda: waiting(node.kubelet.restart_container("pod")) == "", PATIENCE, "a start by the next helper")


def test_what_can_never_be_programmed_is_said(node: Node) -> None:
    """There is no helper, and no device that this process may write to: before a pod fails for it, /status says what is missing."""
    node.lock_nodes()
    if os.geteuid() == 0:
        node.wrap = lambda command: ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *command]
    node.cards(CARD)
    process = node.start(**node.bitstreams.both())
    for resource, (device,) in ids(node).items():
        wanted = (
            f"containers with {resource} cannot start: {device} cannot be programmed or reset from here, and there is no helper"
        )
        wait_for(lambda wanted=wanted: any(wanted in each for each in notices(process)), PATIENCE, wanted)  # type: ignore[misc]  # mypy infers no type for a default of a lambda
