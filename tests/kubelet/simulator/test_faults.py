"""Every fault of the menu, each under its own name."""

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import grpc
import pytest

from supervisor.kubelet.simulator import EventKind, Fault, KubeletSimulator, KubeletStartError
from tests.kubelet.simulator.bare_plugin import device, devices
from tests.kubelet.simulator.conftest import RESOURCE, Plug, Simulate
from tests.kubelet.simulator.test_oracles import renew
from tests.kubelet.simulator.test_restart import refuses

DEADLY = {
    Fault.DIE_BEFORE_DIAL: EventKind.REGISTER_RECEIVED,
    Fault.DIE_AFTER_OPTIONS: EventKind.CALL,
    Fault.DIE_BEFORE_FIRST_LIST: EventKind.CONNECTED,
    Fault.DIE_AFTER_FIRST_LIST: EventKind.LIST_RECEIVED,
}
"""The last thing such a kubelet does."""


def dies_during_registration(simulate: Simulate, plug: Plug, fault: Fault, *, sigkill: bool) -> None:
    """Let a kubelet die at a step of the registration and see the next one serve."""
    kubelet = simulate("1.36")
    plugin = plug(kubelet, register=False)
    kubelet.inject(fault, sigkill=sigkill)
    answer = plugin.register_later()
    last = kubelet.wait_event(EventKind.FAULT, fault=fault.value)
    if fault in {Fault.DIE_BEFORE_DIAL, Fault.DIE_AFTER_OPTIONS}:
        with pytest.raises(grpc.aio.AioRpcError):
            answer.result(10)
    if sigkill:
        kubelet.wait_for(lambda: kubelet.pid is None)
    else:
        kubelet.wait_event(EventKind.KUBELET_ENDED)
    plugin.wait_streams(0)
    before = [event.kind for event in kubelet.events.since() if event.at_ns <= last.at_ns]
    assert DEADLY[fault] in before
    assert not set(list(DEADLY.values())[list(DEADLY).index(fault) + 1 :]) & set(before)
    # A process that is killed closes its connections before its listening sockets.
    kubelet.wait_for(lambda: refuses(kubelet.paths.socket))
    kubelet.start()
    renew(kubelet, plugin, "again.sock")
    assert kubelet.node_status() == {RESOURCE: (2, 2)}


@pytest.mark.parametrize("sigkill", [False, True])
def test_die_before_dial(simulate: Simulate, plug: Plug, sigkill: bool) -> None:
    """The kubelet dies with a Register in hand: the call fails and nothing was dialled."""
    dies_during_registration(simulate, plug, Fault.DIE_BEFORE_DIAL, sigkill=sigkill)


@pytest.mark.parametrize("sigkill", [False, True])
def test_die_after_options(simulate: Simulate, plug: Plug, sigkill: bool) -> None:
    """The kubelet dies when it knows the options: the call fails, no list was asked for."""
    dies_during_registration(simulate, plug, Fault.DIE_AFTER_OPTIONS, sigkill=sigkill)


@pytest.mark.parametrize("sigkill", [False, True])
def test_die_before_first_list(simulate: Simulate, plug: Plug, sigkill: bool) -> None:
    """The kubelet dies between storing the plugin and ListAndWatch."""
    dies_during_registration(simulate, plug, Fault.DIE_BEFORE_FIRST_LIST, sigkill=sigkill)


@pytest.mark.parametrize("sigkill", [False, True])
def test_die_after_first_list(simulate: Simulate, plug: Plug, sigkill: bool) -> None:
    """The kubelet dies when the first list has arrived."""
    dies_during_registration(simulate, plug, Fault.DIE_AFTER_FIRST_LIST, sigkill=sigkill)


def test_death_with_a_return(simulate: Simulate, plug: Plug) -> None:
    """A kubelet that dies of a fault may return by itself."""
    kubelet = simulate()
    plugin = plug(kubelet, register=False)
    kubelet.inject(Fault.DIE_AFTER_OPTIONS, restart_after=0.0)
    with pytest.raises(grpc.aio.AioRpcError):
        plugin.register()
    kubelet.wait_for(lambda: [event.life for event in kubelet.log(EventKind.SOCKET_ACCEPTING)] == [1, 2])
    renew(kubelet, plugin, "again.sock")


def test_armed_faults_strike_their_resource_only(simulate: Simulate, plug: Plug) -> None:
    """A fault armed for one resource lets others pass, and can be disarmed."""
    kubelet = simulate()
    kubelet.inject(Fault.REFUSED_DIAL_BACK, resource="example.com/other")
    plug(kubelet, 1)
    kubelet.disarm()
    plug(kubelet, 1, resource="example.com/other")


