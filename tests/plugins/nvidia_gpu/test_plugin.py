"""The plugin object: one look becomes devices, notices, metrics and explanations, and memory goes from owner to owner."""

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from msgspec.structs import replace

from supervisor import AllocationRefused, Device, Health, NodeFacts
from supervisor.testing import FakeHost
from supervisor_nvidia_gpu.assembly import plugin
from supervisor_nvidia_gpu.compat import Folded
from supervisor_nvidia_gpu.config import NvidiaGpuConfig
from supervisor_nvidia_gpu.plugin import CheckingPlugin, NvidiaGpuPlugin, needs_checks
from supervisor_nvidia_gpu.report import Gpu, GpuEvent, Report
from supervisor_nvidia_gpu.section import NvidiaGpuSection
from tests.plugins.nvidia_gpu.gpus import config_of, gpu

GPU = "nvidia.com/gpu"


class Script:
    """A source that says what a test wants."""

    restarts = 2

    def __init__(self, *gpus: Gpu) -> None:
        self.report = Report(gpus=gpus, driver="580.65.06")
        self.send, self._receive = trio.open_memory_channel[GpuEvent](100)

    def look(self) -> Report:
        return self.report

    async def events(self) -> AsyncIterator[GpuEvent]:
        async for event in self._receive:
            yield event


class Kept:
    """A memory that does not forget while the test lasts."""

    def __init__(self) -> None:
        self.value: Mapping[str, Any] = {}

    def recall(self) -> Mapping[str, Any]:
        return self.value

    def keep(self, value: Mapping[str, Any]) -> None:
        self.value = value


class Clock:
    """It stands still."""

    def __call__(self) -> float:
        return 1000.0


class Rig:
    """A plugin with its surroundings."""

    def __init__(
        self, folder: Path, *gpus: Gpu, text: str = "{}", memory: Kept | None = None, clock: Callable[[], float] | None = None
    ) -> None:
        self.source = Script(*gpus)
        self.clock = clock or Clock()
        self.memory = memory or Kept()
        self.host = FakeHost(folder)
        config: NvidiaGpuConfig = config_of(text)
        kind = CheckingPlugin if needs_checks(config) else NvidiaGpuPlugin
        folded = Folded(config, unsupported=("the file: mps is not supported",))
        self.plugin = kind(folded, self.host.host, self.memory, self.source, clock=self.clock)

    def look(self, resource: str = GPU) -> dict[str, Device]:
        """One look; the devices of a resource by id."""
        return {device.id: device for device in self.plugin.discover().get(resource, ())}

    def xid(self, number: int, xid: int) -> None:
        """An XID arrives."""
        now = self.clock()
        self.plugin._monitor.events((GpuEvent("xid", self.source.report.gpus[number].uuid, now, xid),), now)


def test_the_node_says_that_cdi_works(tmp_path: Path) -> None:
    """What is chosen by default follows what is known of the node, from one look to the next."""
    directory = tmp_path / "cdi"
    rig = Rig(tmp_path / "host", gpu(0), text=f"cdi: {{directory: {directory}}}")
    rig.plugin.take_over()
    rig.look()
    assert any("nothing says that the container runtime knows CDI" in notice for notice in rig.plugin.notices())
    rig.plugin.learn_node(NodeFacts("node", {}, "containerd://2.1.4", "v1.34.1"))
    rig.look()
    assert any("no cdi-cri, since" in notice for notice in rig.plugin.notices()), "no driver is installed here"
    rig.plugin.learn_node(NodeFacts("node", {}, "containerd://1.7.2", "v1.34.1"))
    rig.look()
    assert any("nothing says that the container runtime knows CDI" in notice for notice in rig.plugin.notices())


def test_time_slices_share_the_fate_of_their_gpu(tmp_path: Path) -> None:
    """One XID makes all of them Unhealthy with one reason, and no slice of another GPU."""
    text = "sharing: {timeSlicing: {resources: [{name: nvidia.com/gpu, replicas: 2}]}}"
    rig = Rig(tmp_path, gpu(0), gpu(1), text=text)
    assert {device.health for device in rig.look().values()} == {Health.HEALTHY}
    rig.xid(1, 79)
    found = rig.look()
    bad = {name for name, device in found.items() if device.health is Health.UNHEALTHY}
    assert bad == {f"{gpu(1).uuid}::0", f"{gpu(1).uuid}::1"}
    assert len({found[name].reason for name in bad}) == 1
    assert "XID 79" in found[min(bad)].reason


