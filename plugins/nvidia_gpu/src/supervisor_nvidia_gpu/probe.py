"""The plugin's side of the NVML border: a report whatever happens over there, and the events while it lives."""

import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TypeVar

from msgspec import structs

from supervisor import Bell, Border, BorderFailed, Host
from supervisor_nvidia_gpu import procfs
from supervisor_nvidia_gpu.nvml.messages import PROGRAM, Look, Options, Seen, Watch
from supervisor_nvidia_gpu.report import Evidence, Gpu, GpuEvent, Report

Value = TypeVar("Value")

START = 5.0
"""Seconds until a new process has to listen."""
LONGEST_START = 120.0
"""Seconds that NVML may take to wake up all GPUs in a new process."""
_KERNEL = 1.0
"""Seconds for procfs, which asks the driver, too."""
_LONGEST_PAUSE = 30.0


class Probe:
    """``look`` in one thread, ``events`` in another."""

    def __init__(
        self, host: Host, *, mount: str = "", root: str | None = None, usage: bool = False, deadline: float = 4.0
    ) -> None:
        """Starts nothing. ``mount`` and ``root``: where this process sees the host's root (empty: by convention), and the driver's
        root there (``None``: the usual ones). ``deadline``: seconds for one look; a process that takes longer is replaced.
        """
        self._host = host
        self._usage = usage
        self._deadline = deadline
        self._border = Border(PROGRAM, host, Options(mount, root, host.proc))
        self._aside = _Aside()
        self._bell = Bell()
        self._last = Report()
        """The last one from NVML."""
        self._good: int | None = None
        """The process that made it."""
        self._why = ""
        """Why the last look had nothing from NVML."""
        self._gone = False
        """Whether there is no driver, by what NVML's process said last."""
        self._strange: frozenset[str] = frozenset()
        """GPUs of the kernel that NVML did not see, even in a new process."""
        self._procfs_tells = False
        """Whether the kernel ever named a GPU that NVML knew. Where it never does, its silence means nothing."""
        self.restarts = 0
        """How often another process took the place of one that had worked."""

    @property
    def where(self) -> str:
        """Where the process runs, or would: ``child of this process`` or ``helper at PATH``."""
        return self._border.where

    def look(self) -> Report:
        """One look, within the deadlines. Without NVML it is what is known otherwise (``source`` is ``procfs``), and why."""
        try:
            seen = self._nvml()
        except BorderFailed as error:
            why = str(error)  # until it is started again, this is the old reason and how long that will take
            seen = Seen(why=self._why if self._why and self._why in why else why, gone=self._gone)
        self._gone, self._why = seen.gone, seen.why
        if seen.report is None:
            return self._without(seen)
        report = structs.replace(seen.report, driver_load=procfs.driver_load(self._host.sysfs))
        if any(gpu.problem for gpu in report.gpus):
            kernel = self._kernel().gpus
            held = {gpu.pci for gpu in kernel}
            report = procfs.complete(report, [*kernel, *(gpu for gpu in self._last.gpus if gpu.pci in held or not held)])
        self._last = _same_where_equal(report, self._last)
        return self._last

    async def events(self) -> AsyncIterator[GpuEvent]:
        """Events as they come, for ever. Each asks for a look. While no process listens that did before, ``changed`` comes now and then,
        since a look is what starts the next one.
        """
        import trio  # not at the top: looks need none

        pause = 1.0
        while True:
            rings = self._bell.rings
            if (pid := self._border.pid) is None:
                if await self._bell.wait(rings, pause if self._good is not None else None):
                    continue
                yield GpuEvent("changed", at=time.monotonic(), detail="NVML is to be started again")
                pause = min(2 * pause, _LONGEST_PAUSE)
                continue
            last = GpuEvent("lost", detail="its stream of events has ended")
            try:
                with self._border.connect(Watch(), tuple[GpuEvent, ...]) as stream:
                    async for some in stream:
                        pause = 1.0
                        for last in some:
                            yield last
            except BorderFailed as error:
                last = GpuEvent("ended", detail=str(error))
            if self._border.pid == pid:
                self._border.restart(last.detail or "its stream of events has ended")
            if pid != self._good:
                await trio.sleep(pause)  # it never worked: the next look tries again
            elif last.kind != "lost":
                yield GpuEvent("lost", at=time.monotonic(), detail=last.detail)

    def close(self) -> None:
        """End the process for good."""
        self._border.close()

    def _nvml(self) -> Seen:
        """What NVML's process says. Raises ``BorderFailed``."""
        seen = self._ask()
        if seen.report is None and seen.starting is None and self._border.pid == self._good:
            self._border.restart(seen.why)  # it worked before: the driver was replaced, and a new process may fit the new one
            seen = self._ask()
        if seen.starting is not None:
            if seen.starting > LONGEST_START:
                self._border.restart(f"NVML did not start within {LONGEST_START:.0f} s")
            return Seen(why="NVML is starting; with persistence mode that is quick")
        if seen.report is None:
            self._border.restart(seen.why)
        elif self._is_stale(seen.report):
            self._border.restart("the driver has GPUs that it does not see")
            with contextlib.suppress(BorderFailed):
                again = self._ask()
                return seen if again.report is None else again
        return seen

    def _ask(self) -> Seen:
        self._border.open(time.monotonic() + START)
        self._bell.ring()
        request = Look(self._usage, patience=self._deadline / 2)
        seen = self._border.ask(request, Seen, time.monotonic() + self._deadline)
        if seen.report is not None and (pid := self._border.pid) not in {self._good, None}:
            self.restarts += self._good is not None
            self._good = pid
        return seen

    def _is_stale(self, report: Report) -> bool:
        """Whether the kernel holds GPUs that came after NVML had counted them; only once for the same ones."""
        nothing: list[str] = []
        kernel = frozenset(self._aside(lambda: procfs.addresses(self._host.proc), _KERNEL, nothing))
        known = {gpu.pci for gpu in report.gpus}
        self._procfs_tells = self._procfs_tells or not kernel.isdisjoint(known)
        strange = kernel - known
        if "" in known or strange <= self._strange:
            return False
        self._strange = strange
        return True

    def _kernel(self) -> Report:
        """What the kernel knows; in a driver that hangs, not even that."""
        silent = Report(source="procfs", waiting_for="the NVIDIA driver does not answer the kernel's own questions")
        return self._aside(lambda: procfs.look(self._host.proc, self._host.sysfs), _KERNEL, silent)

    def _without(self, seen: Seen) -> Report:
        """The GPUs as they were when NVML last told, those of the kernel where it never did, none where there is no driver."""
        kernel = self._kernel()
        silent = not kernel.gpus
        if silent and (seen.gone or self._procfs_tells or not self._last.gpus):
            why = seen.why if seen.gone or seen.why in kernel.waiting_for else f"{kernel.waiting_for} ({seen.why})"
            return structs.replace(kernel, waiting_for=why)
        gpus = _remembered(self._last.gpus, self._last.gpus if silent else kernel.gpus)
        same = len(gpus) == len(self._last.gpus)
        return structs.replace(
            kernel,
            gpus=gpus,
            links=self._last.links if same else (),
            ancestors=self._last.ancestors if same else (),
            waiting_for="",
            notices=(seen.why,),
        )


