"""Programming by the file ``firmware`` of an FPGA manager, which vendors' kernels have: the kernel reads the bitstream by itself.

It looks for it in the directory that its parameter ``firmware_class.path`` names, so that has to be the directory of bitstreams: where it
is empty, it is set for the time of the programming (only what the kernel finds nowhere else is then looked for there).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from supervisor_fpga.operating.devices import Target, text
from supervisor_fpga.operating.outcome import Stopped
from supervisor_fpga.operating.regions import Regions
from supervisor_fpga.operating.ways.protocol import Job

_PARAMETER = "firmware_class/parameters/path"
_NOTHING = "\0"
"""A write of no bytes would not reach the kernel."""


class Manager:
    """The way ``fpga-manager``."""

    name = "fpga-manager"
    is_tool = False

    def __init__(self, sysfs: str, folder: str, regions: Regions) -> None:
        """``folder``: of the bitstreams, as the kernel sees it. ``regions`` keeps apart who would set the parameter."""
        self._path = f"{sysfs}/module/{_PARAMETER}"
        self._folder = folder
        self._regions = regions

    def takes(self, target: Target) -> bool:
        return target.backend == "manager" and os.path.lexists(f"{target.manager}/firmware")

    def program(self, job: Job) -> None:
        """Always the whole fabric: ``flags`` of somebody else's do not count."""
        target = job.target
        with self._regions.held(_PARAMETER, job.clock), self._searched(job), job.clock.doing(f"programming {target.id}"):
            if os.path.lexists(f"{target.manager}/flags"):
                job.kernel.write(f"{target.manager}/flags", "0")
            self._load(job)

    def _load(self, job: Job) -> None:
        """The driver says what the kernel says that reads the file; nothing has happened where that finds none."""
        firmware = f"{job.target.manager}/firmware"
        try:
            job.kernel.write(firmware, job.file.wanted.name)
        except FileNotFoundError as error:
            if not os.path.lexists(firmware):
                raise
            found = f"the kernel does not find {job.file.wanted.name} in {self._folder}"
            raise Stopped("refused", f"{found}: it must be the same directory on the host") from error

    @contextmanager
    def _searched(self, job: Job) -> Iterator[None]:
        """While in here, the kernel finds bitstreams."""
        before = text(self._path)
        if not os.path.lexists(self._path):
            raise Stopped(
                "refused", f"the kernel cannot be told to read bitstreams in {self._folder}: it has no firmware_class.path"
            )
        if before not in {"", self._folder}:
            raise Stopped("refused", f"the kernel looks for firmware in {before} (firmware_class.path), not in {self._folder}")
        if before == self._folder:
            yield
            return
        with job.clock.doing("saying where bitstreams are"):
            job.kernel.write(self._path, self._folder)
        try:
            yield
        finally:
            job.kernel.write(self._path, _NOTHING)
