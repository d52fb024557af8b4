"""The events of all GPUs, from one event set that one thread waits for.

The wait is cut into slices, so that whoever runs it can show that it still turns. It heals by itself: GPUs that come are added, one
that is lost is left out, and after an error there is a pause that doubles.
"""

import contextlib
import ctypes
import time
from typing import Any, NamedTuple

from supervisor_nvidia_gpu.nvml.asking import Asking
from supervisor_nvidia_gpu.nvml.binding import pynvml
from supervisor_nvidia_gpu.nvml.errors import Unusable, check, meaning
from supervisor_nvidia_gpu.nvml.mig import mig_uuids
from supervisor_nvidia_gpu.report import GpuEvent

SLICE = 0.5
"""Seconds that one wait lasts at most."""
RECOUNT = 2.0
"""Seconds between looks at which GPUs and MIG devices there are."""
BATCH = 256
"""Events that are handed over at once, at most."""
LONGEST_PAUSE = 30.0
MOST_FAILURES = 7
"""In a row; then the process is of no use any more."""
_TOLD_AGAIN = 60.0
"""Seconds until the same failure is told again, if it came back in between."""

_KINDS = {
    pynvml.nvmlEventTypeXidCriticalError: "xid",
    pynvml.nvmlEventMigConfigChange: "mig-changed",
    pynvml.nvmlEventTypeGpuUnavailableError: "unavailable",
    pynvml.nvmlEventTypeGpuRecoveryAction: "recovery-action",
}
_XID = pynvml.nvmlEventTypeXidCriticalError
_WANTED = sum(_KINDS)
_ANY_INSTANCE = 0xFFFF_FFFF


class _Gpu(NamedTuple):
    """A GPU that answers and reports XIDs."""

    handle: Any
    kinds: int
    """Of events that it supports."""
    mig: tuple[str, ...]


class _Armed:
    """One event set, and the GPUs registered with it."""

    def __init__(self, gpus: dict[str, _Gpu], left_out: frozenset[str]) -> None:
        """Raises ``pynvml.NVMLError``; ``gpus`` is by UUID."""
        self.left_out = set(left_out)
        """GPUs that refused to be registered."""
        self.uuids: dict[int | None, str] = {}
        """By address of the handle."""
        self.set = pynvml.nvmlEventSetCreate()
        for uuid, gpu in gpus.items():
            if uuid not in self.left_out:
                self._register(uuid, gpu.handle, gpu.kinds)

    def _register(self, uuid: str, handle: Any, kinds: int) -> None:
        for wanted in dict.fromkeys((_WANTED & kinds, _XID)):  # where the newer kinds are not allowed, the old one may be
            ask = Asking()
            ask(pynvml.nvmlDeviceRegisterEvents, handle, wanted, self.set)
            if ask.code == pynvml.NVML_SUCCESS:
                self.uuids[_address(handle)] = uuid
                return
        self.left_out.add(uuid)

    def wait(self, seconds: float) -> Any:
        """The next event, ``None`` when none came. Raises ``pynvml.NVMLError``."""
        try:
            return pynvml.nvmlEventSetWait_v2(self.set, int(1000 * seconds))
        except pynvml.NVMLError as error:
            if error.value == pynvml.NVML_ERROR_TIMEOUT:
                return None
            raise

    def pending(self) -> list[Any]:
        """What is there already, as far as it can be had."""
        events: list[Any] = []
        with contextlib.suppress(pynvml.NVMLError):  # the next wait meets it again
            while len(events) < BATCH and (event := self.wait(0)) is not None:
                events.append(event)
        return events

    def free(self) -> None:
        """The set cannot be used any more."""
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlEventSetFree(self.set)


