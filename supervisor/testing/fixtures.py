"""pytest fixtures for plugin authors; pytest finds them by itself where this distribution is installed."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from supervisor.host import Host

if TYPE_CHECKING:
    from supervisor.kubelet.simulator import KubeletSimulator
    from supervisor.testing import FakeHost
    from supervisor.testing.supervised import Supervise


@pytest.fixture
def fake_host(tmp_path: Path) -> "FakeHost":
    """A machine made of files, with nothing in it."""
    from supervisor.testing.fakehost import FakeHost

    return FakeHost(tmp_path / "host")


@pytest.fixture
def kubelet() -> Iterator["KubeletSimulator"]:
    """A simulated kubelet that runs, in a process of its own; its files are gone after the test."""
    from supervisor.kubelet.simulator import KubeletSimulator

    # Not tmp_path: the path of a unix socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="dps-") as folder, KubeletSimulator(Path(folder)) as simulator:
        yield simulator


@pytest.fixture
def supervised(kubelet: "KubeletSimulator", tmp_path: Path) -> Iterator["Supervise"]:
    """Start the real supervisor against ``kubelet``, as often as wanted; it is stopped after the test."""
    from supervisor.testing.supervised import Supervised

    with ExitStack() as running:

        def start(plugins: Mapping[str, Mapping[str, Any]], host: Host | None = None) -> Supervised:
            return running.enter_context(Supervised(kubelet.paths, tmp_path, plugins, host or Host()))

        yield start
