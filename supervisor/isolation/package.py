"""What the supervisor holds of an isolated package: plugin objects that keep the contract and hand each call to the process."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from supervisor.border import framing
from supervisor.border.messages import Answer
from supervisor.border.succession import Succession
from supervisor.errors import PluginFailed
from supervisor.hookspecs import DevicePlugin, LookAgain
from supervisor.host import Host
from supervisor.isolation import answers, frames
from supervisor.isolation.process import Process
from supervisor.isolation.remembering import serve
from supervisor.memory import NOTHING, Gate, Keeper
from supervisor.model import ContainerEdits, Device, Finding, Leftover, MetricFamily, NodeFacts
from supervisor.plugins import Made, Refusal

PUNCTUAL = 0.95
"""The part of its time after which a call is late: a little before its asker gives up, so that the asker hears why."""


class Limits(msgspec.Struct, frozen=True):
    """How long a process may take for each call, in seconds, and how much memory it may have, in bytes.

    A call that takes longer is answered by killing the process. Advice has long: whoever asked for it goes on without, and that
    is no reason to kill.
    """

    load: float = 30.0
    look: float = 30.0
    allocate: float = 5.0
    pre_start: float = 25.0
    preferred_allocation: float = 10.0
    memory: int = 1 << 30


class IsolatedPackage:
    """A package in a process that is started for a look, killed when it is late, and started again for the next look.

    How soon that look comes is the caller's matter. All methods may be called from any thread; ``load`` and what is asked of
    plugins block.
    """

    def __init__(
        self,
        name: str,
        section: Mapping[str, Any] | None,
        host: Host,
        limits: Limits | None = None,
        keeper: Keeper = NOTHING,
    ) -> None:
        """``keeper`` is where its memory is kept."""
        self.name = name
        self.limits = limits or Limits()
        self._start = frames.Start(name, None if section is None else dict(section), host, self.limits.memory)
        self._processes: Succession[Process] = Succession("its package was retired")
        self._keeper = keeper
        self._gate = Gate(keeper)

    def load(self) -> Made:
        """The plugins of the package, and what is wrong with those that are left out.

        Raises ``PluginRefused`` when the package breaks the contract, ``PluginFailed`` when its process does not come up.
        """
        started = self.running_for_look(time.monotonic() + self.limits.load).started
        plugins = tuple(_proxy(self, info) for info in started.plugins)
        return Made(plugins, tuple(Refusal(name, reason) for name, reason in started.refused), started.remembers)

    def close(self) -> None:
        """Kill the process for good. Waits for nothing."""
        self._processes.close()

    @property
    def pid(self) -> int | None:
        """The process now, if there is one."""
        return self._processes.pid

    @property
    def unreaped(self) -> int:
        """Killed processes that the kernel has not let go yet."""
        return self._processes.unreaped

    def running(self) -> Process:
        """The process. Raises ``PluginFailed`` when there is none: only a look starts one."""
        process = self._processes.latest
        if process is None:
            raise PluginFailed("its process is not running; the next look starts one")
        if not process.usable:
            raise PluginFailed(process.fate())
        return process

    def running_for_look(self, deadline: float) -> Process:
        """The process, started if need be. Raises as ``load`` does."""
        return self._processes.usable(deadline, self.limits.load, self._begun)

    def _begun(self, deadline: float, _: Process | None) -> Process:
        process = Process(msgspec.structs.replace(self._start, recalled=self._keeper.recall()), deadline)
        if process.started.remembers:
            self._remember(process)
        return process

    def _remember(self, process: Process) -> None:
        """Let the process recall, and keep once its plugins have taken over: each life of it begins as a standby."""
        self._gate.close()
        self._gate = gate = Gate(self._keeper)
        gate.open(info.name for info in process.started.plugins if "take_over" in info.capabilities)
        connection = process.connect()
        with process.blamed("the connection for its memory"):
            framing.send(connection, frames.Remember(), time.monotonic() + 1.0)
            threading.Thread(target=serve, args=(connection, gate), name=f"{self.name} memory", daemon=True).start()

    def taken_over(self, plugin: str, process: Process) -> None:
        """A plugin has taken over in this life of the process."""
        if process is self._processes.latest:
            self._gate.taken_over(plugin)


class _Proxy:
    """A plugin of the package, seen from outside. Its class has exactly the capabilities that the plugin has."""

    def __init__(self, package: IsolatedPackage, info: frames.PluginInfo) -> None:
        self.name = info.name
        self.udev_subsystems: Sequence[str] = info.subsystems
        self._capabilities = info.capabilities
        self._package = package
        self._seen = frames.Seen({}, info.subsystems, {}, ())
        self._deadline = 0.0

    def discover(self) -> Mapping[str, Sequence[Device]]:
        """The plugin's look; devices, and the whole, that are as before are the same objects as before."""
        process = self._process_for_look()
        self._prepare(process)
        reply = process.ask(frames.Discover(self.name), self._deadline, lane=self.name)
        if isinstance(reply, Answer):
            with process.blamed("discover()"):
                self._seen = answers.seen(reply.value, self._seen.resources)
            self.udev_subsystems = self._seen.subsystems
        resources: Mapping[str, Sequence[Device]] = self._seen.resources
        return resources

    def _process_for_look(self) -> Process:
        self._deadline = time.monotonic() + PUNCTUAL * self._package.limits.look
        process = self._package.running_for_look(self._deadline)
        self._check(process)
        return process

    def _prepare(self, process: Process) -> None:
        """What has to be done before the look."""

    def _check(self, process: Process) -> None:
        now = {info.name: info.capabilities for info in process.started.plugins}
        if now.get(self.name) != self._capabilities:
            raise PluginFailed("after a new start its package offers other plugins; restart the supervisor")

    def _ask(self, request: frames.Request, seconds: float, read: Callable[[msgspec.Raw], Any], lane: str = "") -> Any:
        process = self._package.running()
        reply = process.ask(request, time.monotonic() + PUNCTUAL * seconds, lane)
        with process.blamed(f"{request.__struct_config__.tag}()"):
            return read(reply.value if isinstance(reply, Answer) else msgspec.Raw())  # only a look can be unchanged


