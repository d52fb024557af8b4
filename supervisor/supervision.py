"""The task tree: the only place that starts and stops things, and in which order.

::

    process              observers' HTTP server, heartbeat          ends last: probes answer until the end
    └── work             ends with an error, or when it has left
        ├── attention    cancelled by SIGTERM; until it has ended the kubelet is served
        │   ├── udev     one netlink socket for all plugins
        │   ├── configuration
        │   ├── cluster  the Kubernetes API, where that is wanted
        │   ├── bookkeeping  ledger and tombstones
        │   └── landlord     who has hardware that several ids share
        ├── node         lock, sockets, registrar; ends next, and its streams with it
        ├── assembly     one unit for each plugin: discovery, its own event source
        └── memories     what plugins keep over restarts

Mutable state of the process: the feeds' current values (``offers``), the states of the registrar, the status board, the counters of
metrics and servicers, and local variables of tasks.
"""

import signal
import time
from collections.abc import Mapping
from pathlib import Path

import trio
from msgspec import Struct

from supervisor.assembly import Assembly
from supervisor.bookkeeping import Bookkeeper, sources
from supervisor.config import HttpConfig, diff
from supervisor.config_file import Document
from supervisor.config_watch import watch_config
from supervisor.errors import ConfigError, SupervisorError
from supervisor.events import ConfigApplied, ConfigRejected, Event, Observer
from supervisor.heartbeat import PERIOD, Watch
from supervisor.inventory import Inventory
from supervisor.kubelet.tenancies import Tenancies
from supervisor.kubelet.wire import Wire
from supervisor.landlord import Landlord
from supervisor.ledger import Holding, Ledger
from supervisor.memories import Memories
from supervisor.model import NodeFacts
from supervisor.node import Node
from supervisor.observe import http
from supervisor.observe.board import StatusBoard
from supervisor.observe.history import History
from supervisor.observe.log import Log, keep_flushing
from supervisor.observe.metrics import Metrics
from supervisor.observe.pages import pages
from supervisor.observe.reporting import View
from supervisor.observe.series import RpcCounts, Taken
from supervisor.offers import Offers
from supervisor.ownership import Ownership
from supervisor.profiles import here, node_name
from supervisor.status import Liveness
from supervisor.tenancy_file import TenancyFile
from supervisor.tombstones import Tombstones
from supervisor.triggers import EVERY, concerns, watch_udev
from supervisor.wakeup import WakeUp

PROFILES_PERIOD = 30.0
"""Seconds between two looks at what the conditions of profiles ask about, where there are any profiles."""
STOP_TIMEOUT = 0.5
"""Seconds for the wire thread to end streams and servers; the process ends anyway."""
FIRST_READING = 2.5
"""Seconds that the start waits for the ledger at most: only a kubelet that hangs takes so long."""


class Setup(Struct, frozen=True):
    """What a process is started with; the command line has been folded in."""

    document: Document
    directory: Path
    http: HttpConfig
    ownership: Ownership | None
    """The lock that was opened first thing in the process; ``None`` where there was no directory yet."""


class Wedged(SupervisorError):
    """A thread of ours has stopped turning. Only a new process helps."""


