"""What the plugin says of a node to people: drivers, modules, nodes, limits, namespaces, directories; each missing once, with its cure."""

import resource
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from supervisor import Finding, Host
from supervisor.findings import check_findings
from supervisor_infiniband.examining import examine, locked
from supervisor_infiniband.report import RdmaDevice, Report
from supervisor_infiniband.simulate.tree import Tree
from tests.plugins.infiniband import trees
from tests.plugins.infiniband.functions import config_of

UMAD = "{resources: [{name: a, charDevices: [rdma_cm, umad]}]}"


class Node:
    """A machine of files, with a ``/proc``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._trees: list[Tree] = []

    def examine(self, name: str, text: str = "{}", report: Report | None = None) -> Mapping[str, Finding]:
        """What is found on one of the machines, by subject."""
        tree = trees.planted(name, self.folder / name)
        self._trees.append(tree)
        return self.seen(Host(str(tree.sys), str(tree.dev), str(self.folder / "proc")), text, report)

    def seen(self, host: Host, text: str = "{}", report: Report | None = None) -> Mapping[str, Finding]:
        """What is found below other roots."""
        findings, problems = check_findings(examine(host, config_of(text), report))
        assert problems == ()
        return {each.subject: each for each in findings}

    def proc(self, name: str, text: str) -> None:
        path = self.folder / "proc" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def close(self) -> None:
        for tree in self._trees:
            tree.close()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A place for machines."""
    made = Node(tmp_path)
    yield made
    made.close()


def levels(found: Mapping[str, Finding]) -> dict[str, str]:
    return {subject: each.level for subject, each in found.items() if subject != "locked memory of RDMA programs"}


def test_a_good_node_is_fine(node: Node) -> None:
    """Nothing is worse than a note."""
    found = node.examine("dual-port-infiniband")
    assert levels(found) == {
        "RDMA devices": "ok",
        "module ib_uverbs": "ok",
        "module rdma_ucm": "ok",
        "module ib_umad": "ok",
        "/dev/infiniband": "ok",
        "RDMA network namespaces": "ok",
    }
    assert found["RDMA devices"].text == "There are 2: mlx5_0, mlx5_1."
    assert "a container sees all devices" in found["RDMA network namespaces"].text
    assert "2021" in found["RDMA network namespaces"].cure


@pytest.mark.parametrize("name", sorted(trees.MACHINES))
def test_every_machine_can_be_examined(node: Node, name: str) -> None:
    """Whatever is wrong with it, and quickly: nothing that a device's firmware answers is read."""
    assert "RDMA devices" in node.examine(name, UMAD)


def test_a_node_without_devices_lacks_nothing(node: Node) -> None:
    """It is asked for no module."""
    assert levels(node.examine("nothing")) == {"RDMA devices": "ok"}


def test_what_cannot_be_seen_is_not_absent(node: Node) -> None:
    """Here nothing of the host is mounted."""
    found = node.seen(Host("/nowhere", "/nowhere", "/nowhere"))
    assert levels(found) == {"RDMA devices": "note"}
    assert "cannot be seen" in found["RDMA devices"].text
    (node.folder / "sys/class/infiniband/mlx5_0").mkdir(parents=True)
    (node.folder / "sys/class/infiniband_verbs/uverbs0").mkdir(parents=True)
    found = node.seen(Host(str(node.folder / "sys"), "/nowhere", "/nowhere"))
    assert {subject: found[subject].level for subject in ("/dev/infiniband", "RDMA network namespaces", "GPUDirect RDMA")} == {
        "/dev/infiniband": "note",
        "RDMA network namespaces": "note",
        "GPUDirect RDMA": "note",
    }
    assert all(
        "seen here" in found[subject].text for subject in ("/dev/infiniband", "RDMA network namespaces", "GPUDirect RDMA")
    )


