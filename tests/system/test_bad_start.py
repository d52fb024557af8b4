"""A start that cannot succeed says in one sentence what to do, and its exit code says whose turn it is."""

import json
import re
import socket
from pathlib import Path

import pytest

from supervisor.config_file import load
from supervisor.kubelet.simulator import KubeletSimulator
from tests.system.conftest import Start
from tests.system.rig import HEALTHY, RESOURCE, Process, Puppet


def assert_refuses(process: Process, code: int, *words: str) -> None:
    """It has ended with this exit code, and with one last line that has all these words."""
    assert process.wait() == code, process.log
    last = process.log.splitlines()[-1]
    assert all(word in last for word in words), last
    assert "Traceback" not in process.log


@pytest.mark.requires("namespaces")
def test_a_directory_that_cannot_be_written(kubelet: KubeletSimulator, start: Start) -> None:
    """As in a pod that mounts it read-only."""
    directory = kubelet.paths.device_plugins
    script = f'mount --bind {directory} {directory} && mount -o remount,ro,bind {directory} && exec "$@"'
    process = start(wrap=lambda command: ["unshare", "--mount", "sh", "-c", script, "sh", *command])
    assert_refuses(process, 1, str(directory), "Read-only file system", "mount it writable")


@pytest.mark.requires("root")
def test_a_directory_of_somebody_else(kubelet: KubeletSimulator, start: Start, short_dir: Path) -> None:
    """Root without a capability is nobody special: the mode of the directory counts."""
    foreign = short_dir / "foreign"
    foreign.mkdir()
    foreign.chmod(0o500)
    process = start(
        options=("--device-plugins-dir", str(foreign)),
        wrap=lambda command: ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *command],
    )
    assert_refuses(process, 1, str(foreign), "Permission denied", "run as its owner")


def test_a_path_that_is_too_long_for_sockets(start: Start, short_dir: Path) -> None:
    """Unix sockets have 107 bytes for their path; the sentence says so before a kubelet would be asked."""
    long = short_dir / ("d" * 90)
    long.mkdir()
    assert_refuses(start(options=("--device-plugins-dir", str(long))), 1, str(long), "107 bytes", "shorter directory")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", ("empty",)),
        (b"\x7fELF\x00\x01\x02\xff", ()),
        (b"kind: SupervisorConfig\nkind: SupervisorConfig\n", ("kind", "2:")),
        (b"apiVersion: device-plugin-supervisor/v1alpha1\nkind: SupervisorConfig\nplugs: {}\n", ("plugs", "3:")),
        (b"apiVersion: device-plugin-supervisor/v1alpha1\nkind: SupervisorConfig\nhttp: {listen: 7}\n", ("listen", "3:")),
        (b"#" * (10 << 20), ("1 MiB",)),
    ],
    ids=["empty", "binary", "duplicate key", "unknown key", "wrong type", "10 MiB"],
)
def test_a_configuration_that_cannot_be_used(
    start: Start, kubelet: KubeletSimulator, tmp_path: Path, text: bytes, words: tuple[str, ...]
) -> None:
    """Exit code 2, with the place in the file; nothing was touched."""
    config = tmp_path / "bad.yaml"
    config.write_bytes(text)
    process = start(options=("--config", str(config)))
    assert_refuses(process, 2, str(config), *words)
    assert not (kubelet.paths.device_plugins / ".device-plugin-supervisor").exists()


@pytest.mark.parametrize("names", [("puppet", "other"), ("other", "puppet")])
def test_sections_that_their_plugins_refuse(start: Start, puppet: Puppet, names: tuple[str, str]) -> None:
    """The plugins' own keys are as strict as ours, and all mistakes are told at once, in the order of the file."""
    process = start({name: puppet.section(colour="red") for name in names})
    assert process.wait() == 2
    assert re.findall(r"plugins\.(\w+)\.colour: unknown key", process.log) == [*names]


def test_a_section_of_a_package_that_is_not_installed(start: Start, puppet: Puppet, kubelet: KubeletSimulator) -> None:
    """It stops nobody. It is refused in the words of ``check-config``, unless it is switched off: then nothing is said."""
    process = start({"gizmo": {}, "gadget": {"enabled": False}, "puppet": puppet.section()})
    kubelet.wait_devices(RESOURCE, HEALTHY)
    (reason,) = load(str(process.config)).strangers(["generic", "infiniband", "nvidia-gpu", "puppet"]).values()
    told = {each["name"]: each["reason"] for each in json.loads(process.get("/status")[1])["plugins"]}
    assert told["gizmo"] == reason
    assert "gadget" not in told
    assert "gadget" not in process.log


def test_a_file_that_is_not_there(start: Start, tmp_path: Path) -> None:
    """A file that was named must exist."""
    assert_refuses(start(options=("--config", str(tmp_path / "none.yaml"))), 2, "none.yaml", "does not exist")


def test_a_busy_port_is_never_fatal(kubelet: KubeletSimulator, start: Start) -> None:
    """The work for the kubelet goes on, it is said, and the port is taken as soon as it is free."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        process = start(options=("--http", f"127.0.0.1:{port}"))
        kubelet.wait_devices(RESOURCE, HEALTHY)
        assert str(port) in process.wait_log('"HttpUnavailable"')
    process.wait_log('"HttpListening"', timeout=30)
    process.wait_ready("active")
