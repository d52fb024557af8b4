"""The fake NVML as fixtures; a test that uses them needs a C compiler."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machine import need
from tests.plugins.nvidia_gpu.fakenvml.build import build
from tests.plugins.nvidia_gpu.fakenvml.handle import FakeNvml


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled library."""
    need("cc")
    return build(tmp_path_factory.mktemp("nvml-library"))


@pytest.fixture
def fake_nvml(nvml_library: Path) -> Iterator[FakeNvml]:
    """A fake NVML of the test's own; no driver is loaded until a layout is shown."""
    folder = Path(tempfile.mkdtemp(prefix="nvml-"))  # short, since it holds sockets
    fake = FakeNvml(folder, nvml_library)
    yield fake
    fake.let_go()
    shutil.rmtree(folder)