def test_slow_dial_back(simulate: Simulate, plug: Plug) -> None:
    """A kubelet that takes its time to dial registers the plugin all the same."""
    kubelet = simulate()
    kubelet.inject(Fault.SLOW_DIAL_BACK, seconds=0.2)
    plug(kubelet, 1)
    received = kubelet.wait_event(EventKind.REGISTER_RECEIVED)
    dialled = kubelet.wait_event(EventKind.DIALLED)
    assert dialled.at_ns - received.at_ns >= 200_000_000


@pytest.mark.parametrize("version", ["1.20", "1.36"])
def test_refused_dial_back(simulate: Simulate, plug: Plug, version: str) -> None:
    """A dial that fails is told to the plugin, but not before 1.25."""
    kubelet = simulate(version)
    plugin = plug(kubelet, register=False)
    kubelet.inject(Fault.REFUSED_DIAL_BACK)
    if version == "1.20":
        plugin.register()
        kubelet.wait_event(EventKind.CONNECT_FAILED)
    else:
        with pytest.raises(grpc.aio.AioRpcError, match="failed to dial device plugin"):
            plugin.register()
    assert plugin.requests == []
    plugin.register()
    kubelet.wait_registered(RESOURCE)


def test_slow_options(simulate: Simulate, plug: Plug) -> None:
    """A kubelet that waits before it asks for the options has dialled already."""
    kubelet = simulate()
    kubelet.inject(Fault.SLOW_OPTIONS, seconds=0.2)
    plug(kubelet, 1)
    dialled, called = kubelet.wait_event(EventKind.DIALLED), kubelet.wait_event(EventKind.CALL)
    assert called.at_ns - dialled.at_ns >= 200_000_000


@pytest.mark.parametrize("version", ["1.25", "1.37"])
def test_late_answer(simulate: Simulate, plug: Plug, version: str) -> None:
    """Register is answered long after the first list has arrived."""
    kubelet = simulate(version)
    plugin = plug(kubelet, 1, register=False)
    kubelet.inject(Fault.LATE_ANSWER, seconds=0.5)
    answer = plugin.register_later()
    listed = kubelet.wait_event(EventKind.LIST_RECEIVED)
    answer.result(10)
    assert kubelet.wait_event(EventKind.REGISTER_ANSWERED).at_ns > listed.at_ns


def test_late_answer_to_nobody(simulate: Simulate, plug: Plug) -> None:
    """A plugin that does not wait for the late answer is registered nevertheless."""
    kubelet = simulate()
    plugin = plug(kubelet, 1, register=False)
    kubelet.inject(Fault.LATE_ANSWER, seconds=30)
    with pytest.raises(grpc.aio.AioRpcError):
        plugin.register(timeout=0.3)
    kubelet.wait_status(RESOURCE, 1, 1)
    kubelet.wait_event(EventKind.REGISTER_ANSWERED, error="the caller has stopped waiting")


def test_double_restart(simulate: Simulate, plug: Plug) -> None:
    """Two restarts within milliseconds leave one kubelet that serves."""
    kubelet = simulate()
    plugin = plug(kubelet, 1)
    kubelet.inject(Fault.DOUBLE_RESTART)
    assert [event.life for event in kubelet.log(EventKind.SOCKET_ACCEPTING)] == [1, 2, 3]
    renew(kubelet, plugin, "again.sock")


def test_refuse_then_accept(simulate: Simulate, plug: Plug) -> None:
    """The stale socket of a dead kubelet refuses, then the next kubelet replaces it."""
    kubelet = simulate()
    plugin = plug(kubelet, 1)
    during(kubelet, Fault.REFUSE_THEN_ACCEPT, lambda: refuses(kubelet.paths.socket), seconds=0.3)
    renew(kubelet, plugin, "again.sock")


def during(kubelet: KubeletSimulator, fault: Fault, seen: Callable[[], bool], **parameters: Any) -> None:
    """Inject a fault that lasts and see something come true before it is over."""
    striking = Thread(target=kubelet.inject, args=(fault,), kwargs=parameters)
    position = kubelet.events.position
    striking.start()
    kubelet.wait_event(EventKind.KUBELET_ENDED, since=position)
    while not seen():
        assert striking.is_alive(), "the fault was over before it showed"
    striking.join()


