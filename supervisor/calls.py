"""How the kubelet's calls reach a plugin: the object, its worker slots, and how long each call may take."""

from dataclasses import dataclass, field

from supervisor.slots import Slots


@dataclass(frozen=True, slots=True)
class PluginCalls:
    """The plugin behind a resource, the slots in which its optional capabilities run, and for how many seconds."""

    plugin: object
    slots: Slots
    allocate_timeout: float = 5.0
    pre_start_timeout: float = 25.0
    preferred_allocation_timeout: float = 0.5
    late_allocations: set[object] = field(default_factory=set)
    """Calls of ``allocate`` that ran out of time and still run. While there is one, the plugin's others fail at once."""
