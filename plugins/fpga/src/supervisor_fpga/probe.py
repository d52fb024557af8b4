"""The plugin's side of the border to sysfs: looks, and what has changed between them."""

import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing

from msgspec import structs

from supervisor import Border, BorderFailed, Host, HostView
from supervisor_fpga.config import FpgaConfig
from supervisor_fpga.report import Change, Poll, Report
from supervisor_fpga.sysfs.messages import NO_DRIVER, PROGRAM, Look, Options, Seen, Told, Watch
from supervisor_fpga.sysfs.presence import may_have_some, unbound

_MOST_TOLD = 256
"""Polls with changes that may come while one look is on its way."""


class Probe:
    """``look`` in one thread, ``events`` in another."""

    def __init__(self, host: Host, config: FpgaConfig, *, simulated: str = "", deadline: float = 4.0) -> None:
        """Starts nothing. ``simulated``: the layout's name where the tree is none of this machine. ``deadline``: seconds for one look;
        a process that takes longer is replaced.
        """
        self._host = host
        self._deadline = deadline
        self._watch = Watch(config.poll)
        self._described = bool(config.vfio or config.declared)
        options = Options(host.sysfs, host.dev, vfio=config.vfio, declared=config.declared, simulated=simulated)
        self._border = Border(PROGRAM, host, options, helped=False)
        self._lock = threading.Lock()
        self._number = 0
        self._told: deque[Told] = deque(maxlen=_MOST_TOLD)
        """What may be newer than a look that is on its way."""

    @property
    def where(self) -> str:
        """Where the process runs, or would."""
        return self._border.where

    @property
    def restarts(self) -> int:
        """How often another process took the place of one that had ended."""
        return self._border.restarts

    def look(self) -> Report:
        """One look, within twice the deadline; on a machine without drivers for FPGAs, which most are, no process is started for it.

        What we have programmed ourselves is seen by a look after it: no event tells of it.
        Raises ``BorderFailed`` when two processes in a row have no report; that is not the same as a machine without FPGAs.
        """
        if self._has_none:
            return Report(notices=(NO_DRIVER,), refused=unbound(HostView(self._host)))
        try:
            seen = self._ask()
        except BorderFailed:
            seen = self._ask()
        with self._lock:
            self._number = seen.number
            newer = [told for told in self._told if told.after >= seen.number]
            self._told = deque(newer, _MOST_TOLD)
        return changed(seen.report, (change for told in newer for change in told.poll.changes))

    async def events(self) -> AsyncGenerator[Poll, None]:
        """What is newer than the newest look, as it comes, for ever. Whenever something may have been missed, that is a ``structure``
        that has changed.
        """
        async with aclosing(self._border.follow(self._watch, Told, lambda: self._has_none)) as stream:
            async for told in stream:
                if (poll := Poll(structure=True) if told is None else self._newer(told)) != Poll():
                    yield poll

    def close(self) -> None:
        """End the process for good."""
        self._border.close()

    @property
    def _has_none(self) -> bool:
        return not self._described and not may_have_some(self._host)

    def _ask(self) -> Seen:
        return self._border.ask(Look(), Seen, time.monotonic() + self._deadline)

    def _newer(self, told: Told) -> Poll:
        """What is left of a poll when that is dropped which a newer look knows better."""
        with self._lock:
            if told.after < self._number:
                return Poll()
            if told.poll.changes:
                self._told.append(told)
            return told.poll


def changed(report: Report, changes: Iterable[Change]) -> Report:
    """The report as it is after these."""
    functions = {function.id: function for function in report.functions}
    for change in changes:
        if (function := functions.get(change.function)) is not None:
            functions[function.id] = structs.replace(
                function, evidence=change.evidence, afu_id=change.afu_id, unresponsive=change.unresponsive
            )
    return structs.replace(report, functions=tuple(functions.values()))
