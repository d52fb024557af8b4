"""From a kernel event to the kubelet's list and to what a container gets: the real program with the generic plugin, in a bed."""

import errno
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from supervisor.discovery import COALESCE
from supervisor.kubelet.simulator import EventKind, KubeletSimulator
from tests.bed import hardware
from tests.bed.fakesys import Node, Tree
from tests.bed.nsbed import ENVIRONMENT, Bed
from tests.bed.program import PATIENCE
from tests.bed.served import NEVER, Served, resource, shrink_event_buffer, wait_until, write_config
from tests.bed.strace import Trace

pytestmark = pytest.mark.requires("libudev")

README = Path(__file__).parents[2] / "plugins/generic/README.md"

OF_LIBRARIES = (
    "/sys/devices/system/cpu",  # glibc counts the processors, grpc's abseil asks how fast the first one is
    "/sys/fs/selinux",  # nsenter, which leads into the bed
    "/dev/null",
    "/dev/urandom",
)
"""What is read although no code of this project asks for it."""

SERIAL = resource("serial", {"udev": {"subsystem": "tty", "usb": {"vendor": "0403"}}})
FUSE = resource("fuse", {"path": "/dev/fuse"})
MISC = resource("misc", {"udev": {"subsystem": "misc", "name": "gadget*"}})


@pytest.fixture
def kubelet(short_dir: Path) -> Iterator[KubeletSimulator]:
    """A kubelet outside of the bed; its directory is seen inside under the same name."""
    with KubeletSimulator(short_dir / "kubelet", sources_delay=0.1) as simulator:
        yield simulator


@pytest.fixture
def served(bed: Bed, kubelet: KubeletSimulator, short_dir: Path) -> Served:
    """The bed and the kubelet, for a supervisor that a test configures and starts."""
    return Served(bed, kubelet, short_dir)


def gadget(tree: Tree, number: int) -> str:
    """A character device of the class misc."""
    (path,) = hardware.misc(tree, f"gadget{number}", 1000 + number)
    return path


def test_a_serial_adapter_keeps_its_id_under_another_number(served: Served) -> None:
    """What is held and unplugged is Unhealthy; plugged in again elsewhere it is the same device, with its new node."""
    served.configure([SERIAL])
    with served.running():
        served.wait_registered("serial")
        assert served.healths("serial") == []
        adapter = hardware.usb_serial(served.tree, 0, "A50285BI")
        served.bed.plugged(*adapter)
        (name,) = served.wait_healths("serial", "Healthy")
        assert "A50285BI" in name
        pod = served.kubelet.add_pod("arm", {"bed.example/serial": 1})
        assert pod.device_ids == [name]
        assert [node.host_path for node in pod.containers["main"].options.devices] == ["/dev/ttyUSB0"]

        served.bed.unplug(*reversed(adapter))
        assert served.wait_healths("serial", "Unhealthy") == {name: "Unhealthy"}
        assert "may be allocated" in served.log

        served.bed.plugged(*hardware.usb_serial(served.tree, 5, "A50285BI"))
        assert served.wait_healths("serial", "Healthy") == {name: "Healthy"}
        served.kubelet.delete_pod("arm")
        pod = served.kubelet.add_pod("arm", {"bed.example/serial": 1})
        assert [node.host_path for node in pod.containers["main"].options.devices] == ["/dev/ttyUSB5"]


def test_an_id_that_nobody_is_known_to_hold_stays_listed_at_first(served: Served) -> None:
    """A kubelet may be about to allocate it, so it is Unhealthy, never gone; its neighbour notices nothing."""
    served.configure([MISC])
    gone, stays = gadget(served.tree, 0), gadget(served.tree, 1)
    with served.running():
        both = served.wait_healths("misc", "Healthy", "Healthy")
        served.bed.unplug(gone)
        left = served.wait_healths("misc", "Healthy", "Unhealthy")
        assert left.keys() == both.keys()
        refused = served.kubelet.add_pod("greedy", {"bed.example/misc": 2})
        assert not refused.admitted
        pod = served.kubelet.add_pod("modest", {"bed.example/misc": 1})
        assert [node.host_path for node in pod.containers["main"].options.devices] == ["/dev/gadget1"]
        assert served.tree.path(stays).exists()


