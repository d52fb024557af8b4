"""The device-plugins directory in use: wait to own it, bind in it, keep everything registered, and begin again when it is replaced."""

import time
from pathlib import Path

import trio

from supervisor.errors import NodeError
from supervisor.events import DirectoryReplaced, KubeletAwaited, Observer, OwnershipChanged
from supervisor.kubelet.registrar import Registrar
from supervisor.kubelet.sockets import ProcessDirectory, accepts, private_sockets
from supervisor.kubelet.wire import Wire
from supervisor.ownership import Ownership
from supervisor.wakeup import WakeUp

ABSENT_POLL = 0.5
"""Seconds between looks for a directory that does not exist: there is nothing to watch yet."""
REMOVAL_POLL = 0.05
REMOVAL_POLLS = 20
"""So often a directory may vanish while ours is made in it."""
PREDECESSOR_POLL = 0.001
PREDECESSOR_PATIENCE = 5.0
"""Seconds that a dead process's sockets may still accept; after that something foreign listens there."""


class Node:
    """One directory path. ``owned`` is the lock that was opened first thing in the process, if it could be."""

    def __init__(self, directory: Path, owned: Ownership | None, wire: Wire, wake: WakeUp, observe: Observer) -> None:
        self._directory = directory
        self._ownership = owned
        self._wire = wire
        self._wake = wake
        self._observe = observe
        self.registrar: Registrar | None = None
        self.active_since: float | None = None
        """When this process became the owner; ``None`` while it stands by."""

    def owns(self) -> bool:
        """Whether this process owns the directory that is at the path right now. For any thread."""
        ownership = self._ownership
        return self.active_since is not None and ownership is not None and ownership.holds()

    async def run(self) -> None:
        """Until cancelled. Raises ``NodeError`` when only a person, or a new container, can help."""
        while True:
            own = await self._own_directory()
            try:
                await self._serve(own)
            finally:
                for resource in self._wire.levels():
                    self._wire.unbind(resource)
                own.remove()
            self._ownership = self.active_since = None
            self._observe(DirectoryReplaced(str(self._directory)))

    async def _own_directory(self) -> ProcessDirectory:
        """Raises ``NodeError``, but not because the directory is being removed right now: then the next one is waited for."""
        for _ in range(REMOVAL_POLLS):
            await self._directory_exists()
            try:
                return ProcessDirectory.create(self._directory)
            except NodeError as error:
                if not isinstance(error.__cause__, FileNotFoundError):
                    raise
            await trio.sleep(REMOVAL_POLL)
        return ProcessDirectory.create(self._directory)

    async def _directory_exists(self) -> None:
        if self._directory.is_dir():
            return
        self._observe(KubeletAwaited(f"{self._directory} does not exist: no kubelet has run here"))
        while not self._directory.is_dir():  # noqa: ASYNC110  # nothing that could tell is there yet
            await trio.sleep(ABSENT_POLL)

    async def _serve(self, own: ProcessDirectory) -> None:
        self.registrar = Registrar(self._wire, own, self._wake, self._observe)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._become_owner, own, self.registrar)
            await self.registrar.run()
            nursery.cancel_scope.cancel()

    async def _become_owner(self, own: ProcessDirectory, registrar: Registrar) -> None:
        await self._take_lock()
        for dead in own.predecessors():
            await self._outlive(dead)
            own.sweep(dead)
        registrar.active = True
        self.active_since = time.monotonic()
        self._observe(OwnershipChanged(active=True, reason="this process owns the device-plugins directory"))
        self._wake.set()

    async def _take_lock(self) -> None:
        while True:
            if self._ownership is None:
                self._ownership = Ownership.open(self._directory)
            if self._ownership is None:
                await trio.sleep(ABSENT_POLL)  # the directory has gone: the registrar notices, and we are cancelled
                continue
            if self._ownership.try_take():
                return
            self._observe(
                OwnershipChanged(active=False, reason="another process owns the device-plugins directory; standing by")
            )
            # One blocked thread, which ends with the process: a cancelled wait must not let go of what it may just have got.
            if await trio.to_thread.run_sync(self._ownership.take, abandon_on_cancel=True):
                return
            self._ownership = None

    async def _outlive(self, dead: Path) -> None:
        """Wait until nobody listens at a dead process's sockets: its lock falls a moment before or after them."""
        with trio.move_on_after(PREDECESSOR_PATIENCE):
            for path in private_sockets(dead):
                while accepts(path):  # noqa: ASYNC110  # no event tells of another process's last breath
                    await trio.sleep(PREDECESSOR_POLL)
