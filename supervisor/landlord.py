"""Sees to it that who has shared hardware is remembered, known to all lists, and forgotten when its pod has gone.

Who gets it is decided on the wire thread (``supervisor.tenancy``); this is the policy around that, in the supervising thread.
"""

import time
from collections.abc import Callable

from supervisor.kubelet.wire import Wire
from supervisor.ledger import Reading
from supervisor.offers import Offers
from supervisor.tenancy_file import TenancyFile
from supervisor.tombstones import Tombstones
from supervisor.vacancy import Vacancies, found_held
from supervisor.wakeup import WakeUp

RECENT = 10.0
"""Seconds for which a reading tells who holds what: a process that has stood by for long must read again."""


class Landlord:
    """One for the process. ``news`` is set by the wire thread when somebody else may have shared hardware."""

    def __init__(self, file: TenancyFile, wire: Wire, offers: Offers, tombstones: Tombstones, news: WakeUp) -> None:
        self._file = file
        self._wire = wire
        self._offers = offers
        self._tombstones = tombstones
        self._news = news
        self._owner = False
        self._vacancies = Vacancies()

    @property
    def waiting(self) -> bool:
        """Whether there is a tenant whose end only the ledger can tell."""
        return self._owner and bool(self._wire.tenants())

    def own(self) -> None:
        """This process owns the node now and has registered nothing yet: go on where its predecessor ended."""
        self._owner = True
        tenants = self._file.read(time.monotonic())
        self._wire.recall(tenants)
        self._offers.tenants_changed({**self._wire.tenants(), **tenants})  # the very first list says it

    def disown(self) -> None:
        """This process does not own the node."""
        self._owner = False

    def adopt(self, reading: Reading) -> None:
        """Give the hardware of ids that are held, and that nobody was known to have, to them."""
        if self._owner and reading.at > time.monotonic() - RECENT:
            inventories = (inventory for inventory in self._offers.resources.values() if inventory is not None)
            if held := found_held(reading, inventories, self._wire.tenants()):
                self._wire.adopt(held)

    def observe_reading(self, reading: Reading, started: float) -> bool:
        """Let go of what is free. ``started``: the later of the kubelet's start and of this process's promotion.

        Answers whether the kubelet is to write its checkpoint anew (``Found.stale``).
        """
        tenants, limit = self._wire.tenants(), self._tombstones.unread_limit
        found = self._vacancies.observe_reading(reading, time.monotonic(), started, tenants, limit)
        if found.vacant:
            self._wire.release(found.vacant)
        return found.stale

    async def run(self, changed: Callable[[], None]) -> None:
        """Withdraw from the lists what others have, and bring it back; ``changed`` is called after each such change."""
        while True:
            await self._news.wait()
            if self._offers.tenants_changed(self._wire.tenants()):
                changed()
