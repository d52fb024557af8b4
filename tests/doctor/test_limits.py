"""Limits: each with a good value, a bad one and none."""

import subprocess
import sys

import pytest

from supervisor.doctor.limits import inotify, locked_memory, memory, open_files
from tests.doctor.ground import Ground

RDMA = "/sys/class/infiniband/mlx5_0/uevent"


def test_unlimited_locked_memory_is_fine(ground: Ground) -> None:
    """For us and for the runtime whose containers inherit it."""
    ground.process("812", "containerd")
    assert ground.levels(locked_memory) == {"locked memory": "ok", "locked memory of containerd": "ok"}


@pytest.mark.parametrize(("rdma", "level"), [(False, "note"), (True, "warning")])
def test_little_locked_memory_matters_to_rdma(ground: Ground, rdma: bool, level: str) -> None:
    """Where there is any; the size is told in words."""
    ground.process("self", "python3", locked=65536)
    ground.process("77", "crio", locked=8 << 20)
    ground.write("/sys/class/net/lo/uevent", "")
    if rdma:
        ground.write(RDMA, "")
    found = {finding.subject: finding for finding in ground.check(locked_memory)}
    assert {finding.level for finding in found.values()} == {level}
    assert found["locked memory"].text.startswith("64 KiB for this process")
    assert found["locked memory of crio"].text.startswith("8 MiB for crio")
    assert not rdma or "LimitMEMLOCK=infinity" in found["locked memory"].cure


def test_where_classes_cannot_be_seen_rdma_is_not_said_to_be_absent(ground: Ground) -> None:
    """As in a pod without that mount."""
    ground.process("self", "python3", locked=65536)
    finding = ground.one(locked_memory)
    assert finding.level == "note"
    assert "cannot be seen here" in finding.text


def test_unreadable_limits_are_not_known(ground: Ground) -> None:
    """Not known is not bad."""
    ground.fake.path("/proc/self/limits").unlink()
    assert ground.one(locked_memory).level == ground.one(open_files).level == "note"


@pytest.mark.parametrize(("files", "level"), [("unlimited", "ok"), (1024, "ok"), (1023, "warning"), ("?", "note")])
def test_few_open_files_are_a_warning(ground: Ground, files: object, level: str) -> None:
    """From the soft limit of this process."""
    ground.process("self", "python3", files=files)
    assert ground.one(open_files).level == level


MIB = 1 << 20


@pytest.mark.parametrize(
    ("cgroup", "files", "level", "word"),
    [
        ("0::/", {}, "ok", "None is set"),
        ("0::/", {"memory.max": "max"}, "ok", "None is set"),
        ("0::/", {"memory.max": 128 * MIB}, "ok", "128 MiB"),
        ("0::/", {"memory.max": 32 * MIB}, "warning", "32 MiB"),
        ("0::/kube/pod1", {"kube/memory.max": 32 * MIB, "kube/pod1/memory.max": 128 * MIB}, "warning", "32 MiB"),
        ("4:memory:/kube", {"memory/kube/memory.limit_in_bytes": 48 * MIB}, "warning", "48 MiB"),
        ("4:memory:/", {"memory/memory.limit_in_bytes": 9223372036854771712}, "ok", "None is set"),
        ("3:cpu,cpuacct:/kube", {"memory.max": 1}, "ok", "None is set"),
        ("nonsense", {}, "ok", "None is set"),
    ],
)
def test_the_lowest_memory_limit_counts(ground: Ground, cgroup: str, files: dict[str, object], level: str, word: str) -> None:
    """Of all control groups above this process, of both versions."""
    ground.write("/proc/self/cgroup", f"{cgroup}\n")
    ground.write("/sys/fs/cgroup/cgroup.procs", "")
    for name, value in files.items():
        ground.write(f"/sys/fs/cgroup/{name}", f"{value}\n")
    finding = ground.one(memory)
    assert finding.level == level
    assert word in finding.text


def test_control_groups_that_are_not_mounted_are_not_taken_for_none(ground: Ground) -> None:
    """The process may have a limit all the same."""
    ground.write("/proc/self/cgroup", "0::/\n")
    finding = ground.one(memory)
    assert finding.level == "note"
    assert finding.text.startswith("It cannot be seen here")


def test_the_limit_is_that_of_this_container(ground: Ground) -> None:
    """Its own control groups lie where the runtime mounts them, not below the host's ``/sys`` that is mounted for devices."""
    ground.write("/proc/self/cgroup", "0::/\n")
    ground.write("/sys/fs/cgroup/memory.max", "max\n")
    ground.cgroup = ground.cdi[0]
    (ground.cgroup / "memory.max").write_text(f"{32 * MIB}\n")
    assert ground.one(memory).level == "warning"


def test_inotify_limits_are_judged(ground: Ground) -> None:
    """Too few of either are a warning that says how to raise them."""
    ground.write("/proc/sys/fs/inotify/max_user_instances", "1024\n")
    ground.write("/proc/sys/fs/inotify/max_user_watches", "8191\n")
    found = {finding.subject: finding for finding in ground.check(inotify)}
    assert found["inotify max_user_instances"].level == "ok"
    assert found["inotify max_user_watches"].level == "warning"
    assert "sysctl -w fs.inotify.max_user_watches=65536" in found["inotify max_user_watches"].cure


_EXHAUSTED = """
import resource
from supervisor.doctor.limits import inotify
from supervisor.doctor.site import Site
list(inotify(Site()))
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
print([finding.text for finding in inotify(Site()) if finding.level == "failure"])
"""


def test_an_instance_that_cannot_be_had_is_a_failure() -> None:
    """Whatever the limits say, what counts is the attempt."""
    done = subprocess.run([sys.executable, "-c", _EXHAUSTED], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['No instance can be had: Too many open files.']"
