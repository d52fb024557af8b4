"""The wire thread: one asyncio loop that owns every ``grpc.aio`` object. It answers and dials; it holds no policy.

Orders come in with ``call_soon_threadsafe``; what happened goes out as levels, with one wake-up that may be repeated freely.
"""

import asyncio
import contextlib
import faulthandler
import itertools
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import grpc
import grpc.aio

from supervisor.calls import PluginCalls
from supervisor.feed import Feed
from supervisor.heartbeat import PERIOD, Watch
from supervisor.kubelet.caller import Caller
from supervisor.kubelet.encoding import register_request
from supervisor.kubelet.servicer import Servicer
from supervisor.kubelet.sockets import FileIdentity
from supervisor.kubelet.tenancies import Tenancies
from supervisor.levels import Attempt, Counts, Level, Outcome
from supervisor.tenancy import Tenant

Answer = TypeVar("Answer")

GRACE = 0.25
"""Seconds for answers under way before we leave: a kubelet closes the connection when its stream ends, and rejects their pods."""

PARTING = 0.1
"""Seconds for a stream's end to leave as what it is, an end: a server that stops at once cancels its calls, also those that end."""

_SERVER_OPTIONS = (
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),  # GetPreferredAllocation carries every free id
    ("grpc.so_reuseport", 0),
)


@dataclass(eq=False)
class _Service:
    """One resource in service, and where it is served."""

    servicer: Servicer
    wake: Callable[[], None]
    servers: dict[Path, grpc.aio.Server] = field(default_factory=dict)


