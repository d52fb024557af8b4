"""A bed with the supervisor to run in it, and a kubelet outside."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.kubelet.simulator import KubeletSimulator
from tests.bed.nsbed import Bed
from tests.bed.served import Served


@pytest.fixture
def kubelet(short_dir: Path) -> Iterator[KubeletSimulator]:
    """A kubelet outside of the bed; its directory is seen inside under the same name."""
    with KubeletSimulator(short_dir / "kubelet", sources_delay=0.1) as simulator:
        yield simulator


@pytest.fixture
def served(bed: Bed, kubelet: KubeletSimulator, short_dir: Path) -> Served:
    """The bed and the kubelet, for a supervisor that a test configures and starts."""
    return Served(bed, kubelet, short_dir)
