"""A third party's program, installed for real: behind the border as a child, and in the helper."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from supervisor.kubelet.simulator import KubeletSimulator
from supervisor.testing import FakeHost, check_plugin, plugins_of
from supervisor.testing.supervised import Supervised
from tests.border.conftest import HelperProcess, until

BOARD = "acme.example/board"
Run = Callable[..., Supervised]


@pytest.fixture
def fake(short_dir: Path, installed_samples: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    """A machine with one board, at a path that is short enough for a socket's."""
    monkeypatch.syspath_prepend(str(installed_samples))
    monkeypatch.setenv("PYTHONPATH", str(installed_samples))
    made = FakeHost(short_dir / "node")
    made.write("/dev/acme-board0", "B-0\n")
    return made


def programs() -> list[int]:
    """The processes that run the sample's program."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if b"acme_board_program" in words:
            found.append(int(process.parent.name))
    return found


def test_the_sample_keeps_the_contract(fake: FakeHost) -> None:
    """A plugin with a program is a plugin like any other."""
    (plugin,) = plugins_of("acme-board", host=fake.host)
    report = check_plugin(plugin)
    assert (report.problems, report.devices) == ((), {BOARD: 1})


@pytest.mark.parametrize("isolation", ["thread", "process"])
@pytest.mark.parametrize("helped", [False, True], ids=["child", "helper"])
def test_the_whole_way(kubelet: KubeletSimulator, fake: FakeHost, supervised: Run, isolation: str, helped: bool) -> None:
    """The program finds the boards and tells their changes; it ends with the supervisor, however that ends."""
    helper = HelperProcess(fake.host.helper_socket, "--program", "acme-board") if helped else None
    try:
        before = set(programs())
        running = supervised({"acme-board": {"isolation": isolation}}, fake.host)
        kubelet.wait_devices(BOARD, {"B-0": "Healthy"})
        pod = kubelet.add_pod("first", {BOARD: 1})
        assert pod.admitted, pod.message
        fake.write("/dev/acme-board1", "B-1\n")
        kubelet.wait_devices(BOARD, {"B-0": "Healthy", "B-1": "Healthy"})
        assert set(programs()) - before
        if helper is not None:
            assert "started acme-board, process" in helper.log
        assert running.process is not None
        running.process.send_signal(signal.SIGTERM)
        until(lambda: not set(programs()) - before)
    finally:
        if helper is not None:
            helper.end()
