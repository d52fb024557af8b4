"""Which plugin owns which resource name: the kubelet knows one owner only, so two plugins never offer the same name.

At start the first by name keeps a contested resource, whatever order the first looks end in: they are collected and settled
together. Later the present owner keeps it, so that a newcomer never takes devices away from running pods.
"""

from collections.abc import Collection, Mapping

import msgspec


class Settlement(msgspec.Struct, frozen=True):
    """What a plugin may offer of what it claims."""

    kept: frozenset[str]
    lost: Mapping[str, str]
    """Resource to the plugin that owns it. Both are to be named to the operator."""
    heirs: frozenset[str] = frozenset()
    """Other plugins that gained a resource by this change: each is to look again, and to settle what it then sees."""


class Claims:
    """Owners of resource names. Not thread-safe: only the supervising thread holds one.

    Invariant: every claimed resource has exactly one owner, and the owner is one of its claimants.
    """

    def __init__(self) -> None:
        self._claimed: dict[str, frozenset[str]] = {}
        self._owner: dict[str, str] = {}

    def settle_all(self, claimed: Mapping[str, Collection[str]]) -> Mapping[str, Settlement]:
        """Decide for several plugins at once: what nobody owns yet goes to the first of its claimants by name."""
        self._claimed.update((plugin, frozenset(resources)) for plugin, resources in claimed.items())
        self._drop_abandoned()
        heirs = self._give_away() - claimed.keys()
        return {plugin: self._settlement(plugin, heirs) for plugin in claimed}

    def settle(self, plugin: str, resources: Collection[str]) -> Settlement:
        """Decide for one plugin, which from now on claims exactly ``resources``; what it no longer names is free."""
        return self.settle_all({plugin: resources})[plugin]

    def release(self, plugin: str) -> frozenset[str]:
        """Forget a plugin that is gone, and return its heirs. Harmless for an unknown one."""
        self._claimed.pop(plugin, None)
        self._drop_abandoned()
        return self._give_away()

    def owner(self, resource: str) -> str | None:
        """The plugin that may offer this resource."""
        return self._owner.get(resource)

    def _drop_abandoned(self) -> None:
        kept = {
            resource: plugin for resource, plugin in self._owner.items() if resource in self._claimed.get(plugin, frozenset())
        }
        self._owner = kept

    def _give_away(self) -> frozenset[str]:
        """Give each free resource to the first of its claimants by name; those who gained one."""
        gained = set()
        for plugin in sorted(self._claimed):
            for resource in self._claimed[plugin] - self._owner.keys():
                self._owner[resource] = plugin
                gained.add(plugin)
        return frozenset(gained)

    def _settlement(self, plugin: str, heirs: frozenset[str]) -> Settlement:
        lost = {
            resource: self._owner[resource] for resource in sorted(self._claimed[plugin]) if self._owner[resource] != plugin
        }
        return Settlement(self._claimed[plugin] - lost.keys(), lost, heirs)
