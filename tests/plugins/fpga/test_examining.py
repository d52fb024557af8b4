"""What the plugin says of a node to people: each thing that is missing once, with its cure, and nothing that cannot be seen as absent."""

import hashlib
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from supervisor import Finding, Host
from supervisor.findings import check_findings
from supervisor_fpga.examining import examine
from supervisor_fpga.operating.simulated import bitstream
from supervisor_fpga.report import Report
from supervisor_fpga.simulate.intel import A10_INTERFACE, NLB3
from tests.plugins.fpga.functions import config_of, dfl, zynq
from tests.plugins.fpga.looks import Plant, survey

FILE = bitstream(A10_INTERFACE, NLB3)
RESET = "{resources: [{name: fpga.example/a, reset: true}]}"
VFIO = "{vfio: [{vendor: '8086', device: bcce}]}"


def seen(host: Host, text: str = "{}", report: Report | None = None, bitstreams: str = "/nonexistent") -> Mapping[str, Finding]:
    """What is found, by subject."""
    findings, problems = check_findings(examine(host, config_of(text), report, bitstreams=bitstreams))
    assert problems == ()
    return {each.subject: each for each in findings}


def on(plant: Plant, machine: str, text: str = "{}") -> Mapping[str, Finding]:
    """What is found on one of the machines."""
    tree = plant(machine)
    return seen(Host(str(tree.sys), str(tree.dev), helper_socket="/nonexistent"), text, survey(tree).look().report)


def levels(found: Mapping[str, Finding]) -> dict[str, str]:
    return {subject: each.level for subject, each in found.items()}


def programmed(sha256: str, more: str = "") -> str:
    return f"{{programming: [dfl-ioctl], resources: [{{name: a.example/x, program: {{bitstream: x.gbs, sha256: '{sha256}'}}}}]{more}}}"


def test_a_machine_that_lacks_nothing(plant: Plant) -> None:
    """Its functions, and that their nodes are there."""
    found = on(plant, "dfl_two_cards")
    assert levels(found) == {"FPGAs": "ok", "nodes of FPGAs": "ok"}
    assert found["FPGAs"].text == "There are 2: 0000:3b:00.0, 0000:af:00.0."


def test_a_machine_without_any(tmp_path: Path) -> None:
    """Most have none; what has no ``/sys`` to show is another matter."""
    (tmp_path / "sys/class/net").mkdir(parents=True)
    host = Host(str(tmp_path / "sys"), str(tmp_path / "dev"))
    assert levels(seen(host)) == {"FPGAs": "ok"}
    blind = seen(Host(str(tmp_path / "none"), str(tmp_path / "none")))
    assert levels(blind) == {"FPGAs": "note"}
    assert "cannot be seen here" in blind["FPGAs"].text


def test_a_simulation_needs_nothing() -> None:
    """So nothing is looked at."""
    assert levels(seen(Host(), "{simulate: {layout: dfl-card}}")) == {"simulation": "note"}


def test_functions_without_a_driver(plant: Plant, tmp_path: Path) -> None:
    """Those that wait for one, and what may be an FPGA."""
    report = Report((dfl(waiting_for="no driver is bound to its port"),))
    address = tmp_path / "sys/bus/pci/devices/0000:99:00.0"
    address.mkdir(parents=True)
    (address / "class").write_text("0x120000\n")
    found = seen(Host(str(tmp_path / "sys"), str(tmp_path / "dev")), report=report)
    assert found["drivers of FPGAs"].text == "0000:3b:00.0 cannot be used: no driver is bound to its port."
    assert found["processing accelerators"].text.startswith("No driver has taken 0000:99:00.0")


def test_missing_nodes(tmp_path: Path) -> None:
    """Told where ``/dev`` can be seen, and else that it cannot."""
    function = dfl()
    gone = dfl(nodes=tuple(type(node)(node.path, node.role, present=False) for node in function.nodes))
    host = Host(str(tmp_path / "sys"), str(tmp_path / "dev"))
    assert seen(host, report=Report((gone,)))["nodes of FPGAs"].level == "note"
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/null").touch()
    found = seen(host, report=Report((gone,)))["nodes of FPGAs"]
    assert (found.level, "/dev/dfl-port.0, /dev/dfl-fme.0" in found.text) == ("failure", True)
    assert "nodes of FPGAs" not in seen(host, report=Report((zynq(),)))


# --- programming and reset --------------------------------------------------------------------------------------------------


