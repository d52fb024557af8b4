"""Programming and reset by the tool of AMD's runtime: ``xrt-smi``, which was called ``xbutil`` before 2024.2."""

import shutil

from supervisor_fpga.operating.devices import Target
from supervisor_fpga.operating.kernel import Kernel
from supervisor_fpga.operating.outcome import Clock
from supervisor_fpga.operating.ways.protocol import Job

_TOOLS = ("xrt-smi", "xbutil")
_PATH = "/opt/xilinx/xrt/bin"


class Xrt:
    """The way ``xrt``. The driver refuses to program a card on which a program runs."""

    name = "xrt"
    is_tool = True

    def takes(self, target: Target) -> bool:
        return target.backend == "xrt"

    def program(self, job: Job) -> None:
        job.clock.begin(f"programming {job.target.id} by XRT")
        job.kernel.run([tool(), "program", "--device", job.target.pci, "--user", job.file.path], job.clock, job.lock)


def reset(kernel: Kernel, target: Target, clock: Clock, lock: int) -> None:
    """Reset the user function; what it held is gone. Raises ``Stopped``."""
    clock.begin(f"resetting {target.id} by XRT")
    kernel.run([tool(), "reset", "--device", target.pci, "--force"], clock, lock)


def tool() -> str:
    """Where the tool is, or the name under which it is missed."""
    found = (shutil.which(name) or shutil.which(name, path=_PATH) for name in _TOOLS)
    return next((path for path in found if path), _TOOLS[0])
