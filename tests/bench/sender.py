"""Sends uevents inside a bed and tells when: `python -m tests.bench.sender`.

Each line of its input is one event, as JSON. The answer is the time just before it was sent, in nanoseconds of CLOCK_MONOTONIC.
"""

import json
import sys
import time

from tests.bed import inject


def main() -> None:
    """Send events until the input ends."""
    for line in sys.stdin:
        event = json.loads(line)
        began = time.monotonic_ns()
        inject.kernel(event["action"], event["devpath"], event["subsystem"])
        print(began, flush=True)


if __name__ == "__main__":
    main()