def test_a_successor_goes_on_where_the_owner_ended(tmp_path: Path) -> None:
    """What was kept after its own start is recalled when it takes over; before that it has not known."""
    memory = Kept()
    standby = Rig(tmp_path / "standby", gpu(0), memory=memory)
    owner = Rig(tmp_path / "owner", gpu(0), memory=memory)
    owner.look()
    owner.xid(0, 79)
    assert not owner.look()[gpu(0).uuid].healthy
    standby.memory = Kept()
    assert standby.look()[gpu(0).uuid].healthy
    memory.value = owner.memory.value
    standby.plugin._memory = memory
    owner.look()
    standby.plugin.take_over()
    assert "XID 79" in standby.look()[gpu(0).uuid].reason


def test_without_nvml_gpus_are_offered_and_said_not_to_be_monitored(tmp_path: Path) -> None:
    """Inventory without health is better than none; the metric tells them apart."""
    rig = Rig(tmp_path, gpu(0))
    rig.source.report = replace(rig.source.report, source="procfs", waiting_for="no NVML here")
    assert rig.look()[gpu(0).uuid].healthy
    assert "no NVML here" in rig.plugin.notices()
    assert _samples(rig, "health", state="unmonitored") == [1.0]


def _samples(rig: Rig, name: str, **labels: str) -> list[float]:
    (family,) = (family for family in rig.plugin.collect_metrics() if family.name == name)
    return [sample.value for sample in family.samples if labels.items() <= sample.labels.items()]


def test_metrics_start_at_zero_and_count(tmp_path: Path) -> None:
    """XIDs by code, also one of no GPU in particular; and how often NVML was started again."""
    rig = Rig(tmp_path, gpu(0))
    assert list(rig.plugin.collect_metrics()) == []
    rig.look()
    assert _samples(rig, "xids") == []
    rig.xid(0, 13)
    rig.xid(0, 13)
    assert _samples(rig, "xids", xid="13", gpu=gpu(0).uuid) == [2]
    assert _samples(rig, "nvml_restarts") == [2]
    assert _samples(rig, "health", state="healthy") == [1.0]


def test_notices_say_what_is_waited_for_and_what_is_wrong(tmp_path: Path) -> None:
    """No driver, a hidden GPU, how containers are told, and what of NVIDIA's configuration is not supported."""
    rig = Rig(tmp_path, gpu(0), gpu(1), text="selection: {exclude: [{index: 1}]}")
    assert rig.plugin.notices() == ("the file: mps is not supported",)
    rig.look()
    said = "\n".join(rig.plugin.notices())
    assert gpu(1).uuid in said
    assert "auto: envvar" in said
    rig.source.report = Report(waiting_for="there is no driver")
    assert rig.look() == {}
    assert rig.plugin.notices()[0] == "there is no driver"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (gpu(0).uuid, ("is offered as nvidia.com/gpu", "is healthy")),
        (f"{gpu(0).uuid}::0", ("is offered as nvidia.com/gpu",)),
        (gpu(0).pci, (gpu(0).uuid,)),
        (f"/dev/nvidia{gpu(0).minor}", (gpu(0).uuid,)),
        (gpu(1).uuid, ("is not offered: excluded by selection.exclude[0]",)),
    ],
    ids=["uuid", "replica", "pci", "node", "hidden"],
)
def test_explanations(tmp_path: Path, text: str, words: Sequence[str]) -> None:
    """By every name that a GPU has."""
    rig = Rig(tmp_path, gpu(0), gpu(1), text="selection: {exclude: [{index: 1}]}")
    assert rig.plugin.explain(text) == ()
    rig.look()
    said = "\n".join(rig.plugin.explain(text))
    assert all(word in said for word in words), said


def test_nothing_is_known_of_what_is_no_gpu(tmp_path: Path) -> None:
    """Another plugin may know it."""
    rig = Rig(tmp_path, gpu(0))
    rig.look()
    assert rig.plugin.explain("/dev/fuse") == ()


