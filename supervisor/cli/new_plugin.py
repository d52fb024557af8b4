"""``new-plugin``: write a complete small plugin package: its plugin, configuration, tests and documentation.

Its tests pass at once; what then has to be changed is how your hardware is found and how its health is told. Nothing is overwritten.
"""

import argparse
import shlex
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from supervisor import resource_name_problem
from supervisor.cli.tables import complain, show
from supervisor.plugins import installed
from supervisor.scaffold import Project, files, name_problem, write

EXAMPLES = """\
examples:
  %(prog)s acme-gadget --resource acme.example/gadget
  %(prog)s acme-gadget --directory .      into a repository that is there
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's own arguments."""
    parser.add_argument("name", metavar="NAME", type=_name, help="the plugin's name, such as acme-gadget")
    parser.add_argument("--directory", metavar="DIR", help="where to write it (default: ./NAME-device-plugin)")
    parser.add_argument(
        "--resource", metavar="RESOURCE", type=_resource, help="what pods will ask for (default: example.com/NAME)"
    )


def main(args: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    project = Project(args.name, args.resource or f"example.com/{args.name}")
    if owner := _owner(project):
        complain(f"{args.name} is taken: {owner} is installed here, and two plugins cannot share a name")
        return 2
    directory = Path(args.directory or project.distribution)
    made = files(project)
    write(directory, made)
    show(
        "\n".join((f"Written to {directory}:", *(f"  {path}" for path in sorted(made)))),
        _next_steps(directory),
        _remarks(project, own_resource=args.resource is not None),
    )
    return 0


def _name(text: str) -> str:
    if problem := name_problem(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name for a plugin: {problem}")
    return text


def _resource(text: str) -> str:
    if problem := resource_name_problem(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name for a resource: {problem}")
    return text


def _owner(project: Project) -> str:
    """What of this environment has one of the project's names already; empty where nothing has."""
    for package in installed():
        if package.name == project.name:
            return str(package)
    try:
        return f"{project.distribution} {version(project.distribution)}"
    except PackageNotFoundError:
        return f"a Python package {project.package}" if find_spec(project.package) else ""


def _next_steps(directory: Path) -> str:
    return f"""\
Next, with the Python that has device-plugin-supervisor:
  cd {shlex.quote(str(directory))}
  python -m pip install --editable . pytest
  python -m pytest
  device-plugin-supervisor plugins

See it find two devices, on a machine made of files:
  python tests/machine.py build/machine
  device-plugin-supervisor devices --config build/machine/config.yaml
  device-plugin-supervisor explain A-1 --config build/machine/config.yaml"""


def _remarks(project: Project, *, own_resource: bool) -> str:
    remarks = [
        f"Then change src/{project.package}/plugin.py, and tests/machine.py with it, into your hardware.",
        "There is no licence yet: it is yours to choose. Add a file LICENSE, and `license` to pyproject.toml.",
    ]
    if not own_resource:
        remarks.append(f"{project.resource} is a name for trying out: take a domain of your own, in config.py and README.md.")
    return "\n".join(remarks)
