"""Simulated kubelets and bare plugins that end with their test."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from supervisor.kubelet.protos import deviceplugin_pb2 as pb
from supervisor.kubelet.simulator import KubeletSimulator
from tests.kubelet.simulator.bare_plugin import BarePlugin, Script, devices

RESOURCE = "example.com/widget"
ERA_NAMES = ("1.20", "1.25", "1.36", "1.37")

Simulate = Callable[..., KubeletSimulator]
Plug = Callable[..., BarePlugin]


@pytest.fixture
def root() -> Iterator[Path]:
    """Give a directory with a short name: socket paths end at 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="ks-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def simulate(root: Path) -> Iterator[Simulate]:
    """Start kubelets that know their pods soon and whose dial gives up after a second."""
    with ExitStack() as stack:

        def start(era: Any = "1.37", **settings: Any) -> KubeletSimulator:
            settings = {"sources_delay": 0.3, "time_scale": 0.1, **settings}
            return stack.enter_context(KubeletSimulator(root, era, **settings))

        yield start


@pytest.fixture
def plug() -> Iterator[Plug]:
    """Serve bare plugins, and register them unless told otherwise."""
    with ExitStack() as stack:

        def serve(
            kubelet: KubeletSimulator,
            listed: Sequence[pb.Device] | int = 2,
            script: Script | None = None,
            resource: str = RESOURCE,
            *,
            register: bool = True,
        ) -> BarePlugin:
            wanted = devices(listed) if isinstance(listed, int) else listed
            plugin = BarePlugin(kubelet.paths.device_plugins, resource, wanted, script)
            stack.enter_context(plugin)
            if register:
                plugin.register()
                if plugin.script.send_list and plugin.script.list_error is None:
                    kubelet.wait_registered(resource)
            return plugin

        yield serve


@pytest.fixture(params=ERA_NAMES)
def era(request: pytest.FixtureRequest) -> str:
    """Run the test with each kubelet."""
    name: str = request.param
    return name
