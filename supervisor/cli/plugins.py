"""``plugins``: list the installed plugin packages, what each provides, and why one was refused.

Every package is imported and asked for its plugins, but no hardware is looked at. Exit code 1 if anything was refused, 2 if a section
of the configuration has mistakes.
"""

import argparse
from collections.abc import Sequence
from typing import Any

from supervisor.cli.survey import Surveyed, add_config_argument, load_config, survey
from supervisor.cli.tables import complain, paragraph, show, show_json, table
from supervisor.contract import capabilities
from supervisor.hookspecs import ENTRY_POINT_GROUP

EXAMPLES = """\
examples:
  %(prog)s                      all packages in a table
  %(prog)s --json | jq '.packages[] | select(.problem != "")'
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's own arguments."""
    add_config_argument(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def main(args: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    found = survey(load_config(args))
    if args.json:
        show_json({"packages": [_as_json(each) for each in found]})
    elif found:
        head = ("SECTION", "DISTRIBUTION", "VERSION", "STATE", "PLUGINS")
        show(table(head, map(_row, found)), paragraph("Refused:", _refusals(found)))
    else:
        show(f"No plugin package is installed: none has an entry point in {ENTRY_POINT_GROUP}.")
    return exit_code(found)


def exit_code(found: Sequence[Surveyed]) -> int:
    """2 where sections have mistakes, which are told now, 1 where anything was refused."""
    bad_config = [problem for each in found for problem in each.bad_config]
    complain(*bad_config)
    if bad_config:
        return 2
    return int(any(each.problem or each.refused for each in found))


def _as_json(found: Surveyed) -> dict[str, Any]:
    return {
        "name": found.package.name,
        "distribution": found.package.distribution,
        "version": found.package.version,
        "entry_point": found.package.value,
        "state": _state(found),
        "problem": found.problem,
        "plugins": [{"name": each.name, "capabilities": sorted(capabilities(each))} for each in found.plugins],
        "refused": [{"plugin": each.plugin, "reason": each.reason} for each in found.refused],
    }


def _row(found: Surveyed) -> tuple[str, ...]:
    provided = [f"{each.name} ({', '.join(sorted(capabilities(each))) or 'no capability'})" for each in found.plugins]
    package = found.package
    return package.name, package.distribution, package.version, _state(found), "\n".join(provided) or "-"


def _state(found: Surveyed) -> str:
    if not found.enabled:
        return "disabled"
    if found.problem:
        return "refused"
    return "ready" if found.plugins else "nothing to do"


def _refusals(found: Sequence[Surveyed]) -> list[str]:
    whole = [f"{each.package}: {each.problem}" for each in found if each.problem]
    return whole + [refusal.reason for each in found for refusal in each.refused]