def test_requests_are_refused_where_settings_say_so(tmp_path: Path) -> None:
    """Before the first look nothing can be known; afterwards the sharing policy counts."""
    text = "sharing: {policy: spread, timeSlicing: {resources: [{name: nvidia.com/gpu, replicas: 2}]}}"
    rig = Rig(tmp_path, gpu(0), gpu(1), text=text)
    assert isinstance(rig.plugin, CheckingPlugin)
    devices = [Device(f"{gpu(0).uuid}::0"), Device(f"{gpu(0).uuid}::1")]
    with pytest.raises(AllocationRefused, match="not been looked at"):
        rig.plugin.allocate(GPU, devices, devices[0].edits)
    found = rig.look()
    with pytest.raises(AllocationRefused, match="spread"):
        rig.plugin.allocate(GPU, devices, devices[0].edits)
    one = found[devices[0].id]
    assert rig.plugin.allocate(GPU, [one], one.edits) == one.edits


def test_the_kubelet_is_answered_without_the_plugin_where_nothing_can_be_refused(tmp_path: Path) -> None:
    """The object has no `allocate` then."""
    assert not hasattr(Rig(tmp_path, gpu(0)).plugin, "allocate")


async def test_events_ask_for_a_look(tmp_path: Path) -> None:
    """One that changes a verdict at once; one that means nothing never."""
    rig = Rig(tmp_path, gpu(0), gpu(1))
    rig.look()
    looks: list[float] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.plugin.watch, lambda: looks.append(trio.current_time()))
        await rig.source.send.send(GpuEvent("xid", gpu(0).uuid, rig.clock(), 13))
        await trio.testing.wait_all_tasks_blocked()
        assert looks == []
        await rig.source.send.send(GpuEvent("xid", gpu(1).uuid, rig.clock(), 79))
        await trio.testing.wait_all_tasks_blocked()
        assert len(looks) == 1
        nursery.cancel_scope.cancel()


async def test_time_alone_asks_for_looks(tmp_path: Path) -> None:
    """When quiet is over, and when probation is, nothing else would."""
    rig = Rig(tmp_path, gpu(0), text="health: {quiet: 0, probation: 0.05}", clock=time.monotonic)
    rig.look()
    rig.xid(0, 109)
    assert not rig.look()[gpu(0).uuid].healthy
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            send, receive = trio.open_memory_channel[None](100)
            nursery.start_soon(rig.plugin.watch, lambda: send.send_nowait(None))
            async for _ in receive:
                if rig.look()[gpu(0).uuid].healthy:
                    break
            nursery.cancel_scope.cancel()


def test_an_edit_of_nvidias_file_is_seen(tmp_path: Path) -> None:
    """It is read when the plugin is made; a later edit is not applied, and not passed over in silence."""
    file = tmp_path / "nvidia.yaml"
    file.write_text("version: v1\nflags: {migStrategy: mixed}\n")
    section = msgspec.convert({"nvidiaConfig": str(file), "simulate": {"layout": "l40s-4"}}, NvidiaGpuSection)
    made = plugin(section, FakeHost(tmp_path / "host").host, Kept())
    assert isinstance(made, NvidiaGpuPlugin)
    assert made._config.mig_strategy == "mixed"
    made.discover()
    assert not [notice for notice in made.notices() if "has changed" in notice]
    file.write_text("version: v1\n")
    (notice,) = [notice for notice in made.notices() if "has changed" in notice]
    assert str(file) in notice


def test_a_gpu_that_does_not_answer_is_judged_by_its_health(tmp_path: Path) -> None:
    """With some suspicion it stays as it is for a while; where nobody judges it is Unhealthy at once."""
    lost = gpu(0, problem="GPU is lost")
    rig = Rig(tmp_path, lost, text="health: {suspicion: 30}")
    assert rig.look()[lost.uuid].healthy
    rig.source.report = replace(rig.source.report, source="procfs")
    assert rig.look()[lost.uuid].reason == "GPU is lost"
    rig = Rig(tmp_path, lost, text="health: {enabled: false}")
    assert rig.look()[lost.uuid].reason == "GPU is lost"
