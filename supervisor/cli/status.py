"""``status``: ask a running supervisor and show what its status page shows: what stops it, resources, devices, who holds them, plugins, events.

It asks the supervisor on this machine where the configuration file says, with the certificate and the token that are named there.
With --address it asks another, and nothing of the file holds. Exit code 1 if it is not ready or does not answer.
"""

import argparse
import difflib
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from supervisor.cli.asking import ask
from supervisor.cli.door import Door, add_door_arguments
from supervisor.cli.picture import Wanted, console, paint, show
from supervisor.cli.reading import read
from supervisor.cli.tables import show_json
from supervisor.errors import ConfigError, SupervisorError
from supervisor.report import Report, schema
from supervisor.status import printable

EXAMPLES = """\
examples:
  %(prog)s
  %(prog)s --resource devices.example.com/fuse --watch
  %(prog)s --address https://node-1.example:9410 --ca ca.pem --token-file token
  %(prog)s --json | jq '.resources[].devices[] | select(.health != "Healthy")'
  kubectl exec -n kube-system POD -- %(prog)s
"""

OFTEN = 2.0
"""Seconds between two questions of ``--watch``."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's own arguments."""
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="print the supervisor's own document, whole")
    how.add_argument("--schema", action="store_true", help="print the JSON Schema of that document, and ask nobody")
    how.add_argument(
        "--watch", metavar="SECONDS", nargs="?", type=_seconds, const=OFTEN, help="ask again and again, until Ctrl-C"
    )
    parser.add_argument("--resource", metavar="NAME", default="", help="only this resource, with all its devices")
    parser.add_argument("--all", action="store_true", help="all devices of every resource, and all events")
    add_door_arguments(parser)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0.1 <= seconds <= 86400:
        raise argparse.ArgumentTypeError(f"Expected seconds, at least 0.1, got {text!r}")
    return seconds


def main(args: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    if args.schema:
        show_json(schema())
        return 0
    if args.json and (args.resource or args.all):
        raise ConfigError(("--json prints the whole document: --resource and --all go with the text alone",))
    door = Door.of(args)
    if args.watch is not None:
        return _watch(door, Wanted(args.resource, args.all), args.watch)
    document = ask(door)
    report = read(document)
    if args.json:
        sys.stdout.buffer.write(document.rstrip(b"\n") + b"\n")
        sys.stdout.buffer.flush()
    else:
        _check_resource(report, args.resource)
        show(console(), paint(report, door.url, Wanted(args.resource, args.all)))
    return int(not report.ready)


def _check_resource(report: Report, name: str) -> None:
    names = [resource.name for resource in report.resources]
    if name and name not in names:
        near = difflib.get_close_matches(name, names, n=1) or names
        raise SupervisorError(f"it has no resource {name}" + (f"; it has {', '.join(near)}" if near else ", nor any other"))


def _watch(door: Door, wanted: Wanted, interval: float) -> int:
    """Until Ctrl-C; the exit code is that of the last answer. One that does not answer may come back."""
    code = 1
    with suppress(KeyboardInterrupt), _canvas(console()) as repaint:
        while True:
            try:
                report = read(ask(door))
            except ConfigError:
                raise
            except SupervisorError as error:
                code = 1
                repaint([Text(printable(str(error)), "red")])
            else:
                code = int(not report.ready)
                repaint(list(paint(report, door.url, wanted)))
            time.sleep(interval)
    return code


@contextmanager
def _canvas(screen: Console) -> Iterator[Callable[[Sequence[RenderableType]], None]]:
    """On a terminal one picture takes the place of the other, cut where the window ends; elsewhere they follow each other."""
    if not screen.is_terminal or screen.is_dumb_terminal:
        yield lambda parts: show(screen, (*parts, ""))
        return
    with Live(console=screen, screen=True, auto_refresh=False) as live:
        yield lambda parts: live.update(Group(*(line for part in parts for line in (part, ""))), refresh=True)
