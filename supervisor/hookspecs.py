"""What a plugin package provides: two pluggy hooks that *find* plugins, and small protocols by which they *work*.

pluggy calls every implementation of a hook in one loop, so one that raises would hide the others; therefore no hardware
operation is a hook. A hook returns plugin objects, and each object is called on its own, with a deadline, in its own thread.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import msgspec
import pluggy

from supervisor.host import Host
from supervisor.model import ContainerEdits, Device, Finding, Leftover, MetricFamily, NodeFacts

PROJECT = "device_plugin_supervisor"
ENTRY_POINT_GROUP = "device_plugin_supervisor.plugins"

CONTRACT_VERSION = 1
"""Raised when an existing plugin would break. A package may state ``CONTRACT_VERSION = 1``; one that states another is refused."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

LookAgain = Callable[[], None]
"""Ask for a look, from any thread, as often as you like: a burst of calls is one look."""


class Memory(Protocol):
    """What one package remembers over restarts of the supervisor, until the node boots. May be used from any thread."""

    def recall(self) -> Mapping[str, Any]:
        """What the newest owner of the node kept since it booted; empty when there is nothing that can be read.

        A value of its own for each caller. While this process stands by, it is what the owner has kept so far.
        """

    def keep(self, value: Mapping[str, Any]) -> None:
        """Remember ``value``, and nothing else. Plain values that JSON can hold, at most 1 MiB of them.

        Returns at once; it is written soon, and only while this process owns the node. What is kept before, or before every
        ``take_over`` of the package has come back, waits until then. Of several values the newest counts. What cannot be
        written is told to the operator and tried again. Raises ``TypeError`` or ``ValueError`` for what is no JSON.
        """


@hookspec
def config_type() -> type[msgspec.Struct]:  # type: ignore[empty-body]  # a specification has no body
    """The frozen ``msgspec.Struct`` of this package's section of the configuration file. Optional: without it, no keys."""


@hookspec
def device_plugins(  # type: ignore[empty-body]  # as above
    config: Any, host: Host, memory: Memory
) -> "Iterable[DevicePlugin]":
    """The device plugins of this package, made for ``config``: the decoded section, or ``None`` without a ``config_type``.

    ``host`` says where the host's directories are seen, ``memory`` outlives this process. An implementation may leave out
    arguments that it does not need.
    Called at start and again whenever the section changes. It must not touch hardware: that is what ``discover`` is for.
    """


class DevicePlugin(Protocol):
    """One hardware family. The least a plugin needs; everything else is optional."""

    @property
    def name(self) -> str:
        """A short lower-case name, unique in the process: ``[a-z0-9]([-a-z0-9]*[a-z0-9])?``."""

    @property
    def udev_subsystems(self) -> Collection[str]:
        """An event of one of these kernel subsystems means: look again. May be empty; ``"*"`` in it means any subsystem.

        Read again after each look, so that a plugin may narrow or widen it by what it has seen.
        """

    def discover(self) -> Mapping[str, Iterable[Device]]:
        """Look at the hardware: every device of every resource name, complete each time.

        Runs in a worker thread, one at a time, with a deadline. Resource names may come and go between looks; a name with no
        devices is offered with 0. Raising keeps the last inventory.
        """


@runtime_checkable
class Watcher(Protocol):
    """A plugin with an event source of its own."""

    def watch(self, look_again: LookAgain) -> Awaitable[None]:
        """Wait for the hardware's own events and call ``look_again`` for each. An ``async`` function.

        Runs under a trio loop of its own in this plugin's thread; it is restarted with backoff when it ends or raises.
        """


@runtime_checkable
class Allocator(Protocol):
    """A plugin that must act when devices are given to a container."""

    def allocate(self, resource: str, devices: Sequence[Device], edits: ContainerEdits) -> ContainerEdits:
        """What the container gets. ``edits`` is the default answer, the devices' own edits merged.

        Must be idempotent: the kubelet may ask again for an id, and never says when a container has ended. May run in several
        threads at once. Raising refuses the pod for good, and the text lands in its status.
        """


