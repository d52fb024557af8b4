"""All back ends, in the order in which they may take what two of them find."""

from supervisor_fpga.backends.dfl import Dfl
from supervisor_fpga.backends.manager import Manager
from supervisor_fpga.backends.opae import Opae
from supervisor_fpga.backends.protocol import BackEnd
from supervisor_fpga.sysfs.messages import Options


def families(options: Options) -> tuple[BackEnd, ...]:
    """Those of the kernel first, what the configuration describes last."""
    return (Dfl(), Opae(), Manager())