class Wire:
    """Start it once; every other method may be called from any thread and returns at once."""

    def __init__(self, changed: Callable[[], None], tenancies: Tenancies | None = None) -> None:
        """``tenancies``: who has hardware that several ids share; without, that is forgotten with the process."""
        self._changed = changed
        self._tenancies = tenancies or Tenancies()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="wire", daemon=True)
        self._services: dict[str, _Service] = {}
        self._lives = itertools.count(1)
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        """For each resource name: its servers start and stop one after the other, in the order in which that was asked for."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._caller = Caller()
        self.beat = time.monotonic()
        """When the loop last turned."""
        self.failure: BaseException | None = None
        """Why the loop ended by itself: a bug of ours."""

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()
            self._changed()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def watch(self, beat: Callable[[], float]) -> None:
        """From now on keep our own ``beat``, and watch the supervising thread's, whose ``beat`` this is.

        End the process when it stops turning: nobody else could notice.
        """
        self._order(self._watch, beat, Watch())

    def _watch(self, beat: Callable[[], float], watch: Watch) -> None:
        self.beat = time.monotonic()
        watch = watch.observe(beat(), self.beat)
        if watch.wedged:
            faulthandler.dump_traceback(all_threads=True)
            os.write(2, b"the supervising thread has not turned for too long; ending the process\n")
            os._exit(1)
        self._loop.call_later(PERIOD, self._watch, beat, watch)

    # --- orders -------------------------------------------------------------------------------------------------------

    def _order(self, function: Callable[..., None], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended; ``alive`` tells
            self._loop.call_soon_threadsafe(function, *arguments)

    def _serve(self, resource: str, work: Callable[..., Coroutine[Any, Any, None]], *arguments: Any) -> None:
        """Order something for the service that has this name when it is the order's turn, and for no later one."""

        def start() -> None:
            if service := self._services.get(resource):
                self._start(work(resource, service, *arguments))

        self._order(start)

    def open(self, feed: Feed, calls: PluginCalls) -> None:
        """Have a service for this resource. It answers nobody before ``bind``."""
        self._order(self._open, feed, calls)

    def _open(self, feed: Feed, calls: PluginCalls) -> None:
        servicer = Servicer(feed, calls, self._changed, self._start, self._tenancies, life=next(self._lives))

        def wake() -> None:
            self._order(servicer.refresh)

        self._services[feed.resource] = _Service(servicer, wake)
        feed.subscribe(wake)
        servicer.refresh()
        self._changed()

    def replace_calls(self, resource: str, calls: PluginCalls) -> None:
        """Another plugin object stands behind the resource from now on; feed, socket and stream stay."""
        self._order(self._replace_calls, resource, calls)

    def _replace_calls(self, resource: str, calls: PluginCalls) -> None:
        if service := self._services.get(resource):
            service.servicer.calls = calls

    def bind(self, resource: str, path: Path) -> None:
        """Serve the resource at this path, besides those where it is served already."""
        self._serve(resource, self._bind, path)

    async def _bind(self, resource: str, service: _Service, path: Path) -> None:
        async with self._turns[resource]:
            problem = await _listen(service, path)
        service.servicer.note(bound=not problem, path=str(path), bind_problem=problem)

    def unbind(self, resource: str) -> None:
        """Stop serving the resource; its streams end."""
        self._serve(resource, self._unbind)

    async def _unbind(self, resource: str, service: _Service) -> None:
        service.servicer.note(bound=False)
        async with self._turns[resource]:  # from the first moment: a bind that is ordered meanwhile must find an end of this
            if service.servicer.level.streams:
                await service.servicer.quiet(GRACE)
                service.servicer.end_streams()
                await service.servicer.quiet(PARTING)  # what is asked before the kubelet has seen the end is answered, too
            await _stop_all(service, PARTING)
            service.servicer.note(bound=False)  # a bind may have been under way

    def close(self, resource: str) -> None:
        """End the resource's streams and servers and forget it."""
        self._order(self._close, resource)

    def _close(self, resource: str) -> None:
        """Forgotten at once, so that the same name can be opened again in the next order; ended when its last answer has left."""
        if service := self._services.pop(resource, None):
            service.servicer.feed.unsubscribe(service.wake)
            self._start(self._unbind(resource, service))
            self._changed()

    def end_streams(self, resource: str) -> None:
        self._order(self._end_streams, resource)

    def _end_streams(self, resource: str) -> None:
        if service := self._services.get(resource):
            service.servicer.end_streams()

    def register(
        self,
        resource: str,
        generation: int,
        endpoint: str,
        kubelet: Path,
        identity: FileIdentity,
        bind_at: Path | None = None,
    ) -> None:
        """Call ``Register`` once, unless a stream is open by then. The level's attempt tells how it went.

        ``bind_at``: serve there first, and nowhere else but at the private path (where links are refused).
        """
        self._serve(resource, self._register, generation, endpoint, kubelet, identity, bind_at)

    async def _register(
        self,
        resource: str,
        service: _Service,
        generation: int,
        endpoint: str,
        kubelet: Path,
        identity: FileIdentity,
        bind_at: Path | None,
    ) -> None:
        servicer = service.servicer
        if servicer.level.streams:
            servicer.note(attempt=Attempt(generation, Outcome.SKIPPED, time.monotonic()))
            return
        options = servicer.options()
        servicer.note(quietly=True, attempt=Attempt(generation), registered_pre_start=options.pre_start_required)
        if bind_at is not None and (problem := await self._bind_public(resource, service, bind_at)):
            outcome, detail = Outcome.REFUSED, problem
        else:
            outcome, detail = await self._caller.register(register_request(resource, endpoint, options), kubelet, identity)
        servicer.registrations[outcome] += 1
        if servicer.level.attempt == Attempt(generation):  # else a newer one has begun, at another kubelet
            servicer.note(attempt=Attempt(generation, outcome, time.monotonic(), detail))

    async def _bind_public(self, resource: str, service: _Service, path: Path) -> str:
        """Serve at this path and, of the same directory, at no other; why that failed, or nothing."""
        async with self._turns[resource]:
            for old in [old for old in service.servers if old.parent == path.parent]:
                await service.servers.pop(old).stop(None)
            return await _listen(service, path)

    def repeat_any(self) -> None:
        """Send one list again as it is: the kubelet writes its checkpoint anew, all of it, upon every list."""
        self._order(self._repeat_any)

    def _repeat_any(self) -> None:
        for service in self._services.values():
            if service.servicer.level.streams:
                service.servicer.repeat()
                return

    # --- shared hardware ----------------------------------------------------------------------------------------------

    def tenants(self) -> Mapping[str, Tenant]:
        """Claim to the id that has it (``Device.claim``)."""
        return self._tenancies.granted

    def recall(self, tenants: Mapping[str, Tenant]) -> None:
        """Before anything is registered: this process owns the node now, and these were written down by then."""
        self._order(self._tenancies.recall, tenants)

    def adopt(self, tenants: Mapping[str, Tenant]) -> None:
        """These are held, and nobody was known to have their claims."""
        self._order(self._tenancies.adopt, tenants)

    def release(self, vacant: Mapping[str, Tenant]) -> None:
        """These claims are free, unless the kubelet has named their ids meanwhile."""
        self._order(self._tenancies.release, vacant)

    # --- levels -------------------------------------------------------------------------------------------------------

    def levels(self) -> Mapping[str, Level]:
        return {resource: service.servicer.level for resource, service in self._services.copy().items()}

    def counts(self) -> Mapping[str, Counts]:
        return {resource: service.servicer.counts() for resource, service in self._services.copy().items()}

    def last_allocated(self) -> Mapping[str, float]:
        """Device id to the time of its last ``Allocate``."""
        return {
            device_id: at
            for service in self._services.copy().values()
            for device_id, at in service.servicer.last_allocated.copy().items()
        }

    def allocated_at(self) -> float:
        """When ``Allocate`` was last answered, for any resource; 0 if never."""
        return max((service.servicer.allocated_at for service in self._services.copy().values()), default=0.0)

    # --- running ------------------------------------------------------------------------------------------------------

    def call(self, function: Callable[[], Coroutine[Any, Any, Answer]], done: Callable[[Answer], None]) -> None:
        """Run another client of the kubelet on this loop; ``done`` gets its answer, on this thread."""

        async def run() -> None:
            done(await function())

        self._spawn(run)

    def _spawn(self, function: Callable[..., Coroutine[Any, Any, None]], *arguments: Any) -> None:
        self._order(lambda: self._start(function(*arguments)))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        """On the wire thread: do this beside everything else."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failure = error
            self._loop.stop()  # a bug here must not leave servers that accept and never answer

    def stop(self, timeout: float) -> None:
        """End everything: streams, servers, the loop and its thread. Blocks, at most ``timeout`` seconds."""
        self._spawn(self._stop)
        self._thread.join(timeout)

    async def _stop(self) -> None:
        await asyncio.gather(*(self._unbind(resource, service) for resource, service in self._services.items()))
        for turn in list(self._turns.values()):  # what was closed a moment ago may be giving its last answer
            async with turn:
                pass
        others = self._tasks - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._caller.close()
        self._tenancies.close()
        self._loop.stop()


async def _stop_all(service: _Service, grace: float) -> None:
    while service.servers:
        _, server = service.servers.popitem()
        await server.stop(grace)


async def _listen(service: _Service, path: Path) -> str:
    """Serve at this path too; why that failed, or nothing."""
    server = grpc.aio.server(options=_SERVER_OPTIONS)
    server.add_generic_rpc_handlers((service.servicer.handler(),))
    try:
        server.add_insecure_port(f"unix:{path}")
    except RuntimeError as error:
        return f"cannot listen at {path}: {error}"
    await server.start()
    service.servers[path] = server
    return ""
