"""The bed is what it claims to be: real events, real libudev, a made-up machine, and nothing left behind."""

import contextlib
import json
import os
import select
import socket
import stat
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bed import hardware, inject
from tests.bed.fakesys import Node, Tree
from tests.bed.nsbed import IMPORT_ROOT, Bed, Source
from tests.bed.program import PATIENCE, Program
from tests.bed.strace import Trace, environment, touched

pytestmark = pytest.mark.requires("libudev")

PYTHONPATH = str(IMPORT_ROOT)


def start_monitor(bed: Bed, source: Source) -> tuple[Program, dict[str, object]]:
    """Start the listener and wait until it listens; return it and what it said first."""
    program = bed.spawn(sys.executable, "-m", "tests.bed.monitor", source, PYTHONPATH=PYTHONPATH)
    return program, program.json()


@pytest.mark.parametrize("source", ["kernel", "udev"])
def test_hotplug_arrives_by_event(bed: Bed, source: Source) -> None:
    """A listener hears of each device of an adapter when it comes and when it goes, from either sender."""
    hardware.gpu(bed.tree)
    program, first = start_monitor(bed, source)
    assert first["pci"] == ["0000:17:00.0"]
    adapter = hardware.infiniband(bed.tree)
    bed.plugged(*adapter)
    names = ["0000:3b:00.0", "uverbs0", "umad0", "issm0", "mlx5_0"]
    came = [program.json() for _ in adapter]
    assert [(event["action"], event["name"]) for event in came] == [("add", name) for name in names]
    assert came[1]["node"] == "/dev/infiniband/uverbs0"
    bed.unplug(*reversed(adapter))
    gone = [program.json() for _ in adapter]
    assert [(event["action"], event["name"]) for event in gone] == [("remove", name) for name in reversed(names)]
    program.close_input()
    assert program.wait() == 0


@pytest.mark.parametrize(
    ("udev_control", "source", "groups"), [(True, "kernel", 1), (True, "udev", 2), (False, "kernel", 1), (False, "udev", 0)]
)
@pytest.mark.requires("namespaces")
def test_a_udev_monitor_is_silent_without_udevd(tree: Tree, *, udev_control: bool, source: Source, groups: int) -> None:
    """A udev monitor of libudev joins no group, and says nothing, where no udevd has left its control file."""
    with Bed(tree, udev_control=udev_control) as bed:
        _, first = start_monitor(bed, source)
    assert first["groups"] == groups


def test_a_dropped_event_blocks_polling_until_the_error_is_fetched(bed: Bed) -> None:
    """After ENOBUFS every poll fails, for good; fetching the socket's error makes the rest readable."""
    done = bed.run(sys.executable, "-m", "tests.bed.overflow", PYTHONPATH=PYTHONPATH)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["before"] == [False] * 5
    assert seen["error"] == "ENOBUFS"
    assert 0 < seen["kept"] < 300
    assert seen["after"] == 1


def test_the_database_of_udev_is_read(bed: Bed) -> None:
    """Properties, tags and symlinks that rules would have given are what libudev shows of a device."""
    *_, tty = hardware.usb_serial(bed.tree)
    bed.tree.record(tty, properties={"ID_SERIAL": "A1"}, tags=["systemd", "gate"], symlinks=["serial/by-id/gate"])
    code = (
        "import json, pyudev; c = pyudev.Context()\n"
        "(d,) = c.list_devices(subsystem='tty', tag='gate')\n"
        "print(json.dumps([d.properties['ID_SERIAL'], sorted(d.tags), list(d.device_links), d.is_initialized]))"
    )
    done = bed.run(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["A1", ["gate", "systemd"], ["/dev/serial/by-id/gate"], True]


def test_nodes_in_the_bed_are_devices_without_a_driver(bed: Bed) -> None:
    """A made-up node has its numbers but opens with ENXIO; /dev/null works as ever."""
    hardware.gpu(bed.tree)
    code = (
        "import errno, os; d = os.stat('/dev/nvidia0').st_rdev; open('/dev/null', 'w').close()\n"
        "try: os.open('/dev/nvidia0', os.O_RDWR)\n"
        "except OSError as e: print(os.major(d), os.minor(d), errno.errorcode[e.errno])"
    )
    done = bed.run(sys.executable, "-c", code)
    assert done.stdout.split() == ["195", "0", "ENXIO"], done.stderr


@pytest.mark.requires("namespaces")
def test_the_machine_outside_sees_nothing(tree: Tree) -> None:
    """Mounts, events and programs of a bed stay in it, and are gone when it is closed."""
    before = Path("/proc/self/mountinfo").read_text()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, inject.NETLINK_KOBJECT_UEVENT) as outside:
        outside.bind((0, 1))
        outside.setblocking(False)
        with Bed(tree) as bed:
            bed.plugged(*hardware.gpu(tree))
            sleeper = bed.spawn("sleep", "1000")
        heard = received(outside)
    assert not [message for message in heard if b"0000:17:00.0" in message]
    assert Path("/proc/self/mountinfo").read_text() == before
    assert not sleeper.running


