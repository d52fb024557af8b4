"""The simulator as a process: spawned, killed, orphaned, restarted a hundred times, and run by hand."""

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from supervisor.kubelet.protos import deviceplugin_pb2 as pb
from supervisor.kubelet.simulator import (
    EventKind,
    KubeletDownError,
    KubeletSimulator,
    NotFoundError,
    PluginCallError,
    SimulatorError,
)
from tests.kubelet.simulator.bare_plugin import BarePlugin, devices
from tests.kubelet.simulator.conftest import RESOURCE, Plug, Simulate


def test_the_caller_needs_no_grpc() -> None:
    """The handle imports neither grpc, protobuf nor asyncio into its caller."""
    code = (
        "import sys, supervisor.kubelet.simulator; "
        "print([name for name in ('grpc', 'google.protobuf', 'asyncio') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_events_carry_the_callers_clock(simulate: Simulate) -> None:
    """Times of events can be compared with the caller's own monotonic clock."""
    before = time.monotonic_ns()
    kubelet = simulate()
    at = kubelet.wait_event(EventKind.SOCKET_ACCEPTING).at_ns
    assert before < at < time.monotonic_ns()


PARENT = """
import sys
from pathlib import Path
from supervisor.kubelet.simulator import KubeletSimulator
kubelet = KubeletSimulator(Path(sys.argv[1]))
kubelet.start()
print(kubelet.pid, flush=True)
sys.stdin.read()
"""


def test_killing_the_parent_ends_the_child(root: Path) -> None:
    """The simulator's process ends when its owner is killed."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = os.pidfd_open(int(parent.stdout.readline()))
        try:
            parent.kill()
            parent.wait()
            assert wait_readable(child, 10), "the child lives on"
        finally:
            os.close(child)


def wait_readable(descriptor: int, timeout: float) -> bool:
    """Wait until a pidfd says that its process has ended."""
    return bool(select.select([descriptor], [], [], timeout)[0])


def footprint(pid: int) -> tuple[int, int, int]:
    """Return open descriptors, threads and resident kilobytes of a process."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return len(os.listdir(f"/proc/{pid}/fd")), int(status["Threads"]), int(status["VmRSS"].split()[0])


def test_a_hundred_restarts_do_not_leak(simulate: Simulate, plug: Plug) -> None:
    """A hundred kubelet lives with registrations leave no descriptor, no thread and hardly any memory behind."""
    kubelet = simulate(sources_delay=0.0)
    plugin = plug(kubelet, 2)
    pid = kubelet.pid
    assert pid is not None

    def live_again(number: int) -> None:
        kubelet.restart()
        plugin.stop()
        plugin.serve(f"life-{number}.sock")
        plugin.register()
        kubelet.wait_registered(RESOURCE)

    for number in range(10):
        live_again(number)
    descriptors, threads, memory = footprint(pid)
    for number in range(10, 110):
        live_again(number)
    after = footprint(pid)
    assert after[:2] == (descriptors, threads)
    assert after[2] - memory < 4096
    assert kubelet.pid == pid


def test_operations_end_when_the_process_is_killed(simulate: Simulate, plug: Plug) -> None:
    """A caller who waits for an answer of a killed process hears that it died."""
    kubelet = simulate()
    plugin = plug(kubelet, 1)
    plugin.set_gate()
    heard: list[BaseException] = []

    def wait() -> None:
        try:
            kubelet.add_pod("p", {RESOURCE: 1})
        except KubeletDownError as error:
            heard.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    plugin.wait_called("Allocate")
    assert kubelet.pid is not None
    os.kill(kubelet.pid, signal.SIGKILL)
    thread.join(10)
    assert len(heard) == 1


def test_many_threads_may_ask(simulate: Simulate, plug: Plug) -> None:
    """Operations of several threads do not disturb each other."""
    kubelet = simulate()
    plug(kubelet, 32)
    held: list[str] = []

    def work(number: int) -> None:
        held.extend(kubelet.add_pod(f"p{number}", {RESOURCE: 4}).device_ids)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(held)) == len(held) == 32


def test_errors_have_names(simulate: Simulate) -> None:
    """What does not exist is said so."""
    kubelet = simulate()
    with pytest.raises(NotFoundError, match="no pod default/nobody"):
        kubelet.pod("nobody")
    with pytest.raises(NotFoundError, match="no plugin is registered"):
        kubelet.call(RESOURCE, "Allocate")
    kubelet.add_pod("p")
    with pytest.raises(SimulatorError, match="exists already"):
        kubelet.add_pod("p")
    with pytest.raises(TimeoutError, match="socket_accepting"):
        kubelet.wait_event(EventKind.CALL, timeout=0)
    with pytest.raises(TimeoutError, match="never"):
        kubelet.wait_for(lambda: False, timeout=0, what="never")
    with pytest.raises(KeyError):
        KubeletSimulator(kubelet.settings.root, "0.9")