def test_a_camera_is_found_when_udev_has_written_its_record(served: Served) -> None:
    """The kernel's event comes before udev's record; the look one second later sees the property and the tag."""
    capturing = {"subsystem": "video4linux", "properties": {"ID_V4L_CAPABILITIES": "*:capture:*"}, "tags": ["seat"]}
    served.configure([resource("camera", {"udev": capturing})])
    (null,) = hardware.misc(served.tree)
    served.tree.record(null, properties={"SEEN": "1"})
    with served.running():
        served.wait_registered("camera")
        before = served.settled()
        _, video, metadata, _ = camera = hardware.camera(served.tree)
        served.bed.plugged(*camera, sources=("kernel",))
        served.wait_looks(before + 1)
        assert served.healths("camera") == []
        served.tree.record(video, properties={"ID_V4L_CAPABILITIES": ":capture:"}, tags=["seat"])
        served.tree.record(metadata, properties={"ID_V4L_CAPABILITIES": ":"}, tags=["seat"])
        served.wait_healths("camera", "Healthy")
        pod = served.kubelet.add_pod("eye", {"bed.example/camera": 1})
        assert [node.host_path for node in pod.containers["main"].options.devices] == ["/dev/video0"]


def test_a_misc_device_comes_and_goes(served: Served) -> None:
    """A path that matches nothing yet is found by the first event of its device, and again after it was away."""
    served.configure([FUSE])
    with served.running():
        served.wait_registered("fuse")
        for _ in range(2):
            (fuse,) = hardware.misc(served.tree)
            served.bed.plugged(fuse)
            served.wait_healths("fuse", "Healthy")
            served.bed.unplug(fuse)
            served.wait_healths("fuse", "Unhealthy")


def test_a_pattern_hears_of_devices_of_every_kind(served: Served) -> None:
    """One pattern may match nodes of several subsystems: VFIO's own one is a misc device, those of its groups are not."""
    served.configure([resource("vfio", {"path": "/dev/vfio/*"})])
    served.tree.add("/devices/virtual/misc/vfio", cls="misc", node=Node("vfio/vfio", 10, 196))
    with served.running():
        served.wait_healths("vfio", "Healthy")
        group = served.tree.add("/devices/virtual/vfio/12", cls="vfio", node=Node("vfio/12", 511, 0))
        served.bed.plugged(group)
        served.wait_healths("vfio", "Healthy", "Healthy")


def test_a_block_device_leaves_its_rule_by_a_change(served: Served) -> None:
    """An attribute that no longer fits takes a device away; when it fits again the same id is back."""
    writable = {"subsystem": "block", "name": "loop[0-9]*", "attributes": {"ro": "0"}}
    served.configure([resource("loop", {"udev": writable}, permissions="rwm")])
    with served.running():
        served.wait_registered("loop")
        (loop,) = hardware.disk(served.tree)
        served.bed.plugged(loop)
        came = served.wait_healths("loop", "Healthy")
        served.tree.set(loop, ro=1)
        served.bed.emit("change", loop)
        assert served.wait_healths("loop", "Unhealthy").keys() == came.keys()
        served.tree.set(loop, ro=0)
        served.bed.emit("change", loop)
        assert served.wait_healths("loop", "Healthy") == came
        pod = served.kubelet.add_pod("store", {"bed.example/loop": 1})
        (node,) = pod.containers["main"].options.devices
        assert (node.host_path, node.permissions) == ("/dev/loop0", "rwm")


def test_a_late_node_is_found_one_second_after_its_event(served: Served) -> None:
    """A driver may announce a device before its node is there."""
    served.configure([MISC])
    with served.running():
        served.wait_registered("misc")
        before = served.settled()
        announced = gadget(served.tree, 3)
        node = served.tree.dev / "gadget3"
        node.unlink()
        served.bed.plugged(announced)
        served.wait_looks(before + 1)
        assert served.healths("misc") == []
        served.tree.add_node(Node("gadget3", 10, 1003))
        served.wait_healths("misc", "Healthy")


