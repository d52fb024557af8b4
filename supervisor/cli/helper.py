"""``helper``: run the programs that touch hardware, for a supervisor that must not.

It is what the privileged helper container of the pod runs. It listens on a unix socket in a directory that both containers mount, and
starts programs of installed packages, and nothing else, for root and for its own user. A program ends with whoever asked for it.
SIGTERM ends the helper and all of them. Exit code 0 after SIGTERM or SIGINT, 1 when it cannot listen, 2 for a program that is not
installed.
"""

import argparse

from supervisor.border.helper import Helper
from supervisor.border.output import Output
from supervisor.border.programs import installed, module_of
from supervisor.errors import BorderFailed
from supervisor.host import Host

EXAMPLES = """\
examples:
  %(prog)s                                 all programs, at the path that supervisors look for
  %(prog)s --program acme-board            this program alone
  %(prog)s --socket /tmp/helper.sock       with host: {helper: {socket: /tmp/helper.sock}} in their configuration
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's own arguments."""
    parser.add_argument(
        "--program",
        metavar="NAME",
        type=_program,
        action="append",
        help="a program that may be asked for, and none but those named so; may be given more than once (default: all installed)",
    )
    parser.add_argument("--socket", metavar="PATH", default=Host().helper_socket, help="where to listen (default: %(default)s)")


def _program(name: str) -> tuple[str, str]:
    try:
        return name, module_of(name)
    except BorderFailed as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def main(args: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    programs = dict(args.program) if args.program else installed()
    log = Output()  # that nobody reads it must not stop the programs

    def say(text: str) -> None:
        log.pass_on(f"device-plugin-supervisor helper: {text}\n".encode())

    with Helper(args.socket, programs, say) as helper:
        helper.serve()
    return 0