def received(netlink: socket.socket) -> list[bytes]:
    """All messages that wait on a socket."""
    messages = []
    while True:
        try:
            messages.append(netlink.recv(65536))
        except BlockingIOError:
            return messages


@pytest.mark.requires("namespaces")
def test_further_directories_may_be_shown(tree: Tree, tmp_path: Path) -> None:
    """A directory bound into the bed is the same one on both sides."""
    inside = tmp_path / "inside"
    outside = tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    with Bed(tree, binds={outside: inside}) as bed:
        assert bed.run("touch", str(inside / "made")).returncode == 0
    assert (outside / "made").exists()
    assert not (inside / "made").exists()


@pytest.mark.requires("user-namespaces")
@pytest.mark.parametrize("source", ["kernel", "udev"])
def test_a_bed_needs_no_privilege(short_dir: Path, source: Source) -> None:
    """In a user namespace nodes are stand-ins, but events and libudev are as real."""
    tree = Tree(short_dir / "tree", real_nodes=False)
    (usb, _, tty) = hardware.usb_serial(tree)
    with Bed(tree, privileged=False) as bed:
        assert bed.run("test", "-c", "/dev/ttyUSB0").returncode == 0
        program, _ = start_monitor(bed, source)
        bed.emit("change", tty)
        assert program.json()["node"] == "/dev/ttyUSB0"
        bed.unplug(usb)
        assert program.json()["action"] == "remove"


def test_a_refused_event_is_an_error(bed: Bed) -> None:
    """A test cannot believe that an event was sent that the kernel refused."""
    (gpu,) = hardware.gpu(bed.tree)
    with pytest.raises(RuntimeError, match=r"Invalid argument|too long"):
        bed.emit("add", gpu, ("kernel",), PADDING="x" * 4096)


@pytest.mark.parametrize(
    "piece",
    [hardware.gpu, hardware.infiniband, hardware.fpga, hardware.usb_serial, hardware.camera, hardware.disk, hardware.misc],
)
def test_hardware_comes_and_goes_without_a_trace(tmp_path: Path, piece: Callable[[Tree], list[str]]) -> None:
    """Every link of the tree leads somewhere, and removing the hardware leaves no link, node or record of it."""
    tree = Tree(tmp_path, real_nodes=False)
    devpaths = piece(tree)
    for devpath in devpaths:
        tree.record(devpath, properties={"SEEN": "1"}, tags=["gate"])
    assert not [path for path in tree.sys.rglob("*") if path.is_symlink() and not path.exists()]
    assert len(list((tree.udev / "data").iterdir())) == len(set(map(tree.key, devpaths)))
    for devpath in devpaths:
        if tree.path(devpath).exists():
            tree.remove(devpath)
    assert not [path for path in tree.root.rglob("*") if path.is_symlink()]
    assert not list((tree.udev / "data").iterdir())


@pytest.mark.requires("root")
def test_a_tree_of_root_has_true_nodes(short_dir: Path) -> None:
    """Kind and numbers of a node are the asked ones."""
    tree = Tree(short_dir / "tree")
    tree.add_node(Node("loop7", 7, 7, block=True))
    status = (tree.dev / "loop7").stat()
    assert stat.S_ISBLK(status.st_mode)
    assert (os.major(status.st_rdev), os.minor(status.st_rdev)) == (7, 7)