def test_nothing_is_missed_between_the_first_look_and_the_first_event(served: Served) -> None:
    """What comes after the first look, and before anybody hears events, is found as soon as they are heard."""
    served.configure([MISC])
    with served.running():
        served.wait_registered("misc")
        assert served.tree.path(gadget(served.tree, 0)).exists()
        served.wait_healths("misc", "Healthy")


def test_a_burst_of_events_is_few_lists(served: Served) -> None:
    """Three hundred arrivals in a row never make more than one list in each coalescing window."""
    served.configure([MISC])
    with served.running():
        served.wait_registered("misc")
        since, began = served.kubelet.events.position, time.monotonic()
        for number in range(300):
            served.bed.plugged(gadget(served.tree, number), sources=("kernel",))
        served.wait_healths("misc", *["Healthy"] * 300)
        windows = (time.monotonic() - began) / COALESCE
        assert 1 <= served.lists("misc", since) <= windows + 1


def test_events_that_change_nothing_make_no_list(served: Served) -> None:
    """Three hundred changes of a device that is as it was are looked at, and not told to the kubelet."""
    served.configure([MISC])
    device = gadget(served.tree, 0)
    with served.running():
        served.wait_healths("misc", "Healthy")
        since, looks = served.kubelet.events.position, served.settled()
        for _ in range(300):
            served.bed.emit("change", device, ("kernel",))
        served.wait_looks(looks + 1)
        served.bed.plugged(gadget(served.tree, 1))
        served.wait_healths("misc", "Healthy", "Healthy")
        assert served.lists("misc", since) == 1


def test_lost_events_end_in_the_right_list(served: Served) -> None:
    """A process that was stopped while its socket overflowed says so, looks at everything, and finds what it never heard of."""
    served.configure([MISC])
    (other,) = hardware.disk(served.tree)
    with served.running() as program:
        served.wait_registered("misc")
        looks = served.settled()
        shrink_event_buffer(program.pid)
        program.signal(signal.SIGSTOP)
        for _ in range(300):
            served.bed.emit("change", other, ("kernel",))
        served.bed.plugged(gadget(served.tree, 0), sources=("kernel",))
        program.signal(signal.SIGCONT)
        served.wait_healths("misc", "Healthy")
        assert "more events came than the kernel could keep" in served.log
        assert 'uevents_total{action="add",subsystem="misc"}' not in served.fetch("/metrics")
        assert served.looks() > looks
        served.bed.plugged(gadget(served.tree, 1), sources=("kernel",))
        served.wait_healths("misc", "Healthy", "Healthy")


@pytest.mark.requires("namespaces")
def test_events_are_heard_where_no_udevd_runs(tree: Tree, kubelet: KubeletSimulator, short_dir: Path) -> None:
    """Without udevd's control file libudev silences udev's own events, as in a container; the kernel's still come."""
    with Bed(tree, udev_control=False) as bed:
        served = Served(bed, kubelet, short_dir)
        served.configure([MISC])
        with served.running():
            served.wait_registered("misc")
            bed.plugged(gadget(tree, 0))
            served.wait_healths("misc", "Healthy")
            assert "udev:" not in served.notices()


def test_what_no_event_tells_is_found_by_the_slow_look(served: Served) -> None:
    """A device that comes and goes without a word is seen at the next timed look."""
    served.configure([MISC], look_interval=0.3)
    with served.running():
        served.wait_registered("misc")
        silent = gadget(served.tree, 0)
        served.wait_healths("misc", "Healthy")
        served.tree.remove(silent)
        served.wait_healths("misc", "Unhealthy")
        assert "device_plugin_uevents_total{" not in served.fetch("/metrics")