def test_cards_without_a_driver_are_a_failure(node: Node) -> None:
    """Of those whose class tells that they are InfiniBand; the core of the stack may be missing as well."""
    idle = node.folder / "sys/devices/pci0000:00/0000:3b:00.0"
    idle.mkdir(parents=True)
    (idle / "uevent").write_text("PCI_SLOT_NAME=0000:3b:00.0\n")
    (idle / "class").write_text("0x020700\n")
    bus = node.folder / "sys/bus/pci/devices"
    bus.mkdir(parents=True)
    (bus / "0000:3b:00.0").symlink_to("../../../devices/pci0000:00/0000:3b:00.0")
    (node.folder / "sys/class/net").mkdir(parents=True)
    found = node.seen(Host(str(node.folder / "sys")))
    assert levels(found) == {"RDMA devices": "ok", "InfiniBand cards": "failure"}
    assert "0000:3b:00.0" in found["InfiniBand cards"].text
    assert "InfiniBand cards" not in node.examine("dual-port-infiniband")


def test_a_network_driver_without_its_rdma_driver_is_told(node: Node) -> None:
    """It has made a device of the auxiliary bus for that driver."""
    part = node.folder / "sys/devices/pci0000:00/0000:3b:00.0/mlx5_core.rdma.0"
    part.mkdir(parents=True)
    (part / "uevent").write_text("MODALIAS=auxiliary:mlx5_core.rdma\n")
    bus = node.folder / "sys/bus/auxiliary/devices"
    bus.mkdir(parents=True)
    (bus / part.name).symlink_to(f"../../../devices/pci0000:00/0000:3b:00.0/{part.name}")
    (node.folder / "sys/class/net").mkdir(parents=True)
    found = node.seen(Host(str(node.folder / "sys")))
    assert (found["RDMA drivers"].level, "mlx5_ib" in found["RDMA drivers"].cure) == ("warning", True)
    assert "mlx5_core.rdma.0" in found["RDMA drivers"].text
    driver = node.folder / "sys/bus/auxiliary/drivers/mlx5_ib.rdma"
    driver.mkdir(parents=True)
    (part / "driver").symlink_to(driver)
    assert "RDMA drivers" not in node.seen(Host(str(node.folder / "sys")))


def test_missing_modules_are_told_by_what_is_asked_for(node: Node) -> None:
    """``ib_uverbs`` always, ``rdma_ucm`` as it is asked for by default, ``ib_umad`` if a resource wants it."""
    found = node.examine("without-uverbs")
    assert (found["module ib_uverbs"].level, found["module ib_uverbs"].cure.split(",")[0]) == ("failure", "modprobe ib_uverbs")
    found = node.examine("without-umad")
    assert levels(found)["module rdma_ucm"] == "warning"
    assert "module ib_umad" not in found
    found = node.examine("without-umad", UMAD)
    assert (found["module ib_umad"].level, "get no umad" in found["module ib_umad"].text) == ("warning", True)
    strict = "{resources: [{name: a, charDevices: [umad, issm, rdma_cm], require: [issm, rdma_cm]}]}"
    found = node.examine("without-umad", strict)
    assert (found["module ib_umad"].level, found["module rdma_ucm"].level) == ("failure", "failure")
    assert "module rdma_ucm" not in node.examine("without-umad", "{resources: [{name: a, charDevices: []}]}")


def test_missing_nodes_are_named(node: Node) -> None:
    """Those that the kernel's classes speak of."""
    node.examine("dual-port-infiniband")
    (node.folder / "dual-port-infiniband/dev/infiniband/uverbs1").unlink()
    roots = [str(node.folder / "dual-port-infiniband" / name) for name in ("sys", "dev")]
    found = node.seen(Host(*roots))
    assert (found["/dev/infiniband"].level, "uverbs1" in found["/dev/infiniband"].text) == ("failure", True)
    assert "uverbs0" not in found["/dev/infiniband"].text


