"""Who holds what when no plugin tells the kubelet anything any more."""

import json
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from supervisor.cleanup.readings import Place, held, living_pods, read
from supervisor.kubelet.simulator import KubeletSimulator

LIVING, ENDED, STATIC = "1f0c7c1e-7f0a-4a43-9c57-2f1d3a5b6c7d", "2f0c7c1e-7f0a-4a43-9c57-2f1d3a5b6c7d", "0123456789abcdef" * 2

LAYOUTS = {
    "systemd": "fs/cgroup/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{under}.slice/cri-containerd-1.scope",
    "guaranteed": "fs/cgroup/kubepods.slice/kubepods-pod{under}.slice",
    "cgroupfs": "fs/cgroup/kubepods/besteffort/pod{uid}/1",
    "version 1": "fs/cgroup/memory/kubepods/burstable/pod{uid}",
    "kind": "fs/cgroup/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice"
    "/kubelet-kubepods-besteffort-pod{under}.slice",
}


def make_group(sysfs: Path, layout: str, uid: str) -> None:
    """The control group of a pod."""
    (sysfs / LAYOUTS[layout].format(uid=uid, under=uid.replace("-", "_"))).mkdir(parents=True)


def write_checkpoint(directory: Path, uids: Iterable[str]) -> None:
    """A checkpoint in which each of these pods holds a device of its own."""
    entries = [
        {"PodUID": uid, "ContainerName": "main", "ResourceName": "a.example/b", "DeviceIDs": {"-1": [f"of-{uid[0]}"]}}
        for uid in uids
    ]
    content = {"Data": {"PodDeviceEntries": entries, "RegisteredDevices": {}}, "Checksum": 0}
    (directory / "kubelet_internal_checkpoint").write_text(json.dumps(content))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("uid", [LIVING, STATIC])
def test_pods_are_seen_by_their_control_groups(tmp_path: Path, layout: str, uid: str) -> None:
    """With every driver and both versions; static pods have UIDs without dashes."""
    make_group(tmp_path, layout, uid)
    (tmp_path / "fs/cgroup/system.slice").mkdir()
    assert living_pods(str(tmp_path)) == frozenset({uid.replace("-", "")})


def test_where_no_groups_of_the_kubelet_are_seen_nothing_is_known(tmp_path: Path) -> None:
    """Such as under a root of their own, or without the host's /sys; a kubelet without a pod is another thing."""
    assert living_pods(str(tmp_path)) is None
    for name in ("system.slice", "kubelet.slice", f"custom/kubepods/pod{LIVING}"):
        (tmp_path / "fs/cgroup" / name).mkdir(parents=True)
    assert living_pods(str(tmp_path)) is None
    (tmp_path / "fs/cgroup/kubepods.slice").mkdir()
    assert living_pods(str(tmp_path)) == frozenset()


def test_groups_that_cannot_be_read_are_not_taken_for_none(tmp_path: Path) -> None:
    """What stands in the way is no proof that no pod lives."""
    (tmp_path / "fs").mkdir()
    (tmp_path / "fs/cgroup").symlink_to("cgroup")
    assert living_pods(str(tmp_path)) is None


def test_the_checkpoint_counts_for_living_pods(tmp_path: Path) -> None:
    """Where podresources cannot be read; a pod that has ended stays in it until a plugin tells the kubelet something."""
    write_checkpoint(tmp_path, [LIVING, ENDED])
    place = Place(tmp_path, str(tmp_path / "nowhere"), sysfs=str(tmp_path / "sys"))
    assert held(read(place)) == {"a.example/b": {"of-1", "of-2"}}
    make_group(tmp_path / "sys", "systemd", LIVING)
    assert held(read(place)) == {"a.example/b": {"of-1"}}


def test_without_any_source_nothing_was_learned(tmp_path: Path) -> None:
    """That is not the same as nothing being held."""
    reading = read(Place(tmp_path, str(tmp_path / "nowhere")))
    assert not reading.complete
    assert "podresources" in reading.reason
    assert "checkpoint" in reading.reason


@pytest.fixture
def kubelet(short_dir: Path) -> Iterator[KubeletSimulator]:
    with KubeletSimulator(short_dir, "1.37", sources_delay=0.0) as simulator:
        yield simulator


def test_what_only_the_checkpoint_shows_may_be_held(kubelet: KubeletSimulator, tmp_path: Path) -> None:
    """Podresources never lists init containers; without its pod's group an entry is an old one."""
    write_checkpoint(kubelet.paths.device_plugins, [LIVING, ENDED])
    place = Place(kubelet.paths.device_plugins, str(kubelet.paths.pod_resources_socket), sysfs=str(tmp_path))
    reading = read(place)
    assert (reading.source, reading.complete) == ("podresources", True)
    assert held(reading) == {"a.example/b": {"of-1", "of-2"}}
    make_group(tmp_path, "cgroupfs", LIVING)
    assert held(read(place)) == {"a.example/b": {"of-1"}}


def test_a_kubelet_that_is_starting_proves_nothing(kubelet: KubeletSimulator, tmp_path: Path) -> None:
    """It answers podresources, with an empty list, while the socket of the one before still lies there."""
    dead = kubelet.paths.device_plugins / "dead.sock"
    _bind_and_die(dead)
    kubelet.paths.socket.unlink()
    dead.rename(kubelet.paths.socket)
    reading = read(Place(kubelet.paths.device_plugins, str(kubelet.paths.pod_resources_socket), sysfs=str(tmp_path)))
    assert (reading.complete, reading.reason) == (
        False,
        "the kubelet is starting: its pod resources are there, kubelet.sock is not",
    )


def _bind_and_die(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
