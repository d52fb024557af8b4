"""Scrapes as Prometheus does, from a process of its own: `python -m tests.bench.scraper ADDRESS ACCEPT`.

Each line of its input is one order: the seconds between two scrapes, 0 for one after the other; it ends with the next line, which is
empty. The answer is one JSON list of scrapes, each its begin and its duration in nanoseconds of CLOCK_MONOTONIC, and its bytes.
"""

from __future__ import annotations

import http.client
import json
import select
import sys
import time

GZIP = {"Accept-Encoding": "gzip"}


def scrape(connection: http.client.HTTPConnection, accept: str) -> tuple[int, int, int]:
    """One page, over a connection that stays open."""
    began = time.monotonic_ns()
    connection.request("GET", "/metrics", headers={"Accept": accept, **GZIP})
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == 200, (answer.status, body)
    return began, time.monotonic_ns() - began, len(body)


def main(address: str, accept: str) -> None:
    """Take orders until the input ends."""
    orders = open(0, "rb", buffering=0)  # noqa: SIM115  # the process's own input; select must see what is left
    while line := orders.readline():
        connection = http.client.HTTPConnection(address, timeout=30)  # the server ends one that is idle for long
        every, due, taken = float(line), time.monotonic(), []
        while True:
            taken.append(scrape(connection, accept))
            due += every
            if select.select([0], [], [], max(0.0, due - time.monotonic()))[0]:
                break
        connection.close()
        orders.readline()
        print(json.dumps(taken), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
