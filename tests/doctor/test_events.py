"""Whether hotplug would be noticed: the event socket, namespaces, udev's database."""

import subprocess
import sys

import pytest

from supervisor.doctor.events import kernel_events, network_namespace, udev_database, user_namespace
from supervisor.doctor.site import Site
from supervisor.triggers import Batch
from tests.doctor.ground import Ground


class Quiet:
    """An event socket that opens."""

    def __init__(self, warning: str = "") -> None:
        self.warning = warning
        self.open = True

    def fileno(self) -> int:
        return -1

    def receive(self) -> Batch:
        return Batch([])

    def close(self) -> None:
        self.open = False


@pytest.mark.parametrize(("warning", "level"), [("", "ok"), ("the kernel sends nothing into this user namespace", "warning")])
def test_an_event_socket_is_opened_and_closed(warning: str, level: str) -> None:
    """One that opens may stay silent all the same, and knows why."""
    source = Quiet(warning)
    (finding,) = kernel_events(Site(), lambda: source)
    assert (finding.level, source.open) == (level, False)
    assert warning in finding.text


@pytest.mark.parametrize(
    ("error", "cure"), [(ImportError("No library named udev"), "libudev1"), (OSError("denied"), "security profile")]
)
def test_no_event_socket_is_a_warning(error: Exception, cure: str) -> None:
    """Timed looks go on, so it is no failure."""

    def connect() -> Quiet:
        raise error

    (finding,) = kernel_events(Site(), connect)
    assert finding.level == "warning"
    assert str(error) in finding.text
    assert cure in finding.cure
    assert "lookInterval" in finding.cure


@pytest.mark.requires("libudev")
def test_the_real_socket_can_be_had_here() -> None:
    """Whatever this machine's namespaces are, the check comes to a judgement."""
    (finding,) = kernel_events(Site())
    assert finding.level in {"ok", "warning"}


_ASK = """
from supervisor.doctor.events import kernel_events, user_namespace
from supervisor.doctor.site import Site
for check in (kernel_events, user_namespace):
    for finding in check(Site()):
        print(finding.level, finding.subject)
"""


@pytest.mark.requires("user-namespaces", "libudev")
def test_a_pod_with_users_of_its_own_is_warned() -> None:
    """A real user namespace with a network namespace that it owns: the kernel sends nothing there, and both checks see why."""
    command = ["unshare", "--user", "--map-root-user", "--net", sys.executable, "-c", _ASK]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["warning kernel events", "warning user namespace"]


@pytest.mark.parametrize(
    ("uid_map", "level"),
    [("         0          0 4294967295\n", "ok"), ("0 100000 65536\n", "warning"), ("0 0 65536\n", "warning"), ("", "note")],
)
def test_a_user_namespace_of_its_own_is_a_warning(ground: Ground, uid_map: str, level: str) -> None:
    """As with hostUsers: false."""
    ground.write("/proc/self/uid_map", uid_map)
    assert ground.one(user_namespace).level == level


@pytest.mark.parametrize(
    ("init", "ours", "first", "level"),
    [
        ("systemd", "net:[1]", "net:[1]", "ok"),
        ("systemd", "net:[2]", "net:[1]", "note"),
        ("python3", "net:[1]", "net:[1]", "note"),
        ("systemd", "", "net:[1]", "note"),
        ("systemd", "net:[1]", "", "note"),
    ],
)
def test_the_network_namespace_is_compared_with_the_hosts(ground: Ground, init: str, ours: str, first: str, level: str) -> None:
    """Only where the host's first process can be seen; in a pod it is the container's."""
    ground.process("1", init)
    for process, target in (("self", ours), ("1", first)):
        if target:
            ground.link(f"/proc/{process}/ns/net", target)
    assert ground.one(network_namespace).level == level


def test_the_udev_database_is_seen(ground: Ground) -> None:
    """It takes records, and udevd's control socket tells that it runs."""
    assert ground.one(udev_database).level == "note"
    ground.write("/run/udev/data/c1:3", "E:ID_X=1\n")
    assert "cannot be seen" in ground.one(udev_database).text
    ground.write("/run/udev/control", "")
    assert ground.one(udev_database).level == "ok"
