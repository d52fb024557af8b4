"""IOMMU and VFIO, and the node's idea of time."""

import pytest

from supervisor.doctor.clock import EARLIEST, boot_id, clock_status, synchronised, time_namespace, wall_clock
from supervisor.doctor.iommu import groups, vfio
from supervisor.doctor.site import Site
from tests.doctor.ground import Ground


def test_without_an_iommu_the_firmware_is_named(ground: Ground) -> None:
    """With what the kernel was started with, since that is the first question."""
    ground.write("/proc/cmdline", "root=/dev/sda1 intel_iommu=off quiet\n")
    ground.write("/sys/kernel/uevent_seqnum", "1\n")
    finding = ground.one(groups)
    assert finding.level == "note"
    assert "started with intel_iommu=off" in finding.text
    assert "VT-d" in finding.cure
    assert ground.check(vfio) == []


def test_a_pod_that_does_not_see_the_groups_says_so(ground: Ground) -> None:
    """Of ``/sys`` it has the devices alone: none of them in a group does not mean that there is none."""
    ground.fake.add_device("pci", "0000:00:1f.0")
    finding = ground.one(groups)
    assert finding.level == "note"
    assert finding.text.startswith("It cannot be seen here: /sys/kernel/iommu_groups is not mounted")
    assert f"{ground.fake.host.sysfs}/kernel/iommu_groups" in finding.cure
    assert "VT-d" not in finding.cure
    assert ground.check(vfio) == []


def test_a_pod_counts_the_groups_that_pci_devices_are_in(ground: Ground) -> None:
    """By links whose targets are not mounted."""
    for number, group in enumerate((4, 4, 7)):
        directory = f"/sys/devices/pci0000:00/0000:00:0{number}.0"
        ground.write(f"{directory}/uevent", "")
        ground.link(f"{directory}/iommu_group", f"../../../kernel/iommu_groups/{group}")
        ground.link(f"/sys/bus/pci/devices/0000:00:0{number}.0", f"../../../devices/pci0000:00/0000:00:0{number}.0")
    assert (ground.one(groups).level, ground.one(groups).text) == ("ok", "2 groups of PCI devices.")
    assert ground.one(vfio).level == "note"


def test_an_iommu_that_is_on_is_fine(ground: Ground) -> None:
    """Then VFIO is of interest: not loaded, loaded, and loaded in a way that protects nobody."""
    ground.write("/sys/kernel/iommu_groups/0/type", "DMA\n")
    ground.write("/sys/kernel/iommu_groups/1/type", "DMA\n")
    assert (ground.one(groups).level, ground.one(groups).text) == ("ok", "2 groups of devices.")
    assert ground.one(vfio).level == "note"
    ground.write("/dev/vfio/vfio", "")
    assert ground.one(vfio).level == "ok"
    ground.write("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y\n")
    assert [finding.level for finding in ground.check(vfio)] == ["ok", "warning"]


@pytest.mark.parametrize(("seconds", "level"), [(EARLIEST, "ok"), (EARLIEST - 1, "failure"), (0, "failure")])
def test_a_clock_before_its_time_is_a_failure(seconds: float, level: str) -> None:
    """No kubelet of interest existed then."""
    (finding,) = wall_clock(Site(), lambda: seconds)
    assert finding.level == level
    assert " UTC." in finding.text


@pytest.mark.parametrize(("status", "level"), [(0x2001, "ok"), (0x40, "warning"), (0x2041, "warning"), (None, "note")])
def test_the_kernels_word_on_the_clock_is_believed(status: int | None, level: str) -> None:
    """One bit of it says that nobody keeps it right."""
    (finding,) = synchronised(Site(), lambda: status)
    assert finding.level == level


def test_the_kernel_answers() -> None:
    """With a word whose bits are all known ones, or not at all where a sandbox forbids the question."""
    status = clock_status()
    assert status is None or 0 <= status < 1 << 16


def test_a_boot_without_an_id_is_a_warning(ground: Ground) -> None:
    """What is remembered cannot be told from what an earlier boot left."""
    assert ground.one(boot_id).level == "ok"
    ground.fake.path("/proc/sys/kernel/random/boot_id").unlink()
    assert ground.one(boot_id).level == "warning"


@pytest.mark.parametrize(
    ("offsets", "count"),
    [
        (None, 0),
        ("monotonic           0         0\nboottime            0         0\n", 0),
        ("monotonic -86400 0\nboottime 0 0\n", 1),
    ],
)
def test_a_time_namespace_is_noted(ground: Ground, offsets: str | None, count: int) -> None:
    """Only where its clocks differ."""
    if offsets is not None:
        ground.write("/proc/self/timens_offsets", offsets)
    assert len(ground.check(time_namespace)) == count