def test_devices_elsewhere_are_counted(node: Node) -> None:
    """The mode says what that means, and where shared devices cannot be had."""
    report = Report((RdmaDevice("0000:3b:00.1", "mlx5_1", "pf", elsewhere=True),))
    found = node.examine("exclusive-away", report=report)
    assert found["RDMA devices"].text == "There are 1: mlx5_0. 1 are in network namespaces of containers."
    assert "1 are moved now" in found["RDMA network namespaces"].text
    assert "set netns shared" in found["RDMA network namespaces"].cure


def test_locked_memory_is_told_with_what_helps(node: Node) -> None:
    """Of this process. The capability that many think of is named with its bounds."""
    assert locked(resource.RLIM_INFINITY).level == "ok"
    limited = locked(8 << 20)
    assert (limited.level, "8192 KiB" in limited.text) == ("note", True)
    assert "IPC_LOCK" in limited.cure
    assert "LimitMEMLOCK=infinity" in limited.cure
    assert node.examine("dual-port-infiniband")[limited.subject] == locked(resource.getrlimit(resource.RLIMIT_MEMLOCK)[0])


@pytest.mark.parametrize(
    ("kernel", "driver", "peer", "said"),
    [
        (
            "6.1.0-18-amd64",
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  560.35.03",
            True,
            "kernel and driver have it",
        ),
        ("6.1.0-18-amd64", "NVRM version: NVIDIA UNIX x86_64 Kernel Module  560.35.03", True, "only with the open"),
        ("6.1.0-18-amd64", "", False, "driver does cannot be seen here"),
        ("5.4.0-91-generic", "NVRM version: NVIDIA UNIX Open Kernel Module", False, "not with this kernel (5.4)"),
        ("", "", False, "not known"),
    ],
)
def test_ways_between_gpus_and_devices_are_a_note(node: Node, kernel: str, driver: str, said: str, *, peer: bool) -> None:
    """Where NVIDIA's driver is loaded; never more than a note."""
    assert "GPUDirect RDMA" not in node.examine("dual-port-infiniband")
    node.proc("sys/kernel/osrelease", kernel)
    if driver:
        node.proc("driver/nvidia/version", driver)
    tree = node.folder / "dual-port-infiniband"
    for module in ("nvidia", "nvidia_peermem")[: 1 + peer]:
        (tree / "sys/module" / module).mkdir()
    finding = node.seen(Host(str(tree / "sys"), str(tree / "dev"), str(node.folder / "proc")))["GPUDirect RDMA"]
    assert finding.level == "note"
    assert finding.text.startswith(f"nvidia_peermem is {'' if peer else 'not '}loaded. DMA-BUF")
    assert said in finding.text


def test_directories_for_others_are_looked_at_where_they_are_used(node: Node) -> None:
    """Absent, there, and with the word on SELinux where that is on."""
    folder = node.folder / "devinfo"
    text = f"{{deviceInfoDirectory: {folder}, cdi: {{directory: {node.folder}}}, resources: [{{name: a, deviceInfo: true, cdi: true}}]}}"
    found = node.examine("dual-port-infiniband", text)
    assert (found[str(folder)].level, found[str(node.folder)].level) == ("warning", "ok")
    assert "deploy/components/cdi" in found[str(folder)].cure
    assert "SELinux" not in found[str(folder)].cure
    enforce = node.folder / "dual-port-infiniband/sys/fs/selinux/enforce"
    enforce.parent.mkdir(parents=True)
    enforce.write_text("1")
    tree = node.folder / "dual-port-infiniband"
    assert "SELinux" in node.seen(Host(str(tree / "sys"), str(tree / "dev")), text)[str(folder)].cure
    folder.mkdir()
    assert node.seen(Host(str(tree / "sys"), str(tree / "dev")), text)[str(folder)].level == "ok"
    assert str(folder) not in node.seen(Host(str(tree / "sys"), str(tree / "dev")))


def test_simulated_devices_need_nothing(node: Node) -> None:
    """No module, no node."""
    assert list(node.seen(Host(), "{simulate: {layout: rails-8}}")) == ["simulation"]
