"""Partial reconfiguration and reset by the ioctls of Intel's drivers: ``linux/fpga-dfl.h``, and OPAE's ``intel-fpga.h`` before it."""

import ctypes
import struct

from supervisor_fpga.operating.devices import Target
from supervisor_fpga.operating.kernel import Kernel
from supervisor_fpga.operating.outcome import Clock, Stopped
from supervisor_fpga.operating.regions import Regions
from supervisor_fpga.operating.ways.protocol import Job

PORT_RESET = 0xB640
"""``DFL_FPGA_PORT_RESET``: ``_IO(0xB6, 0x40 + 0)``, and the same in OPAE's driver."""
PORT_PR = 0xB680
"""``DFL_FPGA_FME_PORT_PR``: ``_IO(0xB6, 0x80 + 0)``."""

REQUEST = struct.Struct("=IIIIQ")
"""``struct dfl_fpga_fme_port_pr``: its own size, flags (0), number of the port, size and address of the data."""
_STATUS = struct.Struct("=Q")
"""What OPAE's driver has after that, and fills in."""


class Dfl:
    """The way ``dfl-ioctl``."""

    name = "dfl-ioctl"
    is_tool = False

    def __init__(self, regions: Regions) -> None:
        """``regions`` keeps apart who programs ports of one card: its engine does one at a time, and drivers before 5.4 let only one
        open it.
        """
        self._regions = regions

    def takes(self, target: Target) -> bool:
        return target.backend in {"dfl", "opae"} and target.engine is not None

    def program(self, job: Job) -> None:
        """The header of the file is not for the hardware; what follows is padded to whole words."""
        target = job.target
        if not job.file.interface_id:
            raise Stopped("refused", f"the bitstream {job.file.wanted.name} does not say which interface it fits")
        with job.bitstreams.loaded(job.file, job.clock) as content:
            data = (ctypes.c_ubyte * (len(content) - job.file.header)).from_buffer(content, job.file.header)
            own = _STATUS.pack(0) if target.backend == "opae" else b""
            size = -(-(job.file.size - job.file.header) // 4) * 4
            request = REQUEST.pack(REQUEST.size + len(own), 0, target.number, size, ctypes.addressof(data)) + own
            try:
                self._ioctl(job, request)
            finally:
                del data  # it holds the memory, which nobody else may have meanwhile

    def _ioctl(self, job: Job, request: bytes) -> None:
        assert job.target.engine is not None
        try:
            with (
                self._regions.held(f"engine {job.target.engine.folder}", job.clock),
                job.clock.doing(f"programming {job.target.id}"),
                job.kernel.opened(job.target.engine, exclusive=False) as engine,
            ):
                job.kernel.ioctl(engine, PORT_PR, request)
        except Stopped as stopped:
            if stopped.outcome == "failed" and (status := job.target.status()):
                raise Stopped("failed", f"{stopped.text} ({status})") from stopped
            raise


def reset(kernel: Kernel, target: Target, port: int, clock: Clock) -> None:
    """Reset the accelerator of an opened port; the region keeps what it holds. May hang. Raises ``Stopped``."""
    with clock.doing(f"resetting {target.id}"):
        kernel.ioctl(port, PORT_RESET)
