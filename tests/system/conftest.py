"""The whole supervisor process against the simulated kubelet."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from supervisor.host import Host
from supervisor.kubelet.simulator import KubeletSimulator
from tests.system.rig import DISTRIBUTION, RESOURCE, Process, Puppet, install

Start = Callable[..., Process]
"""``start()`` runs a supervisor with the puppet; ``start({entry point: section})`` with these plugins."""


@pytest.fixture
def era() -> str:
    """The kubelet of a test that does not ask for several."""
    return "1.37"


@pytest.fixture
def kubelet(short_dir: Path, era: str) -> Iterator[KubeletSimulator]:
    """A kubelet that knows its pods at once."""
    with KubeletSimulator(short_dir, era, sources_delay=0.0) as simulator:
        yield simulator


@pytest.fixture
def puppet(tmp_path: Path, short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Puppet:
    """The plugin that obeys, installed, with two healthy widgets."""
    site = tmp_path / "site"
    site.mkdir()
    install(site)
    monkeypatch.syspath_prepend(str(DISTRIBUTION))
    monkeypatch.syspath_prepend(str(site))
    return Puppet(tmp_path)


@pytest.fixture
def start(kubelet: KubeletSimulator, puppet: Puppet, tmp_path: Path) -> Iterator[Start]:
    """Start supervisors, as often as wanted; they are stopped after the test, and must end well unless the test ended them."""
    with ExitStack() as running:

        def run(plugins: Mapping[str, Mapping[str, Any]] | None = None, **options: Any) -> Process:
            sections = {"puppet": puppet.section()} if plugins is None else plugins
            return running.enter_context(Process(kubelet.paths, tmp_path, sections, Host(), **options))

        yield run


@pytest.fixture
def served(start: Start, kubelet: KubeletSimulator) -> Process:
    """A supervisor whose widgets the kubelet has."""
    process = start()
    kubelet.wait_devices(RESOURCE, {"w0": "Healthy", "w1": "Healthy"})
    return process
