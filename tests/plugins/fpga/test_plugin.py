"""The plugin object: looks become devices, what is programmed is seen, and memory goes from owner to owner."""

import hashlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from msgspec.structs import replace
from trio.testing import wait_all_tasks_blocked

from supervisor import AllocationRefused, BorderFailed, ContainerEdits, Device, Health, Host
from supervisor.testing import FakeMemory, check_plugin
from supervisor_fpga.assembly import plugin
from supervisor_fpga.config import FpgaConfig
from supervisor_fpga.operating.messages import Prepare, Prepared
from supervisor_fpga.operating.simulated import bitstream
from supervisor_fpga.plugin import FpgaPlugin
from supervisor_fpga.report import Change, Evidence, Function, Node, Poll, Report
from supervisor_fpga.simulate.intel import A10_INTERFACE, NLB3
from tests.plugins.fpga.functions import AFU, OTHER_AFU, SUM, config_of, dfl, program, zynq

CARDS = "fpga.device-plugin-supervisor.io/dfl"
"""What each DFL function is offered as where nobody configures anything."""
NLB, DMA, RESET = "fpga.example/nlb", "fpga.example/dma", "fpga.example/reset"
PROGRAMMED = (
    f"programming: [dfl-ioctl], "
    f"resources: [{{name: {NLB}, unit: region, {program()}}}, {{name: {DMA}, unit: region, {program('dma.gbs')}}}]"
)
RESETTING = f"resources: [{{name: {RESET}, reset: true}}]"
FIRST, SECOND = "0000:3b:00.0", "0000:3b:00.1"
SOON = 20.0

Answer = Callable[[Prepare], Prepared]


class Script:
    """A source that says what a test wants."""

    restarts = 0

    def __init__(self, *functions: Function) -> None:
        self.report = Report(functions)
        self.send, self._receive = trio.open_memory_channel[Poll](100)

    def show(self, *functions: Function) -> None:
        """From the next look on, these are there."""
        self.report = replace(self.report, functions=functions)

    def look(self) -> Report:
        if self.report.simulated == "broken":
            raise BorderFailed("sysfs cannot be read")
        return self.report

    async def events(self) -> AsyncGenerator[Poll, None]:
        async for poll in self._receive:
            yield poll


class Operator:
    """The border to a process that answers what a test wants, and notes what it was asked."""

    restarts = 0
    where = "helper at /run/helper.sock"

    def __init__(self, answer: Answer = lambda request: Prepared("ready", was_reset=True)) -> None:
        self.asked: list[Prepare] = []
        self.answer = answer

    def ask(self, request: Prepare, kind: type[Any], deadline: float) -> Any:
        self.asked.append(request)
        return self.answer(request)


class Clock:
    """A time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def made(
    source: Script,
    section: str = "",
    *,
    memory: FakeMemory | None = None,
    operator: Operator | None = None,
    clock: Callable[[], float] = lambda: 1000.0,
) -> Any:
    """The plugin with this source, and its section in YAML without the braces."""
    host = Host(sysfs="/nonexistent", dev="/nonexistent")
    border: Any = operator or Operator()
    return FpgaPlugin(config_of(f"{{{section}}}"), host, memory or FakeMemory(), source, border, clock)


def health(devices: Mapping[str, Sequence[Device]], resource: str = CARDS) -> dict[str, bool]:
    return {device.id: device.health is Health.HEALTHY for device in devices[resource]}


@asynccontextmanager
async def watching(watched: Any) -> AsyncGenerator[trio.MemoryReceiveChannel[None], None]:
    """The looks that it asks for."""
    send, receive = trio.open_memory_channel[None](100)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watched.watch, lambda: send.send_nowait(None))
        with trio.fail_after(SOON):
            yield receive
        nursery.cancel_scope.cancel()


# --- the contract ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["dfl-card", "alveo", "zynq"])
def test_it_keeps_the_contract(layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that the supervisor does with a plugin, with simulated machines."""
    monkeypatch.setenv("FPGA_SIMULATED", "")
    simulated = plugin(msgspec.convert({"simulate": {"layout": layout}}, FpgaConfig), Host(), FakeMemory())
    report = check_plugin(simulated)
    assert (report.problems, report.advice) == ((), ()), str(report)
    assert sum(report.devices.values()) >= 1


