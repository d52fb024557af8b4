"""The process that opens and writes FPGAs: ``python -P -m supervisor_fpga.operating.program``, in the helper where there is one.

It believes nobody: a request names the id of a function and a file of one directory, the device is found in the kernel's own sysfs, and
what it goes by otherwise comes from its own environment (``settings``).
"""

import gc
import os
import threading
from functools import partial
from pathlib import Path

from msgspec import structs

from supervisor import Program, serve_program
from supervisor_fpga.operating.bitstreams import Bitstreams
from supervisor_fpga.operating.devices import Tree
from supervisor_fpga.operating.kernel import Kernel, Linux, is_sysfs
from supervisor_fpga.operating.messages import Options, Prepare
from supervisor_fpga.operating.preparing import Preparer
from supervisor_fpga.operating.regions import Regions
from supervisor_fpga.operating.settings import Settings, settings
from supervisor_fpga.operating.simulated import Simulated
from supervisor_fpga.operating.steps import Tools, prepare
from supervisor_fpga.operating.ways.command import Command
from supervisor_fpga.operating.ways.dfl import Dfl
from supervisor_fpga.operating.ways.fpgad import Fpgad
from supervisor_fpga.operating.ways.manager import Manager
from supervisor_fpga.operating.ways.protocol import Way
from supervisor_fpga.operating.ways.xrt import Xrt

STACK = 256 << 10
"""Bytes for each thread: some may hang, and the process may have little memory."""


def make(options: Options) -> Program:
    """Touch nothing yet, and say what can be asked."""
    threading.stack_size(STACK)
    gc.freeze()  # what is imported stays
    return Program({Prepare: preparer(options, settings()).answer})


def preparer(options: Options, own: Settings) -> Preparer:
    """For machines that are there, and for those that this process's own environment calls simulated."""
    root = own.simulated.rstrip("/")
    if root and os.path.realpath(options.sysfs).startswith(f"{os.path.realpath(root)}/"):
        own = structs.replace(own, locks=f"{root}/locks")  # they go with it, and whoever made it may write there
        return Preparer(partial(prepare, tools(Tree(options.sysfs, options.dev), Simulated(), own)))
    # The helper has the machine's own directories where it expects them, whatever the supervisor calls its views of them.
    sysfs = next((os.path.realpath(path) for path in (options.sysfs, "/sys") if is_sysfs(os.path.realpath(path))), "")
    dev = options.dev if Path(options.dev).is_dir() else "/dev"
    return Preparer(partial(prepare, tools(Tree(sysfs, dev), Linux(), own)))


def tools(tree: Tree, kernel: Kernel, own: Settings) -> Tools:
    """Everything by which functions are made ready."""
    regions = Regions(own.locks)
    ways: tuple[Way, ...] = (Dfl(regions), Manager(tree.sysfs, own.bitstreams, regions), Fpgad(), Xrt(), Command(own.command))
    by_name = {way.name: way for way in ways}
    return Tools(tree, kernel, Bitstreams(own.bitstreams), regions, by_name)


if __name__ == "__main__":
    serve_program(make, Options)
