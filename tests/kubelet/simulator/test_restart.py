"""What a kubelet leaves behind when it dies, and what the next one makes of it."""

import ctypes
import json
import os
import socket
import stat
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from supervisor.kubelet.protos import deviceplugin_pb2 as pb
from supervisor.kubelet.simulator import EventKind, KubeletDownError, KubeletStartError, Phase
from tests.kubelet.simulator.bare_plugin import Script, device
from tests.kubelet.simulator.conftest import RESOURCE, Plug, Simulate
from tests.kubelet.simulator.test_oracles import renew

CHECKPOINT = "kubelet_internal_checkpoint"


def refuses(path: Path) -> bool:
    """Say whether a socket file is there and refuses."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except ConnectionRefusedError:
            return True
        return False


@pytest.mark.parametrize("sigkill", [False, True])
def test_death_leaves_stale_files(simulate: Simulate, plug: Plug, sigkill: bool) -> None:
    """A dead kubelet's socket refuses, the plugin's socket stays, and the plugin's stream has ended."""
    kubelet = simulate()
    plugin = plug(kubelet, 1)
    if sigkill:
        kubelet.kill()
    else:
        kubelet.stop()
    plugin.wait_streams(0)
    assert refuses(kubelet.paths.socket)
    assert refuses(kubelet.paths.pod_resources_socket)
    assert plugin.socket.is_socket()
    if sigkill:
        assert kubelet.pid is None
    with pytest.raises(KubeletDownError):
        kubelet.node_status()


def test_socket_is_one_inode_in_one_life(simulate: Simulate) -> None:
    """The socket keeps its identity while its kubelet lives and dies, and the next kubelet makes another."""
    kubelet = simulate()

    def identity() -> tuple[int, int]:
        status = kubelet.paths.socket.stat()
        return status.st_ino, status.st_ctime_ns

    first = identity()
    kubelet.stop()
    assert identity() == first
    kubelet.start()
    assert identity() != first


def test_nothing_private_is_left(simulate: Simulate, plug: Plug, root: Path) -> None:
    """Besides the kubelet's own files nothing stays in its directories, nor beside them."""
    kubelet = simulate()
    plug(kubelet, 1)
    kubelet.restart()
    kubelet.kill()
    kubelet.start()
    deadline = time.monotonic() + 10
    while "cluster.new" in os.listdir(root) and time.monotonic() < deadline:  # it is being written right now
        time.sleep(0.01)
    assert sorted(os.listdir(root)) == ["cluster.json", "device-plugins", "pod-resources"]
    assert sorted(os.listdir(kubelet.paths.device_plugins)) == ["kubelet.sock", CHECKPOINT]
    assert os.listdir(kubelet.paths.pod_resources) == ["kubelet.sock"]


def litter(directory: Path) -> None:
    """Fill a directory with one entry of each kind."""
    directory.mkdir(parents=True)
    (directory / "file").touch()
    (directory / ".hidden").touch()
    (directory / "folder").mkdir()
    (directory / "folder/inside").touch()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(directory / "plugin.sock"))
    (directory / "to-folder").symlink_to("folder")
    (directory / "to-file").symlink_to("folder/inside")


@pytest.mark.parametrize(
    ("version", "survivors"),
    [
        ("1.20", {"folder", "to-folder", "DEPRECATION"}),
        ("1.25", {"folder"}),
        ("1.36", {"folder", "to-folder", "to-file", "file", ".hidden"}),
        ("1.37", {"folder", "to-folder", "to-file", "file", ".hidden"}),
    ],
)
def test_clean_up(simulate: Simulate, root: Path, version: str, survivors: set[str]) -> None:
    """A starting kubelet deletes what its version deletes, never a directory and never inside one."""
    litter(root / "device-plugins")
    kubelet = simulate(version)
    assert set(os.listdir(kubelet.paths.device_plugins)) == survivors | {"kubelet.sock"}
    assert (kubelet.paths.device_plugins / "folder/inside").exists()


def test_checkpoint_survives_the_clean_up(simulate: Simulate, plug: Plug, era: str) -> None:
    """The checkpoint is never deleted, and the resources it names are 0/0 until their plugins come back."""
    kubelet = simulate(era)
    plug(kubelet, 2)
    kubelet.restart()
    assert kubelet.node_status() == {RESOURCE: (0, 0)}


