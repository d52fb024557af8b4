"""What a plugin advises for ``GetPreferredAllocation``, checked."""

from collections.abc import Iterable, Sequence
from typing import Any

from supervisor.errors import PluginFailed
from supervisor.hookspecs import PreferredAllocator


def advised(
    plugin: PreferredAllocator, resource: str, available: Sequence[str], must_include: Sequence[str], size: int
) -> list[str]:
    """The plugin's advice, or ``PluginFailed``: an answer that the kubelet would mend at random is worse than the default.

    Runs in the plugin's slot: even to iterate over the answer may be code of the plugin.
    """
    advice: Iterable[Any] = plugin.preferred_allocation(resource, available, must_include, size)
    ids = list(dict.fromkeys(each for each in advice if isinstance(each, str)))
    if len(ids) != size or not set(available).issuperset(ids) or not set(must_include).issubset(ids):
        raise PluginFailed("preferred_allocation returned ids that are not available, or not as many as were asked for")
    return ids
