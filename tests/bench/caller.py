"""Calls Allocate or PreStartContainer as fast as it can, from a process of its own: `python -m tests.bench.caller`.

Each line of its input is one order, as JSON: `{"socket": …, "ids": […], "count": …, "call": …}`; without a count until the next line,
and without a call it is Allocate. The answer is one JSON list of calls, each its begin and its duration in nanoseconds of
CLOCK_MONOTONIC. A call that is refused ends the process.
"""

from __future__ import annotations

import json
import os
import select
import time
from typing import Any

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

import grpc

from supervisor.kubelet.protos import deviceplugin_pb2 as pb
from supervisor.kubelet.simulator.measure import allocate_request

WARM_UP = 50
"""Calls before the first that counts: a connection is made, and caches and the scheduler settle."""


def connect(socket: str, name: str) -> Any:
    """A callable, on a connection of its own."""
    channel = grpc.insecure_channel(f"unix:{socket}", options=[("grpc.use_local_subchannel_pool", 1)])
    return channel.unary_unary(f"/v1beta1.DevicePlugin/{name}")


def request_of(name: str, ids: list[str]) -> bytes:
    """What one container asks for, or with."""
    if name == "PreStartContainer":
        return pb.PreStartContainerRequest(devices_ids=ids).SerializeToString()
    return allocate_request(ids)


def main() -> None:
    """Take orders until the input ends."""
    calls: dict[tuple[str, str], Any] = {}
    orders = open(0, "rb", buffering=0)  # noqa: SIM115  # the process's own input; select must see what is left
    while line := orders.readline():
        order = json.loads(line)
        to = order["socket"], order.get("call", "Allocate")
        request = request_of(to[1], order["ids"])
        if to not in calls:
            calls[to] = connect(*to)
        call = calls[to]
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
