"""FPGAs for the system tests: a node whose cards are files, bitstreams for them, and what a kubelet may ask."""

import fcntl
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
from prometheus_client.parser import text_string_to_metric_families

from supervisor import TreeDevice
from supervisor.host import Host
from supervisor.kubelet.protos import deviceplugin_pb2 as pb
from supervisor.kubelet.simulator import KubeletSimulator, PodState
from supervisor_fpga.operating.simulated import bitstream
from supervisor_fpga.simulate.intel import A10_INTERFACE, NLB0, NLB3, Card, dfl_machine
from supervisor_fpga.simulate.machine import Machine
from supervisor_fpga.simulate.tree import Tree
from tests.system.rig import Process, wait_for

CARD, SECOND = "0000:3b:00.0", "0000:af:00.0"
"""Of the layout ``dfl-card``; the first holds ``NLB0``, the second ``NLB3``."""
NLB, DMA = "fpga.example/nlb", "fpga.example/dma"
"""What is programmed with ``NLB3``, and with ``NLB0``."""
PATIENCE = 30.0
"""Seconds for what does come; it takes far less."""

_SERVICE = "/v1beta1.DevicePlugin/"


class Bitstreams:
    """The directory of bitstreams, and the sections of resources that name files in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o755)

    def write(self, name: str, content: bytes) -> None:
        """Put a file there in one step."""
        new = self.folder / f"{name}.new"
        new.write_bytes(content)
        new.chmod(0o644)
        new.rename(self.folder / name)

    def program(self, name: str = "nlb.gbs", afu_id: str = NLB3, *, write: bool = True) -> dict[str, str]:
        """A section ``program`` for a file that makes this accelerator."""
        content = bitstream(A10_INTERFACE, afu_id)
        if write:
            self.write(name, content)
        return {"bitstream": name, "sha256": hashlib.sha256(content).hexdigest(), "afuId": afu_id}

    def both(self, **match: Any) -> dict[str, Any]:
        """A section that offers each region by two resources."""
        rules = [(NLB, self.program()), (DMA, self.program("dma.gbs", NLB0))]
        resources = [{"name": name, "unit": "region", "program": program, **match} for name, program in rules]
        return {"programming": ["dfl-ioctl"], "resources": resources}


class Node:
    """Cards that are files, which outlive the supervisors that find them, and a kubelet."""

    def __init__(self, folder: Path, kubelet: KubeletSimulator, running: ExitStack, bitstreams: Bitstreams) -> None:
        self.kubelet = kubelet
        self.bitstreams = bitstreams
        self.folder = folder
        self.helper_socket = str(folder / "no-helper")
        self.paths = kubelet.paths
        """What supervisors are told of the kubelet's directories,"""
        self.sections: dict[str, Any] = {}
        """and further sections of their configuration."""
        self.wrap: Callable[[list[str]], list[str]] = list
        self._running = running
        self.tree = Tree(folder / "machine", dfl_machine(()))
        running.callback(self._close)

    def _close(self) -> None:
        self.tree.close()  # whichever it is by then

    def become(self, machine: Machine) -> None:
        """Be another machine."""
        self.tree.become(machine)

    def cards(self, *addresses: str) -> None:
        """Have these cards of one region each, all of which hold something else than any bitstream makes."""
        self.become(dfl_machine([Card(address, afus=("1" * 32,)) for address in addresses]))

    def lock_nodes(self) -> None:
        """Let nobody without privileges write to the devices of the next machine."""
        self.tree.close()
        self.tree = Tree(self.folder / "machine", dfl_machine(()), locked)

    def start(self, **section: Any) -> Process:
        """A supervisor; ``section`` is the plugin's."""
        whole = {"lookInterval": 3600, "poll": 1, "health": {"holdDown": 0, "nonfatalErrors": "unhealthy"}, **section}
        host = Host(sysfs=str(self.tree.sys), dev=str(self.tree.dev), helper_socket=self.helper_socket)
        process = Process(self.paths, self.folder, {"fpga": whole}, host, wrap=self.wrap, **self.sections)
        return self._running.enter_context(process)

    def wait(self, resource: str, count: int) -> list[str]:
        """The ids of a resource, once there are so many and all are Healthy."""
        wanted = ["Healthy"] * count
        wait_for(lambda: [*self.kubelet.devices(resource).values()] == wanted, PATIENCE, f"{count} of {resource}")
        return sorted(self.kubelet.devices(resource))

    @contextmanager
    def region_locked(self, card: str) -> Iterator[Path]:
        """Have the lock of a region that was made ready before, as somebody who operates it; the lock's file."""
        (path,) = (self.tree.root / "locks").glob(f"{card}_region*.lock")
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield path

    def held(self) -> dict[str, str]:
        """What each region holds now, by the card's address."""
        paths = (self.tree.sys / "devices").rglob("afu_id")
        return {path.parents[3].name: path.read_text().strip() for path in paths}


