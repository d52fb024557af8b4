"""From a kernel event to the kubelet's list and to what a container gets: the real program with the generic plugin, in a bed."""

import errno
import os
import signal
import time
from pathlib import Path

import pytest

from supervisor.discovery import COALESCE
from supervisor.kubelet.simulator import KubeletSimulator
from tests.bed import hardware
from tests.bed.fakesys import Node, Tree
from tests.bed.nsbed import Bed
from tests.bed.served import FUSE, MISC, NEVER, SERIAL, Served, gadget, resource, shrink_event_buffer, wait_until

pytestmark = pytest.mark.requires("libudev")


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
