from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.plugins.nvidia_gpu.fakenvml import FakeNvml
from tests.plugins.nvidia_gpu.nvml.rig import Node


@pytest.fixture
def node(fake_nvml: FakeNvml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    """A node without a driver so far; processes that ask NVML find the fake one."""
    for name, value in fake_nvml.control_env().items():
        monkeypatch.setenv(name, value)
    made = Node(fake_nvml, tmp_path)
    yield made
    made.close()
