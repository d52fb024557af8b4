"""What the plugin says of a node to people: card, driver, library, nodes, MIG, CDI; each missing once, each with its cure."""

import os
import platform
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from supervisor import Examiner, Finding, Host
from supervisor.findings import check_findings
from supervisor_nvidia_gpu.assembly import plugin
from supervisor_nvidia_gpu.examining import examine
from supervisor_nvidia_gpu.section import NvidiaGpuSection
from tests.bed.fakesys import Tree
from tests.plugins.nvidia_gpu.driver import elf
from tests.plugins.nvidia_gpu.fakenvml.host import GpuHost
from tests.plugins.nvidia_gpu.fakenvml.layouts import Layout, dgx_a100, l40s_pcie, one_a100_split_mig
from tests.plugins.nvidia_gpu.gpus import config_of, gpu
from tests.plugins.nvidia_gpu.test_plugin import Kept, Rig

TRIPLET = f"usr/lib/{platform.machine()}-linux-gnu"
SONAME = "libnvidia-ml.so.1"
FITTING = Path("/proc/self/exe").read_bytes()[:64]


class Machine:
    """A node with a driver whose kernel part and files are put there by the test."""

    def __init__(self, folder: Path, layout: Layout) -> None:
        self.folder = folder
        self.layout = layout
        self.tree = Tree(folder / "node")
        self.host = GpuHost(self.tree)
        self.root = folder / "root"
        self.root.mkdir()

    def load(self) -> None:
        """The driver is there, all of it."""
        self.host.show(self.layout)
        for module in ("nvidia", "nvidia_uvm"):
            (self.tree.sys / "module" / module).mkdir(parents=True, exist_ok=True)
            (self.tree.sys / "module" / module / "refcnt").write_text("1\n")

    def install(self, version: str = "", content: bytes = FITTING, directory: str = TRIPLET) -> Path:
        """The library, of the loaded driver's version."""
        folder = self.root / directory
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"libnvidia-ml.so.{version or self.layout.driver}"
        file.write_bytes(content)
        (folder / SONAME).symlink_to(file.name)
        return file

    def examine(self, text: str = "") -> Mapping[str, Finding]:
        """What is found, by subject."""
        config = config_of(f"{{driverRootMount: {self.root}{text}}}")
        found, problems = check_findings(examine(self.host.roots, config, None, wants_cdi=False))
        assert problems == ()
        return {each.subject: each for each in found}


@pytest.fixture
def make(tmp_path: Path) -> Callable[[Layout], Machine]:
    """Machines, each in a folder of its own."""

    def made(layout: Layout) -> Machine:
        folder = tmp_path / f"machine-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        return Machine(folder, layout)

    return made


@pytest.fixture
def machine(make: Callable[[Layout], Machine]) -> Machine:
    """Two cards of a server, the driver loaded and installed."""
    made = make(l40s_pcie())
    made.load()
    made.install()
    return made


def test_a_good_node_is_fine(machine: Machine) -> None:
    """Nothing is worse than a note."""
    found = machine.examine()
    assert {each.level for each in found.values()} == {"ok", "note"}
    assert found[SONAME].text.endswith("fits this processor and the loaded driver.")
    count = len(machine.layout.gpus)
    assert found["NVIDIA driver"].text == f"Version {machine.layout.driver} is loaded; {count} cards are on the bus."
    assert found["device nodes"].text == f"Those of {count} GPUs and of the driver itself are there."


def test_a_node_without_gpus_lacks_nothing(make: Callable[[Layout], Machine]) -> None:
    """It is not asked for a driver."""
    machine = make(l40s_pcie())
    machine.tree.add("/devices/pci0000:00/0000:00:1f.0", bus="pci", attrs={"vendor": "0x8086", "class": "0x060100"})
    assert {name: each.level for name, each in machine.examine().items()} == {"NVIDIA driver": "ok"}


def test_simulated_gpus_need_nothing(machine: Machine) -> None:
    """No node, no driver."""
    found = machine.examine(", simulate: {layout: l40s-4}")
    assert list(found) == ["simulation"]


