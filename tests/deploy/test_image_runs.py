"""Containers of the image do their whole job, with no more rights and mounts than the DaemonSet gives them."""

import hashlib
import json
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from supervisor import Border, TreeDevice
from supervisor.demo.gadget import LoopDevice
from supervisor.host import Host
from supervisor.kubelet.simulator import EventKind, KubeletSimulator
from supervisor.testing import FakeHost
from supervisor_fpga.operating.messages import GRACE, PROGRAM, Bitstream, Options, Prepare, Prepared
from supervisor_fpga.simulate.intel import NLB3
from supervisor_infiniband.simulate import changes
from supervisor_infiniband.simulate.layouts import layout
from supervisor_infiniband.simulate.tree import Tree
from tests.bench import procfs
from tests.deploy.image import Store, descendants
from tests.deploy.others import third_party
from tests.deploy.pod import NEVER, Place, arguments
from tests.system.fpga import CARD, NLB, Bitstreams
from tests.system.rig import assert_sound, wait_for

pytestmark = [
    pytest.mark.requires("root", "namespaces", "buildah", "podman", "crun", "index", "kustomize", "patience"),
    pytest.mark.slow,
    pytest.mark.checkout,
    pytest.mark.timeout(900),  # the first time, debootstrap takes a minute of it
]