@runtime_checkable
class PreferredAllocator(Protocol):
    """A plugin that knows which devices go well together."""

    def preferred_allocation(
        self, resource: str, available: Sequence[str], must_include: Sequence[str], size: int
    ) -> Sequence[str]:
        """``size`` ids out of ``available``, ``must_include`` among them, best first. Advice: the kubelet may do otherwise."""


@runtime_checkable
class PreStarter(Protocol):
    """A plugin that must act before each start of a container."""

    def pre_start_required(self, resource: str) -> bool:
        """Whether this resource needs it. While the supervisor is down, containers of such a resource cannot restart."""

    def pre_start(self, resource: str, devices: Sequence[Device]) -> None:
        """Make the devices ready. Raising makes the kubelet try again later; the text lands in the pod's status."""


@runtime_checkable
class Noticer(Protocol):
    """A plugin that can say in words what its last look lacked."""

    def notices(self) -> Sequence[str]:
        """Short sentences about what it waits for or cannot see; empty when all is well.

        Called in the looking thread right after ``discover``. None of them is an error: absent hardware is a state.
        """


@runtime_checkable
class Explainer(Protocol):
    """A plugin that can say why it offers a device, or why not."""

    def explain(self, text: str) -> Sequence[str]:
        """For a device id, a path of a device node or a kernel name: which rule took or refused it and why, in sentences.

        Empty when it knows nothing of it. Called in the looking thread, never during ``discover``.
        """


@runtime_checkable
class Examiner(Protocol):
    """A plugin that can say whether this node has what its hardware needs: modules, device nodes, libraries, permissions."""

    def examine(self) -> Iterable[Finding]:
        """What is as it should be and what is not, each with its cure, for a person who runs ``doctor`` on the node.

        Called in the looking thread after ``discover``, whether or not that has worked, by the command alone and never by a
        running supervisor. It must change nothing on the node, and open no device that ``discover`` does not open.
        """


@runtime_checkable
class Successor(Protocol):
    """A plugin with something on the node that only one process may write, or that goes on where another process ended."""

    def take_over(self) -> None:
        """This process owns the node from now on: recall what the one before kept, write the files that belong to the node.

        Before that, and in a process that stands by for the owner, write nothing on the node. Called in the looking thread,
        never during ``discover``, and followed by a look; before the first one where this process owns the node by then. New
        objects for a changed section are called too, and all again should the node's directory be replaced. Raising, or
        coming back late, counts as a failed look, and the next look begins with another try.
        """


@runtime_checkable
class Cleaner(Protocol):
    """A plugin that leaves files on the node when it ends, because containers may need them when they start again."""

    def leftovers(self, held: Mapping[str, Collection[str]]) -> Iterable[Leftover]:
        """The files that are this package's by proof, each with those of the ``held`` devices whose containers need it.

        ``held``: for each resource the ids that containers have, whoever gave them. What no container needs is removed by who
        asks; this changes nothing. Called by the command ``cleanup`` alone, several times, in the looking thread, without a look:
        the hardware may be gone. Only asked of a package that has kept something in its memory; there, and not in the
        configuration, must stand where the files are, and ``recall`` gives it here also when the node has booted since.
        """


@runtime_checkable
class NodeLearner(Protocol):
    """A plugin that does better with what the cluster says of the node."""

    def learn_node(self, node: NodeFacts) -> None:
        """What is known of this node now; ``discover`` must do without, for most nodes never learn it.

        Called in the looking thread, never during ``discover``, and followed by a look: when it is first known and whenever it
        changes, and only where ``kubernetes.nodeInfo`` is on. New objects for a changed section are told, too. Raising, or
        coming back late, counts as a failed look, and the next look begins with another try.
        """


@runtime_checkable
class MetricsSource(Protocol):
    """A plugin with metrics of its own."""

    def collect_metrics(self) -> Iterable[MetricFamily]:
        """What was measured at the last look, all of it each time. Called in the looking thread right after ``discover``.

        A scrape shows the answer and runs no code of the plugin. What is wrong with it is left out and told as a notice.
        """