def test_cards_without_a_driver_are_a_failure(machine: Machine) -> None:
    """They are named, and so is the way to a driver."""
    machine.host.unload()
    found = machine.examine()
    assert found["NVIDIA driver"].level == "failure"
    assert machine.layout.gpus[0].sysfs in found["NVIDIA driver"].text
    assert "device nodes" not in found


@pytest.mark.parametrize(("driver", "level"), [("nouveau", "failure"), ("vfio-pci", "note")])
def test_another_driver_on_a_card_is_named(machine: Machine, driver: str, level: str) -> None:
    """One takes it away by mistake, the other on purpose."""
    address = "0000:e1:00.0"
    attrs = {"vendor": "0x10de", "class": "0x030000"}
    machine.tree.add(f"/devices/pci0000:e0/{address}", bus="pci", driver=driver, attrs=attrs)
    assert machine.examine()[address].level == level


def test_what_is_not_mounted_is_not_taken_for_absent(machine: Machine) -> None:
    """A pod may see neither the bus, nor modules, nor the sockets of daemons."""
    attrs = {"vendor": "0x10de", "class": "0x068000"}
    machine.tree.add("/devices/pci0000:c0/0000:c5:00.0", bus="pci", attrs=attrs)
    (machine.tree.sys / "module").rename(machine.folder / "module")
    found = machine.examine()
    for subject in ("module nvidia_uvm", "fabric manager", "persistence"):
        assert found[subject].level == "note", subject
        assert "cannot be seen here" in found[subject].text
    (machine.folder / "module").rename(machine.tree.sys / "module")
    machine.host.unload()
    (machine.tree.sys / "bus").rename(machine.folder / "bus")
    (finding,) = machine.examine().values()
    assert "whether there are NVIDIA cards cannot be seen here" in finding.text
    assert "/sys/bus" in finding.cure


def test_unified_memory_is_asked_for(machine: Machine) -> None:
    """Without its module CUDA does not start."""
    (machine.tree.sys / "module/nvidia_uvm/refcnt").unlink()
    (machine.tree.sys / "module/nvidia_uvm").rmdir()
    assert machine.examine()["module nvidia_uvm"].level == "warning"


# --- the library ------------------------------------------------------------------------------------------------------


@pytest.fixture
def bare(make: Callable[[Layout], Machine]) -> Machine:
    """The driver is loaded, and its files are the test's matter."""
    made = make(l40s_pcie())
    made.load()
    return made


def test_no_library_is_a_failure(bare: Machine) -> None:
    """The kernel's part alone offers nothing."""
    assert bare.examine()[SONAME].level == "failure"


def test_a_directory_in_its_place_is_a_failure(bare: Machine) -> None:
    """As container runtimes make it; beside a good library it is in the way, no more."""
    path = bare.root / TRIPLET / SONAME
    path.mkdir(parents=True)
    finding = bare.examine()[str(path)]
    assert finding.level == "failure"
    assert finding.cure.startswith(f"rmdir {path}")
    bare.install(directory="usr/lib64")
    assert bare.examine()[str(path)].level == "warning"
    assert bare.examine()[SONAME].level == "ok"


@pytest.mark.parametrize("content", [elf(SONAME, machine=8), b"#!/bin/sh\n" * 9, b""])
def test_a_library_for_something_else_is_a_failure(bare: Machine, content: bytes) -> None:
    """Of another processor, or no library at all, by its first bytes."""
    file = bare.install(content=content)
    finding = bare.examine()[str(file)]
    assert finding.level == "failure"
    assert "another processor" in finding.text or "no library" in finding.text
    assert SONAME not in bare.examine()


def test_another_version_than_the_kernels_is_a_failure(bare: Machine) -> None:
    """What NVML calls a driver/library version mismatch; both versions are said."""
    bare.install("599.10.20")
    finding = bare.examine()[SONAME]
    assert finding.level == "failure"
    assert f"The kernel has driver {bare.layout.driver}, the libraries are 599.10.20" in finding.text