def test_a_helper_is_asked_for_only_where_something_is_done(plant: Plant) -> None:
    """Whoever may open the devices needs none."""
    assert "programming and reset" not in on(plant, "dfl_a10")
    assert on(plant, "dfl_a10", RESET)["programming and reset"].level == "ok"


def test_without_a_helper_nothing_can_be_opened(tmp_path: Path) -> None:
    """Then no container with such a resource starts. A link to nowhere is what not even root may write to."""
    (tmp_path / "dfl-port.0").symlink_to("nowhere")
    host = Host(str(tmp_path), str(tmp_path), helper_socket=str(tmp_path / "none"))
    found = seen(host, RESET, Report((dfl(),)))["programming and reset"]
    assert (found.level, found.text.startswith("No container with fpga.example/a starts")) == ("failure", True)


def test_a_helper_that_is_there() -> None:
    """By its socket; what it can do, it says when it is asked."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{folder}/helper")
        host = Host(folder, folder, helper_socket=f"{folder}/helper")
        assert seen(host, RESET, Report((dfl(),)))["programming and reset"].text == f"A helper is there at {folder}/helper."


def test_bitstreams_are_checked_as_the_process_checks_them(tmp_path: Path) -> None:
    """Where its directory can be seen."""
    sha256 = hashlib.sha256(FILE).hexdigest()
    host = Host(str(tmp_path / "sys"), str(tmp_path / "dev"))
    folder = tmp_path / "bitstreams"
    unseen = seen(host, programmed(sha256), bitstreams=str(folder))
    assert (unseen[str(folder)].level, "cannot be seen here" in unseen[str(folder)].text) == ("note", True)
    folder.mkdir(mode=0o755)
    assert seen(host, programmed(sha256), bitstreams=str(folder))["bitstream x.gbs"].level == "failure"
    (folder / "x.gbs").write_bytes(FILE)
    (folder / "x.gbs").chmod(0o644)
    assert seen(host, programmed(sha256), bitstreams=str(folder))["bitstream x.gbs"].level == "ok"
    other = seen(host, programmed("0" * 64), bitstreams=str(folder))["bitstream x.gbs"]
    assert (other.level, "has the SHA-256" in other.text) == ("failure", True)


@pytest.mark.parametrize(("says", "level"), [("", "ok"), ("/bits", "ok"), ("/elsewhere", "warning"), (None, "note")])
def test_where_the_kernel_reads_bitstreams(says: str | None, level: str, tmp_path: Path) -> None:
    """The FPGA manager finds what lies in its own directories."""
    if says is not None:
        path = tmp_path / "module/firmware_class/parameters/path"
        path.parent.mkdir(parents=True)
        path.write_text(f"{says}\n")
    found = seen(Host(str(tmp_path), str(tmp_path)), "{programming: [fpga-manager]}", bitstreams="/bits")
    assert found["firmware_class.path"].level == level


# --- VFIO and CDI -----------------------------------------------------------------------------------------------------------


def test_vfio_needs_its_module_and_an_iommu(tmp_path: Path) -> None:
    """Each is told as missing only where it would be seen."""
    host = Host(str(tmp_path), str(tmp_path))
    assert {levels(seen(host, VFIO))[subject] for subject in ("module vfio_pci", "IOMMU")} == {"note"}
    (tmp_path / "bus/pci/drivers").mkdir(parents=True)
    (tmp_path / "kernel/iommu_groups").mkdir(parents=True)
    assert {levels(seen(host, VFIO))[subject] for subject in ("module vfio_pci", "IOMMU")} == {"failure"}
    (tmp_path / "bus/pci/drivers/vfio-pci").mkdir()
    (tmp_path / "kernel/iommu_groups/42").mkdir()
    assert {levels(seen(host, VFIO))[subject] for subject in ("module vfio_pci", "IOMMU")} == {"ok"}
    assert "IOMMU" not in seen(host)


def test_the_directory_of_cdi_specs(tmp_path: Path) -> None:
    """Only where a resource asks for it."""
    text = f"{{cdi: {{directory: {tmp_path / 'cdi'}}}, resources: [{{name: a.example/x, cdi: true}}]}}"
    host = Host(str(tmp_path), str(tmp_path))
    assert seen(host, text)[str(tmp_path / "cdi")].level == "warning"
    (tmp_path / "cdi").mkdir()
    assert seen(host, text)[str(tmp_path / "cdi")].level == "ok"
    assert str(tmp_path / "cdi") not in seen(host)