@pytest.mark.requires("user-namespaces")
def test_a_deaf_monitor_is_told_and_the_slow_look_finds_the_device(kubelet: KubeletSimulator, short_dir: Path) -> None:
    """In a user namespace of its own the kernel sends no events; `/status` says so, and timed looks go on."""
    tree = Tree(short_dir / "tree", real_nodes=False)
    tree.add_node(Node("quiet", 1, 3))  # a file, which the bed covers with /dev/null: the numbers are the true ones
    with Bed(tree, privileged=False) as bed:
        served = Served(bed, kubelet, short_dir)
        served.configure([resource("quiet", {"udev": {"subsystem": "misc", "name": "quiet"}})], look_interval=0.3)
        with served.running():
            served.wait_registered("quiet")
            assert "hostUsers: true" in served.notices()
            numbers = {"MAJOR": "1", "MINOR": "3", "DEVNAME": "quiet"}
            tree.add("/devices/virtual/misc/quiet", cls="misc", attrs={"dev": "1:3"}, properties=numbers)
            served.wait_healths("quiet", "Healthy")


def test_a_match_without_the_udev_database_is_never_silently_empty(served: Served) -> None:
    """`check-config`, `/status` and the log name the property and the tag that nobody can see; once the database is there, all is well."""
    shutil.rmtree(served.tree.udev / "data")
    match = {"subsystem": "tty", "properties": {"ID_MODEL": "FT232R*"}, "tags": ["seat"]}
    served.configure([resource("port", {"udev": match})])
    *_, tty = hardware.usb_serial(served.tree)
    needs = "tag seat, property ID_MODEL can only be seen in the host's udev database"
    assert needs in served.command("check-config", str(served.config))
    with served.running():
        served.wait_registered("port")
        assert served.healths("port") == []
        assert needs in served.notices()
        assert needs in served.log
        served.tree.record(tty, properties={"ID_MODEL": "FT232R_USB_UART"}, tags=["seat"])
        served.bed.emit("change", tty)
        served.wait_healths("port", "Healthy")
        assert needs not in served.notices()
    assert needs not in served.command("check-config", str(served.config))


SLOW = """
import os
from supervisor import hookimpl

class Slow:
    name, udev_subsystems = "slow", ("misc",)

    def discover(self):
        if os.path.exists(os.environ["GATE"]):
            with open(os.environ["GATE"]) as gate:  # a FIFO: opened for reading, it waits for a writer
                gate.read()
        return {"bed.example/slow": []}

@hookimpl
def device_plugins():
    return [Slow()]
"""


def install(site: Path, name: str, source: str) -> None:
    """Put a plugin package where an installer would."""
    info = site / f"bed_{name}-1.dist-info"
    info.mkdir(parents=True)
    (site / f"bed_{name}.py").write_text(source)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: bed-{name}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[device_plugin_supervisor.plugins]\n{name} = bed_{name}\n")


def test_a_slow_look_does_not_delay_the_event_of_another_plugin(served: Served, short_dir: Path) -> None:
    """While one plugin is still in the look that an event began, the other's list is out, and so is the one after it."""
    install(short_dir / "site", "slow", SLOW)
    gate = short_dir / "gate"
    served.configure([MISC], plugins={"slow": {"lookTimeout": 3600}})
    with served.running(PYTHONPATH=str(short_dir / "site"), GATE=str(gate)):
        served.wait_registered("misc", "slow")
        served.settled()
        os.mkfifo(gate)
        served.bed.plugged(gadget(served.tree, 0))
        served.wait_healths("misc", "Healthy")
        writer: list[int] = []
        wait_until(lambda: opened_by_reader(gate, writer), "look of the slow plugin")
        looks = served.looks("slow")
        served.bed.plugged(gadget(served.tree, 1))
        served.wait_healths("misc", "Healthy", "Healthy")
        assert served.looks("slow") == looks
        os.close(writer.pop())
        wait_until(lambda: served.looks("slow") > looks, "end of the slow look")


