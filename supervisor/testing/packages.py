"""An installed plugin package, for a test: what the supervisor would make of its entry point."""

from collections.abc import Mapping
from typing import Any

from supervisor.errors import PluginRefused
from supervisor.hookspecs import DevicePlugin
from supervisor.host import Host
from supervisor.plugins import load_objects


def plugins_of(name: str, section: Mapping[str, Any] | None = None, host: Host | None = None) -> tuple[DevicePlugin, ...]:
    """The plugin objects of the entry point ``name``, made for this section of the configuration.

    Raises ``PluginRefused`` with everything for which the supervisor would refuse the package or one of its objects.
    """
    made = load_objects(name, section, host or Host())
    if made.refused:
        raise PluginRefused("\n".join(refusal.reason for refusal in made.refused))
    return made.plugins