def _remembered(last: Sequence[Gpu], kernel: Sequence[Gpu]) -> tuple[Gpu, ...]:
    """What NVML had told of those that the kernel still holds, without what may have changed since; then the new ones."""
    held, known = {gpu.pci for gpu in kernel}, {gpu.pci for gpu in last}
    old = tuple(
        structs.replace(
            gpu,
            evidence=Evidence(),
            usage=None,
            events=False,
            problem=gpu.problem if gpu.pci in held else "the NVIDIA driver does not hold it any more",
        )
        for gpu in last
    )
    return old + tuple(gpu for gpu in kernel if gpu.pci not in known)


def _same_where_equal(report: Report, last: Report) -> Report:
    """The report, made of the objects of the last one where they are equal, so that what is made of them need not be made again."""
    if report == last:
        return last
    return structs.replace(
        report,
        links=last.links if report.links == last.links else report.links,
        ancestors=last.ancestors if report.ancestors == last.ancestors else report.ancestors,
    )


class _Aside:
    """Calls functions that may hang in the kernel, in a thread that is left behind then; one at a time."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def __call__(self, function: Callable[[], Value], seconds: float, otherwise: Value) -> Value:
        """What it returns; ``otherwise`` when it takes longer, or an earlier one still hangs."""
        if self._thread is not None and self._thread.is_alive():
            return otherwise
        answers: list[Value] = []
        self._thread = threading.Thread(target=lambda: answers.append(function()), name="NVIDIA procfs", daemon=True)
        self._thread.start()
        self._thread.join(seconds)
        return answers[0] if answers else otherwise
