"""RDMA devices through the whole supervisor: what a kubelet, its pods and people see of machines that are files.

No uevent tells of what happens to such a machine, as in a pod without the host's network: polls find it, and looks that follow others.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from prometheus_client.parser import text_string_to_metric_families

from supervisor.host import Host
from supervisor.kubelet.simulator import EventKind, KubeletSimulator, PodState
from supervisor_infiniband.simulate import changes
from supervisor_infiniband.simulate.layouts import layout
from supervisor_infiniband.simulate.machine import Machine
from supervisor_infiniband.simulate.tree import Tree
from tests.plugins.infiniband import trees
from tests.system.rig import Process, assert_sound, registered, wait_for

pytestmark = pytest.mark.requires("patience")

HCA, VF = "rdma/hca", "rdma/vf"
FIRST, SECOND = "0000:3b:00.0", "0000:3b:00.1"
"""Of the machine with two ports."""

BOTH = {FIRST: "Healthy", SECOND: "Healthy"}
PATIENCE = 20.0
"""Seconds for anything to come true; it takes far less."""
HOLD_DOWN = 0.5
"""Seconds, where a test does not ask for another."""


class Node:
    """A machine below a directory, a kubelet, and supervisors that find out what becomes of the machine."""

    def __init__(self, folder: Path, kubelet: KubeletSimulator, running: ExitStack) -> None:
        self.kubelet = kubelet
        self._folder = folder
        self._running = running
        self._tree = Tree(folder / "node", Machine())
        running.callback(self._tree.close)

    @property
    def machine(self) -> Machine:
        return self._tree.machine

    def become(self, machine: Machine) -> None:
        """Be another machine."""
        self._tree.become(machine)

    def start(self, *, hold_down: float = HOLD_DOWN, **section: Any) -> Process:
        """A supervisor; ``section`` is the plugin's."""
        whole = {"lookInterval": 3600, "poll": 0.1, "health": {"holdDown": hold_down}, **section}
        host = Host(sysfs=str(self._tree.sys), dev=str(self._tree.dev), helper_socket=str(self._folder / "no-helper"))
        return self._running.enter_context(Process(self.kubelet.paths, self._folder, {"infiniband": whole}, host))

    def wait(self, expected: Mapping[str, str], resource: str = HCA) -> None:
        """Wait until the kubelet has these devices."""
        self.kubelet.wait_devices(resource, expected, timeout=PATIENCE)

    def lists(self, since: int, resource: str = HCA) -> list[tuple[int, int]]:
        """Healthy and unhealthy devices in each list that the kubelet has got since a position of its events."""
        log = self.kubelet.log(EventKind.LIST_RECEIVED, since=since, resource=resource)
        return [(event["healthy"], event["unhealthy"]) for event in log]


@pytest.fixture
def node(short_dir: Path, tmp_path: Path) -> Iterator[Node]:
    """A node without any RDMA device."""
    with KubeletSimulator(short_dir, "1.37", sources_delay=0.0) as kubelet, ExitStack() as running:
        yield Node(tmp_path, kubelet, running)
        assert_sound(kubelet)


def status(process: Process) -> Any:
    """The whole of ``/status``."""
    return json.loads(process.get("/status")[1])


def reasons(process: Process, resource: str = HCA) -> dict[str, str]:
    """Why devices are Unhealthy, by ``/status``."""
    (found,) = [each for each in status(process)["resources"] if each["name"] == resource]
    return {device["id"]: device["reason"] for device in found["devices"] if device["health"] == "Unhealthy"}


def metric(process: Process, name: str) -> dict[str, tuple[Mapping[str, str], float]]:
    """The labels and the value of a metric of the plugin's, by device."""
    families = text_string_to_metric_families(process.get("/metrics")[1])
    wanted = f"device_plugin_infiniband_{name}"
    found = (sample for family in families for sample in family.samples if sample.name == wanted)
    return {sample.labels["device"]: (sample.labels, sample.value) for sample in found}