def test_raw_calls(simulate: Simulate, plug: Plug) -> None:
    """Any bytes can be sent to any method of a plugin, on the kubelet's own connection."""
    kubelet = simulate()
    plug(kubelet, 1)
    assert kubelet.call(RESOURCE, "GetDevicePluginOptions") == b""
    request = pb.AllocateRequest(container_requests=[pb.ContainerAllocateRequest(devices_ids=["d0"])])
    answer = pb.AllocateResponse.FromString(kubelet.call(RESOURCE, "Allocate", request.SerializeToString(), 5.0))
    assert len(answer.container_responses) == 1
    with pytest.raises(PluginCallError) as unknown:
        kubelet.call(RESOURCE, "Deallocate")
    assert unknown.value.code == "UNIMPLEMENTED"


def test_bench_allocate(simulate: Simulate, plug: Plug) -> None:
    """Latencies of Allocate are measured in the kubelet's process, without a trace in the log."""
    kubelet = simulate()
    plugin = plug(kubelet, 1)
    taken = kubelet.bench_allocate(RESOURCE, ["d0"], 50)
    assert (taken.count, taken.failed) == (50, 0)
    assert 0 < taken.p50 <= taken.p99 <= taken.max
    assert len(plugin.called("Allocate")) == 50
    assert not [event for event in kubelet.calls(RESOURCE) if event["method"] == "Allocate"]


def test_allocate_load(simulate: Simulate, plug: Plug) -> None:
    """Allocate calls go on in the background and their failures are told."""
    kubelet = simulate()
    plugin = plug(kubelet, 1)
    with kubelet.allocate_load(RESOURCE, ["d0"]) as finish:
        plugin.wait_called("Allocate", 20)
        plugin.stop()
        kubelet.wait_status(RESOURCE, 0, 1)
        kubelet.wait_for(lambda: kubelet.sync_loop_blocked_for == 0)
        result = finish()
    assert result.latencies.count >= 19
    assert result.latencies.failed == 0 or result.failures


def test_admission_load(simulate: Simulate, plug: Plug) -> None:
    """Pods come and go at a steady rate; those that fail are told with their message."""
    kubelet = simulate()
    plugin = plug(kubelet, 1)
    with kubelet.admission_load(RESOURCE, 200) as finish:
        plugin.wait_called("Allocate", 5)
        plugin.publish([])
        kubelet.wait_event(EventKind.POD_FAILED)
        plugin.publish(devices(1))
        position = kubelet.events.position
        kubelet.wait_event(EventKind.POD_ADMITTED, since=position)
        kubelet.stop()
        result = finish()
    assert result.admitted >= 5
    assert result.failed
    assert all("no healthy devices present" in failure.message for failure in result.failed)
    assert kubelet.pods() == []


def test_another_plugins_directory(root: Path) -> None:
    """The device-plugins directory may be elsewhere."""
    elsewhere = root / "elsewhere" / "dp"
    with KubeletSimulator(root / "node", device_plugins_dir=elsewhere) as kubelet:
        assert (elsewhere / "kubelet.sock").is_socket()
        with BarePlugin(elsewhere, RESOURCE, devices(1)) as plugin:
            plugin.register()
            kubelet.wait_registered(RESOURCE)


@pytest.mark.parametrize("as_json", [True, False])
def test_by_hand(root: Path, as_json: bool) -> None:
    """The command runs a kubelet in the foreground, prints what happens and ends with SIGTERM."""
    command = [sys.executable, "-m", "supervisor.kubelet.simulator", "--root", str(root), "--era", "1.20"]
    with subprocess.Popen([*command, *(["--json"] if as_json else [])], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = iter(process.stdout)
        accepting = next(line for line in lines if "socket_accepting" in line)
        assert not as_json or json.loads(accepting)["event"] == "socket_accepting"
        with BarePlugin(root / "device-plugins", RESOURCE, devices(1)) as plugin:
            plugin.register()
            assert next(line for line in lines if "list_received" in line)
        process.terminate()
        assert process.wait(10) == 0


def test_by_hand_needs_a_root() -> None:
    """Without a directory the command says what is missing and exits 2."""
    command = [sys.executable, "-m", "supervisor.kubelet.simulator"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (answer.returncode, "--root" in answer.stderr) == (2, True)


def test_by_hand_says_why_it_cannot_start(root: Path) -> None:
    """A kubelet that exits at once exits 1 with its message."""
    (root / "device-plugins").mkdir()
    (root / "device-plugins/kubelet.sock").touch()
    command = [sys.executable, "-m", "supervisor.kubelet.simulator", "--root", str(root)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert answer.returncode == 1
    assert "address already in use" in answer.stderr


def test_by_hand_ends_with_its_reader(root: Path) -> None:
    """The command ends without a traceback when nobody reads its output any more."""
    command = [sys.executable, "-m", "supervisor.kubelet.simulator", "--root", str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert "kubelet_starting" in process.stdout.readline()
        next(line for line in process.stdout if "pods_arrived" in line)
        process.stdout.close()
        with BarePlugin(root / "device-plugins", RESOURCE, devices(1)) as plugin:
            plugin.register_later()
            assert process.wait(10) == 1
        assert not process.stderr.read()
