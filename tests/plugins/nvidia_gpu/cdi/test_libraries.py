"""The driver's files: found in every distribution's places, of one version, and never outside its root."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor_nvidia_gpu.cdi.libraries import MAX_LIBRARIES, File, Libraries, find, locate
from supervisor_nvidia_gpu.driver_root import DriverRoot
from supervisor_nvidia_gpu.equipment import Sight
from tests.plugins.nvidia_gpu import driver
from tests.plugins.nvidia_gpu.driver import DEBIAN, DRIVER, Place


def found(place: Place, version: str = DRIVER) -> Libraries:
    return find(place.driver, version)


def sonames(place: Place) -> dict[str, str]:
    return {library.soname: library.host_path for library in found(place).libraries}


@pytest.mark.parametrize(
    "directory", [DEBIAN, "usr/lib64", f"{DEBIAN}/nvidia/current", "usr/local/nvidia/lib64", "home/kubernetes/bin/nvidia/lib64"]
)
def test_libraries_of_one_version(tmp_path: Path, directory: str) -> None:
    """Each library by its file, its name to programs from the file itself, in the places of several distributions."""
    place = Place(tmp_path)
    place.install(directory)
    place.write(f"{directory}/libother.so.1", driver.elf("libother.so.1"))
    assert sonames(place) == {soname: f"/{directory}/{stem}.so.{DRIVER}" for stem, soname in driver.SONAMES.items()}
    assert not found(place).problem


def test_another_version_is_left_alone(tmp_path: Path) -> None:
    """What an upgrade left behind, or has brought already, does not belong to the driver that runs."""
    place = Place(tmp_path)
    place.install(version="535.1.2")
    place.install()
    assert all(path.endswith(DRIVER) for path in sonames(place).values())
    assert "there is no libcuda.so.999.1" in found(place, "999.1").problem


@pytest.mark.parametrize(("version", "problem"), [("", "no driver"), ("../../etc", "not known"), ("580", "not known")])
def test_without_a_version_nothing_is_found(tmp_path: Path, version: str, problem: str) -> None:
    """Without a driver there is nothing to look for, and what is no version never becomes part of a path."""
    place = Place(tmp_path)
    place.install()
    assert found(place, version).libraries == ()
    assert problem in found(place, version).problem


def test_everything_else(tmp_path: Path) -> None:
    """Programs, firmware, settings, sockets and modules of the X server have their place in containers."""
    place = Place(tmp_path)
    place.install()
    place.listen("var/run/nvidia-persistenced/socket")
    place.write("var/run/nvidia-fabricmanager/socket", b"a file of that name is no socket")
    place.write("etc/vulkan/implicit_layer.d/nvidia_layers.json", b"{}")
    place.write("usr/share/glvnd/egl_vendor.d/10_nvidia.json", b"{}")
    place.write(f"{DEBIAN}/nvidia/xorg/libglxserver_nvidia.so.{DRIVER}", b"module")
    place.write("etc/cufile.json", b"{}")
    everything = found(place)
    assert everything.files == (
        File("/usr/bin/nvidia-smi", "/usr/bin/nvidia-smi"),
        File(f"/lib/firmware/nvidia/{DRIVER}/gsp_ga10x.bin", f"/lib/firmware/nvidia/{DRIVER}/gsp_ga10x.bin"),
        File("/usr/share/glvnd/egl_vendor.d/10_nvidia.json", "/usr/share/glvnd/egl_vendor.d/10_nvidia.json"),
        File("/usr/share/vulkan/icd.d/nvidia_icd.json", "/etc/vulkan/icd.d/nvidia_icd.json"),
        File("/etc/vulkan/implicit_layer.d/nvidia_layers.json", "/etc/vulkan/implicit_layer.d/nvidia_layers.json"),
        File(f"/{DEBIAN}/nvidia/xorg/libglxserver_nvidia.so.{DRIVER}", f"/{DEBIAN}/nvidia/xorg/libglxserver_nvidia.so"),
    )
    assert everything.sockets == (File("/var/run/nvidia-persistenced/socket", "/var/run/nvidia-persistenced/socket"),)
    assert everything.storage == (File("/etc/cufile.json", "/etc/cufile.json"), File("/run/udev", "/run/udev"))


def test_the_root_of_a_driver_container(tmp_path: Path) -> None:
    """Paths are the host's, although this process sees the host elsewhere; absolute links mean the driver's own root."""
    place = Place(tmp_path, "/run/nvidia/driver")
    place.install("opt/real")
    place.link("usr/lib64", "/opt/real")
    place.write("etc/alternatives/nvidia--nvidia-smi", b"program")
    (tmp_path / "run/nvidia/driver/usr/bin/nvidia-smi").unlink()
    place.link("usr/bin/nvidia-smi", "/etc/alternatives/nvidia--nvidia-smi")
    assert sonames(place)["libcuda.so.1"] == f"/run/nvidia/driver/opt/real/libcuda.so.{DRIVER}"
    smi = next(file for file in found(place).files if file.container_path == "/usr/bin/nvidia-smi")
    assert smi.host_path == "/run/nvidia/driver/etc/alternatives/nvidia--nvidia-smi"
    assert all(path.host_path.startswith("/run/nvidia/driver/") for path in found(place).files)


def test_the_root_is_located(tmp_path: Path) -> None:
    """The first of the usual roots that has this version counts; a configured one alone, and what is missing is told of each."""
    mount = str(tmp_path)
    Place(tmp_path).install(version="535.1.2")
    Place(tmp_path, "/run/nvidia/driver").install()
    assert locate("535.1.2", None, mount)[0] == DriverRoot("/", mount)
    root, found_there = locate(DRIVER, None, mount)
    assert root == DriverRoot("/run/nvidia/driver", mount)
    assert found_there == find(root, DRIVER)
    root, found_there = locate(DRIVER, "/", mount)
    assert (root.host, found_there.libraries) == ("/", ())
    assert locate("999.1", None, mount)[1].problem.count("there is no libcuda.so.999.1 below") == 2


def test_no_link_leads_out_of_the_root(tmp_path: Path) -> None:
    """A file outside the driver's root is not reached, by however many steps upwards a link asks for it."""
    outside = tmp_path / "secret"
    outside.write_bytes(driver.elf("libsecret.so.1"))
    place = Place(tmp_path, "/run/nvidia/driver")
    place.install()
    place.link(f"{DEBIAN}/libsecret.so.{DRIVER}", "../" * 20 + str(outside))
    place.link(f"{DEBIAN}/libloop.so.{DRIVER}", f"libloop.so.{DRIVER}")
    assert set(sonames(place)) == set(driver.SONAMES.values())