@pytest.mark.parametrize("made_ready", ["program", "reset"])
def test_it_keeps_the_contract_where_functions_are_made_ready(
    made_ready: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real process programs and resets the simulated cards, as often as it is asked."""
    content = bitstream(A10_INTERFACE, NLB3)
    (tmp_path / "nlb3.gbs").write_bytes(content)
    (tmp_path / "nlb3.gbs").chmod(0o644)
    monkeypatch.setenv("FPGA_SIMULATED", "")
    monkeypatch.setenv("FPGA_BITSTREAMS", str(tmp_path))
    wanted = {"bitstream": "nlb3.gbs", "sha256": hashlib.sha256(content).hexdigest()}
    resource = {"name": NLB, "unit": "region", "program": wanted} if made_ready == "program" else {"name": RESET, "reset": True}
    section = {"simulate": {"layout": "dfl-card"}, "programming": ["dfl-ioctl"], "resources": [resource]}
    simulated: Any = plugin(msgspec.convert(section, FpgaConfig), Host(), FakeMemory())
    report = check_plugin(simulated)
    assert (report.problems, report.advice) == ((), ()), str(report)
    assert report.devices == {resource["name"]: 2}
    samples = {family.name: family.samples for family in simulated.collect_metrics()}
    ended = {sample.labels["outcome"]: sample.value for sample in samples["starts"] if sample.value}
    assert ended == {"ready": 4}, "two cards, twice"


# --- what containers get --------------------------------------------------------------------------------------------------


def test_several_devices_share_one_environment() -> None:
    """Lists in step, in the order that was asked, with the nodes of all."""
    asked = made(Script(dfl(0), dfl(1)))
    devices = {device.id: device for device in asked.discover()[CARDS]}
    given = asked.allocate(CARDS, [devices[SECOND], devices[FIRST]], devices[SECOND].edits)
    assert given.envs["FPGA_DEVICES"] == f"{SECOND},{FIRST}"
    assert [each["id"] for each in msgspec.json.decode(given.envs["FPGA_DEVICE_INFO"])] == [SECOND, FIRST]
    assert [node.host_path for node in given.device_nodes] == ["/dev/dfl-port.1", "/dev/dfl-port.0"]


def test_what_has_gone_is_refused() -> None:
    """The list that the kubelet holds may be older than the newest look; a start is refused as well."""
    source = Script(dfl(0), dfl(1))
    asked = made(source, RESETTING)
    devices = asked.discover()[RESET]
    source.show(dfl(0))
    asked.discover()
    with pytest.raises(AllocationRefused, match=r"0000:3b:00\.1 is not there any more"):
        asked.allocate(RESET, devices, devices[0].edits)
    with pytest.raises(AllocationRefused, match=r"0000:3b:00\.1 is not there any more"):
        asked.pre_start(RESET, devices)


def test_a_unit_whose_node_is_missing_is_refused() -> None:
    """The runtime's own error would name no reason; other functions are given as before."""
    asked = made(Script(dfl(0, nodes=(Node("/dev/dfl-port.0", "port", present=False),)), dfl(1)))
    broken, sound = asked.discover()[CARDS]
    assert (broken.healthy, sound.healthy) == (False, True)
    with pytest.raises(AllocationRefused, match=r"there is no /dev/dfl-port\.0 of 0000:3b:00\.0 now"):
        asked.allocate(CARDS, [broken], broken.edits)
    assert asked.allocate(CARDS, [sound], sound.edits) == sound.edits


def test_nothing_is_given_before_the_first_look() -> None:
    """Nobody knows then what there is; what is optional says nothing."""
    asked = made(Script(dfl(0)))
    with pytest.raises(AllocationRefused, match="have not been looked at"):
        asked.allocate(CARDS, [Device(FIRST)], ContainerEdits())
    with pytest.raises(AllocationRefused, match="have not been looked at"):
        asked.pre_start(CARDS, [Device(FIRST)])
    assert list(asked.preferred_allocation(CARDS, [FIRST], [], 1)) == []
    assert (list(asked.notices()), list(asked.collect_metrics()), list(asked.explain(FIRST))) == ([], [], [])


def test_of_a_region_one_container_has_all_that_is_made_of_it() -> None:
    """Each resource has an id of its own for it, and both have the region's claim; what nothing programs has none."""
    found = made(
        Script(dfl(0), dfl(1, programmable=(), interface_id="")), f"{PROGRAMMED[:-1]}, {{name: fpga.example/rest}}]"
    ).discover()
    (nlb,), (dma,), (rest,) = found[NLB], found[DMA], found["fpga.example/rest"]
    assert nlb.id != dma.id
    assert (nlb.claim, dma.claim, rest.claim) == (f"{FIRST}/region0", f"{FIRST}/region0", "")


def test_near_ones_are_preferred() -> None:
    """Of four cards at two NUMA nodes, two of one node."""
    cards = [dfl(number, pci=f"0000:{number + 1:02x}:00.0", id=f"0000:{number + 1:02x}:00.0") for number in range(4)]
    cards = [replace(each, card=each.id, region=f"{each.id}/region0") for each in cards]
    asked = made(Script(*cards))
    ids = [device.id for device in asked.discover()[CARDS]]
    assert asked.preferred_allocation(CARDS, ids, [ids[1]], 2) == [ids[1], ids[3]]


# --- over restarts --------------------------------------------------------------------------------------------------------


def test_a_function_stays_with_its_resource_over_a_restart() -> None:
    """A card that does not tell its shell now must not be free under another name."""
    section = "resources: [{name: fpga.example/fast, match: [{shell: ['0x123*']}]}, {name: fpga.example/rest}]"
    memory = FakeMemory()
    first = made(Script(dfl(0)), section, memory=memory)
    first.take_over()
    assert [device.id for device in first.discover()["fpga.example/fast"]] == [FIRST]
    second = made(Script(dfl(0, shell="")), section, memory=memory)
    second.take_over()
    found = second.discover()
    assert ([device.id for device in found["fpga.example/fast"]], found["fpga.example/rest"]) == ([FIRST], [])


def test_an_owner_goes_on_with_what_a_standby_has_not_seen() -> None:
    """A standby is made, and looks, before its predecessor keeps anything; what that kept counts when it takes over."""
    section = "resources: [{name: fpga.example/fast, match: [{shell: ['0x123*']}]}, {name: fpga.example/rest}]"
    memory = FakeMemory()
    source = Script()
    standby = made(source, section, memory=memory)
    standby.discover()
    owner = made(Script(dfl(0)), section, memory=memory)
    owner.take_over()
    owner.discover()
    source.show(dfl(0, shell=""))
    standby.take_over()
    assert [device.id for device in standby.discover()["fpga.example/fast"]] == [FIRST]


def test_a_restart_makes_no_function_whole() -> None:
    """An error that was believed has to be absent for the whole hold-down, whoever looks."""
    section = "health: {nonfatalErrors: unhealthy, holdDown: 5}"
    memory, clock = FakeMemory(), Clock()
    wrong = dfl(0, evidence=Evidence(errors={"port/errors": 0x20}))
    first = made(Script(wrong), section, memory=memory, clock=clock)
    first.take_over()
    assert health(first.discover()) == {FIRST: False}
    second = made(Script(dfl(0)), section, memory=memory, clock=clock)
    second.take_over()
    assert health(second.discover()) == {FIRST: False}
    clock.now += 6
    assert health(second.discover()) == {FIRST: True}


def test_a_failure_to_program_is_remembered() -> None:
    """Until a start has gone well: by then another process may be there."""
    memory = FakeMemory()
    first = made(Script(dfl(0)), RESETTING, memory=memory, operator=Operator(lambda request: Prepared("failed", "it is dead")))
    first.take_over()
    devices = first.discover()[RESET]
    with pytest.raises(AllocationRefused, match="has failed: it is dead"):
        first.pre_start(RESET, devices)
    assert health(first.discover(), RESET) == {FIRST: False}
    second = made(Script(dfl(0)), RESETTING, memory=memory)
    second.take_over()
    (device,) = second.discover()[RESET]
    assert not device.healthy
    assert "it is dead" in device.reason
    second.pre_start(RESET, [device])
    assert health(second.discover(), RESET) == {FIRST: True}


def test_memory_that_makes_no_sense_is_none() -> None:
    """An older version, or a broken file, keeps nobody from working."""
    senseless: list[dict[str, Any]] = [{"health": 5, "taken": ["x"], "files": "y"}, {"taken": {FIRST: 7}}]
    for memory in (*senseless, {"taken": {FIRST: {"a": {}}}}):
        looked = made(Script(dfl(0)), memory=FakeMemory(memory))
        looked.take_over()
        assert health(looked.discover()) == {FIRST: True}


# --- what people are told -------------------------------------------------------------------------------------------------


def test_who_waits_for_nothing_is_told_nothing() -> None:
    """A node without FPGAs is quiet, unless somebody has named resources there."""
    source = Script()
    source.report = Report(notices=("no driver for FPGAs is loaded",))
    quiet = made(source)
    assert (quiet.discover(), list(quiet.notices())) == ({}, [])
    for section in ("resources: [{name: fpga.example/x}]", "preset: intel-region"):
        waiting = made(source, section)
        waiting.discover()
        assert list(waiting.notices()) == ["no driver for FPGAs is loaded"]


def test_what_makes_no_sense_is_told() -> None:
    """From the first look on, and its neighbour is offered."""
    looked = made(Script(dfl(0), dfl(1, problem="its AFU id is '????'")))
    assert health(looked.discover()) == {FIRST: True}
    assert any(SECOND in notice and "'????'" in notice for notice in looked.notices())
    assert any("quarantined" in line for line in looked.explain(SECOND))


def test_what_looks_like_an_fpga_and_is_none_is_told() -> None:
    """On a node where nobody has configured anything, too: somebody has plugged it in."""
    source = Script()
    source.report = Report(refused={"0000:5e:00.0": "no driver is bound to it"})
    looked = made(source)
    looked.discover()
    assert "0000:5e:00.0 is not offered: no driver is bound to it" in looked.notices()


def test_what_cannot_be_reached_without_a_helper_is_told(tmp_path: Path) -> None:
    """Before a container fails for it."""
    (tmp_path / "dfl-port.0").symlink_to("nowhere")  # not even root may write to it
    operator = Operator()
    operator.where = "child of this process"
    host = Host(sysfs=str(tmp_path), dev=str(tmp_path))
    source: Any = Script(dfl(0))
    border: Any = operator
    looked = FpgaPlugin(config_of(f"{{{RESETTING}}}"), host, FakeMemory(), source, border)
    looked.discover()
    assert any(f"containers with {RESET} cannot start" in notice for notice in looked.notices())
    operator.where = "helper at /run/helper.sock"
    assert list(looked.notices()) == []


def test_a_look_that_fails_leaves_what_is_known() -> None:
    """The error is the supervisor's to tell; containers get what was there last."""
    source = Script(dfl(0))
    looked = made(source)
    (device,) = looked.discover()[CARDS]
    source.report = Report(simulated="broken")
    with pytest.raises(BorderFailed):
        looked.discover()
    assert looked.allocate(CARDS, [device], device.edits).envs["FPGA_DEVICES"] == FIRST


def test_events_of_what_is_declared_are_heard() -> None:
    """Beside those of all back ends."""
    plain = set(made(Script()).udev_subsystems)
    described = set(made(Script(), "declared: [{name: acme, subsystem: acme_fpga}]").udev_subsystems)
    assert {"fpga_region", "fpga_manager", "dfl", "pci", "vfio", "drm"} <= plain
    assert described - plain == {"acme_fpga"}


# --- before a container starts --------------------------------------------------------------------------------------------


def test_what_has_to_be_made_ready_is_known_before_the_first_look() -> None:
    """A resource may be registered with what was known of its devices before."""
    asked = made(Script(dfl(0)), f"{RESETTING[:-1]}, {{name: fpga.example/plain}}]")
    before = [asked.pre_start_required(name) for name in (RESET, "fpga.example/plain", "fpga.example/unknown")]
    asked.discover()
    after = [asked.pre_start_required(name) for name in (RESET, "fpga.example/plain", "fpga.example/unknown")]
    assert before == after == [True, False, False]


def test_a_start_asks_for_what_the_resource_says() -> None:
    """One region, two resources: the id that is asked for decides which bitstream."""
    operator = Operator()
    asked = made(Script(dfl(0)), PROGRAMMED, operator=operator)
    found = asked.discover()
    asked.pre_start(DMA, found[DMA])
    asked.pre_start(NLB, found[NLB])
    assert [each.bitstream.name for each in operator.asked if each.bitstream] == ["dma.gbs", "nlb.gbs"]
    assert {(each.function, each.region) for each in operator.asked} == {(FIRST, f"{FIRST}/region0")}
    assert all(each.bitstream is not None and each.bitstream.sha256 == SUM for each in operator.asked)


def test_an_unhealthy_device_is_started_with_and_recovers() -> None:
    """The kubelet tries again with the id that it has given out, whatever has become of it; a good start is what mends it."""
    operator = Operator(lambda request: Prepared("failed", "its manager says write error"))
    asked = made(Script(dfl(0)), PROGRAMMED, operator=operator)
    devices = asked.discover()[NLB]
    with pytest.raises(AllocationRefused, match="has failed: its manager says write error"):
        asked.pre_start(NLB, devices)
    unhealthy = asked.discover()
    assert [device.healthy for device in (*unhealthy[NLB], *unhealthy[DMA])] == [False, False]
    assert "its manager says write error" in unhealthy[NLB][0].reason
    operator.answer = lambda request: Prepared("ready", programmed=True)
    asked.pre_start(NLB, unhealthy[NLB])
    recovered = asked.discover()
    assert [device.healthy for device in (*recovered[NLB], *recovered[DMA])] == [True, True]


async def test_a_look_follows_what_was_programmed() -> None:
    """No event tells of it."""
    source = Script(dfl(0))
    watched = made(source, PROGRAMMED, operator=Operator(lambda request: Prepared("ready", programmed=True)))
    devices = watched.discover()[NLB]
    async with watching(watched) as asked:
        await trio.to_thread.run_sync(watched.pre_start, NLB, devices)
        await asked.receive()
        source.show(dfl(0, afu_id=OTHER_AFU))
        watched.discover()
    (function,) = (sample for family in watched.collect_metrics() if family.name == "function" for sample in family.samples)
    assert function.labels["afu_id"] == OTHER_AFU


async def test_a_look_follows_what_was_programmed_before_anybody_watched() -> None:
    """The kubelet may be served by then."""
    watched = made(Script(dfl(0)), PROGRAMMED, operator=Operator(lambda request: Prepared("ready", programmed=True)))
    watched.pre_start(NLB, watched.discover()[NLB])
    watched.discover()
    async with watching(watched) as asked:
        await asked.receive()


async def test_no_look_follows_a_start_that_changed_nothing() -> None:
    """Also no second one follows the look that a start has made necessary."""
    operator = Operator(lambda request: Prepared("refused", "the bitstream is missing"))
    watched = made(Script(dfl(0)), PROGRAMMED, operator=operator)
    devices = watched.discover()[NLB]
    async with watching(watched) as asked:
        with pytest.raises(AllocationRefused, match="the bitstream is missing"):
            await trio.to_thread.run_sync(watched.pre_start, NLB, devices)
        operator.answer = lambda request: Prepared("ready", programmed=True)
        await trio.to_thread.run_sync(watched.pre_start, NLB, devices)
        await asked.receive()
        watched.discover()
        await wait_all_tasks_blocked(0.05)
        with pytest.raises(trio.WouldBlock):
            asked.receive_nowait()


# --- what polls tell ------------------------------------------------------------------------------------------------------


async def test_what_a_poll_tells_is_looked_at() -> None:
    """What speaks against a function counts as soon as it has lasted."""
    source = Script(dfl(0), dfl(1))
    watched = made(source, "health: {holdDown: 0}")
    assert health(watched.discover()) == {FIRST: True, SECOND: True}
    async with watching(watched) as asked:
        evidence = Evidence(power_state=6)
        await source.send.send(Poll((Change(FIRST, evidence, AFU),)))
        await asked.receive()
        source.show(dfl(0, evidence=evidence), dfl(1))
        assert health(watched.discover()) == {FIRST: False, SECOND: True}


async def test_another_program_of_somebody_else_is_looked_at() -> None:
    """It may be offered by it, and people are told of it."""
    source = Script(dfl(0))
    watched = made(source, "preset: intel-af")
    (before,) = watched.discover()
    async with watching(watched) as asked:
        await source.send.send(Poll((Change(FIRST, Evidence(), OTHER_AFU),)))
        await asked.receive()
        source.show(dfl(0, afu_id=OTHER_AFU))
        found = watched.discover()
    assert [resource for resource, devices in found.items() if devices] != [before]


async def test_time_alone_is_enough() -> None:
    """What was absent for the hold-down is believed to be over, although nothing more happens."""
    source, clock = Script(dfl(0, evidence=Evidence(power_state=6))), Clock()
    watched = made(source, "health: {holdDown: 5}", clock=clock)
    watched.discover()
    async with watching(watched) as asked:
        source.show(dfl(0))
        await source.send.send(Poll((Change(FIRST, Evidence(), AFU),)))
        await wait_all_tasks_blocked()
        clock.now += 6
        await source.send.send(Poll())  # whatever comes makes it read its clock
        await asked.receive()
        assert health(watched.discover()) == {FIRST: True}


def test_a_fabric_without_a_port_is_offered_by_its_own_name() -> None:
    """Embedded FPGAs have no PCI address; nothing of a container depends on one."""
    looked = made(Script(zynq()))
    (device,) = looked.discover()["fpga.device-plugin-supervisor.io/manager"]
    assert device.id == "fpga0"
    assert device.edits.envs["FPGA_DEVICES"] == "fpga0"