def locked(path: Path, _: TreeDevice) -> None:
    """A device node that only root may write to, and root by its privileges alone."""
    path.touch(mode=0o400)


class Line:
    """A connection of its own to one plugin's socket, as another kubelet's would be."""

    def __init__(self, kubelet: KubeletSimulator, resource: str, running: ExitStack) -> None:
        wait_for(lambda: len(kubelet.connected().get(resource, ())) == 1, PATIENCE, f"one plugin for {resource}")
        (socket,) = kubelet.connected()[resource]
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._channel = running.enter_context(
            grpc.insecure_channel(f"unix:{kubelet.paths.device_plugins / socket}", options=options)
        )
        grpc.channel_ready_future(self._channel).result(PATIENCE)

    def allocate(self, device: str) -> str:
        """Ask for a device; why not, or nothing."""
        asked = pb.AllocateRequest(container_requests=[pb.ContainerAllocateRequest(devices_ids=[device])])
        return self._call("Allocate", asked)

    def pre_start(self, device: str) -> str:
        """Have a device made ready; why not, or nothing."""
        return self._call("PreStartContainer", pb.PreStartContainerRequest(devices_ids=[device]))

    def _call(self, method: str, request: Any) -> str:
        call: Any = self._channel.unary_unary(_SERVICE + method).future(request.SerializeToString(), timeout=PATIENCE)
        error = call.exception()
        assert error is None or isinstance(error, grpc.RpcError), error
        return str(call.details()) if error else ""


def at_once(calls: Sequence[Callable[[], str]]) -> list[str]:
    """What each of these calls says, all made at the same moment."""
    ready = threading.Barrier(len(calls))
    said = ["it has not come back"] * len(calls)

    def run(number: int) -> None:
        ready.wait(PATIENCE)
        said[number] = calls[number]()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * PATIENCE)
    return said


def programs(process: Process) -> dict[str, str]:
    """What each function holds, by its id, as the metrics tell: a page may be as old as the scrape before."""
    families = text_string_to_metric_families(process.get("/metrics")[1])
    found = (
        sample.labels for family in families for sample in family.samples if sample.name == "device_plugin_fpga_function_info"
    )
    return {labels["device"]: labels["afu_id"] for labels in found}


def wait_starts(process: Process, expected: Mapping[str, int], resource: str = NLB) -> None:
    """Wait until the metrics tell that this came of making devices ready, by outcome, and so many were programmed and reset."""
    wait_for(lambda: _starts(process, resource) == expected, PATIENCE, f"{expected}; {_starts(process, resource)} is told")


def _starts(process: Process, resource: str) -> dict[str, int]:
    families = text_string_to_metric_families(process.get("/metrics")[1])
    samples = [sample for family in families for sample in family.samples if sample.labels.get("resource") == resource]
    named = {sample.name.removeprefix("device_plugin_fpga_"): sample.value for sample in samples}
    ended = {each.labels["outcome"]: each.value for each in samples if each.name.endswith("fpga_starts_total") and each.value}
    done = {"programmed": named.get("programmings_total", 0), "reset": named.get("resets_total", 0)}
    return {name: int(value) for name, value in {**ended, **done}.items()}


def said(process: Process, resource: str) -> dict[str, tuple[str, str]]:
    """Health and reason of each device of a resource, by ``/status``; none while that is not known there."""
    resources: Any = json.loads(process.get("/status")[1])["resources"]
    devices = (device for each in resources if each["name"] == resource for device in each["devices"])
    return {device["id"]: (device["health"], device.get("reason", "")) for device in devices}


def notices(process: Process) -> list[str]:
    """What the plugin has to say, by ``/status``."""
    plugins: Any = json.loads(process.get("/status")[1])["plugins"]
    return [notice["text"] for plugin in plugins for notice in plugin.get("notices", [])]


def waiting(pod: PodState) -> str:
    """Why the container of a pod does not start."""
    assert pod.admitted, pod.message
    return pod.containers["main"].waiting_message


def children(pid: int) -> dict[int, str]:
    """The processes of the plugin that a supervisor, or a helper, has started: number → program."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_text()
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        for name, module in (
            ("fpga-sysfs", "supervisor_fpga.sysfs.program"),
            ("fpga-operate", "supervisor_fpga.operating.program"),
        ):
            if parent == pid and module in command:
                found[int(folder.name)] = name
    return found


def opened(pid: int) -> list[str]:
    """The files that a process has open; none once it is gone."""
    found = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                found.append(os.readlink(entry))
    return found
