"""What the kernel tells of a process: memory, threads, descriptors, CPU time and wake-ups, all of them summed over its threads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Usage:
    """One process at one moment."""

    rss: float
    """MB of 1024² bytes (`VmRSS`)."""
    threads: int
    descriptors: int
    cpu: float
    """Seconds on a CPU since the start (`schedstat`, in nanoseconds; `stat` counts in steps of 10 ms)."""
    wakeups: int
    """Voluntary context switches since the start: each is a wait, and so a wake-up."""


def usage(pid: int) -> Usage:
    """Look at a process. Raises FileNotFoundError when it has ended."""
    process = Path("/proc") / str(pid)
    status = _status(process)
    tasks = list((process / "task").iterdir())
    return Usage(
        rss=int(status["VmRSS"].split()[0]) / 1024,
        threads=int(status["Threads"]),
        descriptors=len(list((process / "fd").iterdir())),
        cpu=sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9,
        wakeups=sum(int(_status(task)["voluntary_ctxt_switches"]) for task in tasks),
    )


def _status(directory: Path) -> dict[str, str]:
    lines = (directory / "status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
