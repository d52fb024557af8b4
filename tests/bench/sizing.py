"""What a node has to set aside: `python -m tests.bench.sizing [--seconds N] [--write FILE]` prints the table of deploy/README.md.

Supervisors of several sizes run beside each other against simulated kubelets, scraped as Prometheus does it. Resident memory and CPU
are the kernel's account of each process. Devices are replicas of the generic plugin's: their list is as long as that of others, while
a look at as many real nodes takes longer.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bench.blocks import filled
from tests.bench.lab import Lab, Supervisor

SIZES = ((1, 1), (3, 8), (8, 100), (32, 8), (32, 1_000), (1, 10_000))
"""Resources, and devices of each."""
SCRAPE = 15.0
"""Seconds between two scrapes of one process."""
SETTLED = 10.0
"""Seconds after the first scrape until nothing is left of the start."""
MILLI = 1_000
BLOCK = "sizing"


def main() -> None:
    """Print the table, or put it into a file's marked block."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.sizing", description="Measure what a supervisor needs.")
    parser.add_argument("--seconds", type=float, default=120.0, help="how long CPU time is counted (%(default)s)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="replace the marked block of this file")
    options = parser.parse_args()
    with Lab() as lab:
        lab.warm_up()
        text = table(measure(lab, options.seconds))
    if options.write:
        options.write.write_text(filled(options.write.read_text(), BLOCK, text))
    print(text)


def measure(lab: Lab, seconds: float) -> list[tuple[float, float]]:
    """Resident memory in MiB and CPU in thousandths of one, for each of ``SIZES``; all of them run at the same time."""
    with contextlib.ExitStack() as running:
        processes = []
        for resources, devices in SIZES:
            kubelet = running.enter_context(lab.kubelet())
            processes.append(running.enter_context(lab.supervisor(kubelet, resources, replicas=devices)))
            processes[-1].lists()
            processes[-1].scrape()
        time.sleep(SETTLED)
        before = [_cpu(process.pid) for process in processes]
        _scrape(processes, seconds)
        return [
            (process.usage().rss, (_cpu(process.pid) - cpu) / seconds * MILLI)
            for process, cpu in zip(processes, before, strict=True)
        ]


def _cpu(pid: int) -> float:
    """Seconds on a CPU, those of threads that have ended too, in steps of 10 ms (field 14 and 15 of `stat`)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _scrape(processes: Sequence[Supervisor], seconds: float) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        for process in processes:
            process.scrape()
        time.sleep(min(SCRAPE, left))


def table(figures: Sequence[tuple[float, float]]) -> str:
    """The figures as Markdown."""
    rows = [
        f"| {resources} | {devices:,} | {rss:.0f} MiB | {cpu:.1f} m |"
        for (resources, devices), (rss, cpu) in zip(SIZES, figures, strict=True)
    ]
    head = f"| resources | devices of each | resident memory | CPU, scraped every {SCRAPE:g} s |"
    return "\n".join((head, "| --- | --- | --- | --- |", *rows, ""))


if __name__ == "__main__":
    main()