def values(process: Process, name: str) -> dict[str, float]:
    return {device: value for device, (_, value) in metric(process, name).items()}


def command(process: Process, *arguments: str) -> str:
    """What a command of the supervisor's prints for the configuration of a running one."""
    done = subprocess.run(
        [sys.executable, "-m", "supervisor", *arguments, "--config", str(process.config)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stderr
    return done.stdout


def variables(pod: PodState) -> Mapping[str, str]:
    assert pod.admitted, pod.message
    return pod.containers["main"].options.envs


def paths(pod: PodState) -> set[str]:
    """The device nodes that a pod has got."""
    return {device.host_path for device in pod.containers["main"].options.devices}


# --- what is offered --------------------------------------------------------------------------------------------------


def test_a_pod_gets_what_verbs_need_and_no_more(node: Node) -> None:
    """Two cards that are near to each other: their own nodes and the one for all, and variables that go in step."""
    node.become(layout("rails-8"))
    node.start()
    node.wait({function.id: "Healthy" for function in node.machine.functions})
    numa = node.kubelet.topology(HCA)
    assert sorted(numa.values()) == [(0,)] * 4 + [(1,)] * 4
    pod = node.kubelet.add_pod("solver", {HCA: 2})
    envs, hcas = variables(pod), [node.machine.find(device)[1] for device in pod.device_ids]
    assert len({numa[device] for device in pod.device_ids}) == 1
    assert paths(pod) == {"/dev/infiniband/rdma_cm", *(f"/dev/infiniband/uverbs{hca.uverbs}" for hca in hcas)}
    told = json.loads(envs["RDMA_DEVICE_INFO"])
    assert [each["name"] for each in told] == envs["RDMA_DEVICES"].split(",")
    assert [each["id"] for each in told] == envs["PCIDEVICE_RDMA_HCA"].split(",")
    assert {each["name"] for each in told} == {hca.name for hca in hcas}


def test_without_a_resource_in_the_section_there_are_some(node: Node) -> None:
    """VFs apart from whole cards; a card that has VFs is no whole one. Nobody has prepared the VFs, and they are healthy."""
    node.become(trees.infiniband_8_vfs_without_guid())
    process = node.start()
    node.wait({FIRST: "Healthy"})
    node.wait({one.id: "Healthy" for one in node.machine.functions if one.pf}, VF)
    assert "a match with hasVfs: true takes it" in " ".join(command(process, "explain", SECOND).split())
    assert f"mlx5_1 ({SECOND})" in json.dumps(status(process)), "it is a notice, too"


def test_a_node_without_rdma_is_quiet(node: Node) -> None:
    """The plugin is on where it is installed: it says nothing, is ready, and has the devices when their driver is loaded."""
    process = node.start()
    process.wait_ready("active")
    assert not [line for line in process.log.splitlines() if '"warning"' in line or '"error"' in line]
    node.become(layout("dual-port-infiniband"))
    node.wait(BOTH)


def test_shared_cards(node: Node) -> None:
    """Replicas of a card share its health; a pod with two of them gets two cards."""
    node.become(layout("dual-port-infiniband"))
    node.start(resources=[{"name": HCA, "mode": "shared", "replicas": 3}])
    ids = [f"{card}::{number}" for card in BOTH for number in range(3)]
    node.wait(dict.fromkeys(ids, "Healthy"))
    pod = node.kubelet.add_pod("two", {HCA: 2})
    assert variables(pod)["RDMA_DEVICES"] == "mlx5_0,mlx5_1"
    node.become(changes.port(node.machine, "mlx5_1", 1, "down"))
    node.wait({each: "Unhealthy" if each.startswith(SECOND) else "Healthy" for each in ids})


def test_a_simulated_machine(node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A layout by name, with a script: VFs go and come back under their ids. Containers get harmless nodes in place of those."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # the machine lies there
    node.start(simulate={"layout": "roce-16-vfs", "script": ["after 3s vfs mlx5_0 4", "after 5s vfs mlx5_0 16"]})
    node.kubelet.wait_event(EventKind.LIST_RECEIVED, PATIENCE, resource=VF, healthy=16, unhealthy=0)
    pod = node.kubelet.add_pod("pod", {VF: 2})
    assert paths(pod) == {"/dev/null"}
    node.kubelet.wait_event(EventKind.LIST_RECEIVED, PATIENCE, resource=VF, healthy=4, unhealthy=12)
    node.wait({one.id: "Healthy" for one in layout("roce-16-vfs").functions if one.pf}, VF)
    assert node.kubelet.pod("pod").device_ids == pod.device_ids


# --- what becomes of it -----------------------------------------------------------------------------------------------


def test_a_port_goes_down_and_every_door_tells_why(node: Node) -> None:
    """The kubelet, the status, the metrics and the commands agree; the other port is not concerned, and no stream ends."""
    node.become(layout("dual-port-infiniband"))
    process = node.start()
    node.wait(BOTH)
    since = node.kubelet.events.position
    node.become(changes.port(node.machine, "mlx5_0", 1, "down"))
    node.wait({**BOTH, FIRST: "Unhealthy"})
    assert reasons(process)[FIRST].startswith("PortDown: port 1 is DOWN")
    assert values(process, "port_active") == {FIRST: 0, SECOND: 1}
    assert metric(process, "port_info")[FIRST][0]["state"] == "DOWN"
    assert values(process, "port_rate_bits_per_second") == {SECOND: 200e9}
    assert "PortDown" in command(process, "explain", "ibp59s0f0")
    told = json.loads(command(process, "devices", "--json"))
    listed = {device["id"]: device for each in told["resources"] for device in each["devices"]}
    assert {name: device["health"] for name, device in listed.items()} == {**BOTH, FIRST: "Unhealthy"}
    assert listed[FIRST]["reason"].startswith("PortDown")
    address = json.loads(process.wait_log('"HttpListening"'))["address"]
    assert "PortDown" in command(process, "status", "--address", address)
    node.become(changes.port(node.machine, "mlx5_0", 1, "up"))
    node.wait(BOTH)
    assert reasons(process) == {}
    assert values(process, "port_changes_total") == {FIRST: 2, SECOND: 0}
    assert node.lists(since) == [(1, 1), (2, 0)]
    assert not node.kubelet.log(EventKind.STREAM_ENDED, since=since)


def test_what_is_shorter_than_the_hold_down_is_no_news(node: Node) -> None:
    """A port that flaps is counted, and the kubelet hears nothing of it."""
    node.become(layout("dual-port-infiniband"))
    process = node.start(hold_down=3600)
    node.wait(BOTH)
    since = node.kubelet.events.position
    for state, active in (("down", 0), ("up", 1)):
        node.become(changes.port(node.machine, "mlx5_0", 1, state))
        wait_for(partial(_is_active, process, active), PATIENCE, f"a port that is {state}")
    assert values(process, "port_changes_total") == {FIRST: 2, SECOND: 0}
    assert node.lists(since) == []


def _is_active(process: Process, active: int) -> bool:
    return values(process, "port_active")[FIRST] == active


def test_virtual_functions_come_and_go(node: Node) -> None:
    """They are found without any uevent; one that a pod holds stays listed when it has gone, and is the pod's when it comes back."""
    node.become(layout("dual-port-infiniband"))
    process = node.start(
        resources=[{"name": VF, "match": [{"kind": ["vf"]}]}, {"name": HCA, "match": [{"kind": ["pf"], "hasVfs": True}]}]
    )
    node.kubelet.wait_registered(VF, PATIENCE)
    node.become(changes.with_vfs(node.machine, "mlx5_0", 4))
    vfs = [one.id for one in node.machine.functions if one.pf]
    node.wait(dict.fromkeys(vfs, "Healthy"), VF)
    pod = node.kubelet.add_pod("pod", {VF: 1})
    node.become(changes.with_vfs(node.machine, "mlx5_0", 0))
    node.wait(dict.fromkeys(vfs, "Unhealthy"), VF)
    assert reasons(process, VF).keys() == set(vfs)
    node.become(changes.with_vfs(node.machine, "mlx5_0", 4))
    node.wait(dict.fromkeys(vfs, "Healthy"), VF)
    assert node.kubelet.pod("pod").device_ids == pod.device_ids


def test_virtual_functions_fall_with_their_card(node: Node) -> None:
    """Their own ports have been down all the time, which means nothing; that of their card does."""
    node.become(layout("roce-16-vfs"))
    process = node.start()
    vfs = [one.id for one in node.machine.functions if one.pf]
    node.wait(dict.fromkeys(vfs, "Healthy"), VF)
    node.become(changes.port(node.machine, "mlx5_0", 1, "down"))
    node.wait(dict.fromkeys(vfs, "Unhealthy"), VF)
    assert all("of its physical function 0000:5e:00.0 is DOWN" in why for why in reasons(process, VF).values())
    node.become(changes.port(node.machine, "mlx5_0", 1, "up"))
    node.wait(dict.fromkeys(vfs, "Healthy"), VF)


def test_a_name_is_not_an_id(node: Node) -> None:
    """Renamed, and made anew under another number, a card keeps its id; pods get its name and its node of now."""
    node.become(layout("dual-port-infiniband"))
    process = node.start()
    node.wait(BOTH)
    node.become(changes.without(changes.without(node.machine, "mlx5_0"), "mlx5_1"))
    node.wait(dict.fromkeys(BOTH, "Unhealthy"))
    for word in (SECOND, FIRST):
        node.become(changes.restored(node.machine, word, layout("dual-port-infiniband")))
    node.become(changes.renamed(node.machine, "mlx5_0", "storage"))
    node.wait(BOTH)
    wait_for(lambda: "storage" in process.get("/metrics")[1], PATIENCE, "the new name")
    pods = {pod.device_ids[0]: pod for name in "ab" if (pod := node.kubelet.add_pod(name, {HCA: 1})).admitted}
    assert variables(pods[FIRST])["RDMA_DEVICES"] == "storage"
    assert paths(pods[FIRST]) == {"/dev/infiniband/rdma_cm", "/dev/infiniband/uverbs1"}
    assert paths(pods[SECOND]) == {"/dev/infiniband/rdma_cm", "/dev/infiniband/uverbs0"}


def test_a_card_that_makes_no_sense_is_quarantined_alone(node: Node) -> None:
    """It is Unhealthy and says why, also after a restart; pods get the other; when it makes sense again it comes back."""
    node.become(layout("dual-port-infiniband"))
    process = node.start()
    node.wait(BOTH)
    node.become(trees.garbage())
    node.wait({**BOTH, FIRST: "Unhealthy"})
    assert reasons(process)[FIRST].startswith("Quarantined: ")
    assert values(process, "device_quarantined") == {FIRST: 1, SECOND: 0}
    assert "quarantined" in command(process, "explain", FIRST)
    assert node.kubelet.add_pod("pod", {HCA: 1}).device_ids == [SECOND]
    process.kill()
    since = node.kubelet.events.position
    process = node.start()
    node.kubelet.wait_event(EventKind.LIST_RECEIVED, PATIENCE, since, resource=HCA)
    node.wait({**BOTH, FIRST: "Unhealthy"})
    node.become(layout("dual-port-infiniband"))
    node.wait(BOTH)
    assert set(node.lists(since)) == {(1, 1), (2, 0)}


def test_a_card_that_never_made_sense_is_not_offered(node: Node) -> None:
    """Nobody can tell which resource it belongs to until it does."""
    node.become(trees.garbage())
    process = node.start()
    node.wait({SECOND: "Healthy"})
    assert "quarantined" in command(process, "explain", FIRST)
    node.become(layout("dual-port-infiniband"))
    node.wait(BOTH)


# --- network namespaces -----------------------------------------------------------------------------------------------


def test_a_card_in_a_pod_outlives_restarts(node: Node) -> None:
    """In RDMA mode ``exclusive`` it stays listed where it was, also by a supervisor that has never seen it here."""
    node.become(structs.replace(layout("dual-port-infiniband"), netns_mode="exclusive"))
    process = node.start()
    node.wait(BOTH)
    numa = node.kubelet.topology(HCA)
    (held,) = node.kubelet.add_pod("holder", {HCA: 1}).device_ids
    facts = metric(process, "device_info")[held]
    since = node.kubelet.events.position
    node.become(changes.moved(node.machine, held, away=True))
    wait_for(lambda: values(process, "device_elsewhere")[held] == 1, PATIENCE, "the card elsewhere")
    assert "in use in another network namespace" in command(process, "explain", held)
    process.kill()
    process = node.start()
    node.kubelet.wait_event(EventKind.LIST_RECEIVED, PATIENCE, since, resource=HCA)
    node.wait(BOTH)
    assert set(node.lists(since)) == {(2, 0)}
    assert node.kubelet.topology(HCA) == numa
    assert metric(process, "device_info")[held] == facts
    node.kubelet.delete_pod("holder")
    refused = node.kubelet.add_pod("early", {HCA: 2})
    assert not refused.admitted
    assert "in use in another network namespace" in refused.message
    node.become(changes.moved(node.machine, held, away=False))
    wait_for(lambda: values(process, "device_elsewhere")[held] == 0, PATIENCE, "the card back")
    assert variables(node.kubelet.add_pod("next", {HCA: 2}))["RDMA_DEVICES"] == "mlx5_0,mlx5_1"


# --- restarts ---------------------------------------------------------------------------------------------------------


def test_a_restart_of_the_supervisor_makes_no_port_whole(node: Node) -> None:
    """A port that was down has to hold its link for the whole hold-down, whoever looks; pods keep what they hold."""
    node.become(layout("dual-port-infiniband"))
    process = node.start(hold_down=1.5)
    node.wait(BOTH)
    pod = node.kubelet.add_pod("both", {HCA: 2})
    node.become(changes.port(node.machine, "mlx5_0", 1, "down"))
    node.wait({**BOTH, FIRST: "Unhealthy"})
    memory = node.kubelet.paths.device_plugins / ".device-plugin-supervisor/memory/infiniband.json"
    wait_for(lambda: memory.exists() and '"down"' in memory.read_text(), PATIENCE, "the memory")
    process.kill()
    node.become(changes.port(node.machine, "mlx5_0", 1, "up"))
    since = node.kubelet.events.position
    process = node.start(hold_down=1.5)
    node.kubelet.wait_event(EventKind.LIST_RECEIVED, PATIENCE, since, resource=HCA)
    assert node.lists(since)[0] == (1, 1)
    node.wait(BOTH)
    assert node.kubelet.pod("both").device_ids == pod.device_ids


def test_a_restart_of_the_kubelet(node: Node) -> None:
    """Everything is registered again, once, without another look; pods keep what they hold."""
    node.become(layout("roce-16-vfs"))
    process = node.start()
    vfs = {one.id: "Healthy" for one in node.machine.functions if one.pf}
    node.wait(vfs, VF)
    pod = node.kubelet.add_pod("pod", {VF: 4})
    node.kubelet.kill()
    node.kubelet.start()
    node.wait(vfs, VF)
    assert registered(node.kubelet, 2, VF) == 1
    assert node.kubelet.pod("pod").device_ids == pod.device_ids
    process.wait_ready("active")
