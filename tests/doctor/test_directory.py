"""The kubelet's directory and sockets: good ones, and each way in which they are not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from supervisor.config import KubeletConfig
from supervisor.doctor.directory import directory, file_system, kubelet_socket, path_length, pod_resources
from supervisor.doctor.site import Site
from supervisor.errors import NodeError
from supervisor.kubelet.simulator import KubeletSimulator
from supervisor.kubelet.sockets import ProcessDirectory
from tests.doctor.ground import Ground, dead_socket, listen


def at(ground: Ground, path: Path) -> Site:
    """The same node, with another directory."""
    return replace(ground.site, kubelet=KubeletConfig(str(path)))


def test_a_good_directory_is_fine(ground: Ground) -> None:
    """It is there, it can be written."""
    assert ground.one(directory).level == "ok"


def test_an_absent_directory_is_told_once(ground: Ground) -> None:
    """The checks of what would be in it have nothing to add."""
    ground.directory.rmdir()
    finding = ground.one(directory)
    assert (finding.level, finding.text) == ("failure", "It cannot be seen: No such file or directory.")
    assert "kubelet.devicePluginsDir" in finding.cure
    assert ground.check(kubelet_socket) == ground.check(file_system) == []


def test_a_file_is_no_directory(ground: Ground) -> None:
    """It is not taken for one."""
    ground.directory.rmdir()
    ground.directory.write_text("")
    assert ground.one(directory).text == "It is no directory."


_IMPORTS = """
import os, sys
from supervisor.config import KubeletConfig
from supervisor.doctor.directory import directory
from supervisor.doctor.site import Site
"""
_ASK = """
for finding in directory(Site(KubeletConfig(sys.argv[1]))):
    print(finding.level, finding.text)
"""


def ask(*before: str, path: Path) -> str:
    """What a process that is started in this way finds."""
    command = [*before, sys.executable, "-c", _IMPORTS + _ASK, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.requires("root")
def test_a_directory_of_somebody_else_is_a_failure(ground: Ground) -> None:
    """Another user cannot write there, and reads who he is."""
    script = _IMPORTS + "os.setgid(65534); os.setuid(65534)" + _ASK
    ground.directory.parent.chmod(0o755)
    done = subprocess.run([sys.executable, "-c", script, str(ground.directory)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "failure This process (uid 65534) may not write there."


@pytest.mark.namespaces
def test_a_dead_bind_mount_is_a_failure(ground: Ground, tmp_path: Path) -> None:
    """The directory was removed under it: it is seen, it says writable, and nothing can be made in it."""
    view = tmp_path / "view"
    view.mkdir()
    script = f'mount --bind {ground.directory} {view} && rmdir {ground.directory} && exec "$@"'
    told = ask("unshare", "-m", "sh", "-c", script, "sh", path=view)
    assert told == "failure It was removed under this mount: nothing can be made in it any more."


@pytest.mark.namespaces
def test_a_read_only_mount_is_a_failure(ground: Ground, tmp_path: Path) -> None:
    """Root may do anything, but not that."""
    script = f'mount --bind {ground.directory} {ground.directory} && mount -o remount,ro,bind {ground.directory} && exec "$@"'
    told = ask("unshare", "-m", "sh", "-c", script, "sh", path=ground.directory)
    assert told == f"failure This process (uid {os.geteuid()}) may not write there."


@pytest.mark.parametrize("more", range(-6, 7))
def test_a_path_is_too_long_when_the_supervisor_would_refuse_it(ground: Ground, short_dir: Path, more: int) -> None:
    """The check and the supervisor agree to the byte."""
    room = 107 - len(os.fsencode(short_dir)) - len("/.device-plugin-supervisor/01234567/x-000000.sock")
    path = short_dir / ("d" * (room - 1 + more))
    path.mkdir()
    site = at(ground, path)
    (finding,) = path_length(site)
    assert (finding.level == "failure") is _refused(path)


def _refused(path: Path) -> bool:
    try:
        ProcessDirectory.create(path).remove()
    except NodeError as error:
        return "too long" in str(error)
    return False


MOUNTS = "22 1 0:21 / / rw - {root} none rw\n30 22 0:30 / /proc rw - proc proc rw\n{more}"


@pytest.mark.parametrize(
    ("root", "more", "level", "word"),
    [
        ("ext4", "", "ok", "ext4, mounted at /"),
        ("overlay", "", "warning", "no kubelet looks"),
        ("overlay", "40 22 8:1 /var/lib/kubelet/device-plugins {at} rw - xfs /dev/sda1 rw\n", "ok", "xfs, mounted at"),
        ("overlay", "40 22 8:1 / {at} rw shared:1 - vfat /dev/sda1 rw\n", "failure", "vfat holds no sockets"),
        ("ext4", "40 22 8:1 / {at} rw - fuse.gcsfuse x rw\n", "note", "may refuse hard links"),
        ("ext4", "40 22 8:1 / {at} rw - nfs4 x rw\n41 22 8:1 / {at} rw - btrfs x rw\n", "ok", "btrfs"),
        ("ext4", "40 22 8:1 / {at}-other rw - vfat x rw\n", "ok", "ext4"),
        ("ext4", "nonsense\n1 - \n", "ok", "ext4"),
    ],
)
def test_the_file_system_is_that_of_the_deepest_mount(ground: Ground, root: str, more: str, level: str, word: str) -> None:
    """What is made in a container's own file system no kubelet sees."""
    ground.write("/proc/self/mountinfo", MOUNTS.format(root=root, more=more.format(at=os.path.realpath(ground.directory))))
    finding = ground.one(file_system)
    assert finding.level == level
    assert word in finding.text