@pytest.mark.parametrize("file_survives", [True, False])
def test_regular_file_in_the_sockets_place(simulate: Simulate, file_survives: bool) -> None:
    """A regular file named ``kubelet.sock`` ends kubelets from 1.33 at once; older ones delete it."""
    kubelet = simulate("1.37" if file_survives else "1.25")
    kubelet.stop()
    kubelet.paths.socket.unlink()
    kubelet.paths.socket.touch()
    if not file_survives:
        kubelet.start()
        return
    with pytest.raises(KubeletStartError, match="address already in use"):
        kubelet.start()
    assert stat.S_ISREG(kubelet.paths.socket.stat().st_mode)
    kubelet.paths.socket.unlink()
    kubelet.start()


def test_checkpoint_content(simulate: Simulate, plug: Plug, era: str) -> None:
    """The checkpoint names grants by NUMA node, with the answer, and the registered resources."""
    kubelet = simulate(era)
    answer = pb.ContainerAllocateResponse(envs={"A": "1"})
    plug(kubelet, [device("a", numa=[1]), device("b")], Script(allocate={"a": answer}))
    kubelet.add_pod("p", {RESOURCE: 2})
    path = kubelet.paths.device_plugins / CHECKPOINT
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    data = json.loads(path.read_text())
    [entry] = data["Data"]["PodDeviceEntries"]
    nowhere = "0" if era == "1.20" else "-1"
    assert entry["DeviceIDs"] == {"1": ["a"], nowhere: ["b"]}
    assert entry["AllocResp"] == "CgYKAUESATE="
    assert (entry["ContainerName"], entry["ResourceName"]) == ("main", RESOURCE)
    assert entry["PodUID"] == kubelet.pod("p").uid
    assert data["Data"]["RegisteredDevices"] == {RESOURCE: ["a", "b"]}
    assert isinstance(data["Checksum"], int)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"Data": {}}', '{"Data": {"PodDeviceEntries": 7}}'])
def test_corrupt_checkpoint_is_ignored(simulate: Simulate, root: Path, content: str) -> None:
    """A checkpoint that makes no sense is reported and means an empty memory."""
    directory = root / "device-plugins"
    directory.mkdir()
    (directory / CHECKPOINT).write_text(content)
    kubelet = simulate()
    assert kubelet.node_status() == {}
    assert "checkpoint ignored" in kubelet.warnings()[0]["text"]


def test_runtime_that_is_not_ready(simulate: Simulate) -> None:
    """While the container runtime is not ready the old stale socket stays and refuses."""
    kubelet = simulate()
    kubelet.stop()
    before = kubelet.paths.socket.stat().st_ino
    position = kubelet.events.position
    kubelet.start(runtime_ready_delay=0.3, wait=False)
    kubelet.wait_event(EventKind.KUBELET_STARTING, since=position)
    assert refuses(kubelet.paths.socket)
    assert kubelet.paths.socket.stat().st_ino == before
    kubelet.wait_event(EventKind.SOCKET_ACCEPTING, since=position)
    assert not refuses(kubelet.paths.socket)


def test_death_while_the_runtime_is_not_ready(simulate: Simulate) -> None:
    """A kubelet may end before its runtime is ready; it has touched nothing, and the next one starts."""
    kubelet = simulate()
    kubelet.stop()
    before = kubelet.paths.socket.stat().st_ino
    kubelet.start(runtime_ready_delay=3600, wait=False)
    kubelet.wait_for(lambda: len(kubelet.log(EventKind.KUBELET_STARTING)) == 2)
    kubelet.stop()
    assert kubelet.paths.socket.stat().st_ino == before
    kubelet.start()
    assert [event.life for event in kubelet.log(EventKind.SOCKET_ACCEPTING)] == [1, 3]


@pytest.mark.parametrize(("version", "survives"), [("1.20", True), ("1.25", False), ("1.36", True), ("1.37", True)])
def test_running_pod_without_its_plugin(simulate: Simulate, plug: Plug, version: str, survives: bool) -> None:
    """A pod that runs over a restart while its plugin stays away is let in again, except in early 1.25."""
    kubelet = simulate(version)
    plug(kubelet, 1)
    kubelet.add_pod("p", {RESOURCE: 1})
    kubelet.restart()
    kubelet.wait_event(EventKind.PODS_ARRIVED, pods=1)
    assert (kubelet.pod("p").phase is Phase.RUNNING) is survives
    if not survives:
        assert kubelet.pod("p").reason == "UnexpectedAdmissionError"


