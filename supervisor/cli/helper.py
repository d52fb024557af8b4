"""``helper``: run the programs that touch hardware, for a supervisor that must not.

It is what the privileged helper container of the pod runs. It listens on a unix socket in a directory that both containers mount, and
starts the installed packages' programs, and nothing else, for root and for its own user. A program ends with whoever asked for it.
SIGTERM ends the helper and all of them. Exit code 0 after SIGTERM or SIGINT, 1 when it cannot listen.
"""

import argparse
import contextlib
import sys

from supervisor.border.helper import Helper
from supervisor.host import Host

EXAMPLES = """\
examples:
  %(prog)s                                 at the path that supervisors look for
  %(prog)s --socket /tmp/helper.sock       with host: {helper: {socket: /tmp/helper.sock}} in their configuration
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's own arguments."""
    parser.add_argument("--socket", metavar="PATH", default=Host().helper_socket, help="where to listen (default: %(default)s)")


def main(args: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    with Helper(args.socket, _say) as helper:
        helper.serve()
    return 0


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # nobody reads it
        print(f"device-plugin-supervisor helper: {text}", file=sys.stderr, flush=True)
