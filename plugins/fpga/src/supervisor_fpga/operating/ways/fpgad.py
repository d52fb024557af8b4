"""Programming by ``fpgad``, the service of Canonical's for embedded FPGAs, over D-Bus by systemd's ``busctl``."""

from supervisor_fpga.operating.devices import Target
from supervisor_fpga.operating.ways.protocol import Job

_NAME, _OBJECT, _INTERFACE = "com.canonical.fpgad", "/com/canonical/fpgad/control", "com.canonical.fpgad.control"


class Fpgad:
    """The way ``fpgad``. It needs the host's system bus, and the bitstreams at the same path as on the host."""

    name = "fpgad"
    is_tool = True

    def takes(self, target: Target) -> bool:
        return target.backend == "manager"

    def program(self, job: Job) -> None:
        """``WriteBitstreamDirect``: which platform it is, and where firmware is looked for, fpgad finds out when that is empty."""
        target = job.target
        job.clock.begin(f"programming {target.id} by fpgad")
        wait = f"--timeout={max(1, round(job.clock.left))}"
        call = [
            _NAME,
            _OBJECT,
            _INTERFACE,
            "WriteBitstreamDirect",
            "ssss",
            "",
            target.manager.rpartition("/")[2],
            job.file.path,
            "",
        ]
        job.kernel.run(["busctl", "--system", "--quiet", wait, "call", *call], job.clock, job.lock)
