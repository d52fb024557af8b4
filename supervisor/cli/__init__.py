"""The command line: one file for each command, imported only when it is the one that was asked for.

Each of those files has ``add_arguments(parser)`` and ``main(args)``, which returns the exit code: 0 fine, 1 failed, 2 wrong usage or
configuration. Answers go to standard output, everything else to standard error.
"""

import argparse
import os
import sys
import textwrap
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from supervisor import __version__
from supervisor.errors import ConfigError, SupervisorError

PROGRAM = "device-plugin-supervisor"

COMMANDS = {
    "run": "offer this node's hardware to its kubelet",
    "demo": "see it work on this machine, with an embedded kubelet",
    "plugins": "list the installed plugin packages",
    "devices": "look once and list what would be offered",
    "explain": "say why a device is offered, or why not",
    "cleanup": "remove what was left on this node and nobody needs",
    "check-config": "report every mistake in a configuration file",
    "import-config": "translate another tool's configuration file",
    "helper": "open devices for a supervisor that may not",
    "config-schema": "print the JSON Schema of the configuration file",
    "doctor": "examine this node, and say what to do where it is lacking",
    "status": "ask a running supervisor what it offers, and how it is",
    "new-plugin": "write a new plugin package, tests included",
}
"""Each command, with what ``--help`` says of it without importing it."""

_EPILOG = """\
examples:
  %(prog)s demo                            see it work, without a cluster
  %(prog)s check-config config.yaml        before you roll out an edit
  %(prog)s devices --config config.yaml    what it makes of this machine
  %(prog)s doctor                          what this node lacks, and the cure
  %(prog)s COMMAND --help                  more about one command

exit codes: 0 fine, 1 failed, 2 wrong usage or configuration
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Raises ``SystemExit`` for wrong usage and for ``--help``."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    args = _parser(arguments).parse_args(arguments)
    try:
        return int(args.main(args))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except SupervisorError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader has seen enough (`… | head`). Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Keeps examples as they are, and puts long command names beside their purpose."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=24)
        self._action_max_length = 18  # older Pythons forget the indentation of commands when they measure them


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """All commands by name, but the arguments only of the one that is used: those need its module."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="One process that offers all of a Kubernetes node's hardware through the Device Plugin API.",
        epilog=_EPILOG,
        formatter_class=_Formatter,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    wanted = next((word for word in arguments if not word.startswith("-")), None)
    for name, purpose in COMMANDS.items():
        command = commands.add_parser(name, help=purpose, formatter_class=_Formatter)
        if name == wanted:
            _complete(command, import_module(f"supervisor.cli.{name.replace('-', '_')}"))
    return parser


def _complete(command: argparse.ArgumentParser, module: Any) -> None:
    command.description = _description(module.__doc__ or "")
    command.epilog = getattr(module, "EXAMPLES", None)
    command.set_defaults(main=module.main)
    module.add_arguments(command)


def _description(docstring: str) -> str:
    """A module's docstring as the text of ``--help``: without the command's name, wrapped for a terminal."""
    text = docstring.replace("``", "").partition(": ")[2]
    paragraphs = (text[:1].upper() + text[1:]).strip().split("\n\n")
    return "\n\n".join(textwrap.fill(paragraph, width=80) for paragraph in paragraphs)
