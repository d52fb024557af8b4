"""Two resources that offer one piece of hardware: whoever asks first has it, alone, over restarts and hand-overs, until his pod ends."""

import json
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from supervisor.host import Host
from supervisor.kubelet.protos import deviceplugin_pb2 as pb
from supervisor.kubelet.simulator import EventKind, KubeletSimulator, Paths, PluginCallError
from tests.system.conftest import Start
from tests.system.rig import Process, Puppet, assert_sound, endpoints, wait_for

LEFT, RIGHT = "example.com/left", "example.com/right"
IDS = {LEFT: "r0@left", RIGHT: "r0@right"}
FREE = {resource: {device: "Healthy"} for resource, device in IDS.items()}
TAKEN = {resource: {device: "Unhealthy"} for resource, device in IDS.items()}


@pytest.fixture(autouse=True)
def shared(puppet: Puppet) -> None:
    """Let the plugin offer one region in two resources."""
    puppet.hide()
    puppet.share(**dict.fromkeys(IDS.values(), "region0"))
    for resource, device in IDS.items():
        puppet.show({device: ""}, resource)


def settled(kubelet: KubeletSimulator, left: dict[str, dict[str, str]] = FREE, right: dict[str, dict[str, str]] = FREE) -> None:
    """Wait until the kubelet knows this of the two resources."""
    kubelet.wait_devices(LEFT, left[LEFT])
    kubelet.wait_devices(RIGHT, right[RIGHT])


def hold(kubelet: KubeletSimulator) -> None:
    """A pod gets the region from the left resource."""
    settled(kubelet)
    pod = kubelet.add_pod("holder", {LEFT: 1})
    assert pod.admitted, pod.message


def allocate(kubelet: KubeletSimulator, resource: str) -> bytes:
    """Ask for the region as a kubelet does that has not read its newest list."""
    asked = pb.AllocateRequest(container_requests=[pb.ContainerAllocateRequest(devices_ids=[IDS[resource]])])
    return kubelet.call(resource, "Allocate", asked.SerializeToString())


def refusal(kubelet: KubeletSimulator, resource: str = RIGHT) -> str:
    """Why the region is not granted to this resource."""
    with pytest.raises(PluginCallError) as caught:
        allocate(kubelet, resource)
    return str(caught.value)


def file_of(kubelet: KubeletSimulator) -> Path:
    """Where it is written down who has what."""
    return kubelet.paths.device_plugins / ".device-plugin-supervisor/claims.json"


def noted(kubelet: KubeletSimulator) -> str:
    """Who has the region by the file; empty where that says nothing."""
    try:
        device: str = json.loads(file_of(kubelet).read_text())["claims"]["region0"]["device"]
    except (OSError, ValueError, KeyError):
        return ""
    return device


def health(process: Process, resource: str) -> tuple[str, str]:
    """Health and reason of the region on ``/status``."""
    resources: Any = json.loads(process.get("/status")[1])["resources"]
    (device,) = next(each for each in resources if each["name"] == resource)["devices"]
    return device["health"], device.get("reason", "")


