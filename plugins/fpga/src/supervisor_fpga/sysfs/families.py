"""All back ends, in the order in which they may take what two of them find."""

from supervisor_fpga.backends.declared import Described
from supervisor_fpga.backends.dfl import Dfl
from supervisor_fpga.backends.ma35 import Ma35
from supervisor_fpga.backends.manager import Manager
from supervisor_fpga.backends.opae import Opae
from supervisor_fpga.backends.protocol import BackEnd
from supervisor_fpga.backends.vfio import PassThrough
from supervisor_fpga.backends.xrt import Xrt
from supervisor_fpga.sysfs.messages import Options


def families(options: Options) -> tuple[BackEnd, ...]:
    """Those of the kernel first, what the configuration describes last."""
    return (Dfl(), Opae(), Manager(), Xrt(), Ma35(), PassThrough(options.vfio), Described(options.declared))
