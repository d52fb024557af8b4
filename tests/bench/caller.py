"""Calls Allocate as fast as it can, from a process of its own: `python -m tests.bench.caller`.

Each line of its input is one order, as JSON: `{"socket": …, "ids": […], "count": …}`, and without a count until the next line. The
answer is one JSON list of calls, each its begin and its duration in nanoseconds of CLOCK_MONOTONIC.
"""

from __future__ import annotations

import json
import os
import select
import time
from typing import Any

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

import grpc

from supervisor.kubelet.simulator.measure import allocate_request

WARM_UP = 50
"""Calls before the first that counts: a connection is made, and caches and the scheduler settle."""


def connect(socket: str) -> Any:
    """A callable for Allocate, warmed up."""
    channel = grpc.insecure_channel(f"unix:{socket}", options=[("grpc.use_local_subchannel_pool", 1)])
    return channel.unary_unary("/v1beta1.DevicePlugin/Allocate")


def main() -> None:
    """Take orders until the input ends."""
    calls: dict[str, Any] = {}
    orders = open(0, "rb", buffering=0)  # noqa: SIM115  # the process's own input; select must see what is left
    while line := orders.readline():
        order = json.loads(line)
        request = allocate_request(order["ids"])
        if order["socket"] not in calls:
            calls[order["socket"]] = connect(order["socket"])
        call = calls[order["socket"]]
        for _ in range(WARM_UP):
            call(request)
        print("warm", flush=True)
        left, taken = order.get("count"), []
        while left if left is not None else not select.select([0], [], [], 0)[0]:
            began = time.monotonic_ns()
            call(request)
            taken.append((began, time.monotonic_ns() - began))
            left = None if left is None else left - 1
        if left is None:
            orders.readline()
        print(json.dumps(taken), flush=True)


if __name__ == "__main__":
    main()