def at_once(*calls: Callable[[], object]) -> list[object]:
    """What these calls returned, or raised, when they were made at the same time."""
    ready = threading.Barrier(len(calls))
    ended: list[object] = [None] * len(calls)

    def run(number: int) -> None:
        ready.wait(10)
        try:
            ended[number] = calls[number]()
        except PluginCallError as error:
            ended[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return ended


@pytest.mark.parametrize("era", ["1.20", "1.37"])
def test_what_one_pod_has_is_withdrawn_from_the_others(kubelet: KubeletSimulator, start: Start, puppet: Puppet) -> None:
    """No scheduler counts it any more, no Allocate and no PreStartContainer gets it, and people read why; it is no alarm."""
    process = start()
    hold(kubelet)
    assert "its hardware is in use as r0@left of example.com/left" in refusal(kubelet)
    settled(kubelet, right=TAKEN)
    start_request = pb.PreStartContainerRequest(devices_ids=[IDS[RIGHT]]).SerializeToString()
    with pytest.raises(PluginCallError, match="in use as r0@left"):
        kubelet.call(RIGHT, "PreStartContainer", start_request)
    assert not kubelet.add_pod("second", {RIGHT: 1}).admitted
    wait_for(lambda: health(process, RIGHT)[0] == "Occupied", what="the status")
    assert health(process, RIGHT)[1] == "its hardware is in use as r0@left of example.com/left"
    assert health(process, LEFT) == ("Healthy", "")
    assert 'device_plugin_devices{resource="example.com/right",health="Unhealthy"} 0.0' in process.get("/metrics")[1]
    assert kubelet.restart_container("holder").phase == "Running"
    assert_sound(kubelet)


def test_of_two_calls_at_once_one_is_granted(kubelet: KubeletSimulator, start: Start) -> None:
    """Whichever the process reads first."""
    start()
    settled(kubelet)
    ended = at_once(lambda: allocate(kubelet, LEFT), lambda: allocate(kubelet, RIGHT))
    assert sorted(isinstance(each, PluginCallError) for each in ended) == [False, True]
    won = LEFT if isinstance(ended[1], PluginCallError) else RIGHT
    assert noted(kubelet) == IDS[won]
    lost = RIGHT if won == LEFT else LEFT
    kubelet.wait_devices(lost, TAKEN[lost])
    kubelet.wait_devices(won, FREE[won])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("ledger", ["readable", "unreadable"])
def test_a_hand_over_between_two_calls(
    kubelet: KubeletSimulator, start: Start, puppet: Puppet, short_dir: Path, tmp_path: Path, number: int, ledger: str
) -> None:
    """The successor's first list has it withdrawn, and it refuses what its predecessor would have refused."""
    first = start()
    settled(kubelet)
    paths = kubelet.paths if ledger == "readable" else Paths(kubelet.paths.device_plugins, short_dir / "nowhere")
    with Process(paths, tmp_path, {"puppet": puppet.section()}, Host()) as standby:
        standby.wait_ready("standing by")
        before, position = endpoints(kubelet), kubelet.events.position
        allocate(kubelet, LEFT)  # what no ledger shows
        first.signal(number)
        kubelet.wait_event(EventKind.LIST_RECEIVED, since=position, resource=RIGHT, healthy=0, unhealthy=1)
        first.wait()
        standby.wait_ready("active")
        settled(kubelet, right=TAKEN)
        assert "in use as r0@left" in refusal(kubelet)
        allocate(kubelet, LEFT)
    assert_sound(kubelet, before)


@pytest.mark.parametrize("ended_by", ["stop", "kill"])
def test_a_restart_between_two_calls(kubelet: KubeletSimulator, start: Start, ended_by: str) -> None:
    """Nobody was there for a while; what was granted still is."""
    first = start()
    settled(kubelet)
    allocate(kubelet, LEFT)
    getattr(first, ended_by)()
    position = kubelet.events.position
    start()
    event = kubelet.wait_event(EventKind.LIST_RECEIVED, since=position, resource=RIGHT)
    assert (event["healthy"], event["unhealthy"]) == (0, 1)
    assert "in use as r0@left" in refusal(kubelet)


def test_a_kubelet_restart_changes_nothing(kubelet: KubeletSimulator, start: Start) -> None:
    """A new kubelet's first list has it withdrawn, too."""
    start()
    hold(kubelet)
    settled(kubelet, right=TAKEN)
    kubelet.restart()
    settled(kubelet, right=TAKEN)
    assert "in use as r0@left" in refusal(kubelet)
    assert_sound(kubelet)


@pytest.mark.parametrize("text", ["", "garbage", None])
def test_without_the_file_the_ledger_tells(kubelet: KubeletSimulator, start: Start, text: str | None) -> None:
    """It is broken, or lost, or was never written by an older version: who holds the id has the region."""
    first = start()
    hold(kubelet)
    first.kill()
    file_of(kubelet).unlink()
    if text is not None:
        file_of(kubelet).write_text(text)
    start()
    settled(kubelet, right=TAKEN)
    assert "in use as r0@left" in refusal(kubelet)
    wait_for(lambda: noted(kubelet) == "r0@left", what="the note of who has the region")  # nobody waits for it to be written
    assert_sound(kubelet)


def test_what_cannot_be_written_is_not_granted(kubelet: KubeletSimulator, start: Start) -> None:
    """The pod's status says why; when it can be written, the next pod gets it."""
    start()
    settled(kubelet)
    file_of(kubelet).mkdir()
    pod = kubelet.add_pod("unlucky", {LEFT: 1})
    assert not pod.admitted
    assert "could not be written down: Is a directory" in pod.message
    file_of(kubelet).rmdir()
    assert kubelet.add_pod("lucky", {RIGHT: 1}).admitted
    settled(kubelet, left=TAKEN)
    assert_sound(kubelet)


def test_what_the_plugin_refuses_is_free_for_the_other(kubelet: KubeletSimulator, start: Start, puppet: Puppet) -> None:
    """The claim falls with the call that took it."""
    start()
    settled(kubelet)
    puppet.behave(allocate="raise")
    assert not kubelet.add_pod("unlucky", {LEFT: 1}).admitted
    puppet.behave()
    assert kubelet.add_pod("lucky", {RIGHT: 1}).admitted
    settled(kubelet, left=TAKEN)


def test_where_nobody_can_be_asked_the_setting_brings_it_back(short_dir: Path, tmp_path: Path, puppet: Puppet) -> None:
    """Neither podresources nor a checkpoint: a claim ends some time after it was last named."""
    with KubeletSimulator(short_dir, sources_delay=0.0, checkpoints=False) as kubelet:
        paths = Paths(kubelet.paths.device_plugins, short_dir / "nowhere")
        section = {"puppet": puppet.section()}
        with Process(paths, tmp_path, section, Host(), ledger={"tombstoneSeconds": 0.5}):
            hold(kubelet)
            settled(kubelet, right=TAKEN)
            kubelet.delete_pod("holder")
            kubelet.wait_devices(RIGHT, FREE[RIGHT], timeout=40)
            assert kubelet.add_pod("next", {RIGHT: 1}).admitted
            settled(kubelet, left=TAKEN)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.requires("patience")
def test_the_end_of_the_pod_brings_it_back(kubelet: KubeletSimulator, start: Start) -> None:
    """After a minute of quiet and two readings, and one more because podresources and the checkpoint disagree."""
    start()
    hold(kubelet)
    settled(kubelet, right=TAKEN)
    kubelet.delete_pod("holder")
    kubelet.wait_devices(RIGHT, FREE[RIGHT], timeout=200)
    assert kubelet.add_pod("next", {RIGHT: 1}).admitted
    settled(kubelet, left=TAKEN)
    assert json.loads(file_of(kubelet).read_text())["claims"].keys() == {"region0"}
