"""The names in a new distribution, all of them made from the one that its author chose."""

import re

import yaml
from msgspec import Struct

from supervisor import CONTRACT_VERSION, __version__

LONGEST = 40
"""Characters of a name: it becomes part of longer ones."""

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUFFIX = "-device-plugin"


def name_problem(name: str) -> str | None:
    """Why a plugin cannot have this name, or ``None``."""
    if not _NAME.fullmatch(name):
        return "it must be of the characters [a-z0-9-], and begin and end with a letter or a digit"
    if len(name) > LONGEST:
        return f"it has {len(name)} characters, and {LONGEST} is the most"
    return None


class Project(Struct, frozen=True):
    """What is asked of the author; the rest follows from it."""

    name: str
    """The plugin, its entry point and its section of the configuration."""
    resource: str
    """What pods ask for: ``vendor.example/name``."""

    @property
    def distribution(self) -> str:
        """What pip installs. Its end keeps it apart from the hardware's other packages, and from those of the supervisor."""
        return self.name if self.name.endswith(_SUFFIX) else self.name + _SUFFIX

    @property
    def package(self) -> str:
        """What Python imports. With that end it is never a keyword; an identifier must not begin with a digit."""
        package = self.distribution.replace("-", "_")
        return f"_{package}" if package[0].isdigit() else package

    @property
    def subsystem(self) -> str:
        """A guess at the driver's class in ``/sys/class``, which the author corrects."""
        return self.name.replace("-", "_")

    @property
    def key(self) -> str:
        """The name as a key in YAML, where ``1`` and ``null`` and even ``2026-01-01`` are texts only in quotes."""
        return self.name if yaml.safe_load(self.name) == self.name else f'"{self.name}"'

    @property
    def supervisor(self) -> str:
        """The supervisors that it will work with: those of the series that wrote it."""
        major, minor, *_ = __version__.split(".")
        return f"device-plugin-supervisor>={major}.{minor},<{major}.{int(minor) + 1}"

    @property
    def words(self) -> dict[str, str]:
        """What stands for each ``@word@`` of the templates."""
        names = ("name", "resource", "distribution", "package", "subsystem", "key", "supervisor")
        return {name: getattr(self, name) for name in names} | {"contract": str(CONTRACT_VERSION)}