def test_without_mounts_nothing_is_said_of_the_file_system(ground: Ground) -> None:
    """Not known is not bad."""
    assert ground.one(file_system).level == "note"


def test_a_kubelet_that_listens_is_fine(ground: Ground) -> None:
    """It takes the connection, and is told nothing."""
    with listen(ground.directory / "kubelet.sock") as server:
        assert ground.one(kubelet_socket).level == "ok"
        connection, _ = server.accept()
        with connection:
            assert connection.recv(1) == b""


def test_a_busy_kubelet_is_fine(ground: Ground) -> None:
    """A full backlog means that somebody listens."""
    with listen(ground.directory / "kubelet.sock") as server:
        server.listen(0)
        for _ in range(5):
            assert ground.one(kubelet_socket).level == "ok"


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.write_text(""), "is not a socket"),
        (dead_socket, "It does not accept connections: Connection refused."),
    ],
    ids=["absent", "a file", "stale"],
)
def test_a_kubelet_that_does_not_listen_is_a_failure(ground: Ground, make: object, word: str) -> None:
    """Each kind says what it is."""
    assert callable(make)
    make(ground.directory / "kubelet.sock")
    finding = ground.one(kubelet_socket)
    assert finding.level == "failure"
    assert word in finding.text
    assert "systemctl status kubelet" in finding.cure


def test_pod_resources_are_asked(kubelet: KubeletSimulator, ground: Ground) -> None:
    """A kubelet that answers is fine."""
    paths = kubelet.paths
    site = replace(ground.site, kubelet=KubeletConfig(str(paths.device_plugins), str(paths.pod_resources_socket)))
    (finding,) = pod_resources(site)
    assert (finding.level, finding.text) == ("ok", "It answers: 0 devices are held, by 0 pods.")
    (finding,) = kubelet_socket(site)
    assert finding.level == "ok"


@pytest.mark.parametrize("stale", [False, True])
def test_pod_resources_that_do_not_answer_are_a_warning(ground: Ground, stale: bool) -> None:
    """The supervisor goes on by the checkpoint, and the cure depends on what is there."""
    if stale:
        dead_socket(ground.pod_resources)
    with listen(ground.directory / "kubelet.sock"):
        finding = ground.one(pod_resources)
    assert finding.level == "warning"
    assert ("the kubelet's log" in finding.cure) is stale
