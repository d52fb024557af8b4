"""An FPGA that is not there: what it computes is programmed before the container starts, and its other resource is refused meanwhile.

Of the plugin nothing is imported here: this goes by its section of the configuration, and by the format of bitstreams (OPAE's GBS).
"""

import hashlib
import json
import time
import uuid
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from msgspec import Struct

from supervisor.demo.hardware import DOMAIN
from supervisor.demo.programs import PATIENCE, Failed, SupervisorProcess
from supervisor.demo.scene import Scene, milliseconds
from supervisor.kubelet.simulator import Event, EventKind, PodState

PLUGIN = "fpga"
MACHINE, FUNCTION = "dfl-card", "0000:3b:00.0"
"""One of its two cards, with one region."""

_INTERFACE = "69528db6eb31577a8c3668f9faa081f6"
"""What a bitstream for the cards of this machine has to fit."""


class Accelerator(Struct, frozen=True):
    """What the region may become: a resource, its bitstream, and a pod that wants it."""

    name: str
    pod: str

    @property
    def resource(self) -> str:
        return f"{DOMAIN}/{self.name}"

    @property
    def afu_id(self) -> str:
        """As which the region makes itself known when it is programmed."""
        return uuid.uuid5(uuid.NAMESPACE_DNS, f"{self.name}.{DOMAIN}").hex

    def bitstream(self) -> bytes:
        """A whole file. Behind the header is what makes a simulated region do as real ones do with theirs."""
        image = {"interface-uuid": _INTERFACE, "accelerator-clusters": [{"accelerator-type-uuid": self.afu_id}]}
        header = json.dumps({"version": 1, "afu-image": image}).encode()
        data = f"simulated accelerator {self.afu_id}".encode()
        return b"XeonFPGA\xb7GBSv001" + len(header).to_bytes(4, "little") + header + data

    def yaml(self) -> str:
        """Its part of the configuration."""
        lines = (
            f"      - name: {self.resource}",
            "        unit: region",
            f'        match: [{{id: ["{FUNCTION}"]}}]',
            "        program:",
            f"          bitstream: {self.name}.gbs",
            f'          sha256: "{hashlib.sha256(self.bitstream()).hexdigest()}"',
        )
        return "".join(f"{line}\n" for line in lines)


WANTED, OTHER = Accelerator("compress", "archive"), Accelerator("encrypt", "vault")


def variables(place: Path) -> Mapping[str, str]:
    """What the plugin finds in its environment: no configuration may say where bitstreams lie."""
    return {"FPGA_BITSTREAMS": str(place / "bitstreams")}


def section() -> str:
    """The package's part of the configuration."""
    head = f"  {PLUGIN}:\n    programming: [dfl-ioctl]\n    resources:\n"
    return head + WANTED.yaml() + OTHER.yaml() + f"    simulate: {{layout: {MACHINE}}}\n"


def simulate(scene: Scene) -> str:
    """Add the card, start a pod on one of its resources, and let another pod ask for the other."""
    assert scene.owner is not None
    _write_bitstreams(scene.place / "bitstreams")
    _join(scene)
    before = _afu_id(scene.owner)
    position = scene.kubelet.events.position
    state = scene.add_pod(WANTED.pod, WANTED.resource)
    took = _start(scene, position, state)
    _await_programmed(scene.owner, WANTED.afu_id)
    scene.stage.say(
        f"Pod `{WANTED.pod}` asked for {WANTED.name}. Before its container started, PreStartContainer took {took:.0f} ms:"
    )
    scene.stage.table(
        ("WHEN", "AFU ID OF THE REGION"),
        (("before the pod", before), ("when its container started", f"{WANTED.afu_id}, programmed by {WANTED.name}.gbs")),
    )
    _refuse(scene, position)
    scene.check_pods()
    return "The FPGA was what the pod had asked for before its container started, and it is nobody else's."


def _write_bitstreams(folder: Path) -> None:
    """Nobody but their owner may be able to change them, whatever the umask is; else they are refused."""
    folder.mkdir(mode=0o700)
    for each in (WANTED, OTHER):
        file = folder / f"{each.name}.gbs"
        file.touch(mode=0o600)
        file.write_bytes(each.bitstream())


def _join(scene: Scene) -> None:
    position, began = scene.kubelet.events.position, time.monotonic_ns()
    scene.configure({PLUGIN: section()})
    scene.stage.quote(section().splitlines())
    lists = [scene.await_list(position, each.resource, healthy=1, unhealthy=0) for each in (WANTED, OTHER)]
    scene.check_streams(position)
    scene.simulated += [each.resource for each in (WANTED, OTHER)]
    took = milliseconds(began, lists)
    scene.stage.say(f"Two resources at the kubelet {took:.0f} ms later, both of them the one region of {FUNCTION}.")


def _afu_id(owner: SupervisorProcess) -> str:
    """What the region holds, as read from the card's sysfs; empty where that is not known."""
    samples = owner.metric("device_plugin_fpga_function_info")
    return next((labels["afu_id"] for labels, _ in samples if labels["device"] == FUNCTION), "")


def _await_programmed(owner: SupervisorProcess, afu_id: str) -> None:
    """No event tells of it. Raises ``Failed``."""
    deadline = time.monotonic() + PATIENCE
    while (now := _afu_id(owner)) != afu_id:
        if time.monotonic() > deadline:
            raise Failed(f"{FUNCTION} holds AFU {now}, and {afu_id} was to be programmed")
        time.sleep(0.02)


def _start(scene: Scene, position: int, state: PodState) -> float:
    """The milliseconds of PreStartContainer. Raises ``Failed`` unless the container has been started after it."""
    container = state.containers["main"]
    if not container.running:
        raise Failed(f"pod {state.name} does not start: {container.waiting_message}")
    steps = ((EventKind.CALL, {"method": "PreStartContainer"}), (EventKind.CONTAINER_STARTED, {"pod": state.name}))
    called, started = (scene.kubelet.events.first(partial(_is, *step), position, PATIENCE) for step in steps)
    if called is None or started is None or started.at_ns < called.at_ns:
        raise Failed(f"pod {state.name} was started without PreStartContainer")
    return float(called["seconds"]) * 1e3


def _is(kind: EventKind, fields: Mapping[str, str], event: Event) -> bool:
    return event.matches(kind, fields)


def _refuse(scene: Scene, position: int) -> None:
    """Have a pod ask for the other resource of the same region. Raises ``Failed`` where it gets it."""
    assert scene.owner is not None
    scene.await_list(position, OTHER.resource, healthy=0, unhealthy=1)
    state = scene.kubelet.add_pod(OTHER.pod, {OTHER.resource: 1}, timeout=PATIENCE)
    if state.admitted:
        raise Failed(f"pods {WANTED.pod} and {OTHER.pod} have got the same region")
    devices: list[Any] = [each for resource in scene.owner.status()["resources"] for each in resource["devices"]]
    occupied = next((each for each in devices if each["health"] == "Occupied"), None)
    if occupied is None:
        raise Failed(f"pod {OTHER.pod} was refused, and /status does not say why: {state.message}")
    scene.stage.say(f"Pod `{OTHER.pod}` asked for {OTHER.name}, and was refused. {occupied['id']} is Occupied:")
    scene.stage.say(occupied["reason"], "yellow")
