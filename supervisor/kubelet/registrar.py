"""The task that keeps every resource registered: it looks at directory and levels, steps the state machines, and acts."""

import contextlib
import math
import os
import random
import time
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path

import trio
from msgspec import Struct
from msgspec.structs import replace

from supervisor.errors import NodeError
from supervisor.events import (
    KubeletAwaited,
    KubeletFound,
    KubeletRestarted,
    ListRefused,
    Observer,
    Registered,
    RegistrationFailed,
    ResourceBound,
    ResourceContested,
    StreamLost,
)
from supervisor.inotify import Inotify, Mask
from supervisor.kubelet.registration import Act, Phase, Seen, State, Step, begin, step
from supervisor.kubelet.sockets import (
    KUBELET_SOCKET,
    DirectoryView,
    FileIdentity,
    ProcessDirectory,
    accepts,
    foreign_sockets,
    look_at,
)
from supervisor.kubelet.wire import Wire
from supervisor.levels import Level
from supervisor.wakeup import WakeUp

LOOK_SOON, LOOK_RARELY = 0.1, 5.0
"""Seconds between looks at the directory that no event asks for, ever slower after one: a removal's last step, a mount point and
an overflow give none."""
LOOK_OBSTRUCTED = 1.0
"""Seconds between them at most while there is no kubelet or no directory: who waits may look more often."""
REBIND = 2.0
"""Seconds until a server that could not be bound is tried again."""
CONFIRM = 0.1
"""Seconds after which a directory that was removed by path, and no mount, is no longer there at all."""
PATIENCE = 1.0
"""Seconds without a kubelet before that is told."""
PROBE_BURST = 0.05
PROBE_FAST = 0.0005
PROBE_SLOWEST = 1.0
"""After an event probe fast for a moment (a kubelet binds, and listens a little later), then ever more slowly."""

_CONNECTED = (Phase.CONNECTED, Phase.SUSPECT)


class _Binding(Struct, frozen=True):
    """That a resource was to be bound."""

    life: int
    asked_at: float
    told: bool = False


class _Settled(Struct, frozen=True):
    """What the last step of a resource saw, when it left nothing to be found out."""

    level: Level
    kubelet: FileIdentity | None
    wake_at: float

    def holds(self, level: Level, kubelet: FileIdentity | None, now: float) -> bool:
        """Whether another step could see nothing else. The wire thread replaces a level only when it differs."""
        return level is self.level and kubelet == self.kubelet and now < self.wake_at


class _Pass:
    """One pass over all resources. What it finds out is found out at most once, and only when a resource asks."""

    def __init__(self, now: float, accepting: Callable[[float], bool | None], rivals: Callable[[], bool]) -> None:
        self.now = now
        self.accepting = cache(partial(accepting, now))
        """Whether the kubelet accepts; ``None`` when it is too early to ask again."""
        self.rivals = cache(rivals)
        """Whether sockets of other plugins are in the directory."""


