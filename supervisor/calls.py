"""How the kubelet's calls reach a plugin: the object, its worker slots, and how long each call may take."""

from dataclasses import dataclass, field

from supervisor.hookspecs import Allocator, PreferredAllocator, PreStarter
from supervisor.slots import Slots


@dataclass(frozen=True, slots=True)
class PluginCalls:
    """The plugin behind a resource, the slots in which its optional capabilities run, and for how many seconds."""

    plugin: object
    slots: Slots
    starts: Slots
    """For ``pre_start``, which may take long: the kubelet rejects a pod for good when another call waits for it."""
    allocate_timeout: float = 5.0
    pre_start_timeout: float = 25.0
    preferred_allocation_timeout: float = 0.5
    late_allocations: set[object] = field(default_factory=set)
    """Calls of ``allocate`` that ran out of time and still run. While there is one, the plugin's others fail at once."""
    allocator: Allocator | None = field(init=False)
    preferred_allocator: PreferredAllocator | None = field(init=False)
    pre_starter: PreStarter | None = field(init=False)
    """What the plugin can do. Asked once: it takes longer than all else in an answer, and looks into the plugin's object."""

    def __post_init__(self) -> None:
        plugin = self.plugin
        object.__setattr__(self, "allocator", plugin if isinstance(plugin, Allocator) else None)
        object.__setattr__(self, "preferred_allocator", plugin if isinstance(plugin, PreferredAllocator) else None)
        object.__setattr__(self, "pre_starter", plugin if isinstance(plugin, PreStarter) else None)
