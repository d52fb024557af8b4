"""What happens within the machine: real RDMA devices come, change and go under a supervisor, and what it makes of it is told."""

import json
import os
import re
import stat
import subprocess
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from supervisor.host import Host
from supervisor.kubelet.simulator import KubeletSimulator
from tests.system.rig import Process, wait_for

RESOURCE = "rdma/hca"
PATIENCE = 60.0
"""Seconds for anything to come true on an emulated processor; only what waits for the kubelet's quiet takes as long."""
GONE = 120.0
"""For an id to be dropped: a minute of quiet, and two readings."""
ACTIVE = Path("/sys/module/hca/parameters/active")
"""The state of the port of the device that ``hca.ko`` makes."""


def tell(step: str, **facts: Any) -> None:
    """One line for the test outside."""
    print(json.dumps({"step": step, **facts}), flush=True)


def run(command: str) -> str:
    """Run a command; returns what it wrote. Raises ``CalledProcessError``, with its errors on the console."""
    return subprocess.run(command.split(), check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True).stdout


class Node:
    """The supervisor with the plugin, its kubelet, and what can be seen of both."""

    def __init__(self, running: ExitStack) -> None:
        self.kubelet = running.enter_context(KubeletSimulator(Path("/run/node"), "1.37", sources_delay=0.0))
        section = {
            "lookInterval": 3600,
            "health": {"holdDown": 0.5},
            "rtnetlink": True,
            "resources": [{"name": "hca", "charDevices": ["umad", "rdma_cm"]}],
        }
        self.process = running.enter_context(Process(self.kubelet.paths, Path("/run"), {"infiniband": section}, Host()))

    def wait(self, devices: Mapping[str, str], timeout: float = PATIENCE) -> Mapping[str, str]:
        """Wait until the kubelet has exactly this list, and return it."""
        self.kubelet.wait_devices(RESOURCE, devices, timeout)
        return self.kubelet.devices(RESOURCE)

    def status(self) -> str:
        return self.process.get("/status")[1]

    def uevents(self) -> Mapping[str, int]:
        """How many of each subsystem have come."""
        lines = re.findall(r'^device_plugin_uevents_total\{.*subsystem="(\w+)".*\} (\S+)$', self.metrics(), re.MULTILINE)
        counts: Counter[str] = Counter()
        for subsystem, count in lines:
            counts[subsystem] += int(float(count))
        return counts

    def metrics(self) -> str:
        return self.process.get("/metrics")[1]

    def away(self, device: str) -> bool:
        """Whether it is shown as being in another network namespace."""
        return bool(re.search(rf'device_elsewhere\{{[^}}]*device="{re.escape(device)}"[^}}]*\}} 1', self.metrics()))


def guid_id(name: str) -> str:
    """The id of a device without a function."""
    return "guid-" + Path(f"/sys/class/infiniband/{name}/node_guid").read_text().strip().replace(":", "")


def soft_roce(node: Node) -> str:
    """A device made of software, from its beginning to its end, which its pod does not notice; returns its id."""
    run("modprobe -a rdma_rxe ib_umad rdma_ucm dummy")
    run("ip link add eth9 type dummy")
    run("ip link set eth9 up")
    run("rdma link add rxe0 type rxe netdev eth9")
    device = guid_id("rxe0")
    tell("found", devices=node.wait({device: "Healthy"}), device=device, uevents=node.uevents())
    options = node.kubelet.add_pod("holder", {RESOURCE: 1}).containers["main"].options
    tell(
        "allocated",
        nodes={granted.host_path: opened(granted.host_path) for granted in options.devices},
        envs=dict(options.envs),
    )
    before = node.uevents()
    run("ip link set eth9 down")
    tell("down", devices=node.wait({device: "Unhealthy"}), status=node.status(), uevents=node.uevents(), before=before)
    run("ip link set eth9 up")
    tell("up", devices=node.wait({device: "Healthy"}))
    run("rdma link del rxe0")
    tell("deleted", devices=node.wait({device: "Unhealthy"}), status=node.status())
    node.kubelet.delete_pod("holder")
    return device


def opened(path: str) -> str:
    """What opening the node gives: the numbers of the device, or the error."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return str(error)
    found = os.fstat(descriptor)
    os.close(descriptor)
    return f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}" if stat.S_ISCHR(found.st_mode) else "no character device"


def names() -> list[str]:
    """The RDMA devices of this network namespace."""
    return sorted(path.name for path in Path("/sys/class/infiniband").iterdir())


def on_a_function(node: Node, others: Mapping[str, str]) -> None:
    """A device of a PCI function, which is renamed, and moves to another network namespace and back."""
    run("insmod /run/hca.ko")
    device = Path("/sys/class/infiniband/hca0/device").resolve().name
    tell("plugged", devices=node.wait({**others, device: "Healthy"}), device=device)
    run("rdma dev set hca0 name storage0")
    wait_for(lambda: "storage0" in node.metrics(), PATIENCE, "its new name")
    tell("renamed", devices=node.wait({**others, device: "Healthy"}), names=names())
    before = node.uevents()
    ACTIVE.write_text("N")
    tell("silently down", devices=node.wait({**others, device: "Unhealthy"}), uevents=node.uevents(), before=before)
    ACTIVE.write_text("Y")
    node.wait({**others, device: "Healthy"})
    run("rdma system set netns exclusive")
    run("ip netns add pod")
    run("rdma dev set storage0 netns pod")
    wait_for(lambda: node.away(device), PATIENCE, "a device that is elsewhere")
    tell(
        "moved",
        devices=node.wait({**others, device: "Healthy"}),
        names=names(),
        nodes=sorted(path.name for path in Path("/sys/class/infiniband_verbs").glob("uverbs*")),
        refused=node.kubelet.add_pod("late", {RESOURCE: 1}).message,
        status=node.status(),
    )
    run("ip netns del pod")
    wait_for(lambda: not node.away(device), PATIENCE, "its return")
    tell("returned", devices=node.wait({**others, device: "Healthy"}))
    run("rmmod hca")
    node.wait({**others, device: "Unhealthy"})


def scenario(node: Node) -> None:
    """All of it, one after the other."""
    node.kubelet.wait_registered(RESOURCE, PATIENCE)
    wait_for(lambda: "ib_core" in node.status(), PATIENCE, "what it waits for")
    tell("empty", status=node.status())
    gone = soft_roce(node)
    on_a_function(node, {gone: "Unhealthy"})
    tell("gone", devices=node.wait({}, GONE))


if __name__ == "__main__":
    with ExitStack() as stack:
        scenario(Node(stack))
