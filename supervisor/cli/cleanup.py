"""``cleanup``: remove what the supervisor and its plugins have left on this node: sockets, notes, and files such as CDI specs.

A file that some container may need when it starts again stays: twice in a row, ten seconds apart, the kubelet must show that
nobody holds a device of it, and a kubelet that has just started is given a minute. Nothing is touched while a supervisor runs. The
names of the resources stay on the node with 0 devices until its kubelet restarts; drain the node before that. Exit code 1 if
something is still held, or could not be removed.
"""

import argparse
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from supervisor.cleanup.files import in_use, owner, take
from supervisor.cleanup.proof import Pace
from supervisor.cleanup.readings import Place
from supervisor.cleanup.work import Ask, Asked, Cleaned, clean
from supervisor.cleanup.work import survey as survey_place
from supervisor.cli.survey import add_config_argument, concurrently, load_config, survey
from supervisor.cli.tables import complain, paragraph, show, show_json
from supervisor.config_file import Document
from supervisor.hookspecs import Cleaner
from supervisor.looking import leftovers_once
from supervisor.memories import Recorded, recorded
from supervisor.model import Leftover

EXAMPLES = """\
examples:
  %(prog)s --dry-run            what would go, and who still holds what
  %(prog)s --wait 600           give pods ten minutes to end
  %(prog)s --json --force       remove it all, needed or not
"""

VERSION = 1
"""Of the JSON document. Raised when a field goes or changes its meaning; new fields may come any time."""
NAMES_STAY = "The kubelet keeps the resource names, with 0 devices, until it restarts; drain the node before you restart it."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's own arguments."""
    add_config_argument(parser)
    parser.add_argument("--device-plugins-dir", metavar="DIR", help="the kubelet's device-plugins directory")
    parser.add_argument("--dry-run", action="store_true", help="change nothing; say what would go and what is held")
    parser.add_argument(
        "--force", action="store_true", help="remove also what is held: containers that need it fail to start again"
    )
    parser.add_argument(
        "--wait", metavar="SECONDS", type=_seconds, default=0.0, help="how long to wait for what is held (default: 0)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds from 0 on")
    return seconds


def main(args: argparse.Namespace) -> int:
    """Run the command and return its exit code. Raises ``ConfigError``, and ``NodeError`` while a supervisor runs."""
    document = load_config(args)
    config = document.config
    directory = Path(args.device_plugins_dir or config.kubelet.device_plugins_dir).absolute()
    place = Place(directory, config.kubelet.pod_resources_socket, config.host.sysfs, config.host.proc)
    cleaned = _look(place, document) if args.dry_run else _clean(place, document, args)
    if args.json:
        notes = [NAMES_STAY]
        show_json({"version": VERSION, "dryRun": args.dry_run, **msgspec.to_builtins(cleaned), "notes": notes})
    else:
        show(*_texts(cleaned, directory, dry_run=args.dry_run))
    return int(not cleaned.complete)


def _look(place: Place, document: Document) -> Cleaned:
    cleaned = survey_place(place, asker(document, place.directory))
    if who := owner(place.directory, place.proc):
        return msgspec.structs.replace(cleaned, problems=(*cleaned.problems, str(in_use(who, place.directory))))
    return cleaned


def _clean(place: Place, document: Document, args: argparse.Namespace) -> Cleaned:
    lock = take(place.directory, place.proc)
    if lock is None:
        return Cleaned()
    return clean(place, asker(document, place.directory), Pace(wait=args.wait), force=args.force, tell=complain)


def asker(document: Document, directory: Path) -> Ask:
    """A way to ask each package that has kept something here; made once, for loading takes a while."""
    memories = recorded(directory)
    keepers = {package: memory for package, memory in memories.items() if isinstance(memory, Recorded)}
    found = survey(document, keepers)
    silent = [f"{package}: {memory}" for package, memory in memories.items() if not isinstance(memory, Recorded)]
    absent = sorted(keepers.keys() - {each.package.name for each in found})
    silent += [f"{package}: it is not installed here, so nobody knows what it has left" for package in absent]
    silent += [f"{each.package.name}: {'; '.join(each.bad_config) or each.problem}" for each in found if each.problem]
    silent += [refusal.reason for each in found for refusal in each.refused]
    plugins = {each.name: (each, one.package.name) for one in found for each in one.plugins if isinstance(each, Cleaner)}
    patience = {name: document.section(package).options.look_timeout for name, (_, package) in plugins.items()}

    def ask(held: Mapping[str, frozenset[str]]) -> Asked:
        questions = {name: _question(plugin, held) for name, (plugin, _) in plugins.items()}
        answers = concurrently(questions, patience.__getitem__)
        left = [each for answer in answers.values() if isinstance(answer, tuple) for each in answer]
        failed = [f"{name}: {answer}" for name, answer in answers.items() if not isinstance(answer, tuple)]
        return Asked(tuple(left), (*silent, *failed))

    return ask


def _question(plugin: Cleaner, held: Mapping[str, frozenset[str]]) -> Callable[[], tuple[Leftover, ...]]:
    return lambda: leftovers_once(plugin, held)


def _texts(cleaned: Cleaned, directory: Path, *, dry_run: bool) -> list[str]:
    if not (cleaned.removed or cleaned.kept or cleaned.problems):
        return [f"Nothing of the supervisor is left in {directory}."]
    kept: list[Any] = [f"{each.path}: {each.reason}" for each in cleaned.kept]
    return [
        paragraph("Would be removed:" if dry_run else "Removed:", cleaned.removed),
        paragraph("Still needed:", kept),
        paragraph("Not done:", cleaned.problems),
        NAMES_STAY,
    ]