# --- nodes, rights, daemons, CDI --------------------------------------------------------------------------------------


def test_missing_device_nodes_are_a_failure(machine: Machine) -> None:
    """Those of GPUs and that of the driver; a directory is none."""
    minor = machine.layout.gpus[-1].minor
    for name in ("nvidia-uvm", f"nvidia{minor}"):
        (machine.tree.dev / name).unlink()
    (machine.tree.dev / "nvidia-uvm").mkdir()
    finding = machine.examine()["device nodes"]
    assert finding.level == "failure"
    assert f"Not there: /dev/nvidia-uvm, /dev/nvidia{minor}." in finding.text


def test_mig_needs_the_file_that_names_its_nodes(make: Callable[[Layout], Machine]) -> None:
    """The file is procfs's, and a pod may not have it."""
    machine = make(one_a100_split_mig())
    machine.load()
    machine.install()
    gpus = machine.host.proc / "driver/nvidia/capabilities/gpu0/mig/gi1"
    gpus.mkdir(parents=True)
    assert machine.examine()["MIG"].level == "ok"
    (machine.host.proc / "driver/nvidia-caps/mig-minors").unlink()
    assert machine.examine()["MIG"].level == "failure"


def test_switches_need_a_fabric_manager(make: Callable[[Layout], Machine]) -> None:
    """It is seen by its socket; so is the daemon that keeps drivers awake, which is only advice."""
    machine = make(dgx_a100())
    machine.load()
    machine.install()
    attrs = {"vendor": "0x10de", "class": "0x068000"}
    machine.tree.add("/devices/pci0000:c0/0000:c5:00.0", bus="pci", attrs=attrs)
    (machine.root / "var/run").mkdir(parents=True)
    found = machine.examine()
    assert (found["fabric manager"].level, found["persistence"].level) == ("warning", "note")
    for name in ("nvidia-fabricmanager", "nvidia-persistenced"):
        folder = machine.root / "var/run" / name
        folder.mkdir(parents=True)
        _listen(folder / "socket")
    found = machine.examine()
    assert (found["fabric manager"].level, found["persistence"].level) == ("ok", "ok")


def _listen(path: Path) -> None:
    """A socket file; nobody answers. Bound by a short name, since the folders of tests are deep."""
    home = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"/proc/self/fd/{home}/{path.name}")
    finally:
        os.close(home)


def test_the_plugin_answers_from_its_last_look(tmp_path: Path) -> None:
    """The rights of MIG devices that the look has seen, and the CDI directory of the configuration."""
    cdi = tmp_path / "cdi"
    rig = Rig(
        tmp_path, gpu(0, "1g.10gb"), text=f"{{migStrategy: mixed, deviceListStrategy: [cdi-cri], cdi: {{directory: {cdi}}}}}"
    )
    rig.host.write("/proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX Kernel Module  580.65.06  Release\n")
    rig.host.write("/proc/driver/nvidia-caps/mig-minors", "config 1\n")
    rig.plugin.discover()
    found, problems = check_findings(rig.plugin.examine())
    assert problems == ()
    by_subject = {each.subject: each for each in found}
    assert by_subject["MIG"].level == "failure"
    assert "gpu0/gi1/access" in by_subject["MIG"].text
    assert by_subject[str(cdi)].level == "warning"
    assert "is not there" in by_subject[str(cdi)].text


def test_the_plugin_answers_without_a_look(tmp_path: Path) -> None:
    """A look that failed is a reason to ask."""
    rig = Rig(tmp_path)
    rig.host.write("/sys/bus/pci/drivers_autoprobe", "1\n")
    (finding,) = rig.plugin.examine()
    assert finding.text == "No NVIDIA card is on the bus, and no driver is loaded: nothing to offer."


def test_the_real_plugin_examines_this_machine() -> None:
    """Whatever it has; each finding can be shown, and has its cure."""
    made = plugin(NvidiaGpuSection(), Host(), Kept())
    assert isinstance(made, Examiner)
    found, problems = check_findings(made.examine())
    assert found
    assert problems == ()
