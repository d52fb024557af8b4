"""``doctor``: examine this node: what the supervisor, its plugins and their containers need of it, and what to do where it is lacking.

It looks at the kubelet's directory and sockets, rival plugins, privileges, the kernel's events, limits, CDI, IOMMU and the clock, and at
what each installed plugin looks for. It changes nothing. Exit code 1 for a failure, 2 if the configuration has mistakes.
"""

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence

from supervisor.cli.report import Groups, as_json, as_text, count, wants_colour
from supervisor.cli.survey import Surveyed, add_config_argument, concurrently, survey
from supervisor.cli.tables import show, show_json
from supervisor.config_file import DEFAULT_PATH, Document, load
from supervisor.doctor import plugin as plugins
from supervisor.doctor import rounds
from supervisor.doctor.plugin import Consulted
from supervisor.doctor.site import Site
from supervisor.hookspecs import DevicePlugin
from supervisor.model import Finding
from supervisor.profiles import here

EXAMPLES = """\
examples:
  %(prog)s
  kubectl exec -n NAMESPACE POD -- %(prog)s --config /etc/device-plugin-supervisor/config.yaml
  %(prog)s --json | jq '.groups[].findings[] | select(.level == "failure")'
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's own arguments."""
    add_config_argument(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def main(args: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    document = here(load(args.config or DEFAULT_PATH, required=args.config is not None))
    found = survey(document)
    mistakes = [problem for each in found for problem in each.bad_config]
    groups = _examine(document, found, mistakes)
    if args.json:
        show_json(as_json(groups))
    else:
        show(as_text(groups, colour=wants_colour()))
    return 2 if mistakes else int(count(groups)["failure"] > 0)


def _examine(document: Document, found: Sequence[Surveyed], mistakes: Sequence[str]) -> Groups:
    """All groups: the node at the same time as the plugins, then what needs to know what they offer."""
    config = document.config
    site = Site(config.kubelet, config.host.roots)
    tasks = rounds.tasks(site)
    owners = {plugin.name: (each.package.name, plugin) for each in found for plugin in each.plugins}
    patience = {f"plugin {name}": 2 * config.section(package).options.look_timeout for name, (package, _) in owners.items()}
    everything: dict[str, Callable[[], Consulted | tuple[Finding, ...]]] = {
        **{_title(group, name): task for (group, name), task in tasks.items()},
        **{f"plugin {name}": _consultation(plugin) for name, (_, plugin) in owners.items()},
    }
    done = concurrently(everything, lambda task: patience.get(task, rounds.PATIENCE))
    consulted = {name: answer for name in patience if isinstance(answer := done[name], Consulted)}
    groups: dict[str, list[Finding]] = {group: [] for group in rounds.GROUPS}
    for group, name in tasks:
        groups[group] += _findings(done[_title(group, name)], name)
    groups["other plugins"] += _registration(site, plugins.offered(consulted.values()))
    groups["configuration"] = [*_configuration(document, mistakes), *_strangers(document, found), *_packages(found)]
    for name, seconds in patience.items():
        groups[name] = [*consulted[name].findings] if name in consulted else [rounds.late("look", seconds)]
    return groups


def _title(group: str, name: str) -> str:
    return f"{group}: {name}"


def _consultation(plugin: DevicePlugin) -> Callable[[], Consulted]:
    return lambda: plugins.consult(plugin)


def _findings(answer: object, name: str) -> Iterable[Finding]:
    return answer if isinstance(answer, tuple) else [rounds.late(name, rounds.PATIENCE)]


def _registration(site: Site, offered: Mapping[str, frozenset[str]]) -> Iterable[Finding]:
    name = "registered"
    return _findings(concurrently({name: rounds.registration(site, offered)}, lambda _: rounds.PATIENCE)[name], name)


def _configuration(document: Document, mistakes: Sequence[str]) -> Iterable[Finding]:
    if document.data is None:
        text = f"{document.path} does not exist, so the defaults hold."
        yield Finding("note", "configuration file", text, "Name another file with --config.")
    elif not mistakes:
        yield Finding("ok", "configuration file", f"{document.path} has no mistake.")
    for each in mistakes:
        yield Finding(
            "failure", "configuration file", each[:1000], "Correct it there; the command check-config tells the same."
        )


def _strangers(document: Document, found: Sequence[Surveyed]) -> Iterable[Finding]:
    """Sections that the supervisor refuses when it starts."""
    cure = "Use an image that has it, correct the name, or take the section out."
    for name, reason in document.strangers(each.package.name for each in found).items():
        yield Finding("failure", name[:200], reason[:1000], cure)


def _packages(found: Sequence[Surveyed]) -> Iterable[Finding]:
    if not found:
        cure = "Install one, such as device-plugin-supervisor-generic, into the environment of this program."
        yield Finding("warning", "plugin packages", "None is installed, so nothing can be offered.", cure)
    for each in found:
        off = f"Correct or uninstall it, or switch it off: plugins.{each.package.name}.enabled: false."
        if not each.enabled:
            yield Finding("ok", each.package.name, "It is switched off.")
        elif each.problem and not each.bad_config:
            yield Finding("failure", each.package.name, f"It is refused: {each.problem}"[:1000], off)
        elif not each.problem and not each.plugins and not each.refused:
            yield Finding("note", each.package.name, "It has nothing to do, as it is configured.")
        yield from (Finding("failure", each.package.name, refusal.reason[:1000], off) for refusal in each.refused)
