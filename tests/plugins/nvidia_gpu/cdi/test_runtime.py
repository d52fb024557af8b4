"""Our specs as a real container runtime applies them, looked at from inside of containers."""

import hashlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from supervisor import CdiState, Host
from supervisor_nvidia_gpu.cdi.keeping import FILES
from supervisor_nvidia_gpu.cdi.libraries import find
from supervisor_nvidia_gpu.cdi.spec import specs
from supervisor_nvidia_gpu.driver_root import DriverRoot
from supervisor_nvidia_gpu.edits import Strategies, edits
from supervisor_nvidia_gpu.equipment import Sight
from supervisor_nvidia_gpu.nodes import Nodes, look
from supervisor_nvidia_gpu.report import Report
from supervisor_nvidia_gpu.units import Unit, offer
from tests.plugins.nvidia_gpu.cdi.podman import Podman
from tests.plugins.nvidia_gpu.driver import DEBIAN, DRIVER, Place
from tests.plugins.nvidia_gpu.gpus import config_of, gpu

pytestmark = pytest.mark.requires("root", "namespaces", "podman")

REPORT = Report(gpus=(gpu(0), gpu(1, "1g.10gb", "2g.20gb")), driver=DRIVER)
SMI = b"#!/bin/sh\necho NVIDIA-SMI\n"


class Node(Place):
    """A node whose driver lies below a directory of the test, as if a container had brought it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.driver = DriverRoot(str(root), "/")
        self.podman = Podman(root / "podman", self.cdi)

    def prepare(self, text: str) -> tuple[tuple[Unit, ...], CdiState]:
        """The units of two GPUs, one cut, and their specs, written for the runtime."""
        self.install()
        self.write("usr/bin/nvidia-smi", SMI).chmod(0o755)
        self.listen("var/run/nvidia-persistenced/socket")
        self.control()
        self.nodes("nvidia0", "nvidia1", "nvidia-fs0")
        self.rights(REPORT.gpus)
        self.text = text
        return offer(REPORT, config_of(text)).units, self.publish()

    def look(self) -> Nodes:
        found = look(self.host, REPORT, self.driver)
        elsewhere = {path: f"{self.root}{path}" for path in found.gds}  # of the host, which is this directory too
        return msgspec.structs.replace(found, elsewhere={**found.elsewhere, **elsewhere})

    def publish(self) -> CdiState:
        config = config_of(self.text)
        made = specs(offer(REPORT, config).units, self.look(), find(self.driver, DRIVER), config)
        state = FILES.publish(str(self.cdi), made, Sight(Host()))
        assert state.usable, state.problem
        return state

    def names(self, unit: Unit, state: CdiState) -> tuple[str, ...]:
        """What the kubelet would tell the runtime."""
        given = edits(unit, Strategies(("cdi-cri",), device_specs=False, reason=""), self.look(), config_of(self.text), state)
        return given.cdi_devices

    def inside(self, command: str, *devices: str) -> str:
        done = self.podman.run(command, *devices)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def node() -> Iterator[Node]:
    folder = Path(tempfile.mkdtemp(prefix="cdi-"))  # short: the runtime makes sockets in it
    yield Node(folder)
    shutil.rmtree(folder)


def test_a_container_gets_its_gpu_and_no_other(node: Node) -> None:
    """Environment, nodes and files are inside as the spec says, the other GPU's are not, and nothing can be changed."""
    units, state = node.prepare("{migStrategy: mixed, extras: {gpu: {gds: true}}}")
    whole = next(unit for unit in units if unit.mig is None)
    names = node.names(whole, state)
    assert len(names) == 2
    node.podman.import_image()
    lines = node.inside(
        f"""
        echo $NVIDIA_VISIBLE_DEVICES
        cd /dev; busybox ls -d nvidia* | busybox tr '\\n' ' '; echo
        busybox stat -c '%F %t:%T' nvidia0
        echo words > nvidia0 && echo written
        for name in /{DEBIAN}/libcuda.so.1 /usr/lib64/libcuda.so /usr/lib64/libnvidia-glcore.so.{DRIVER}; do
            busybox sha256sum $name; done
        echo changed 2>/dev/null >> /{DEBIAN}/libcuda.so.1 || echo refused
        /usr/bin/nvidia-smi
        busybox stat -c %F /var/run/nvidia-persistenced/socket
        busybox cat /lib/firmware/nvidia/{DRIVER}/gsp_ga10x.bin
        """,
        *names,
    ).splitlines()
    cuda, core = (
        hashlib.sha256((node.root / DEBIAN / f"{stem}.so.{DRIVER}").read_bytes()).hexdigest()
        for stem in ("libcuda", "libnvidia-glcore")
    )
    assert lines == [
        "void",
        "nvidia-fs0 nvidia-modeset nvidia-uvm nvidia-uvm-tools nvidia0 nvidiactl ",
        "character special file 1:3",
        "written",
        f"{cuda}  /{DEBIAN}/libcuda.so.1",
        f"{cuda}  /usr/lib64/libcuda.so",
        f"{core}  /usr/lib64/libnvidia-glcore.so.{DRIVER}",
        "refused",
        "NVIDIA-SMI",
        "socket",
        "firmware",
    ]


