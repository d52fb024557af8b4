"""ACME gadgets, several on a board, as acme.example/gadget."""

import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import msgspec
import trio

from supervisor import (
    ContainerEdits,
    Device,
    DeviceNode,
    Finding,
    Health,
    Host,
    HostDevice,
    HostView,
    Leftover,
    LookAgain,
    Memory,
    MetricFamily,
    Mount,
    NodeFacts,
    Sample,
    Topology,
    hookimpl,
)

RESOURCE = "acme.example/gadget"


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    reset_at_start: bool = False
    list_file: str = ""


def health(gadget: HostDevice) -> tuple[Health, str]:
    status = gadget.attribute("status")
    if status == "ok":
        return Health.HEALTHY, ""
    return Health.UNHEALTHY, f"the driver reports {status or 'nothing'}"


def topology(gadget: HostDevice) -> Topology:
    return Topology() if gadget.numa_node is None else Topology((gadget.numa_node,))


def board(device_id: str) -> str:
    return device_id.partition("-")[0]


class Gadgets:
    name = "acme-gadget"
    udev_subsystems = ("acme",)

    def __init__(self, config: Config, host: Host, memory: Memory) -> None:
        self.config = config
        self.host = host
        self.memory = memory
        self.directories: dict[str, str] = {}
        self.site: dict[str, str] = {}
        self.list_file = ""
        self.faulty: set[str] = set()
        self.faults: Counter[str] = Counter()

    def discover(self) -> dict[str, list[Device]]:
        gadgets = {gadget.attribute("serial"): gadget for gadget in HostView(self.host).devices("acme")}
        self.directories = {serial: gadget.path for serial, gadget in gadgets.items() if serial}
        devices = [self.device(serial, gadget) for serial, gadget in gadgets.items() if serial]
        self.count({device.id for device in devices if not device.healthy})
        if self.list_file:
            Path(self.list_file).write_text("\n".join(self.directories))
        return {RESOURCE: devices}

    def device(self, serial: str, gadget: HostDevice) -> Device:
        state, reason = health(gadget)
        nodes, envs = (DeviceNode(f"/dev/{gadget.name}"),), {"ACME_GADGETS": serial} | self.site
        lists = (Mount(self.config.list_file),) if self.config.list_file else ()
        edits = ContainerEdits(nodes, lists, envs)
        return Device(serial, state, reason, topology(gadget), edits)

    def count(self, faulty: set[str]) -> None:
        self.faults.update(faulty - self.faulty)
        self.faulty = faulty
        self.memory.keep({"faulty": sorted(faulty), "faults": self.faults, "list_file": self.list_file})

    def take_over(self) -> None:
        kept = self.memory.recall()
        self.faulty, self.faults = set(kept.get("faulty", ())), Counter(kept.get("faults", {}))
        self.list_file = self.config.list_file

    def learn_node(self, node: NodeFacts) -> None:
        self.site = {"ACME_SITE": node.labels["acme.example/site"]} if "acme.example/site" in node.labels else {}

    async def watch(self, look_again: LookAgain) -> None:
        events = os.open(self.host.local("/dev/acme-events") or "", os.O_RDONLY | os.O_NONBLOCK)
        try:
            while True:
                await trio.lowlevel.wait_readable(events)
                if not os.read(events, 4096):
                    return
                look_again()
        finally:
            os.close(events)

    def preferred_allocation(
        self, resource: str, available: Sequence[str], must_include: Sequence[str], size: int
    ) -> list[str]:
        free = [device_id for device_id in available if device_id not in must_include]
        begun, left = {board(device_id) for device_id in must_include}, Counter(map(board, free))
        free.sort(key=lambda each: (board(each) not in begun, -left[board(each)], each))
        return [*must_include, *free][:size]

    def allocate(self, resource: str, devices: Sequence[Device], edits: ContainerEdits) -> ContainerEdits:
        boards = {board(device.id) for device in devices}
        return msgspec.structs.replace(edits, envs={**edits.envs, "ACME_BOARDS": str(len(boards))})

    def pre_start_required(self, resource: str) -> bool:
        return self.config.reset_at_start

    def pre_start(self, resource: str, devices: Sequence[Device]) -> None:
        for device in devices:
            Path(self.host.local(f"{self.directories[device.id]}/reset") or "").write_text("1")

    def notices(self) -> list[str]:
        return [] if self.directories else ["no ACME gadget with a serial number: is the driver acme loaded?"]

    def explain(self, text: str) -> list[str]:
        directory = self.directories.get(text)
        return [f"{text} is the serial number of the gadget at {directory}"] if directory else []

    def examine(self) -> list[Finding]:
        if HostView(self.host).names("/sys/module/acme"):
            return [Finding("ok", "kernel module acme", "It is loaded.")]
        return [Finding("failure", "kernel module acme", "It is not loaded.", cure="Install acme-dkms and run modprobe acme.")]

    def leftovers(self, held: Mapping[str, Collection[str]]) -> list[Leftover]:
        path = self.memory.recall().get("list_file", "")
        return [Leftover(path, tuple(held.get(RESOURCE, ())))] if path and Path(path).exists() else []

    def collect_metrics(self) -> list[MetricFamily]:
        samples = tuple(Sample({"gadget": serial}, self.faults[serial]) for serial in self.directories)
        return [MetricFamily("faults", "Faults of a gadget since the node booted.", "counter", samples)]


@hookimpl
def config_type() -> type[Config]:
    return Config


@hookimpl
def device_plugins(config: Config, host: Host, memory: Memory) -> list[Gadgets]:
    return [Gadgets(config, host, memory)]
