"""Programming by an administrator's own program, which only the environment of this process names."""

import os
import posixpath
import stat

from supervisor_fpga.operating.devices import Target
from supervisor_fpga.operating.outcome import Stopped
from supervisor_fpga.operating.ways.protocol import Job


class Command:
    """The way ``command``: ``PROGRAM program ID BITSTREAM``, which ends with 0 when it has succeeded."""

    name = "command"
    is_tool = True

    def __init__(self, path: str) -> None:
        self._path = path

    def takes(self, target: Target) -> bool:
        return bool(self._path)

    def program(self, job: Job) -> None:
        job.clock.begin(f"programming {job.target.id} by {posixpath.basename(self._path)}")
        self._trust()
        job.kernel.run([self._path, "program", job.target.id, job.file.path], job.clock, job.lock)

    def _trust(self) -> None:
        """That only root, or the user that this process has, can have made it."""
        try:
            found = os.stat(self._path)
        except OSError as error:
            raise Stopped("refused", f"the command {self._path} is not there") from error
        others = stat.S_IMODE(found.st_mode) & 0o022 or found.st_uid not in {0, os.geteuid()}
        if not self._path.startswith("/") or not stat.S_ISREG(found.st_mode) or others:
            raise Stopped("refused", f"the command {self._path} is no absolute path of a program that only root can change")
