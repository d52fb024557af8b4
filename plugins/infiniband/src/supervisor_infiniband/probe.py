"""The plugin's side of the border to sysfs: looks, and what has changed between them."""

import math
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from pathlib import Path

from msgspec import structs

from supervisor import Border, BorderFailed, Host
from supervisor_infiniband.config import InfinibandConfig
from supervisor_infiniband.report import Change, Poll, RdmaDevice, Report
from supervisor_infiniband.sysfs.messages import NO_MODULE, PROGRAM, Compare, Compared, Look, Options, Seen, Told, Watch

FOLLOWING = 5.0
"""Seconds for which ports may be followed without a look: what else there is may change without a trace in names and inodes."""
_MOST_TOLD = 256
"""Polls with changes that may come while one look is on its way."""


class Probe:
    """``look`` in one thread, ``events`` in another."""

    def __init__(self, host: Host, config: InfinibandConfig, *, simulated: str = "", deadline: float = 4.0) -> None:
        """Starts nothing. ``simulated``: the layout's name where the tree is none of this machine. ``deadline``: seconds for one look;
        a process that takes longer is replaced.
        """
        self._deadline = deadline
        self._classes = Path(host.sysfs, "class")
        self._watch = Watch(config.poll, config.counters)
        rtnetlink = config.rtnetlink and not simulated
        options = Options(host.sysfs, host.dev, hw_counters=config.hw_counters, simulated=simulated, rtnetlink=rtnetlink)
        self._border = Border(PROGRAM, host, options, helped=False)
        self._lock = threading.Lock()
        self._seen: Seen | None = None
        self._told: deque[Told] = deque(maxlen=_MOST_TOLD)
        """What may be newer than the newest look, or one that is on its way."""
        self._following = math.inf
        """Since when ports have been followed without a look."""

    @property
    def where(self) -> str:
        """Where the process runs, or would."""
        return self._border.where

    @property
    def restarts(self) -> int:
        """How often another process took the place of one that had ended."""
        return self._border.restarts

    def look(self) -> Report:
        """One look, within twice the deadline; on a machine without RDMA, which most are, no process is started for it.

        Raises ``BorderFailed`` when two processes in a row have none; that is not the same as a machine without devices.
        """
        if self._has_none:
            return Report(notices=(NO_MODULE,))
        try:
            seen = self._ask()
        except BorderFailed:
            seen = self._ask()
        with self._lock:
            self._seen, self._following = seen, math.inf
            newer = [told for told in self._told if told.after >= seen.number]
            self._told = deque(newer, _MOST_TOLD)
        return changed(seen.report, (change for told in newer for change in told.poll.changes))

    def follow(self) -> Report | None:
        """The newest look with what was told of ports since then: no device is read again. ``None`` where only a look can tell.

        Within a quarter of the deadline, so that there is time for the look that comes then.
        """
        with self._lock:
            seen, told = self._seen, tuple(self._told)
        self._following = min(self._following, now := time.monotonic())
        if seen is None or len(told) == _MOST_TOLD or now - self._following > FOLLOWING:
            return None
        try:
            same = self._border.ask(Compare(seen.number), Compared, now + self._deadline / 4).same
        except BorderFailed:
            return None  # the look that comes instead starts another process
        return changed(seen.report, (change for each in told for change in each.poll.changes)) if same else None

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
        """Whether the kernel knows of no RDMA device, as far as can be seen: without a sysfs it cannot."""
        return self._classes.is_dir() and not (self._classes / "infiniband").exists()

    def _ask(self) -> Seen:
        return self._border.ask(Look(), Seen, time.monotonic() + self._deadline)

    def _newer(self, told: Told) -> Poll:
        """What is left of a poll when that is dropped which a newer look knows better."""
        with self._lock:
            if self._seen is None or told.after >= self._seen.number:
                if told.poll.changes:
                    self._told.append(structs.replace(told, poll=Poll(told.poll.changes)))
                return told.poll
        return Poll(counters=told.poll.counters)


def changed(report: Report, changes: Iterable[Change]) -> Report:
    """The report as it is after these."""
    devices = {device.id: device for device in report.devices}
    for change in changes:
        if change.device in devices:
            devices[change.device] = _changed(devices[change.device], change)
    return structs.replace(report, devices=tuple(devices.values()))


def _changed(device: RdmaDevice, change: Change) -> RdmaDevice:
    if change.link is None:
        return structs.replace(device, unresponsive=True)
    ports = tuple(structs.replace(port, link=change.link) if port.number == change.port else port for port in device.ports)
    return structs.replace(device, ports=ports)
