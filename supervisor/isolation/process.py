"""One life of an isolated package: a process that has loaded it and answers for its plugins."""

from supervisor.border.life import Life, spawned
from supervisor.border.messages import Answer, Failure
from supervisor.errors import AllocationRefused, PluginFailed
from supervisor.isolation import frames

_Reply = Answer | frames.Unchanged | Failure
_FirstReply = frames.Started | Failure


class Process(Life):
    """A running child with a package in it."""

    def __init__(self, start: frames.Start, deadline: float) -> None:
        """Start it and wait until it has loaded the package. Raises ``PluginRefused`` and ``PluginFailed``."""
        super().__init__(spawned("supervisor.isolation.child", start.package))
        self.started: frames.Started = self.start(start, _FirstReply, deadline)

    def ask(self, request: frames.Request, deadline: float, lane: str = "") -> Answer | frames.Unchanged:
        """The answer to a request. Past ``deadline`` (``time.monotonic()``) the process is killed.

        Requests of one ``lane`` that do not overlap run in one thread over there. Raises ``AllocationRefused`` as the plugin
        did, and ``PluginFailed`` for everything else.
        """
        reply: _Reply = self.exchange(request, _Reply, deadline, what=f"{request.__struct_config__.tag}()", lane=lane)
        if isinstance(reply, Failure):
            raise AllocationRefused(reply.text) if reply.refused else PluginFailed(reply.text)
        return reply
