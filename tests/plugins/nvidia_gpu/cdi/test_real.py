"""Beside a real driver: its files and nodes are found, and make a spec of which everything is there."""

import subprocess
from pathlib import Path

import pytest

from supervisor import Host
from supervisor_nvidia_gpu.cdi.keeping import FILES
from supervisor_nvidia_gpu.cdi.libraries import locate
from supervisor_nvidia_gpu.cdi.spec import specs
from supervisor_nvidia_gpu.equipment import Sight
from supervisor_nvidia_gpu.nodes import look
from supervisor_nvidia_gpu.report import Gpu, Report
from supervisor_nvidia_gpu.units import offer
from tests.plugins.nvidia_gpu.gpus import config_of

pytestmark = pytest.mark.requires("nvidia")


def test_a_spec_of_the_driver_that_runs(tmp_path: Path) -> None:
    """The libraries that every program needs are found under their names, and the spec is verified as a whole."""
    asked = "--query-gpu=driver_version,index,uuid"
    command = ["nvidia-smi", asked, "--format=csv,noheader"]
    lines = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()
    (driver,) = {line.split(", ")[0] for line in lines}
    _, found = locate(driver, None, "/")
    assert {"libcuda.so.1", "libnvidia-ml.so.1"} <= {library.soname for library in found.libraries}, found.problem
    assert "/usr/bin/nvidia-smi" in {file.container_path for file in found.files}
    minors = sorted(int(node.name.removeprefix("nvidia")) for node in Path("/dev").glob("nvidia[0-9]*"))
    uuids = [line.split(", ")[2] for line in lines]
    report = Report(
        gpus=tuple(Gpu(index, uuid, minor=minor) for index, (uuid, minor) in enumerate(zip(uuids, minors, strict=False)))
    )
    nodes = look(Host(), report)
    assert "/dev/nvidiactl" in nodes.control
    config = config_of()
    made = specs(offer(report, config).units, nodes, found, config)
    state = FILES.publish(str(tmp_path), made, Sight(Host()))
    assert state.usable, state.problem
    assert len(state.names) == len(report.gpus)