class Supervisor:
    """Everything that lives as long as the process. Make and ``run`` it inside ``trio.run``, once."""

    def __init__(self, setup: Setup, log: Log) -> None:
        config = setup.document.config
        self._setup = setup
        self._log = log
        self._document = setup.document
        self._generation = 1
        self._applying = trio.Lock()
        self._labels: Mapping[str, str] | None = None
        self._node_news = WakeUp()
        self._started = time.monotonic()
        self._board = StatusBoard()
        self._history = History()
        self._metrics = Metrics()
        self._wake = WakeUp()
        tenancy_file = TenancyFile(setup.directory, config.host.proc, self._owns)
        tenancy_news = WakeUp()
        self._wire = Wire(self._wake.set_from_thread, Tenancies(tenancy_file.write, tenancy_news.set_from_thread))
        self._tombstones = Tombstones(self.observe, unread_limit=config.ledger.tombstone_seconds)
        self._offers = Offers(self._wire, self._tombstones, self.observe)
        ledger = Ledger(sources(self._wire, config.kubelet.pod_resources_socket, setup.directory))
        self._landlord = Landlord(tenancy_file, self._wire, self._offers, self._tombstones, tenancy_news)
        self._bookkeeper = Bookkeeper(
            ledger, self._tombstones, self._landlord, self._offers, self._wire, attribution=config.ledger.attribution
        )
        self._node = Node(setup.directory, setup.ownership, self._wire, self._wake, self.observe)
        self._memories = Memories(setup.directory, config.host.proc, self._node.owns, self.observe)
        self._observers: list[Observer] = [self._board, self._metrics, self._history, self._log, self._bookkeeper]
        self._assembly: Assembly | None = None
        self._beat = time.monotonic()
        self._serving = trio.CancelScope()
        """Around what has to do with the kubelet."""
        self._attention = trio.CancelScope()
        """Around what looks out for changes."""

    def _owns(self) -> bool:
        return self._node.owns()

    def observe(self, event: Event) -> None:
        """Hand an event to everybody who subscribes."""
        for observer in self._observers:
            observer(event)

    async def run(self) -> None:
        """Until SIGTERM or SIGINT. Raises ``ConfigError``, ``NodeError`` or ``Wedged``."""
        self._wire.start()
        async with trio.open_nursery() as process:
            await process.start(self._serve_http)
            process.start_soon(self._keep_beating)
            process.start_soon(keep_flushing, self._log)
            try:
                await self._work()
            finally:
                with trio.CancelScope(shield=True):
                    await trio.to_thread.run_sync(self._wire.stop, STOP_TIMEOUT)
            process.cancel_scope.cancel()

    async def _work(self) -> None:
        async with trio.open_nursery() as work:
            await work.start(self._stop_on_signal)
            assembly = Assembly(self._offers, work, self._document.config.host.roots, self._memories, self.observe)
            self._assembly = assembly
            self._observers.append(assembly)
            work.start_soon(self._run_node)
            work.start_soon(self._memories.run)
            with self._attention:
                await self._attend(assembly)
            await self._leave()
            work.cancel_scope.cancel()

    async def _attend(self, assembly: Assembly) -> None:
        """Offer what there is, and look out for what changes."""
        await self._prepare(assembly)
        assembly.offer()
        self._bookkeeper.adopt()  # no await since the offer: the very first list names what is still held
        self._applied(())
        async with trio.open_nursery() as attention:
            attention.start_soon(self._bookkeeper.run, self._node)
            attention.start_soon(self._landlord.run, self._bookkeeper.changed)
            if self._document.config.kubernetes.wanted:
                attention.start_soon(self._speak_with_cluster, assembly)
            attention.start_soon(self._watch_udev, assembly)
            attention.start_soon(self._watch_config, assembly)

    async def _prepare(self, assembly: Assembly) -> None:
        """Everything that takes time before anything can be offered, side by side."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._bookkeeper.read_first, FIRST_READING)
            await assembly.start(self._document)

    async def _stop_on_signal(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            task_status.started()
            async for _ in signals:
                self._attention.cancel()

    async def _run_node(self) -> None:
        with self._serving:
            await self._node.run()

    async def _leave(self) -> None:
        """End the streams while plugins can still answer, and as late as can be: until we have ended, nobody registers.

        The kernel takes milliseconds, at times tens of them, to close event sockets: that is done by now.
        """
        self._serving.cancel()
        with trio.move_on_after(STOP_TIMEOUT):
            while any(level.streams for level in self._wire.levels().values()):
                await self._wake.wait()

    async def _speak_with_cluster(self, assembly: Assembly) -> None:
        async def holders(resource: str, device: str) -> tuple[Holding, ...]:
            return (await self._bookkeeper.look_up()).holders.get((resource, device), ())

        def learn(node: NodeFacts) -> None:
            self._labels = node.labels
            self._node_news.set()
            assembly.learn_node(node)

        from supervisor.cluster.connection import Cluster

        cluster = Cluster(
            self._setup.document.config.kubernetes,
            status=lambda: self._board.current,
            holders=holders,
            owner=lambda: self._board.current.active,
            observe=self.observe,
            facts_changed=learn,
        )
        self._observers.append(cluster)  # after the board, whose picture it reads
        await cluster.run()

    async def _watch_udev(self, assembly: Assembly) -> None:
        def wake(subsystem: str) -> None:
            assembly.wake(lambda wanted: concerns(subsystem, wanted))

        async with trio.open_nursery() as nursery:
            await nursery.start(watch_udev, wake, self.observe, lambda: assembly.subsystems)
            wake(EVERY)  # the first looks came before anybody listened

    # --- configuration ------------------------------------------------------------------------------------------------

    async def _watch_config(self, assembly: Assembly) -> None:
        async def changed(document: Document) -> None:
            await self._apply(assembly, document)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_profiles, assembly)
            await watch_config(self._document, changed, self._rejected)

    async def _watch_profiles(self, assembly: Assembly) -> None:
        """Others may hold when the node's labels are known, and when something has come to the node or gone from it."""
        while True:
            with trio.move_on_after(PROFILES_PERIOD):
                await self._node_news.wait()
            if self._document.config.profiles:
                await self._apply(assembly)

    async def _apply(self, assembly: Assembly, edited: Document | None = None) -> None:
        """Bring everything in line with another text, or with the same one if other profiles hold by now."""
        async with self._applying:
            document = await trio.to_thread.run_sync(here, edited or self._document, self._labels)
            if edited is None and document.profiles == self._document.profiles:
                return
            change = diff(self._document.config, document.config, self._setup.document.config)
            try:
                await assembly.apply(document, change)
            except ConfigError as error:
                self._rejected(error)
                return
            self._document = document
            self._generation += 1
            self._log.set_level(document.config.log.level)
            self._tombstones.unread_limit = document.config.ledger.tombstone_seconds
            self._bookkeeper.attribution_wanted = document.config.ledger.attribution
            self._applied((*change.plugins, *change.sections), change.pending)

    def _applied(self, changed: tuple[str, ...], pending: tuple[str, ...] = ()) -> None:
        self.observe(ConfigApplied(self._generation, changed, pending, self._document.profiles))

    def _rejected(self, error: ConfigError) -> None:
        self.observe(ConfigRejected(error.problems))

    # --- being alive --------------------------------------------------------------------------------------------------

    async def _keep_beating(self) -> None:
        """Show that this thread turns, and see whether the other one does; it does the same."""
        self._wire.watch(lambda: self._beat)
        watch = Watch()
        while True:
            now = self._beat = time.monotonic()
            watch = watch.observe(self._wire.beat, now)
            if watch.wedged or not self._wire.alive:
                raise Wedged(f"the wire thread does not turn: {self._wire.failure or 'it hangs'}")
            await trio.sleep(PERIOD)

    def _liveness(self) -> Liveness:
        now = time.monotonic()
        return Liveness(supervising=now - self._beat, wire=now - self._wire.beat)

    async def _serve_http(self, *, task_status: trio.TaskStatus[int | None]) -> None:
        shown = pages(self._view, self._taken, self._bookkeeper.look_up, self._metrics)
        await http.serve(self._setup.http, shown, self.observe, task_status=task_status)

    def _view(self) -> View:
        return View(
            status=self._board.current,
            liveness=self._liveness(),
            now=time.monotonic(),
            wall=time.time(),
            started=self._started,
            node=node_name(self._setup.document),
            inventories=self._inventories(),
            ages=self._offers.ages,
            attribution=self._bookkeeper.attribution,
            history=self._history.newest_first(),
        )

    def _taken(self) -> Taken:
        levels, counts = self._wire.levels(), self._wire.counts()
        rpcs = (RpcCounts(resource, levels[resource].streams, counts[resource]) for resource in levels.keys() & counts.keys())
        return Taken(
            status=self._board.current,
            rpcs=tuple(rpcs),
            inventories=self._inventories(),
            families={} if self._assembly is None else self._assembly.families(),
            attribution=self._bookkeeper.attribution,
            wanted=self._document.config.metrics,
            now=time.monotonic(),
        )

    def _inventories(self) -> tuple[Inventory, ...]:
        return tuple(inventory for inventory in self._offers.resources.values() if inventory is not None)