class Listener:
    """Used by one thread: ``next`` again and again, then ``close``."""

    def __init__(self) -> None:
        self._armed: _Armed | None = None
        self._gpus: dict[str, _Gpu] | None = None
        """At the last count."""
        self._recount_at = 0.0
        self._failures = 0
        self._again_at = 0.0
        self._told_at = float("-inf")

    def next(self) -> tuple[GpuEvent, ...]:
        """What happened, after ``SLICE`` seconds at most; mostly nothing. Raises ``Unusable``."""
        now = time.monotonic()
        if now < self._again_at:
            time.sleep(min(SLICE, self._again_at - now))
            return ()
        try:
            events = (now >= self._recount_at and self._recount(now)) or self._wait(SLICE)
        except pynvml.NVMLError as error:
            return self._failed(int(error.value))
        self._failures = 0
        return tuple(events)

    def close(self) -> None:
        if self._armed is not None:
            self._armed.free()
        self._armed = None

    def _wait(self, seconds: float) -> list[GpuEvent]:
        armed = self._armed
        if armed is None or not armed.uuids:
            time.sleep(seconds)  # waiting for nobody is an error to some drivers
            return []
        first = armed.wait(seconds)
        return self._told(armed, [first, *armed.pending()]) if first is not None else []

    def _recount(self, now: float) -> list[GpuEvent]:
        """Register those GPUs that there are now, if they are not those of before; what that means for the reader.

        The new set is armed before the old one is emptied: an event may come twice then, but none is lost.
        """
        gpus, before = _gpus(), self._armed
        self._recount_at = now + RECOUNT
        if before is None or self._gpus is None or gpus.keys() != self._gpus.keys():
            self._armed = _Armed(gpus, frozenset(before.left_out & gpus.keys() if before else ()))
        events = self._changed(gpus, now)
        self._gpus = gpus
        if before is not None and before is not self._armed:
            events += self._told(before, before.pending())
            before.free()
        return events

    def _changed(self, gpus: dict[str, _Gpu], now: float) -> list[GpuEvent]:
        """What is new since the last time."""
        before = self._gpus
        if before is None:
            return []
        kept = gpus.keys() & before.keys()
        events = [GpuEvent("mig-changed", uuid, now) for uuid in kept if gpus[uuid].mig != before[uuid].mig]
        gone = before.keys() - gpus.keys()
        events += [GpuEvent("unavailable", uuid, now, detail="it does not answer any more") for uuid in gone]
        return events + ([GpuEvent("changed", at=now)] if gpus.keys() != before.keys() else [])

    def _failed(self, code: int) -> tuple[GpuEvent, ...]:
        """Arm again, at once after the first error in a row, then after a pause. Raises ``Unusable``."""
        check(code)
        now = time.monotonic()
        self._failures += 1
        why = f"waiting for events failed: {meaning(code)}"
        if self._failures >= MOST_FAILURES:
            raise Unusable(f"{why}; {self._failures} times in a row")
        events = self._told(self._armed, self._armed.pending()) if self._armed else []
        self.close()
        self._recount_at = 0.0
        self._again_at = now + (min(2.0 ** (self._failures - 2), LONGEST_PAUSE) if self._failures > 1 else 0.0)
        if now >= self._told_at + _TOLD_AGAIN:
            self._told_at = now
            events.append(GpuEvent("lost", at=now, detail=why))
        return tuple(events)

    @staticmethod
    def _told(armed: _Armed, events: list[Any]) -> list[GpuEvent]:
        now = time.monotonic()
        return [_told(event, armed, now) for event in events if event.eventType in _KINDS]


def _told(event: Any, armed: _Armed, now: float) -> GpuEvent:
    kind, data = _KINDS[event.eventType], int(event.eventData)
    return GpuEvent(
        kind=kind,
        uuid=_uuid(event.device, armed),
        at=now,
        xid=data if kind == "xid" else 0,
        gpu_instance=_instance(event.gpuInstanceId),
        compute_instance=_instance(event.computeInstanceId),
        detail=f"action {data}" if kind == "recovery-action" else "",
    )


def _uuid(handle: Any, armed: _Armed) -> str:
    """Of the GPU that the event names; empty where it names none that can be known."""
    known = armed.uuids.get(_address(handle))
    return known or str(Asking()(pynvml.nvmlDeviceGetUUID, handle) or "") if handle else ""


def _address(handle: Any) -> int | None:
    return ctypes.cast(handle, ctypes.c_void_p).value


def _instance(number: int) -> int | None:
    return None if number == _ANY_INSTANCE else int(number)


def _gpus() -> dict[str, _Gpu]:
    """By UUID. Raises ``pynvml.NVMLError`` and ``Unusable``."""
    gpus = {}
    for index in range(pynvml.nvmlDeviceGetCount()):
        ask = Asking()
        handle = ask.must(pynvml.nvmlDeviceGetHandleByIndex, index)
        uuid = ask.must(pynvml.nvmlDeviceGetUUID, handle)
        kinds = ask(pynvml.nvmlDeviceGetSupportedEventTypes, handle) or 0
        if uuid and kinds & _XID:
            mig = mig_uuids(handle, ask)  # a change of these has an event with the newest drivers only
            if not ask.problem:
                gpus[str(uuid)] = _Gpu(handle, int(kinds), mig)
    return gpus