FUSE = "devices.device-plugin-supervisor.io/fuse"
DISK = "devices.example.com/disk"
VF = "rdma/vf"
NO_CAPABILITIES = {f"Cap{kind}": "0" * 16 for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")}
DISKS = range(600, 700)
"""Loop devices that no other test makes."""
TOOL = """#!/bin/sh
[ "$1 $2 $3" = "program board0 /var/lib/device-plugin-supervisor/bitstreams/good.bin" ] || { echo no such board; exit 3; }
"""
"""A vendor's, as an administrator would wrap it."""
LOOK = """
import json, os, sys
def attempt(path):
    try:
        os.close(os.open(path, os.O_RDONLY))
    except OSError as error:
        return error.strerror
    return "opened"
print(json.dumps([os.stat("/host/dev/null").st_rdev, attempt("/host/dev/null"), attempt("/host/dev/zero")]))
"""


@pytest.fixture
def place(kubelet: KubeletSimulator, tmp_path: Path) -> Place:
    """A node with a kubelet, and the configuration that the base of the manifests has."""
    return Place(kubelet, tmp_path)


@pytest.fixture
def disk() -> Iterator[LoopDevice]:
    """A disk that can be plugged in and out."""
    made = LoopDevice(DISKS)
    yield made
    made.close()


@pytest.fixture
def socket() -> Iterator[Path]:
    """A directory for the helper's socket, whose path must be short."""
    with TemporaryDirectory(prefix="h", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def fabric(tmp_path: Path) -> Iterator[Tree]:
    """A machine made of files, with a card on Ethernet and its 16 virtual functions; its nodes are real ones, of no device."""

    def make(path: Path, node: TreeDevice) -> None:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(node.major, node.minor))

    tree = Tree(tmp_path / "machine", layout("roce-16-vfs"), make)
    yield tree
    tree.close()


def status(pid: int) -> dict[str, str]:
    """What the kernel tells of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def writable(pid: int) -> set[str]:
    """Where a process could write below the places that are mounted for it, also into what is mounted further below."""
    lines = (line.split() for line in Path(f"/proc/{pid}/mounts").read_text().splitlines())
    options = {where: words.split(",") for _, where, _, words, *_ in lines}  # the last one at a place is on top
    ours = ("/host", "/var", "/etc/device-plugin-supervisor", "/run")
    return {where for where, words in options.items() if where.startswith(ours) and "rw" in words}


def test_it_registers_and_a_pod_gets_fuse(store: Store, place: Place) -> None:
    """The configuration of the base as it is: ``/dev/fuse`` for a pod, ready for the probes; start and memory are printed."""
    with place.running(store) as container:
        place.kubelet.wait_registered(FUSE)
        given = place.kubelet.add_pod("mounter", {FUSE: 1})
        assert given.admitted, given.message
        assert [node.host_path for node in given.containers["main"].options.devices] == ["/dev/fuse"]
        for page in ("/livez", "/readyz", "/metrics"):
            assert container.get(page)
        listed = place.kubelet.wait_event(EventKind.LIST_RECEIVED, since=0)
        start = (listed.at_ns - container.started_ns) / 1e6
        print(f"{start:.0f} ms from podman's start to the first list; then {procfs.usage(container.pid).rss:.1f} MB resident")


@pytest.mark.requires("loop", "fuse")
def test_least_privilege_is_enough(store: Store, place: Place, disk: LoopDevice) -> None:
    """uid 0 without any capability, with everything read-only but the plugins' directory: hot-plugging, reload, new kubelet."""
    place.offer(DISK, udev={"subsystem": "block", "name": "loop6[0-9][0-9]"})
    with place.running(store) as container:
        place.kubelet.wait_registered(DISK)
        told = status(container.pid)
        assert told["Uid"].split() == ["0"] * 4
        assert told.items() >= NO_CAPABILITIES.items()
        assert (told["NoNewPrivs"], told["Seccomp"]) == ("1", "2" if store.seccomp else "0")

        disk.plug()
        place.kubelet.wait_for(lambda: [*place.kubelet.devices(DISK).values()] == ["Healthy"], 10, "the disk")
        given = place.kubelet.add_pod("reader", {DISK: 1})
        assert [node.host_path for node in given.containers["main"].options.devices] == [disk.node]
        disk.unplug()
        place.kubelet.wait_for(lambda: [*place.kubelet.devices(DISK).values()] == ["Unhealthy"], 10, "the disk's end")

        place.offer("devices.example.com/null", path="/dev/null")
        place.kubelet.wait_registered("devices.example.com/null")
        place.kubelet.restart()
        place.kubelet.wait_registered(FUSE)
        place.kubelet.wait_registered(DISK)
        assert container.get("/readyz")
        assert writable(container.pid) == {"/var/lib/kubelet/device-plugins"}
        assert "Permission denied" not in container.log
        assert "Read-only file system" not in container.log
    assert_sound(place.kubelet)


def test_rdma_devices_need_nothing_more(store: Store, place: Place, fabric: Tree) -> None:
    """What the base gives is enough to find them, to give one to a pod, and to follow their port, with no event of the kernel."""
    place.move_to(FakeHost(fabric.root))
    place.config["plugins"]["infiniband"] = {"lookInterval": NEVER, "poll": 0.2, "health": {"holdDown": 0}}
    place.write()
    addresses = [function.id for function in fabric.machine.functions if function.pf]
    assert len(addresses) == 16
    with place.running(store) as container:
        place.kubelet.wait_devices(VF, dict.fromkeys(addresses, "Healthy"))
        given = place.kubelet.add_pod("trainer", {VF: 1})
        assert given.admitted, given.message
        options = given.containers["main"].options
        verbs = fabric.sys / "class/infiniband_verbs"
        (uverbs,) = (
            each.name for each in verbs.glob("uverbs*") if (each / "ibdev").read_text().strip() == options.envs["RDMA_DEVICES"]
        )
        assert [node.host_path for node in options.devices] == [f"/dev/infiniband/{uverbs}", "/dev/infiniband/rdma_cm"]
        for state, listed in (("down", "Unhealthy"), ("up", "Healthy")):
            fabric.become(changes.port(fabric.machine, "mlx5_0", 1, state))
            place.kubelet.wait_devices(VF, dict.fromkeys(addresses, listed))
        (reader,) = descendants(container.pid)
        assert status(reader).items() >= NO_CAPABILITIES.items()
        assert writable(reader) == {"/var/lib/kubelet/device-plugins"}
        print(f"{procfs.usage(container.pid).rss:.1f} MB resident, and {procfs.usage(reader).rss:.1f} MB of what reads sysfs")
    assert_sound(place.kubelet)


def test_files_for_runtimes_need_the_component(store: Store, place: Place, fabric: Tree) -> None:
    """With ``cdi`` the two directories can be written, where the plugin looks for them by default, and nothing else more."""
    pool = {"name": VF, "match": [{"kind": ["vf"]}], "cdi": True, "deviceInfo": True}
    place.move_to(FakeHost(fabric.root))
    place.config["plugins"]["infiniband"] = {"resources": [pool]}
    place.write()
    place.publish()
    with place.running(store) as container:
        place.kubelet.wait_registered(VF)
        given = place.kubelet.add_pod("trainer", {VF: 1})
        assert given.admitted, given.message
        main = given.containers["main"]
        ((device,),) = main.devices.values()
        info = json.loads((place.sources["device-info"] / f"rdma-vf-{device}-device.json").read_text())
        assert info["pci"]["pci-address"] == device
        (spec,) = (json.loads(path.read_text()) for path in place.sources["cdi"].iterdir())
        assert main.options.cdi_devices == (f"{spec['kind']}={device}",)
        assert device in [each["name"] for each in spec["devices"]]
        assert not main.options.devices
        directories = {"/run/cdi", "/run/k8s.cni.cncf.io/devinfo/dp"}  # where a Debian's /var/run leads
        assert writable(container.pid) == {"/var/lib/kubelet/device-plugins"} | directories


def test_an_fpga_is_programmed_before_its_container_starts(store: Store, place: Place, socket: Path) -> None:
    """By a child of the supervisor, as the helper has nothing to do with simulated ones; bitstreams come from where the component mounts them."""
    place.operate(socket)
    made = Bitstreams(place.sources["bitstreams"])
    place.config["plugins"]["fpga"] = made.both() | {"simulate": {"layout": "dfl-card"}}
    place.write()
    with place.running(store) as container:
        place.kubelet.wait_registered(NLB)
        given = place.kubelet.add_pod("tenant", {NLB: 1})
        assert given.admitted, given.message
        main = given.containers["main"]
        assert main.running, main.waiting_message
        assert [node.container_path for node in main.options.devices] == ["/dev/dfl-port.0"]
        (told,) = json.loads(main.options.envs["FPGA_DEVICE_INFO"])
        assert (told["id"], told["afuId"]) == (CARD, NLB3)
        held = f'function_info{{device="{CARD}",name="dfl-port.0",backend="dfl"'
        place.kubelet.wait_for(
            lambda: any(held in line and NLB3 in line for line in container.get("/metrics").splitlines()),
            10,
            "the new function",
        )
        memory = {}
        for child in descendants(container.pid):
            assert status(child).items() >= NO_CAPABILITIES.items()
            memory[Path(f"/proc/{child}/cmdline").read_text().split("\0")[3]] = procfs.usage(child).rss
        assert writable(container.pid) == {"/var/lib/kubelet/device-plugins"}
        print(f"{procfs.usage(container.pid).rss:.1f} MB resident, and {memory} MB of the processes for FPGAs")
    assert_sound(place.kubelet)


def test_the_helper_operates_with_what_the_component_mounts(store: Store, place: Place, socket: Path) -> None:
    """Its root cannot be written: bitstreams, locks of the host and a tool of the administrator's are all that it needs besides devices."""
    place.operate(socket)
    made = Bitstreams(place.sources["bitstreams"])
    made.write("good.bin", b"good")
    made.write("bad.bin", b"bad")
    tools = place.folder / "tools"
    tools.mkdir(mode=0o755)
    (tools / "program").write_text(TOOL)
    (tools / "program").chmod(0o755)
    host = Host(sysfs="/nonexistent", dev="/nonexistent", helper_socket=str(socket / "helper.sock"))

    def prepare(function: str, backend: str, name: str, content: bytes) -> Prepared:
        wanted = Bitstream(name, hashlib.sha256(content).hexdigest())
        request = Prepare(function, function, backend, time.monotonic() + 20, wanted, ("command", "dfl-ioctl"))
        return border.ask(request, Prepared, request.deadline + GRACE)

    with place.helping(store, f"--volume={tools}:/opt/fpga:ro", "--env=FPGA_COMMAND=/opt/fpga/program") as container:
        wait_for((socket / "helper.sock").is_socket)
        border = Border(PROGRAM, host, Options("/nonexistent", "/nonexistent"))
        try:
            assert border.where.startswith("helper")
            ready = prepare("board0", "declared", "good.bin", b"good")
            assert (ready.outcome, ready.programmed) == ("ready", True), ready
            failed = prepare("board0", "declared", "bad.bin", b"bad")
            assert (failed.outcome, failed.text) == ("refused", "program ended with 3: no such board")
            refused = prepare("board1", "declared", "good.bin", b"better")
            assert (refused.outcome, "SHA-256" in refused.text) == ("refused", True), refused
            # A supervisor that simulates cards, or somebody in its place, gets nobody's: here are the machine's own.
            absent = prepare(CARD, "dfl", "good.bin", b"good")
            assert (absent.outcome, absent.text) == ("failed", f"there is no PCI function {CARD} now")
        finally:
            border.close()
        assert writable(container.pid) == {"/run/device-plugin-supervisor", "/run/device-plugin-supervisor/fpga"}
        half_done = {path.name.partition("-")[0]: path.stat().st_size > 0 for path in place.sources["fpga-locks"].iterdir()}
        assert half_done == {"board0": True, "board1": False}  # whoever comes later knows


def test_a_device_can_be_seen_but_not_opened(store: Store, place: Place) -> None:
    """What the other tests rely on: in such a container a node has its numbers, and opening it fails; without ``nodev`` it would not."""
    told = arguments(store, place.sources, command=("python", "-c", LOOK))
    number = Path("/dev/null").stat().st_rdev
    assert json.loads(store.run(*told)) == [number, "Permission denied", "Permission denied"]
    with_devices = [word.replace(",nodev,", ",dev,") for word in told]
    assert json.loads(store.run(*with_devices)) == [number, "opened", "opened"]


def test_a_plugin_of_others_is_offered(store: Store, place: Place, tmp_path: Path) -> None:
    """An image with one more ``RUN pip install``: its devices reach the kubelet beside ours."""
    third_party(store, tmp_path, "localhost/gizmo:test")
    machine = FakeHost(tmp_path / "machine")
    machine.add_device("acme_gizmo", "acme_gizmo0", {"serial": "A-1", "status": "ok"}, node="acme_gizmo0")
    place.move_to(machine)
    with place.running(store, "localhost/gizmo:test"):
        place.kubelet.wait_devices("acme.example/gizmo", {"A-1": "Healthy"})
        given = place.kubelet.add_pod("user", {"acme.example/gizmo": 1})
        assert [node.host_path for node in given.containers["main"].options.devices] == ["/dev/acme_gizmo0"]