def opened_by_reader(fifo: Path, writer: list[int]) -> bool:
    """Whether somebody reads from a FIFO; then this end of it is open too."""
    try:
        writer.append(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return False
    return True


def test_numa_nodes_arrive_at_the_kubelet(served: Served) -> None:
    """The node of the PCI function is listed; a function that says -1 belongs to none."""
    capture = {"udev": {"subsystem": "video4linux", "attributes": {"index": "0"}}}
    served.configure([resource("camera", capture)])
    with served.running():
        served.wait_registered("camera")
        for index, node in enumerate((1, 0, -1)):
            camera = hardware.camera(served.tree, index)
            served.tree.set(camera[0], numa_node=node)
            served.bed.plugged(*camera)
        devices = served.wait_healths("camera", "Healthy", "Healthy", "Healthy")
        topology = served.kubelet.topology("bed.example/camera")
        assert topology.keys() <= devices.keys()
        assert [topology.get(name, ()) for name in sorted(devices)] == [(1,), (0,), ()]  # ids begin with the PCI address


def test_groups_and_edits_arrive_in_a_container(served: Served) -> None:
    """Video and sound of one card, a shared light for two of three, replicas, permissions, paths, mounts and variables."""
    group = {
        "each": "pci",
        "group": [
            {"udev": {"subsystem": "video4linux", "attributes": {"index": "0"}}, "containerPath": "/dev/video"},
            {"udev": {"subsystem": "sound"}, "containerPath": "/dev/sound/", "permissions": "r"},
        ],
    }
    lit = {
        "group": [
            {"udev": {"subsystem": "video4linux", "attributes": {"index": "0"}}, "permissions": "rwm"},
            {"path": "/dev/light", "limit": 2, "containerPath": "/dev/lamp"},
            {"path": "/dev/absent", "optional": True},
        ]
    }
    extras = {
        "mounts": [{"hostPath": "/etc/sdr", "containerPath": "/config"}, {"hostPath": "/var/sdr", "readOnly": False}],
        "envs": {"QUALITY": "high"},
        "pathsEnv": "NODES",
    }
    served.configure([resource("card", group, replicas=2, **extras), resource("lit", lit)])
    with served.running():
        served.wait_registered("card", "lit")
        (light,) = hardware.misc(served.tree, "light", 77)
        served.bed.plugged(*hardware.camera(served.tree, 0), *hardware.camera(served.tree, 1), *hardware.camera(served.tree, 2))
        served.bed.plugged(light)
        served.wait_healths("card", *["Healthy"] * 6)
        served.wait_healths("lit", "Healthy", "Healthy")
        options = served.kubelet.add_pod("show", {"bed.example/card": 1}).containers["main"].options
        camera = options.devices[0].host_path.removeprefix("/dev/video")
        assert {(node.host_path, node.container_path, node.permissions) for node in options.devices} == {
            (f"/dev/video{camera}", "/dev/video", "rw"),
            (f"/dev/snd/pcmC{int(camera) // 2}D0c", f"/dev/sound/pcmC{int(camera) // 2}D0c", "r"),
        }
        assert {(mount.host_path, mount.container_path, mount.read_only) for mount in options.mounts} == {
            ("/etc/sdr", "/config", True),
            ("/var/sdr", "/var/sdr", False),
        }
        assert options.envs["QUALITY"] == "high"
        assert options.envs["NODES"] == f"/dev/video,/dev/sound/pcmC{int(camera) // 2}D0c"
        lamps = [served.kubelet.add_pod(f"lit{number}", {"bed.example/lit": 1}) for number in range(3)]
        assert [pod.admitted for pod in lamps] == [True, True, False]
        held = [pod.containers["main"].options.devices for pod in lamps[:2]]
        assert {(node.host_path, node.container_path, node.permissions) for nodes in held for node in nodes} == {
            ("/dev/video0", "/dev/video0", "rwm"),
            ("/dev/video2", "/dev/video2", "rwm"),
            ("/dev/light", "/dev/lamp", "rw"),
        }
        assert [len(nodes) for nodes in held] == [2, 2]


def test_a_hot_reload_leaves_the_others_their_streams(served: Served) -> None:
    """A resource is added and one removed, which ends without an empty list; the third keeps its stream and its devices."""
    for name, minor in (("fuse", 229), ("kvm", 232)):
        hardware.misc(served.tree, name, minor)
    gadget(served.tree, 0)
    kvm = resource("kvm", {"path": "/dev/kvm"})
    served.configure([MISC, FUSE])
    with served.running():
        kept = served.wait_healths("misc", "Healthy")
        served.wait_healths("fuse", "Healthy")
        since = served.kubelet.events.position
        served.configure([MISC, kvm])
        served.wait_healths("kvm", "Healthy")
        served.kubelet.wait_event(EventKind.STREAM_ENDED, resource="bed.example/fuse", since=since)
        assert served.lists("fuse", since) == 0
        assert not served.kubelet.log(EventKind.STREAM_ENDED, since=since, resource="bed.example/misc")
        assert not served.kubelet.log(EventKind.STREAM_OPENED, since=since, resource="bed.example/misc")
        assert served.lists("misc", since) == 0
        served.bed.plugged(gadget(served.tree, 1))
        assert served.wait_healths("misc", "Healthy", "Healthy").keys() > kept.keys()


def test_twins_keep_their_ids_over_a_hot_reload(served: Served) -> None:
    """Of two adapters with one serial number each keeps the id that it had, whichever was plugged in first."""
    served.configure([SERIAL])
    second = hardware.usb_serial(served.tree, 1, "SAME")
    with served.running():
        served.wait_healths("serial", "Healthy")
        served.bed.plugged(*hardware.usb_serial(served.tree, 0, "SAME"))
        twins = served.wait_healths("serial", "Healthy", "Healthy")
        since = served.kubelet.events.position
        served.configure([SERIAL, FUSE])
        served.wait_registered("fuse")
        assert served.kubelet.devices("bed.example/serial") == twins
        assert served.lists("serial", since) == 0
        assert served.tree.path(second[0]).exists()


def test_fewer_replicas_leave_what_was_offered_listed(served: Served) -> None:
    """More replicas keep the ids in use; of fewer, those that a container may hold stay listed, Unhealthy."""
    hardware.misc(served.tree)
    served.configure([FUSE])
    with served.running():
        first = served.wait_healths("fuse", "Healthy")
        served.configure([FUSE | {"replicas": 3}])
        assert served.wait_healths("fuse", "Healthy", "Healthy", "Healthy").keys() > first.keys()
        pods = [served.kubelet.add_pod(f"pod{number}", {"bed.example/fuse": 1}) for number in range(3)]
        assert all(pod.admitted for pod in pods)
        served.configure([FUSE])
        left = served.wait_healths("fuse", "Healthy", "Unhealthy", "Unhealthy")
        assert left.keys() == {name for pod in pods for name in pod.device_ids}
        assert {name for name, health in left.items() if health == "Healthy"} == first.keys()


def test_an_emptied_section_ends_the_streams_and_a_filled_one_begins_them_anew(served: Served) -> None:
    """Without resources there is no plugin object; events bring nothing until the section has resources again."""
    hardware.misc(served.tree)
    served.configure([FUSE])
    with served.running():
        served.wait_healths("fuse", "Healthy")
        since = served.kubelet.events.position
        served.configure([])
        served.kubelet.wait_event(EventKind.STREAM_ENDED, resource="bed.example/fuse", since=since)
        served.bed.plugged(gadget(served.tree, 0))
        served.configure([FUSE, MISC])
        served.wait_healths("fuse", "Healthy")
        served.wait_healths("misc", "Healthy")
        served.bed.plugged(gadget(served.tree, 1))
        served.wait_healths("misc", "Healthy", "Healthy")


def test_a_plugin_in_a_process_of_its_own_hears_as_well(served: Served) -> None:
    """With `isolation: process` the events are the parent's; the child looks."""
    generic = {"isolation": "process", "lookInterval": NEVER, "resources": [SERIAL]}
    served.configure([], plugins={"generic": generic})
    with served.running():
        served.wait_registered("serial")
        adapter = hardware.usb_serial(served.tree, 0)
        served.bed.plugged(*adapter)
        served.wait_healths("serial", "Healthy")
        served.bed.unplug(*reversed(adapter))
        served.wait_healths("serial", "Unhealthy")


def test_explain_tells_what_each_rule_made_of_a_device(served: Served) -> None:
    """By id, node and kernel name: the rule that took it, or why each refused it; what is unknown is an error."""
    served.configure([SERIAL, FUSE])
    hardware.usb_serial(served.tree, 0, "A50285BI")
    hardware.misc(served.tree)
    asked = ("--config", str(served.config))
    node = served.command("explain", *asked, "/dev/ttyUSB0")
    (name,) = [line.split()[-1] for line in node.splitlines() if line.startswith("device:")]
    taken = f"bed.example/serial, match 1 (udev subsystem=tty usb(vendor=0403)) offers /dev/ttyUSB0 as {name}; it is healthy."
    refused = "bed.example/fuse, match 1 (path /dev/fuse) refuses /dev/ttyUSB0: /dev/ttyUSB0 does not match."
    assert taken in node
    assert refused in node
    assert served.command("explain", *asked, "ttyUSB0") == node
    assert taken in served.command("explain", *asked, name)
    usb = served.command("explain", *asked, "/dev/bus/usb/001/002")
    assert "refuses 1-1: its subsystem is usb, not tty." in usb
    unknown = served.bed.run(sys.executable, "-m", "supervisor", "explain", *asked, "/dev/nothing")
    assert unknown.returncode == 1
    assert "No plugin knows /dev/nothing" in unknown.stderr


@pytest.mark.checkout
def test_the_examples_of_the_readme_pass_check_config(served: Served) -> None:
    """All of them in one file, on a machine that has some of their devices."""
    hardware.misc(served.tree)
    hardware.usb_serial(served.tree, 0, "A50285BI")
    hardware.camera(served.tree)
    examples = re.findall(r"```yaml\n(.*?)```", README.read_text(), re.DOTALL)
    sections = [yaml.safe_load(text) for text in examples]
    resources = [each for section in sections for each in section.get("plugins", {"generic": section})["generic"]["resources"]]
    served.configure({each["name"]: each for each in resources}.values())
    said = served.command("check-config", str(served.config))
    assert "fine. On: generic." in said
    found = dict(re.findall(r"generic: devices\.example\.com/([-\w]+): (\d+) devices", said))
    assert len(found) >= 15
    assert (found["fuse"], found["robot-arm"], found["kvm"]) == ("100", "1", "0")
    assert "camera, match 1: property ID_V4L_CAPABILITIES can only be seen in the host's udev database" in said


def test_a_made_up_root_keeps_the_real_one_unread(
    bed: Bed, kubelet: KubeletSimulator, short_dir: Path, strace: Callable[..., Trace]
) -> None:
    """With all roots elsewhere, nothing of the machine's devices is read at start, by a look, or upon an event."""
    config, pid, fake = short_dir / "config.yaml", short_dir / "pid", Tree(short_dir / "fake")
    rules = [SERIAL, FUSE, resource("ring", {"mount": "/dev/shm/ring-*"}), resource("usb", {"usb": {"vendor": "0403"}})]
    host = {"sysfs": str(fake.sys), "dev": str(fake.dev), "runUdev": str(fake.udev)}
    write_config(config, kubelet, rules, look_interval=NEVER, host=host)
    for tree in (bed.tree, fake):
        *_, tty = hardware.usb_serial(tree)
        tree.record(tty, properties={"ID_SERIAL": "A1"}, symlinks=["serial/by-id/a1"])
    hardware.misc(fake)
    shell = f'echo $$ > {pid}; exec "$0" -m supervisor run --config {config}'
    with ThreadPoolExecutor(1) as executor:
        run = executor.submit(strace, *bed.command("/bin/sh", "-c", shell, sys.executable), **ENVIRONMENT)
        try:
            kubelet.wait_for(lambda: len(kubelet.devices("bed.example/serial")) == 1, PATIENCE)
            hardware.usb_serial(fake, 1)
            bed.plugged(*hardware.usb_serial(bed.tree, 1))
            kubelet.wait_for(lambda: len(kubelet.devices("bed.example/usb")) == 2, PATIENCE)
            assert kubelet.add_pod("fuse", {"bed.example/fuse": 1}).admitted
        finally:
            os.kill(int(pid.read_text()), signal.SIGTERM)
    seen = run.result()
    assert seen.status == 0, seen.errors
    assert seen.below(fake.sys)
    assert seen.below(fake.dev)
    assert {path for path in seen.below("/sys") | seen.below("/dev") if not path.startswith(OF_LIBRARIES)} == set()
    assert seen.below("/run/udev") == set()