class Registrar:
    """One device-plugins directory. All its mutable state is here: the states, the public names, and the probe's schedule."""

    def __init__(self, wire: Wire, own: ProcessDirectory, wake: WakeUp, observe: Observer) -> None:
        self._wire = wire
        self._own = own
        self._wake = wake
        self._observe = observe
        self._directory = own.directory
        self._kubelet_path = own.directory / KUBELET_SOCKET
        self.active = False
        """Whether this process registers. A standby only binds."""
        self.states: dict[str, State] = {}
        self.view = DirectoryView()
        self.kubelet_since: float | None = None
        """When ``kubelet.sock`` was last seen to be a new one."""
        self._names: dict[str, str] = {}
        self._bindings: dict[str, _Binding] = {}
        self._refused_lists: dict[str, str] = {}
        self.obstacle = ""
        """Why no kubelet can be reached, or nothing."""
        self._told_obstacle = ""
        self._obstructed_since = 0.0
        self._event_at = 0.0
        self._probe_at = 0.0
        self._mend_at = 0.0
        self._settled: dict[str, _Settled] = {}

    async def run(self) -> None:
        """Returns when the directory at the path is another one than before; everything must then be bound again.

        Raises ``NodeError`` when the directory was removed under a mount: only a new mount can help.
        """
        self._event_at = time.monotonic()
        bound_in = look_at(self._directory).identity
        woken = False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_directory)
            while True:
                self._look()
                if self.view.unlinked:
                    await trio.sleep(CONFIRM)
                    self._look()
                if self.view.unlinked:
                    raise NodeError(
                        f"{self._directory} was removed and this mount shows the old one; restart the container to mount the new one"
                    )
                if self.view.identity != bound_in:
                    break
                began = time.monotonic()
                wake_at = self._reconcile(began)
                ended = time.monotonic()
                with trio.move_on_after(max(0.0, wake_at - ended)) as waiting:
                    if woken:  # all resources wake us at once: leave half of the time to the wire thread
                        await trio.sleep(ended - began)
                    await self._wake.wait()
                woken = not waiting.cancelled_caught
            nursery.cancel_scope.cancel()

    async def _watch_directory(self) -> None:
        mask = Mask.CREATE | Mask.MOVED_TO | Mask.DELETE | Mask.MOVED_FROM | Mask.DELETE_SELF | Mask.MOVE_SELF
        with Inotify() as inotify:
            with contextlib.suppress(OSError):  # it has gone just now; whoever looks at it sees that
                inotify.add(self._directory, mask)
            self._wake.set()  # what happened before the watch was armed
            while True:
                events = await inotify.wait()
                # The kubelet writes its checkpoint here after every list: only names that matter may wake anybody.
                if any(
                    not event.name or event.name == KUBELET_SOCKET or event.name in self._names.values() for event in events
                ):
                    self._event()

    def _event(self) -> None:
        self._event_at = self._probe_at = time.monotonic()
        self._mend_at = 0.0
        self._wake.set()

    def _look(self) -> None:
        before, self.view = self.view.kubelet, look_at(self._directory)
        if self.view.kubelet is None or self.view.kubelet == before:
            return
        if self.kubelet_since is not None:
            self._observe(KubeletRestarted())
        self.kubelet_since = self._event_at = self._probe_at = time.monotonic()

    # --- reconciling --------------------------------------------------------------------------------------------------

    def _reconcile(self, now: float) -> float:
        """Bring every resource one step further; returns when to look again at the latest."""
        levels = self._wire.levels()
        for resource in self._bindings.keys() - levels.keys():
            self._forget(resource)
        if self.active and self.view.obstacle:
            waiting = not levels or any(not level.streams for level in levels.values())
            self._tell_kubelet(self.view.obstacle if waiting else "")
        this = _Pass(now, self._probe, self._has_rivals)
        wake_at = min((self._advance(resource, level, this) for resource, level in levels.items()), default=math.inf)
        if self.active and now >= self._mend_at:
            self._mend_links(levels)
            self._mend_at = now + LOOK_RARELY
        rarely = LOOK_OBSTRUCTED if self.view.obstacle else LOOK_RARELY
        return min(now + max(LOOK_SOON, min(rarely, now - self._event_at)), wake_at)

    def _advance(self, resource: str, level: Level, this: _Pass) -> float:
        """One resource: bind and step it, unless nothing that counts has changed since the last time."""
        now = this.now
        settled = self._settled.pop(resource, None)
        if settled is not None and settled.holds(level, self.view.kubelet, now):
            self._settled[resource] = settled
            return settled.wake_at
        seen, level = level, self._here(resource, level)
        self._bind(resource, level, now)
        if not self.active:
            return math.inf
        self._tell_list(resource, level)
        result = self._step(resource, level, this, None)
        if result.act is Act.PROBE:
            accepting = this.accepting()
            if accepting is not None:
                result = self._step(resource, level, this, accepting)
            if not accepting:
                return min(self._probe_at, result.wake_at or math.inf)
        self._act(resource, result)
        wake_at = result.wake_at or math.inf
        if level.bound:
            self._settled[resource] = _Settled(seen, self.view.kubelet, wake_at)
        return wake_at

    def _step(self, resource: str, level: Level, this: _Pass, accepting: bool | None) -> Step:
        now = this.now
        state = self.states.get(resource) or begin(level, now)
        lost = not level.streams and (state.phase in _CONNECTED or level.opened > state.opened)
        seen = Seen(
            now=now,
            level=level,
            kubelet=self.view.kubelet,
            accepting=accepting,
            rivals=lost and this.rivals(),
            jitter=random.random(),  # noqa: S311  # spreads a back-off; no secret
        )
        result = step(state, seen)
        self.states[resource] = result.state
        self._tell_change(resource, state, result, now)
        return result

    def _has_rivals(self) -> bool:
        try:
            return bool(foreign_sockets(self._directory, self._names.values()))
        except OSError:
            return False

    def _probe(self, now: float) -> bool | None:
        if now < self._probe_at:
            return None
        accepting = accepts(self._kubelet_path)
        waited = now - self._event_at
        pause = PROBE_FAST if waited < PROBE_BURST else min(PROBE_SLOWEST, waited / 4)
        self._probe_at = now + pause
        self._tell_kubelet("" if accepting else f"{self._kubelet_path} refuses connections: no kubelet listens")
        return accepting

    def _act(self, resource: str, result: Step) -> None:
        if result.act is Act.END_STREAMS:
            self._wire.end_streams(resource)
        elif result.act is Act.REGISTER and self.view.kubelet is not None:
            self._register(resource, result.state.generation, self.view.kubelet)

    def _register(self, resource: str, generation: int, kubelet: FileIdentity) -> None:
        if old := self._names.pop(resource, None):
            self._own.unlink(old)
        name = self._own.link(resource)
        bind_at: Path | None = None
        if name is None:
            name = self._own.claim(resource)
            bind_at = self._directory / name
        self._names[resource] = name
        self._wire.register(resource, generation, name, self._kubelet_path, kubelet, bind_at)

    def _here(self, resource: str, level: Level) -> Level:
        """A server that listens in the directory before this one is none for us; the wire thread is still ending it."""
        return level if level.path == str(self._own.private_path(resource)) else replace(level, bound=False, bind_problem="")

    def _bind(self, resource: str, level: Level, now: float) -> None:
        """Have every service bound, and one that could not be bound tried again."""
        binding = self._bindings.get(resource)
        if binding is not None and binding.life != level.life:  # closed and opened again between two passes
            self._forget(resource)
            binding = None
        path = self._own.private_path(resource)
        if binding is None or (level.bind_problem and now >= binding.asked_at + REBIND):
            if level.bind_problem:
                self._observe(RegistrationFailed(resource, level.bind_problem, REBIND))
            self._bindings[resource] = _Binding(level.life, now)
            self._wire.bind(resource, path)
        elif level.bound and not binding.told:
            self._bindings[resource] = replace(binding, told=True)
            self._observe(ResourceBound(resource, str(path)))

    def _forget(self, resource: str) -> None:
        for known in (self._bindings, self.states, self._refused_lists, self._settled):
            known.pop(resource, None)
        if name := self._names.pop(resource, None):
            self._own.unlink(name)

    def _mend_links(self, levels: Mapping[str, Level]) -> None:
        """Somebody deleted a socket that is in use: put it back, for a kubelet that is dialling and, later, for people."""
        try:
            present = set(os.listdir(self._directory))
        except OSError:
            return  # the next look tells what has become of it
        for resource, name in self._names.items():
            in_use = levels.get(resource, Level()).streams or self.states[resource].phase is Phase.REGISTERING
            if in_use and name not in present:
                self._own.relink(resource, name)

    # --- telling ------------------------------------------------------------------------------------------------------

    def _tell_change(self, resource: str, old: State, result: Step, now: float) -> None:
        new = result.state
        if old.phase is new.phase:
            return
        if new.phase in _CONNECTED and old.phase not in _CONNECTED:
            self._observe(Registered(resource, now - (old.wanted_since or now)))
        elif new.phase is Phase.LOST and old.phase in _CONNECTED and result.act is not Act.END_STREAMS:
            self._event_at = self._probe_at = now
            self._observe(StreamLost(resource))
        elif new.phase is Phase.REFUSED:
            self._observe(RegistrationFailed(resource, new.reason, max(0.0, new.not_before - now)))
        elif new.phase is Phase.CONTESTED:
            self._observe(ResourceContested(resource, max(0.0, new.not_before - now)))

    def _tell_list(self, resource: str, level: Level) -> None:
        if level.list_problem != self._refused_lists.get(resource, ""):
            self._refused_lists[resource] = level.list_problem
            if level.list_problem:
                self._observe(ListRefused(resource, level.list_problem))

    def _tell_kubelet(self, obstacle: str) -> None:
        """Say what is waited for, once it has lasted: every restart of a kubelet has a moment without a socket."""
        now = time.monotonic()
        if not obstacle or not self.obstacle:
            self._obstructed_since = now
        self.obstacle = obstacle
        if obstacle and obstacle != self._told_obstacle and now - self._obstructed_since >= PATIENCE:
            self._observe(KubeletAwaited(obstacle))
            self._told_obstacle = obstacle
        elif not obstacle and self._told_obstacle:
            self._observe(KubeletFound())
            self._told_obstacle = ""
