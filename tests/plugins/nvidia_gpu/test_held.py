"""No CDI spec of a GPU that a pod may hold goes while a supervisor lives, whatever becomes of configuration, driver and GPUs."""

from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import msgspec
import pytest

from supervisor.cdi.schema import decode
from supervisor.memory import EMPTY, Gate, PackageMemory, decoded
from supervisor_nvidia_gpu.cdi.keeping import FILES, PREFIX
from supervisor_nvidia_gpu.compat import Folded
from supervisor_nvidia_gpu.plugin import CDI, NvidiaGpuPlugin
from supervisor_nvidia_gpu.report import Gpu, GpuEvent, Report
from tests.plugins.nvidia_gpu.driver import DRIVER, Place
from tests.plugins.nvidia_gpu.gpus import config_of, gpu

FILE = FILES.file_name("k8s.device-plugin-supervisor.io/gpu")
ON = "deviceListStrategy: [cdi-cri], "
SILENT: tuple[Report, ...] = (
    Report(waiting_for="there is no driver"),
    Report(driver=DRIVER, notices=("NVML does not answer",)),
    Report(gpus=(gpu(0, uuid=""), gpu(1, uuid="")), driver=DRIVER, source="procfs"),
)
"""What a look finds while the driver is loaded anew, or NVML fails."""


class Gpus:
    """A source that says what a test wants."""

    restarts = 0

    def __init__(self, report: Report) -> None:
        self.report = report

    def look(self) -> Report:
        return self.report

    async def events(self) -> AsyncIterator[GpuEvent]:
        nothing: tuple[GpuEvent, ...] = ()
        for event in nothing:
            yield event


class Notes:
    """What is kept of the plugin's memory."""

    def __init__(self, noted: bytes = EMPTY) -> None:
        self.noted = noted

    def recall(self) -> bytes:
        return self.noted

    def keep(self, memory: bytes) -> None:
        self.noted = memory

    @property
    def directories(self) -> list[str]:
        found: list[str] = decoded(self.noted)[CDI]
        return found

    @directories.setter
    def directories(self, found: list[str]) -> None:
        PackageMemory(self).keep({CDI: found})


class Node(Place):
    """Two GPUs with a driver, the supervisor's memory, and supervisors that own the node one after the other."""

    def __init__(self, root: Path, gpus: Iterable[Gpu] = (gpu(0), gpu(1))) -> None:
        super().__init__(root)
        self.notes = Notes()
        self.noted_at_once: list[str] = []
        """The directories of which the newest owner has made a note when it took over."""
        self.source = Gpus(Report(gpus=tuple(gpus), driver=DRIVER))
        self.install()
        self.control()
        self.nodes("nvidia0", "nvidia1")

    def own(self, text: str = ON, directory: Path | None = None) -> NvidiaGpuPlugin:
        """A plugin with this configuration that has taken over and looked."""
        where = f"driverRootMount: {self.root}, cdi: {{directory: {directory or self.cdi}}}"
        gate = Gate(self.notes)
        made = NvidiaGpuPlugin(Folded(config_of(f"{{{text}{where}}}")), self.host, PackageMemory(gate), self.source)
        made.discover()
        gate.open([made.name])
        made.take_over()
        gate.taken_over(made.name)
        self.noted_at_once = self.notes.directories
        made.discover()
        return made

    def defined(self, directory: Path | None = None) -> set[str]:
        """The GPUs that a runtime can resolve, of those that our spec has."""
        return {device.name for device in decode((directory or self.cdi).joinpath(FILE).read_bytes()).devices}


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


BOTH = {gpu(0).uuid, gpu(1).uuid}