def test_bind_listen_gap(simulate: Simulate, plug: Plug) -> None:
    """The socket appears, refuses for a while and then serves, all under one inode."""
    kubelet = simulate()
    plugin = plug(kubelet, 1)
    inodes: list[int] = []

    def bound() -> bool:
        if not kubelet.log(EventKind.SOCKET_BOUND):
            return False
        inodes.append(kubelet.paths.socket.stat().st_ino)
        return refuses(kubelet.paths.socket)

    during(kubelet, Fault.BIND_LISTEN_GAP, bound, seconds=0.3)
    assert kubelet.paths.socket.stat().st_ino == inodes[-1]
    renew(kubelet, plugin, "again.sock")
    assert kubelet.add_pod("p", {RESOURCE: 1}).admitted
    kubelet.restart()
    renew(kubelet, plugin, "third.sock")


def test_slow_cleanup(simulate: Simulate, plug: Plug) -> None:
    """A slow clean-up deletes entries of its snapshot one by one, and spares names that came later."""
    kubelet = simulate()
    plugins = [plug(kubelet, 1, resource=f"example.com/r{number}") for number in range(3)]
    fresh = kubelet.paths.device_plugins / "fresh.sock"

    def some_deleted() -> bool:
        if all(plugin.socket.exists() for plugin in plugins):
            return False
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(fresh))
        return True

    during(kubelet, Fault.SLOW_CLEANUP, some_deleted, seconds=0.1)
    assert not any(plugin.socket.exists() for plugin in plugins)
    assert fresh.exists()


def test_stale_socket(simulate: Simulate, plug: Plug) -> None:
    """The kubelet is gone and its socket refuses until somebody starts one."""
    kubelet = simulate()
    plugin = plug(kubelet, 1)
    kubelet.inject(Fault.STALE_SOCKET)
    assert refuses(kubelet.paths.socket)
    kubelet.start()
    renew(kubelet, plugin, "again.sock")


def test_socket_is_a_file(simulate: Simulate, plug: Plug) -> None:
    """``kubelet.sock`` is a regular file, over which no new kubelet starts."""
    kubelet = simulate()
    plugin = plug(kubelet, 1)
    kubelet.inject(Fault.SOCKET_IS_A_FILE)
    assert kubelet.paths.socket.is_file()
    with pytest.raises(KubeletStartError):
        kubelet.start()
    kubelet.paths.socket.unlink()
    kubelet.start()
    renew(kubelet, plugin, "again.sock")


def test_two_kubelets(simulate: Simulate, plug: Plug) -> None:
    """While kubelets replace each other the old one's streams live on beside the new one's socket."""
    kubelet = simulate()
    plugin = plug(kubelet, 1)
    kubelet.inject(Fault.TWO_KUBELETS, times=3, seconds=0.05)
    order = [
        (event.kind, event.life)
        for event in kubelet.events.since()
        if event.kind in {EventKind.SOCKET_ACCEPTING, EventKind.KUBELET_ENDED}
    ]
    accepting, ended = EventKind.SOCKET_ACCEPTING, EventKind.KUBELET_ENDED
    assert order == [(accepting, 1), (accepting, 2), (ended, 1), (accepting, 3), (ended, 2), (accepting, 4), (ended, 3)]
    plugin.wait_streams(0)
    renew(kubelet, plugin, "again.sock")


def test_reset_connection(simulate: Simulate, plug: Plug, era: str) -> None:
    """Only one plugin's connection breaks: the kubelet lives, marks it unhealthy and does not dial again."""
    kubelet = simulate(era)
    plugin = plug(kubelet, 1)
    plug(kubelet, 1, resource="example.com/other")
    kubelet.inject(Fault.RESET_CONNECTION, resource=RESOURCE)
    plugin.wait_streams(0)
    kubelet.wait_status(RESOURCE, 0, 1)
    assert kubelet.node_status()["example.com/other"] == (1, 1)
    assert len(plugin.called("ListAndWatch")) == 1
    renew(kubelet, plugin, "again.sock")


def test_remove_plugin_socket(simulate: Simulate, plug: Plug) -> None:
    """A plugin's socket file disappears and its connection lives on."""
    kubelet = simulate()
    plugin = plug(kubelet, 1)
    kubelet.inject(Fault.REMOVE_PLUGIN_SOCKET, resource=RESOURCE)
    assert not plugin.socket.exists()
    plugin.publish(devices(2))
    kubelet.wait_status(RESOURCE, 2, 2)
    assert kubelet.add_pod("p", {RESOURCE: 2}).admitted