@pytest.mark.parametrize("wanted", ["tty", "misc", "block", "video4linux", "infiniband_mad", "usb/usb_interface"])
def test_filters_of_libudev_let_the_events_pass(bed: Bed, wanted: str) -> None:
    """A socket filter compares hashes of names; names of every length modulo four get the hash that libudev expects."""
    subsystem, _, devtype = wanted.partition("/")
    pieces = (hardware.usb_serial, hardware.misc, hardware.disk, hardware.camera, hardware.infiniband)
    devpaths = [devpath for piece in pieces for devpath in piece(bed.tree)]
    program = bed.spawn(sys.executable, "-m", "tests.bed.monitor", "udev", wanted, PYTHONPATH=PYTHONPATH)
    program.json()
    bed.plugged(*devpaths)
    matching = [
        path.rsplit("/", 1)[1]
        for path in devpaths
        if bed.tree.subsystem(path) == subsystem and bed.tree.properties(path).get("DEVTYPE", "") == devtype
    ]
    assert [program.json()["name"] for _ in matching] == matching


def test_a_message_of_udevd_carries_its_properties() -> None:
    """The header says where the properties start and how long they are."""
    message = inject.libudev_message({"SUBSYSTEM": "usb", "ACTION": "add"})
    header, offset, length = struct.unpack_from("=III", message, 12)
    assert (header, offset) == (40, 40)
    assert message[offset : offset + length] == b"SUBSYSTEM=usb\0ACTION=add\0"


def test_strace_sees_files_directories_and_misses(strace: Callable[..., Trace], tmp_path: Path) -> None:
    """Paths count whether they are opened, listed or looked for in vain, by the program or by its children."""
    (tmp_path / "sys").mkdir()
    (tmp_path / "sys/here").touch()
    script = "test -e absent; echo sys/*; (cd sys && : < here)"
    seen = strace("/bin/sh", "-c", script, cwd=tmp_path)
    assert seen.status == 0, seen.errors
    assert seen.below(tmp_path / "sys") == {str(tmp_path / "sys"), str(tmp_path / "sys/here")}
    assert str(tmp_path / "absent") in seen.paths


def test_strace_tells_a_made_up_root_from_the_real_one(strace: Callable[..., Trace]) -> None:
    """When libudev reads the real /sys, that is seen."""
    code = "import pyudev; list(pyudev.Context().list_devices(subsystem='mem'))"
    assert strace(sys.executable, "-c", code, **environment(IMPORT_ROOT)).below("/sys")


def test_strace_knows_the_directory_of_a_relative_path() -> None:
    """A path relative to an open directory lies in that directory; one without, in the working directory."""
    log = (
        '12 openat(5</sys/bus>, "pci/devices", O_RDONLY) = 6</sys/bus/pci/devices>\n'
        '12 openat(AT_FDCWD</there>, "a", O_RDONLY <unfinished ...>\n'
        '13 readlink("/sys/x", "../y", 4096) = 4\n'
        "12 <... openat resumed>) = -1 ENOENT (No such file or directory)\n"
        '12 stat("b", 0x7ffd) = 0\n'
    )
    assert touched(log, Path("/here")) == {"/sys/bus/pci/devices", "/there/a", "/sys/x", "/here/b"}


def test_a_program_is_killed_with_its_children() -> None:
    """Closing a program ends every process of its group."""
    with contextlib.ExitStack() as stack:
        with Program(["sh", "-c", "sleep 1000 & echo $!; wait"]) as program:
            child = os.pidfd_open(int(program.line()))
            stack.callback(os.close, child)
            assert select.select([child], [], [], 0)[0] == []
        assert select.select([child], [], [], PATIENCE)[0] == [child]


def test_a_program_that_says_nothing_is_noticed() -> None:
    """Waiting for a line has an end, and an ended output is told from a late one."""
    with Program(["cat"]) as program:
        with pytest.raises(TimeoutError):
            program.line(timeout=0.05)
        program.close_input()
        with pytest.raises(EOFError, match="exit status 0"):
            program.line()
