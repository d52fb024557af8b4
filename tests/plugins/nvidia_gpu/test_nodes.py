"""Which device nodes are found, and which are not taken for any."""

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from supervisor_nvidia_gpu import nodes
from supervisor_nvidia_gpu.driver_root import DriverRoot
from supervisor_nvidia_gpu.nodes import Nodes, look, root_of
from supervisor_nvidia_gpu.report import Report
from supervisor_nvidia_gpu.units import Unit
from tests.plugins.nvidia_gpu.driver import Place
from tests.plugins.nvidia_gpu.gpus import gpu

WHOLE = gpu(0, minor=3)
CUT = gpu(1, "1g.10gb", "2g.20gb", minor=1)


def whole(found: Nodes) -> tuple[str, ...]:
    return found.of(Unit("nvidia.com/gpu", WHOLE.uuid, WHOLE))


def test_only_what_exists_is_found(tmp_path: Path) -> None:
    """Nodes that the driver has not made yet are left out, and appear with the next look."""
    place = Place(tmp_path)
    place.nodes("nvidiactl", "nvidia3")
    found = look(place.host, Report(gpus=(WHOLE, gpu(1))))
    assert found.control == ("/dev/nvidiactl",)
    assert dict(found.gpus) == {3: "/dev/nvidia3"}
    place.nodes("nvidia-uvm", "nvidia1")
    found = look(place.host, Report(gpus=(WHOLE, gpu(1))))
    assert found.control == ("/dev/nvidiactl", "/dev/nvidia-uvm")
    assert sorted(found.gpus) == [1, 3]


def test_a_node_goes_by_the_minor_number(tmp_path: Path) -> None:
    """GPU 0 with minor 3 is ``/dev/nvidia3``; a GPU without a known minor has no node and says so."""
    place = Place(tmp_path)
    place.nodes("nvidia0", "nvidia3")
    assert whole(look(place.host, Report(gpus=(WHOLE,)))) == ("/dev/nvidia3",)
    unknown = Unit("nvidia.com/gpu", WHOLE.uuid, gpu(0, minor=None))
    assert "minor number is not known" in look(place.host, Report(gpus=(unknown.gpu,))).lacking(unknown)


def test_a_directory_is_no_node(tmp_path: Path) -> None:
    """Where a tool made a directory in place of a node, nothing is given to containers."""
    (tmp_path / "dev/nvidia3").mkdir(parents=True)
    found = look(Place(tmp_path).host, Report(gpus=(WHOLE,)))
    assert whole(found) == ()
    assert found.lacking(Unit("nvidia.com/gpu", "GPU-x", WHOLE)) == "/dev/nvidia3 of GPU-x is not there"


def test_a_mig_device_has_its_two_rights_and_no_more(tmp_path: Path) -> None:
    """It gets the node of its GPU and those for its own two instances, never those of administrators."""
    place = Place(tmp_path)
    place.nodes("nvidia1")
    place.rights([CUT])
    found = look(place.host, Report(gpus=(CUT,)))
    first, second = (Unit("nvidia.com/gpu", mig.uuid, CUT, mig) for mig in CUT.mig)
    assert found.of(first) == ("/dev/nvidia1", "/dev/nvidia-caps/nvidia-cap3", "/dev/nvidia-caps/nvidia-cap4")
    assert found.of(second) == ("/dev/nvidia1", "/dev/nvidia-caps/nvidia-cap5", "/dev/nvidia-caps/nvidia-cap6")
    assert not found.lacking(first)


def test_a_mig_device_without_its_right_is_lacking(tmp_path: Path) -> None:
    """A driver that tells of no right, or has not made its node, is said so by its own name for it."""
    place = Place(tmp_path)
    place.nodes("nvidia1")
    unit = Unit("nvidia.com/gpu", "MIG-x", CUT, CUT.mig[0])
    assert "gpu1/gi1/access" in look(place.host, Report(gpus=(CUT,))).lacking(unit)
    place.rights([CUT])
    (tmp_path / "dev/nvidia-caps/nvidia-cap4").unlink()
    lacking = look(place.host, Report(gpus=(CUT,))).lacking(unit)
    assert lacking == "the node for gpu1/gi1/ci0/access of MIG-x is not there"


