"""``check-config``: check a configuration file and report every mistake in it, each with its line and column.

The sections of the plugins are checked by the installed packages. Then each plugin looks once at this machine: what it could not see or
find is told, but is no mistake. Exit code 2 for mistakes, 1 if a package cannot be loaded or is not installed, so that its section
stays unchecked; one that is switched off needs none.
"""

import argparse
from collections.abc import Iterator, Sequence

from supervisor.cli.devices import told
from supervisor.cli.survey import Surveyed, load_packages, look, survey
from supervisor.cli.tables import complain, paragraph, show
from supervisor.config_file import Document, load
from supervisor.errors import ConfigError
from supervisor.plugins import LoadedPackage
from supervisor.profiles import here

EXAMPLES = """\
examples:
  %(prog)s config.yaml
  kubectl get configmap NAME -o jsonpath='{.data.config\\.yaml}' > config.yaml && %(prog)s config.yaml
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's own arguments."""
    parser.add_argument("file", metavar="FILE", help="the YAML file")


def main(args: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    document = here(load(args.file))
    found = survey(document)
    mistakes = [problem for each in found for problem in each.bad_config]
    mistakes += [problem for problem in _elsewhere(document, found) if problem not in mistakes]
    strangers = _strangers(document, found)
    complain(*strangers, *mistakes)
    if mistakes:
        return 2
    refused = [f"{each.package}: {each.problem}" for each in found if each.problem]
    refused += [refusal.reason for each in found for refusal in each.refused]
    complain(*refused)
    refused += strangers
    show(_verdict(document, found, refused), paragraph("On this machine:", _seen(document, found)))
    return int(bool(refused))


def _elsewhere(document: Document, found: Sequence[Surveyed]) -> Iterator[str]:
    """The mistakes in sections of profiles that do not hold on this machine."""
    typed = {
        name: each for name, each in load_packages(each.package for each in found).items() if isinstance(each, LoadedPackage)
    }
    for profile in document.config.profiles:
        variant = document.with_profiles([profile.name])
        for name in sorted(profile.plugins.keys() & typed.keys()):
            try:
                variant.decode_plugin(name, typed[name].config_type)
            except ConfigError as error:
                yield from error.problems


def _strangers(document: Document, found: Sequence[Surveyed]) -> list[str]:
    """The supervisor's own words on sections of packages that are not installed, also on those that hold on other nodes."""
    installed = [each.package.name for each in found]
    variants = [document, *(document.with_profiles([profile.name]) for profile in document.config.profiles)]
    return list(dict.fromkeys(reason for each in variants for reason in each.strangers(installed).values()))


def _verdict(document: Document, found: Sequence[Surveyed], refused: Sequence[str]) -> str:
    if refused:
        return f"{document.path}: no mistake found, but not all of it could be checked."
    on = [each.package.name for each in found if each.plugins]
    idle = [each.package.name for each in found if each.enabled and not each.plugins]
    off = [each.package.name for each in found if not each.enabled]
    absent = sorted(document.config.plugins.keys() - {each.package.name for each in found})
    parts = {
        "on": on,
        "nothing to do": idle,
        "disabled": off,
        "off and not installed": absent,
        "profiles here": document.profiles,
    }
    return f"{document.path}: fine. " + " ".join(
        f"{title.capitalize()}: {', '.join(names)}." for title, names in parts.items() if names
    )


def _seen(document: Document, found: Sequence[Surveyed]) -> list[str]:
    lines = []
    for each in look(document, found):
        if each.look is None:
            lines.append(f"{each.plugin}: {each.problem}")
            continue
        lines += [
            f"{each.plugin}: {resource}: {len(found.devices)} devices" for resource, found in each.look.inventories.items()
        ]
        lines += [f"{each.plugin}: {notice}" for notice in each.look.notices]
        lines += [f"{each.plugin}: {told(bad)}" for bad in each.look.quarantined]
    return lines
