"""Which pod holds which device, as the running supervisor tells it."""

import json
from pathlib import Path
from typing import Any

import pytest

from supervisor.kubelet.simulator import KubeletSimulator
from tests.system.conftest import Start
from tests.system.rig import RESOURCE, Process, Puppet, wait_for


def shown(process: Process) -> dict[str, Any]:
    """The document behind ``/status``."""
    found: dict[str, Any] = json.loads(process.get("/status")[1])
    return found


def holders(process: Process) -> dict[str, list[str]]:
    """Device id to the pods that hold it."""
    devices = shown(process)["resources"][0]["devices"]
    return {device["id"]: [holder["pod"] for holder in device["holders"]] for device in devices}


@pytest.mark.slow
def test_a_pod_is_named_while_it_holds_a_device(kubelet: KubeletSimulator, served: Process) -> None:
    """Some seconds after it was admitted, and until some seconds after it has gone; over a kubelet restart, too."""
    assert kubelet.add_pod("train", {RESOURCE: 1}).admitted
    wait_for(lambda: sorted(holders(served).values()) == [[], ["train"]], 20.0, "the pod was named")
    assert shown(served)["resources"][0]["held"] == 1
    kubelet.restart()
    wait_for(lambda: sorted(holders(served).values()) == [[], ["train"]], 20.0, "the pod was named again")
    kubelet.delete_pod("train")
    wait_for(lambda: sorted(holders(served).values()) == [[], []], 30.0, "the pod was gone")


@pytest.mark.slow
def test_without_podresources_the_checkpoint_tells(kubelet: KubeletSimulator, served: Process) -> None:
    """It knows pods by their UID alone; where neither can be read nothing is claimed, and the reason is told."""
    kubelet.paths.pod_resources_socket.unlink()
    assert kubelet.add_pod("train", {RESOURCE: 1}).admitted
    wait_for(lambda: shown(served)["attribution"]["source"] == "checkpoint", 20.0, "the checkpoint was read")
    wait_for(lambda: sorted(map(len, holders(served).values())) == [0, 1], 20.0, "the pod's UID was named")
    (kubelet.paths.device_plugins / "kubelet_internal_checkpoint").write_text("garbage")
    wait_for(lambda: not shown(served)["attribution"]["known"], 30.0, "it was told that nothing is known")
    assert shown(served)["resources"][0]["held"] is None
    assert "podresources" in shown(served)["attribution"]["reason"]


def test_it_can_be_switched_off(start: Start, puppet: Puppet, kubelet: KubeletSimulator, tmp_path: Path) -> None:
    """Then nobody is named, and the reason is the setting; switched on while it runs, it tells."""
    process = start(ledger={"attribution": False})
    kubelet.wait_devices(RESOURCE, {"w0": "Healthy", "w1": "Healthy"})
    assert kubelet.add_pod("train", {RESOURCE: 1}).admitted
    assert "ledger.attribution" in shown(process)["attribution"]["reason"]
    assert sorted(holders(process).values()) == [[], []]
    process.edit(ledger={"attribution": True})
    process.wait_generation(2)
    wait_for(lambda: sorted(holders(process).values()) == [[], ["train"]], 20.0, "the pod was named")
