"""Interfaces that go up and down, in a network namespace of the test's own, by the real rtnetlink."""

import ctypes
import resource
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from threading import Thread

import msgspec
import pytest

from supervisor import Host, Outlet, StreamClosed
from supervisor.border import framing
from supervisor.border.messages import Answer, Beat
from supervisor_infiniband.config import InfinibandConfig
from supervisor_infiniband.probe import Probe
from supervisor_infiniband.report import Poll, PortState
from supervisor_infiniband.simulate import changes
from supervisor_infiniband.simulate.machine import Machine
from supervisor_infiniband.simulate.tree import Tree
from supervisor_infiniband.sysfs import links
from supervisor_infiniband.sysfs.links import Links
from supervisor_infiniband.sysfs.messages import Options, Told, Watch
from supervisor_infiniband.sysfs.survey import Survey
from supervisor_infiniband.sysfs.watching import watch

pytestmark = pytest.mark.requires("namespaces", "ip")

PATIENCE = 20.0
"""Seconds for what does come; it takes milliseconds."""
CLONE_NEWNET = 0x40000000

DUAL = "dual-port-infiniband"
NEVER = Watch(poll=3600, counters=3600)

Plant = Callable[[str | Machine], Tree]
InNamespace = Callable[[Callable[[], None]], None]


def ip(words: str) -> None:
    """Change an interface."""
    subprocess.run(["ip", *words.split()], check=True, stdin=subprocess.DEVNULL)


def leave_the_network() -> None:
    """Give the calling thread, and those that it starts, a network namespace with two ends of a cable: ib0, which is up, and far."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")
    ip("link add ib0 type veth peer name far")
    ip("link set ib0 up")


@pytest.fixture
def in_namespace() -> Iterator[InNamespace]:
    """Runs a function in a thread that has a network of its own."""
    with ThreadPoolExecutor(1, initializer=leave_the_network) as thread:
        yield lambda function: thread.submit(function).result()


def test_a_carrier_that_comes_and_goes_is_heard(in_namespace: InNamespace) -> None:
    """Whether the other end is plugged in, or the interface is switched off."""

    def body() -> None:
        with Links() as heard:
            for change in ("far up", "far down", "far up", "ib0 down"):
                ip(f"link set {change}")
                assert heard.wait(PATIENCE, {"ib0"}), change

    in_namespace(body)


def test_others_are_not_heard(in_namespace: InNamespace) -> None:
    """Pods' interfaces come and go all day, and what does not change a link's state is nothing to us."""

    def body() -> None:
        with Links() as heard:
            ip("link set far up")
            assert heard.wait(PATIENCE, {"ib0"})
            while heard.wait(0.2, {"ib0"}):
                pass  # the address that comes with a link
            ip("link add pod0 type veth peer name pod1")
            ip("link set pod0 up")
            ip("link set pod1 up")
            ip("link set ib0 mtu 1400")
            ip("link del pod0")
            assert not heard.wait(0.2, {"ib0"})

    in_namespace(body)


def test_more_than_the_kernel_can_keep_is_a_change(in_namespace: InNamespace) -> None:
    """What has been lost may have been of any interface."""

    def body() -> None:
        with Links() as heard:
            heard._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            for _ in range(20):
                ip("link set far up")
                ip("link set far down")
            assert heard.wait(PATIENCE, {"none of these"})

    in_namespace(body)


def test_an_interface_that_has_gone_has_changed_nothing(in_namespace: InNamespace) -> None:
    """Its uevent tells of it; its number says no name any more."""

    def body() -> None:
        with Links() as heard:
            ip("link del ib0")
            assert not heard.wait(0.2, {"ib0"})

    in_namespace(body)


def test_only_the_kernel_is_believed(in_namespace: InNamespace) -> None:
    """A message of another process of the namespace changes nothing."""

    def body() -> None:
        message = struct.pack("=IHHIIBxHiII", 32, 16, 0, 0, 0, 0, 1, socket.if_nametoindex("ib0"), 1, 0)
        with Links() as heard, socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as other:
            other.sendto(message, (heard._socket.getsockname()[0], 0))
            assert not heard.wait(0.2, {"ib0"})

    in_namespace(body)


def test_another_network_is_said(in_namespace: InNamespace) -> None:
    """An interface of the host's sysfs that is not in this namespace means that the pod has a network of its own."""

    def body() -> None:
        assert links.problem({"ib0", "ib7"}) == ""
        assert links.problem(set()) == ""
        assert "hostNetwork" in links.problem({"ib7"})

    in_namespace(body)


def test_no_socket_is_said() -> None:
    """As where a process may have no more open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        said = links.problem(set())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "Too many open files" in said


def told(connection: socket.socket) -> Poll:
    """What the stream has next."""
    while True:
        message = msgspec.msgpack.decode(framing.receive(connection, time.monotonic() + PATIENCE), type=Answer | Beat)
        if isinstance(message, Answer):
            return msgspec.msgpack.decode(message.value, type=Told).poll


def test_a_change_is_polled_for_at_once(plant: Plant, in_namespace: InNamespace) -> None:
    """Where the next poll is an hour away, and again where one change follows the other."""
    tree = plant(DUAL)
    survey = Survey(Options(str(tree.sys), str(tree.dev), PATIENCE, rtnetlink=True))
    first = survey.look().report.devices[0]
    (interface,) = first.ports[0].link.netdevs

    def listen(there: socket.socket) -> None:
        with closing(there), suppress(StreamClosed):
            watch(survey, NEVER, Outlet(there))

    def body() -> None:
        ip(f"link set ib0 down name {interface.name}")
        ip(f"link set {interface.name} up")
        here, there = socket.socketpair()
        listener = Thread(target=listen, args=(there,))
        with closing(here):
            listener.start()
            assert told(here).counters  # so the first poll has been
            for state in ("down", "up", "down"):
                tree.become(changes.port(tree.machine, first.name, 1, state))
                ip(f"link set far {'down' if state == 'up' else 'up'}")
                (change,) = told(here).changes
                assert change.link is not None
                assert change.link.state == (PortState.ACTIVE if state == "up" else PortState.DOWN)
        listener.join(PATIENCE)
        assert not listener.is_alive()

    in_namespace(body)


def test_the_configuration_switches_it_on(plant: Plant) -> None:
    """And a machine whose interfaces are not in this network namespace says so, at each look."""
    tree = plant(DUAL)
    for wanted in (False, True):
        probe = Probe(Host(sysfs=str(tree.sys), dev=str(tree.dev)), InfinibandConfig(rtnetlink=wanted), deadline=PATIENCE)
        with closing(probe):
            assert any("hostNetwork" in notice for notice in probe.look().notices) == wanted
