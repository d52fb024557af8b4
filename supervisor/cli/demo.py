"""``demo``: see the supervisor work on this machine's devices, with a simulated kubelet and pods that are plain processes.

It finds devices, registers them, gives them to pods, restarts the kubelet, takes a device away and brings it back, and hands over to
another supervisor. Where their plugins are installed, simulated hardware joins: eight NVIDIA GPUs, of which one fails and recovers,
eight network cards, of which one loses its link and has it again, and an FPGA, which is programmed before its pod starts. It needs
neither root nor a cluster, ends by itself within a minute and leaves nothing behind. Exit code 0 if all of it came true.
"""

import argparse

EXAMPLES = """\
examples:
  %(prog)s               on a terminal or in a log; NO_COLOR is respected
  %(prog)s --keep        and then look at /status and /metrics, until Ctrl-C
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's own arguments."""
    parser.add_argument("--keep", action="store_true", help="go on running at the end, until Ctrl-C")


def main(args: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from supervisor.demo import perform

    return perform(keep=args.keep)
