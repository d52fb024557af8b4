"""Wire threads that end with their test."""

from collections.abc import Iterator

import pytest

from tests.kubelet.rig import Rig, short_directory


@pytest.fixture
def rig() -> Iterator[Rig]:
    """Give a wire thread in a short directory; at the end it must have stopped, and not by a bug."""
    with short_directory() as directory:
        rig = Rig(directory)
        try:
            yield rig
        finally:
            rig.close()
        assert not rig.wire.alive
        assert rig.wire.failure is None
