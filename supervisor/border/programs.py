"""The programs that may be run behind a border: a closed list, from what is installed."""

from collections.abc import Mapping
from importlib.metadata import entry_points

from supervisor.errors import BorderFailed

ENTRY_POINT_GROUP = "device_plugin_supervisor.programs"


def installed() -> Mapping[str, str]:
    """The module of each program, by name. Of two packages with the same name the first counts, as for Python's imports."""
    found: dict[str, str] = {}
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        found.setdefault(entry.name, entry.module)
    return dict(sorted(found.items()))


def module_of(program: str) -> str:
    """The module that is the program. Raises ``BorderFailed`` for a name that is not in the list."""
    programs = installed()
    if program not in programs:
        raise BorderFailed(f"no installed package has the program {program!r}; there are: {', '.join(programs) or 'none'}")
    return programs[program]