def test_the_list_of_rights_may_be_long(tmp_path: Path) -> None:
    """The last GPU of a large node is found as well as the first."""
    gpus = [gpu(index, *["1g.10gb"] * 14) for index in range(32)]
    lines = [
        f"gpu{index}/gi{instance}{right} {1000 + index * 300 + instance * 9 + number}"
        for index in range(32)
        for instance in range(15)
        for number, right in enumerate(("/access", *(f"/ci{c}/access" for c in range(8))))
    ]
    place = Place(tmp_path)
    place.rights([])
    (tmp_path / "proc/driver/nvidia-caps/mig-minors").write_text("\n".join(lines) + "\n")
    place.nodes(*(f"nvidia-caps/nvidia-cap{1000 + 31 * 300 + 14 * 9 + number}" for number in range(2)))
    found = look(place.host, Report(gpus=tuple(gpus)))
    assert sorted(found.caps) == ["gpu31/gi14/access", "gpu31/gi14/ci0/access"]


@given(st.text(max_size=300))
def test_any_text_is_a_list_of_rights(text: str) -> None:
    """Whatever stands in the driver's file, only rights to use an instance are read from it."""
    for right, minor in nodes._MINOR.findall(f"{text}\ngpu0/gi1/access 5\nconfig 1\nmonitor 2\n"):
        assert re.fullmatch(r"gpu\d+/gi\d+(/ci\d+)?/access", right)
        assert minor.isdecimal()


def test_graphics_by_the_pci_device(tmp_path: Path) -> None:
    """The nodes for graphics are those that sysfs shows below the GPU, whatever their numbers."""
    place = Place(tmp_path)
    place.graphics(WHOLE, 4)
    place.nodes("dri/card0")
    assert dict(look(place.host, Report(gpus=(WHOLE, CUT))).dri) == {WHOLE.pci: ("/dev/dri/card4", "/dev/dri/renderD132")}


def test_fabrics(tmp_path: Path) -> None:
    """Storage, verbs, GDRCopy and IMEX channels are found by their names; a listing's other entries are none of them."""
    place = Place(tmp_path)
    place.nodes("nvidia-fs0", "nvidia-fs1", "infiniband/uverbs0", "infiniband/rdma_cm", "infiniband/umad0", "gdrdrv")
    place.nodes("nvidia-caps-imex-channels/channel0", "nvidia-caps-imex-channels/channel12", "nvidia-caps-imex-channels/other")
    found = look(place.host, Report())
    assert found.gds == ("/dev/nvidia-fs0", "/dev/nvidia-fs1")
    assert found.mofed == ("/dev/infiniband/uverbs0", "/dev/infiniband/rdma_cm")
    assert found.gdrcopy == ("/dev/gdrdrv",)
    assert sorted(found.imex) == [0, 12]


def test_nodes_below_a_driver_containers_root(tmp_path: Path) -> None:
    """Where only the driver's container has the nodes, they come from there and stay where they are in the container."""
    place = Place(tmp_path, "/run/nvidia/driver")
    theirs = Place(tmp_path / "run/nvidia/driver")
    theirs.nodes("nvidiactl", "nvidia3")
    place.nodes("gdrdrv")
    root = root_of(place.host, None, place.driver)
    found = look(place.host, Report(gpus=(WHOLE,)), root)
    assert (found.control, whole(found)) == (("/dev/nvidiactl",), ("/dev/nvidia3",))
    assert found.host_path("/dev/nvidia3") == "/run/nvidia/driver/dev/nvidia3"
    assert found.host_path("/dev/gdrdrv") == "/dev/gdrdrv"


def test_the_hosts_own_nodes_come_first(tmp_path: Path) -> None:
    """A driver container's root counts only where the host has no control node; what is configured counts always."""
    place = Place(tmp_path, "/run/nvidia/driver")
    assert root_of(place.host, None, place.driver) == place.driver
    place.nodes("nvidiactl")
    assert root_of(place.host, None, place.driver) == DriverRoot("/", str(tmp_path))
    assert root_of(place.host, "/elsewhere", place.driver) == DriverRoot("/elsewhere", str(tmp_path))
