"""What the generic plugin offers in a bed, as the kubelet, a container and an operator see it, and what an edit changes."""

import os
import re
import shutil
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from supervisor.kubelet.simulator import EventKind, KubeletSimulator
from tests.bed import hardware
from tests.bed.fakesys import Tree
from tests.bed.nsbed import ENVIRONMENT, Bed
from tests.bed.program import PATIENCE
from tests.bed.served import FUSE, MISC, NEVER, SERIAL, Served, gadget, resource, write_config
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