@pytest.mark.parametrize("text", ["", "deviceListStrategy: [envvar], ", "simulate: {layout: l40s-4}, "])
def test_cdi_that_is_switched_off_leaves_its_specs(node: Node, text: str) -> None:
    """By an edit, which nobody has drained the node for; ``cleanup`` finds them as before."""
    node.own()
    assert node.defined() == BOTH
    after = node.own(text)
    assert node.defined() == BOTH
    (left,) = after.leftovers({"nvidia.com/gpu": [gpu(1).uuid]})
    assert (left.path, left.needed_by) == (str(node.cdi / FILE), (gpu(1).uuid,))


@pytest.mark.parametrize("report", SILENT, ids=["no driver", "no NVML", "procfs"])
def test_gpus_that_are_not_seen_for_a_while_stay_defined(node: Node, report: Report) -> None:
    """Their containers may start again before the driver answers again, and a supervisor too."""
    plugin = node.own()
    node.source.report = report
    plugin.discover()
    assert node.defined() >= BOTH
    node.own()
    assert node.defined() >= BOTH


@pytest.mark.parametrize(
    "text", ["selection: {exclude: [{index: 1}]}, ", "deviceIDStrategy: index, ", "selection: {include: [{index: 7}]}, "]
)
def test_gpus_that_an_edit_hides_or_renames_stay_defined(node: Node, text: str) -> None:
    """Under the name by which containers have been given them."""
    node.own()
    node.own(ON + text)
    assert node.defined() >= BOTH


def test_a_gpu_that_has_gone_stays_defined_but_is_given_to_nobody(node: Node) -> None:
    """It costs the others nothing."""
    plugin = node.own()
    node.source.report = msgspec.structs.replace(node.source.report, gpus=(gpu(0),))
    (devices,) = plugin.discover().values()
    assert [device.id for device in devices] == [gpu(0).uuid]
    assert devices[0].edits.cdi_devices
    assert node.defined() == BOTH


def test_specs_of_another_directory_stay_and_stay_true(node: Node, tmp_path: Path) -> None:
    """Runtimes read both, and of two that define one device the later one counts, whichever that is; both are remembered."""
    other = tmp_path / "etc-cdi"
    other.mkdir()
    node.own()
    node.install(version="590.1.2")
    node.source.report = msgspec.structs.replace(node.source.report, driver="590.1.2")
    node.own(directory=other)
    assert node.cdi.joinpath(FILE).read_bytes() == other.joinpath(FILE).read_bytes()
    assert "590.1.2" in other.joinpath(FILE).read_text()
    assert node.notes.directories == [str(node.cdi), str(other)]


def test_a_directory_without_specs_of_ours_is_forgotten(node: Node, tmp_path: Path) -> None:
    """One that cannot be seen is not: there may be some."""
    node.own()
    (node.cdi / FILE).unlink()
    unseen = str(tmp_path / "unseen")
    node.notes.directories = [str(node.cdi), unseen]
    node.own("")
    assert node.notes.directories == [unseen]


def test_a_directory_of_before_that_cannot_be_seen_is_told(node: Node, tmp_path: Path) -> None:
    """What lies there may be what runtimes believe."""
    unseen = tmp_path / "unseen"
    node.notes.directories = [str(unseen)]
    assert any(f"{unseen}, where specs of ours lie" in notice for notice in node.own().notices())


def test_what_no_owner_before_has_written_is_nobodys_business(node: Node) -> None:
    """Another supervisor of this machine, or one that somebody tries out, may have written it."""
    (node.cdi / f"{PREFIX}somebody.example-gpu.json").write_text('{"kind": "somebody.example/gpu"}')
    plugin = node.own("")
    assert node.notes.directories == []
    assert list(plugin.leftovers({})) == []


def test_where_specs_will_lie_is_noted_before_they_are_written(node: Node) -> None:
    """Whoever is killed a moment later leaves none that nobody knows of."""
    node.own()
    assert node.noted_at_once == [str(node.cdi)]


def test_a_successor_that_looked_before_it_took_over_forgets_no_directory(node: Node) -> None:
    """What it has kept as a standby would be written the moment it takes over, and it may be killed then."""
    node.own()
    node.own("")
    assert node.noted_at_once == [str(node.cdi)]