@pytest.mark.parametrize(("version", "survives"), [("1.20", True), ("1.25", False), ("1.36", False), ("1.37", False)])
def test_running_pod_with_init_container_without_its_plugin(
    simulate: Simulate, plug: Plug, version: str, survives: bool
) -> None:
    """From 1.25 a pod whose init container used devices is rejected over a restart: that container does not run."""
    kubelet = simulate(version)
    plug(kubelet, 1)
    kubelet.add_pod("p", containers={"a": {RESOURCE: 1}}, init_containers={"i": {RESOURCE: 1}})
    kubelet.restart()
    kubelet.wait_event(EventKind.PODS_ARRIVED, pods=1)
    assert kubelet.pod("p").admitted is survives


@pytest.mark.parametrize("back_in_time", [True, False])
def test_reboot(simulate: Simulate, plug: Plug, back_in_time: bool) -> None:
    """After a reboot a pod keeps its ids without an Allocate if the plugin is back in time, else it fails."""
    kubelet = simulate("1.37", sources_delay=1000.0)
    plugin = plug(kubelet, 1, Script(allocate={"d0": pb.ContainerAllocateResponse(envs={"A": "1"})}))
    kubelet.advance(1000)
    before = kubelet.add_pod("p", {RESOURCE: 1})
    kubelet.reboot()
    if back_in_time:
        renew(kubelet, plugin, "again.sock")
    kubelet.advance(1000)
    kubelet.wait_event(EventKind.PODS_ARRIVED, pods=1)
    if back_in_time:
        kubelet.wait_for(lambda: kubelet.pod("p").containers["main"].starts == 2)
        after = kubelet.pod("p")
        assert (after.device_ids, after.containers["main"].options) == (
            before.device_ids,
            before.containers["main"].options,
        )
    else:
        assert "no healthy devices present" in kubelet.pod("p").message
    assert len(plugin.called("Allocate")) == 1


def test_answers_survive_sigkill(simulate: Simulate, plug: Plug) -> None:
    """A container restarted after SIGKILL of the kubelet gets the old answer, though the plugin is gone."""
    kubelet = simulate()
    plug(kubelet, 1, Script(allocate={"d0": pb.ContainerAllocateResponse(envs={"A": "1"})}))
    kubelet.add_pod("p", {RESOURCE: 1})
    kubelet.kill()
    kubelet.start()
    assert kubelet.restart_container("p").containers["main"].options.envs == {"A": "1"}


def test_grace_period_begins_again_at_a_restart(simulate: Simulate, plug: Plug) -> None:
    """A resource that nobody registers again is dropped five minutes after the restart; its key stays at 0."""
    kubelet = simulate()
    plug(kubelet, 1)
    assert kubelet.node_status() == {RESOURCE: (1, 1)}
    kubelet.restart()
    kubelet.advance(301)
    assert kubelet.node_status() == {RESOURCE: (0, 0)}
    kubelet.wait_event(EventKind.RESOURCE_DROPPED, resource=RESOURCE)
    data = json.loads((kubelet.paths.device_plugins / CHECKPOINT).read_text())
    assert data["Data"]["RegisteredDevices"] == {}


def test_lives_are_counted_over_processes(simulate: Simulate) -> None:
    """Events say of which kubelet they are, also over SIGKILL."""
    kubelet = simulate()
    kubelet.restart()
    kubelet.kill()
    kubelet.start()
    assert [event.life for event in kubelet.log(EventKind.KUBELET_STARTING)] == [1, 2, 3]


LIBC = ctypes.CDLL(None, use_errno=True)
IN_CREATE, IN_MOVED_TO = 0x100, 0x80


def appearances(directory: Path, act: Callable[[], None]) -> list[tuple[int, str]]:
    """Return inotify's masks and names of what appears in a directory meanwhile."""
    watch = LIBC.inotify_init1(os.O_NONBLOCK)
    try:
        assert LIBC.inotify_add_watch(watch, os.fsencode(directory), IN_CREATE | IN_MOVED_TO) > 0
        act()
        data, seen = os.read(watch, 65536), []
        while data:
            _, mask, _, length = struct.unpack("iIII", data[:16])
            seen.append((mask, data[16 : 16 + length].rstrip(b"\0").decode()))
            data = data[16 + length :]
        return seen
    finally:
        os.close(watch)


def test_sockets_appear_as_the_kubelets_do(simulate: Simulate) -> None:
    """``kubelet.sock`` is created under its name, the podresources socket is renamed to it, and nothing else shows."""
    kubelet = simulate()
    assert appearances(kubelet.paths.device_plugins, kubelet.restart) == [(IN_CREATE, "kubelet.sock")]
    [passing, final] = appearances(kubelet.paths.pod_resources, kubelet.restart)
    assert (passing[0], final) == (IN_CREATE, (IN_MOVED_TO, "kubelet.sock"))