def test_directories_that_are_one_by_links(tmp_path: Path) -> None:
    """Where ``/lib64`` and ``/usr/lib64`` are one directory, each library is found once."""
    place = Place(tmp_path)
    place.install("usr/lib64")
    place.link("lib64", "usr/lib64")
    place.link("usr/lib/x86_64-linux-gnu", "../lib64")
    assert len(found(place).libraries) == len(driver.SONAMES)
    assert set(sonames(place).values()) == {f"/usr/lib64/{stem}.so.{DRIVER}" for stem in driver.SONAMES}


def test_libraries_with_versions_of_their_own(tmp_path: Path) -> None:
    """Some belong to the driver and count for themselves: the newest file of a name is taken."""
    place = Place(tmp_path)
    place.install()
    for version in ("1.1.2", "1.1.10"):
        place.write(f"{DEBIAN}/libnvidia-egl-gbm.so.{version}", driver.elf("libnvidia-egl-gbm.so.1"))
    place.write(f"{DEBIAN}/vdpau/libvdpau_nvidia.so.{DRIVER}", driver.elf("libvdpau_nvidia.so.1"))
    assert sonames(place)["libnvidia-egl-gbm.so.1"].endswith(".1.1.10")
    vdpau = next(library for library in found(place).libraries if library.soname == "libvdpau_nvidia.so.1")
    assert vdpau.subdirectory == "/vdpau"


def test_what_is_no_library_is_passed_over(tmp_path: Path) -> None:
    """A directory and a text file that are named like libraries are none."""
    place = Place(tmp_path)
    place.install()
    place.write(f"{DEBIAN}/libtext.so.{DRIVER}", b"INPUT(-lcuda)")
    (tmp_path / f"{DEBIAN}/libdirectory.so.{DRIVER}").mkdir()
    assert set(sonames(place)) == set(driver.SONAMES.values())


def test_the_number_of_libraries_is_bounded(tmp_path: Path) -> None:
    """A directory full of look-alikes does not make specs without end."""
    place = Place(tmp_path)
    place.install()
    for number in range(MAX_LIBRARIES + 50):
        place.write(f"{DEBIAN}/liba{number:04d}.so.{DRIVER}", driver.elf(f"liba{number}.so.1"))
    assert len(find(DriverRoot("/", str(tmp_path)), DRIVER).libraries) <= MAX_LIBRARIES


STEPS = st.lists(st.sampled_from(("..", ".", "a", "b", "link", "")), max_size=8).map("/".join)


@given(STEPS, STEPS)
def test_resolving_stays_inside(target: str, path: str) -> None:
    """Whatever links say, what is found is a path in the root."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "root")
        (root / "a/b").mkdir(parents=True)
        (root / "a/link").symlink_to(f"/{target}")
        (root / "link").symlink_to(target or ".")
        resolved = DriverRoot("/root", folder).resolve(path)
        if resolved is not None:
            assert (root / resolved.lstrip("/")).resolve() == root / resolved.lstrip("/")


def test_sight_by_the_hosts_roots(tmp_path: Path) -> None:
    """Devices are seen where ``/dev`` of the host is, everything else below the mount of its root."""
    place = Place(tmp_path / "tree")
    place.nodes("nvidia0")
    (tmp_path / "mount/etc").mkdir(parents=True)
    (tmp_path / "mount/etc/cufile.json").touch()
    sight = Sight(place.host, str(tmp_path / "mount"))
    assert sight("/dev/nvidia0")
    assert not sight("/dev/nvidia1")
    assert sight("/etc/cufile.json")
    assert not sight("/etc/../../../etc/passwd")