@pytest.mark.parametrize("fault", [Fault.RECREATE_DIRECTORY, Fault.REPLACE_DIRECTORY])
def test_directory_is_another(simulate: Simulate, plug: Plug, fault: Fault) -> None:
    """The directory is another one with nothing of the old in it but the new kubelet's files."""
    kubelet = simulate()
    plugin = plug(kubelet, 1)
    with_directory = os.open(kubelet.paths.device_plugins, os.O_RDONLY)
    try:
        kubelet.inject(fault)
        assert os.fstat(with_directory).st_nlink == 0
        assert os.fstat(with_directory).st_ino != kubelet.paths.device_plugins.stat().st_ino
    finally:
        os.close(with_directory)
    assert "kubelet.sock" in os.listdir(kubelet.paths.device_plugins)
    assert not plugin.socket.exists()
    renew(kubelet, plugin, "again.sock")


@pytest.mark.parametrize("fault", [Fault.RECREATE_DIRECTORY, Fault.REPLACE_DIRECTORY])
def test_directory_is_another_and_the_kubelet_does_not_notice(simulate: Simulate, plug: Plug, fault: Fault) -> None:
    """A living kubelet keeps its streams when its directory is replaced, and cannot be reached until it restarts."""
    kubelet = simulate()
    plugin = plug(kubelet, 1)
    kubelet.inject(fault, restart=False)
    assert kubelet.paths.device_plugins.is_dir()
    assert not kubelet.paths.socket.exists()
    plugin.publish(devices(2))
    kubelet.wait_status(RESOURCE, 2, 2)


def test_recreate_directory(simulate: Simulate) -> None:
    """``rm -rf`` and ``mkdir``: the new directory has the mode of a new one, and nothing is remembered."""
    kubelet = simulate()
    kubelet.inject(Fault.RECREATE_DIRECTORY)
    assert kubelet.node_status() == {}


def test_replace_directory(simulate: Simulate, root: Path) -> None:
    """An empty directory takes the name of the old one, which is deleted later."""
    kubelet = simulate()
    kubelet.inject(Fault.REPLACE_DIRECTORY)
    assert not [name for name in os.listdir(root) if name.startswith(".")]


def test_create_storm(simulate: Simulate, plug: Plug) -> None:
    """Files come and go in the directory while the plugin stays connected."""
    kubelet = simulate()
    plug(kubelet, 1)
    changed = kubelet.paths.device_plugins.stat().st_mtime_ns
    kubelet.inject(Fault.CREATE_STORM, count=200)
    assert kubelet.paths.device_plugins.stat().st_mtime_ns != changed
    assert kubelet.node_status() == {RESOURCE: (1, 1)}


def test_slow_reader(simulate: Simulate, plug: Plug) -> None:
    """Lists wait while the kubelet does not read, and the newest has arrived afterwards."""
    kubelet = simulate()
    plugin = plug(kubelet, 1)
    position = kubelet.events.position

    def flood() -> bool:
        for number in range(5):
            plugin.publish([device(f"{number}-{entry:0>90}") for entry in range(5000)])
        plugin.publish(devices(7))
        return True

    striking = Thread(target=kubelet.inject, args=(Fault.SLOW_READER,), kwargs={"resource": RESOURCE, "seconds": 0.5})
    striking.start()
    struck = kubelet.wait_event(EventKind.FAULT, since=position)
    flood()
    striking.join()
    kubelet.wait_status(RESOURCE, 7, 7)
    late = [event for event in kubelet.log(EventKind.LIST_RECEIVED, position) if event["healthy"] == 7]
    assert late[0].at_ns - struck.at_ns >= 400_000_000


def test_clock_jump(simulate: Simulate, plug: Plug) -> None:
    """The clock jumps over the grace period: a stopped resource is dropped at once, a connected one stays."""
    kubelet = simulate()
    plugin = plug(kubelet, 1)
    plug(kubelet, 1, resource="example.com/other")
    plugin.stop()
    kubelet.wait_status(RESOURCE, 0, 1)
    kubelet.inject(Fault.CLOCK_JUMP)
    assert kubelet.node_status() == {RESOURCE: (0, 0), "example.com/other": (1, 1)}


def test_unknown_parameters_are_refused(simulate: Simulate) -> None:
    """A misspelt parameter is an error, not a fault that never strikes."""
    kubelet = simulate()
    for fault in (Fault.SLOW_OPTIONS, Fault.CREATE_STORM):
        with pytest.raises(Exception, match="unexpected keyword argument"):
            kubelet.inject(fault, minutes=1)


def test_every_fault_has_its_test() -> None:
    """The menu and this file agree."""
    names = {name for name in dir(sys.modules[__name__]) if name.startswith("test_")}
    assert {f"test_{fault.name.lower()}" for fault in Fault} <= names