@pytest.mark.parametrize("strategy", ["uuid", "index"])
def test_mig_devices_add_up(node: Node, strategy: str) -> None:
    """One MIG device gives its GPU and its two rights; two of them give both pairs, whatever they are called."""
    units, state = node.prepare(f"{{migStrategy: mixed, deviceIDStrategy: {strategy}}}")
    first, second = (node.names(unit, state) for unit in units if unit.mig is not None)
    node.podman.import_image()
    command = "busybox ls -d /dev/nvidia[0-9]* /dev/nvidia-caps/*"
    assert node.inside(command, *first).split() == [
        "/dev/nvidia-caps/nvidia-cap3",
        "/dev/nvidia-caps/nvidia-cap4",
        "/dev/nvidia1",
    ]
    assert len(node.inside(command, *first, *second).split()) == 5


def test_a_missing_or_doubled_device_is_refused(node: Node) -> None:
    """A device without its node, kept for who may hold it, costs the others nothing; one that another file defines cannot be
    resolved. Our state says so of both.
    """
    units, _ = node.prepare("migStrategy: mixed")
    whole, cut, _ = units
    node.podman.import_image()
    (node.root / "dev/nvidia0").unlink()
    state = node.publish()
    kind = config_of().cdi.vendor + "/gpu"
    assert f"{kind}={whole.id}" not in state.names
    assert "no such file" in node.podman.run("true", f"{kind}={whole.id}").stderr
    assert node.podman.run("true", f"{kind}={cut.id}").returncode == 0
    node.nodes("nvidia0")
    assert node.podman.run("true", f"{kind}={whole.id}").returncode == 0, "what the driver brings back works as it is"
    device = {"name": cut.id, "containerEdits": {"env": ["A=b"]}}
    (node.cdi / "other.json").write_text(json.dumps({"cdiVersion": "0.3.0", "kind": kind, "devices": [device]}))
    assert f"{kind}={cut.id}" not in node.publish().names
    assert "unresolvable" in node.podman.run("true", f"{kind}={cut.id}").stderr


def test_hooks_are_started(node: Node) -> None:
    """With a hook configured, the runtime starts it for links and cache while it makes the container."""
    log = node.root / "log"
    hook = node.write("opt/nvidia-cdi-hook", f'#!/bin/sh\ncat > /dev/null\necho "$@" >> {log}\n'.encode())
    hook.chmod(0o755)
    units, state = node.prepare(f"{{migStrategy: mixed, cdi: {{hook: {hook}}}}}")
    node.podman.import_image()
    assert node.inside(f"busybox ls /{DEBIAN}", *node.names(units[0], state)).split() == sorted(
        f"{stem}.so.{DRIVER}" for stem in ("libcuda", "libnvidia-allocator", "libnvidia-glcore", "libnvidia-ml")
    )
    started = [line.split()[0] for line in log.read_text().splitlines()]
    assert started == ["create-symlinks", "enable-cuda-compat", "update-ldcache", "disable-device-node-modification"]


def test_loaders_find_libraries_without_a_cache(node: Node, nvml_library: Path) -> None:
    """A program that asks for ``libnvidia-ml.so.1`` gets it from the driver, in an image that knows nothing of NVIDIA."""
    units, _ = node.prepare("migStrategy: mixed")
    node.write(f"{DEBIAN}/libnvidia-ml.so.{DRIVER}", nvml_library.read_bytes())
    node.publish()
    program = shutil.which("true")
    assert program is not None
    node.podman.add_program(program)
    node.podman.import_image()
    command = f"LD_PRELOAD=libnvidia-ml.so.1 {program}"
    without = node.podman.run(command)
    assert "cannot be preloaded" in without.stderr
    done: subprocess.CompletedProcess[str] = node.podman.run(command, *node.names(units[0], node.publish()))
    assert (done.returncode, done.stderr) == (0, "")
