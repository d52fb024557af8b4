"""The table of benchmarks: `python -m tests.bench [--json FILE] [--only NAME ...] [--rounds N] [--quick]`.

Everything is measured against a simulated kubelet on this machine, beside `reference`: the least possible bare plugin on grpc.aio,
a process without supervisor (tests/bench/reference.py). Both are measured in turn, round after round, and a ratio is the median of
the rounds' ratios: other work on the machine disturbs absolute times, and hardly the ratios. Each cell shows the median of the
rounds, with the least and the greatest. Times are taken on CLOCK_MONOTONIC where things happen, in the sending and in the receiving
process. The simulated kubelet runs on the same CPUs and its share is part of every time; a real one is faster.

The whole takes about half an hour; --quick, one round of each, ten minutes. Each row is told as soon as it is known.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.bench import (
    answers,
    fabric,
    fpga,
    image,
    infiniband,
    lists,
    lives,
    nvidia_gpu,
    page,
    rollouts,
    scrapes,
    starts,
    upkeep,
)
from tests.bench.figures import Row, cells, table
from tests.bench.lab import Lab

Bench = Callable[[Lab, int], Iterator[Row]]

BENCHES: dict[str, Bench] = {
    "allocate": answers.allocate,
    "asleep": answers.asleep,
    "publish": lists.publish,
    "look": lists.look,
    "uevent": lists.uevent,
    "registration": lives.registration,
    "memory": upkeep.memory,
    "growth": upkeep.growth,
    "idle": upkeep.idle,
    "handover": lives.handover,
    "rollout": rollouts.rollout,
    "start": lives.start,
    "scrape": scrapes.scrape,
    "scraped": scrapes.scraped,
    "changes": scrapes.changes,
    "page": page.page,
    "gpus": nvidia_gpu.gpus,
    "xid": nvidia_gpu.xid,
    "storm": nvidia_gpu.storm,
    "hung": nvidia_gpu.hung,
    "preferred": nvidia_gpu.preferred,
    "rdma": infiniband.looks,
    "ports": infiniband.polls,
    "polling": infiniband.idle,
    "flaps": fabric.ports,
    "vfs": fabric.vfs,
    "fpgas": fpga.looks,
    "fpga-polling": fpga.idle,
    "fpga-starts": starts.starts,
    "fpga-late": starts.late,
    "image": image.image,
}
ROUNDS, QUICK_ROUNDS = 5, 1


def main() -> int:
    """Print the table; 1 when a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure, and print a table with the targets.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all values there too")
    parser.add_argument("--only", nargs="+", choices=BENCHES, default=list(BENCHES), metavar="NAME", help=", ".join(BENCHES))
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how often each is measured (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="one round of each")
    options = parser.parse_args()
    rounds = QUICK_ROUNDS if options.quick else options.rounds
    rows: list[Row] = []
    with Lab() as lab:
        lab.warm_up()
        for name in options.only:
            sys.stderr.write(f"measuring {name} …\n")
            for row in BENCHES[name](lab, rounds):
                rows.append(row)
                sys.stderr.write(f"  {' · '.join(filter(None, cells(row)))}\n")
    print(f"{machine()}\n\n{table(rows)}")
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "rows": [row.to_json() for row in rows]}, indent=2) + "\n")
    return 0 if all(row.good for row in rows) else 1


def machine() -> str:
    """What it ran on, and how busy that was."""
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    return f"{os.cpu_count()} CPUs, {platform.machine()}, Linux {platform.release()}, Python {platform.python_version()}; load {load}"


if __name__ == "__main__":
    sys.exit(main())