class _Watches(_Proxy):
    async def watch(self, look_again: LookAgain) -> None:
        """The plugin's own events. Raises ``PluginFailed`` when they or the process end; none is started for them."""
        process = self._package.running()
        with process.connect() as connection:
            with process.blamed("watch()"):
                framing.send(connection, frames.Watch(self.name), time.monotonic() + 1.0)
            connection.settimeout(0)
            ended = b""
            while len(ended) < 4096 and (some := await _received(connection)):
                calls, dot, why = (b"", b"", some) if ended else some.partition(frames.ENDED)
                ended += dot + why
                if calls:
                    look_again()
        if not ended:
            raise PluginFailed("its process has ended")
        if why := ended[1:]:
            raise PluginFailed(why.decode(errors="replace"))


class _Allocates(_Proxy):
    def allocate(self, resource: str, devices: Sequence[Device], edits: ContainerEdits) -> ContainerEdits:
        """As the plugin does it; what it returned is not checked here."""
        request = frames.Allocate(self.name, resource, tuple(devices), edits)
        answer: ContainerEdits = self._ask(
            request, self._package.limits.allocate, lambda raw: answers.struct(raw, ContainerEdits)
        )
        return answer


class _Prefers(_Proxy):
    def preferred_allocation(
        self, resource: str, available: Sequence[str], must_include: Sequence[str], size: int
    ) -> Sequence[str]:
        """As the plugin advises; what it returned is not checked here."""
        request = frames.PreferredAllocation(self.name, resource, tuple(available), tuple(must_include), size)
        answer: Sequence[str] = self._ask(request, self._package.limits.preferred_allocation, msgspec.msgpack.decode)
        return answer


class _PreStarts(_Proxy):
    def pre_start_required(self, resource: str) -> bool:
        """As the plugin said after its last look. Raises ``PluginFailed`` when that question had failed."""
        answer = self._seen.pre_start_required.get(resource, False)
        if isinstance(answer, str):
            raise PluginFailed(answer)
        return answer

    def pre_start(self, resource: str, devices: Sequence[Device]) -> None:
        """As the plugin does it."""
        request = frames.PreStart(self.name, resource, tuple(devices))
        self._ask(request, self._package.limits.pre_start, msgspec.msgpack.decode)


