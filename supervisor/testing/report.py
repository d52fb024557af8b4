"""What a check of a plugin found out."""

from collections.abc import Mapping

import msgspec


class Report(msgspec.Struct, frozen=True):
    """What was found out about a plugin. It keeps the contract when ``problems`` is empty."""

    plugin: str
    devices: Mapping[str, int]
    """Resource to the number of its devices in the last look."""
    capabilities: tuple[str, ...]
    problems: tuple[str, ...]
    """What breaks the contract: to be repaired."""
    advice: tuple[str, ...]
    """What is allowed but seldom meant: to be thought about."""
    seconds: Mapping[str, float]
    """Method to its slowest call. Reported, never judged: a test machine is not the node."""

    def __str__(self) -> str:
        """One line for each fact, for people."""
        offered = ", ".join(f"{count} {resource}" for resource, count in self.devices.items()) or "nothing"
        lines = [f"plugin {self.plugin} offers {offered}; capabilities: {', '.join(self.capabilities) or 'none'}"]
        lines += [f"  slowest {method}: {seconds * 1000:.1f} ms" for method, seconds in self.seconds.items()]
        lines += [f"  problem: {problem}" for problem in self.problems]
        lines += [f"  advice: {advice}" for advice in self.advice]
        return "\n".join(lines)
