"""A node made of files for each test."""

from pathlib import Path

import pytest

from tests.doctor.ground import Ground


@pytest.fixture
def ground(tmp_path: Path, short_dir: Path) -> Ground:
    """A healthy pod on a healthy node, whose kubelet does not run."""
    return Ground(tmp_path, short_dir)