class _Notices(_Proxy):
    def notices(self) -> Sequence[str]:
        """As the plugin said after its last look. Raises ``PluginFailed`` when that question had failed."""
        if isinstance(self._seen.notices, str):
            raise PluginFailed(self._seen.notices)
        return self._seen.notices


class _Explains(_Proxy):
    def explain(self, text: str) -> Sequence[str]:
        """As the plugin explains, in its looking thread."""
        printable = text.encode(errors="replace").decode()  # an argument of a command line may be no text
        request, sentences = frames.Explain(self.name, printable), msgspec.msgpack.Decoder(tuple[str, ...])
        answer: Sequence[str] = self._ask(request, self._package.limits.look, sentences.decode, lane=self.name)
        return answer


class _Examines(_Proxy):
    def examine(self) -> Iterable[Finding]:
        """As the plugin finds it, in its looking thread."""
        request = frames.Examine(self.name)
        found: Iterable[Finding] = self._ask(
            request, self._package.limits.look, lambda raw: answers.structs(raw, Finding), lane=self.name
        )
        return found


class _Cleans(_Proxy):
    def leftovers(self, held: Mapping[str, Collection[str]]) -> Iterable[Leftover]:
        """As the plugin finds them, in its looking thread."""
        request = frames.Leftovers(self.name, {resource: tuple(ids) for resource, ids in held.items()})
        found: Iterable[Leftover] = self._ask(
            request, self._package.limits.look, lambda raw: answers.structs(raw, Leftover), lane=self.name
        )
        return found


class _TakesOver(_Proxy):
    _owner: Process | None = None
    """The life in which it has taken over; another one after it does so by itself."""

    def take_over(self) -> None:
        """As the plugin does it, in its looking thread."""
        self._take_over_in(self._process_for_look())

    def _prepare(self, process: Process) -> None:
        super()._prepare(process)
        if self._owner is not None and self._owner is not process:
            self._take_over_in(process)

    def _take_over_in(self, process: Process) -> None:
        process.ask(frames.TakeOver(self.name), self._deadline, lane=self.name)
        self._owner = process
        self._package.taken_over(self.name, process)


class _Learns(_Proxy):
    _learned: tuple[Process, NodeFacts] | None = None
    """What it was told last, and in which life; another one after it is told again."""

    def learn_node(self, node: NodeFacts) -> None:
        """As the plugin takes it, in its looking thread."""
        self._tell(self._process_for_look(), node)

    def _prepare(self, process: Process) -> None:
        super()._prepare(process)
        if self._learned is not None and self._learned[0] is not process:
            self._tell(process, self._learned[1])

    def _tell(self, process: Process, node: NodeFacts) -> None:
        process.ask(frames.LearnNode(self.name, node), self._deadline, lane=self.name)
        self._learned = (process, node)


class _Measures(_Proxy):
    def collect_metrics(self) -> Iterable[MetricFamily]:
        """As the plugin measured, in its looking thread, in what is left of the look's time."""
        process = self._package.running()
        reply = process.ask(frames.CollectMetrics(self.name), self._deadline, lane=self.name)
        with process.blamed("collect_metrics()"):
            found: Iterable[MetricFamily] = answers.families(reply.value if isinstance(reply, Answer) else msgspec.Raw())
        return found


_CAPABILITIES = {
    "watch": _Watches,
    "allocate": _Allocates,
    "preferred_allocation": _Prefers,
    "pre_start": _PreStarts,
    "notices": _Notices,
    "explain": _Explains,
    "examine": _Examines,
    "leftovers": _Cleans,
    "take_over": _TakesOver,
    "learn_node": _Learns,
    "collect_metrics": _Measures,
}


def _proxy(package: IsolatedPackage, info: frames.PluginInfo) -> DevicePlugin:
    bases = tuple(_CAPABILITIES[name] for name in sorted(info.capabilities)) or (_Proxy,)
    proxy: DevicePlugin = type("IsolatedPlugin", bases, {})(package, info)
    return proxy


async def _received(connection: socket.socket) -> bytes:
    import trio  # not at the top: the process of a package imports this one on its way to its own

    while True:
        await trio.lowlevel.wait_readable(connection)
        with contextlib.suppress(BlockingIOError):
            try:
                return connection.recv(4096)
            except ConnectionError:
                return b""
