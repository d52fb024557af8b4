"""One generation of a package's plugins: the objects that were made for one section, and what they share."""

from collections.abc import Sequence

import trio

from supervisor.hookspecs import Successor
from supervisor.isolation import IsolatedPackage
from supervisor.memory import Gate
from supervisor.plugins import Made
from supervisor.units import PluginUnit

LAST_CALLS = 0.05
"""Seconds between looks whether what was replaced still answers. By the first, the thread that answers the kubelet asks its successor."""


class Generation:
    """``units`` are set once they are made; ``process`` is that of an isolated package."""

    def __init__(self, package: str, gate: Gate, made: Made, process: IsolatedPackage | None = None) -> None:
        self.package = package
        self.gate = gate
        self.made = made
        self.units: Sequence[PluginUnit] = ()
        self._process = process

    def own(self) -> None:
        """This process owns the node: let the plugins take over, and what they remember be written when all have."""
        self.gate.open(unit.name for unit in self.units if isinstance(unit.plugin, Successor))
        for unit in self.units:
            unit.own()

    def disown(self) -> None:
        """This process owns the node no longer."""
        self.gate.shut()
        for unit in self.units:
            unit.disown()

    async def make_way(self) -> None:
        """Have those rest that write on the node: their successors are about to."""
        async with trio.open_nursery() as nursery:
            for unit in self.units:
                if isinstance(unit.plugin, Successor):
                    nursery.start_soon(unit.rest)

    def close(self) -> None:
        """It has been replaced, and remembers nothing any more. Its units have been dismissed."""
        self.gate.close()

    async def end(self) -> None:
        """When all that was asked is answered, retire the units and end their process; at once when cancelled."""
        try:
            await trio.sleep(LAST_CALLS)
            while any(unit.answering for unit in self.units):  # noqa: ASYNC110  # plugins' threads tell nobody here
                await trio.sleep(LAST_CALLS)
        finally:
            for unit in self.units:
                unit.retire()
            if self._process is not None:
                self._process.close()
