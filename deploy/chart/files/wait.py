# ruff: noqa: INP001, T201 - a program that a ConfigMap carries, in no package
"""Wait until the pods of a DaemonSet are ready on all nodes: ``wait.py NAMESPACE NAME SECONDS``.

It is what lets `helm uninstall` end after the clean-up, and not before. Exit code 0 when all are ready, 1 when the time is over.
Uses Python's own library alone, and the pod's service account, which must be allowed to get that DaemonSet.
"""

import json
import os
import ssl
import sys
import time
import urllib.request
from pathlib import Path

ACCOUNT = Path(os.environ.get("SERVICE_ACCOUNT", "/var/run/secrets/kubernetes.io/serviceaccount"))
PERIOD = 2.0
"""Seconds between two questions."""


def status(namespace: str, name: str) -> tuple[bool, int, int]:
    """Whether the DaemonSet's controller has seen it, on how many nodes it is ready, and on how many it should be."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    address = f"[{host}]" if ":" in host else host
    request = urllib.request.Request(
        f"https://{address}:{port}/apis/apps/v1/namespaces/{namespace}/daemonsets/{name}",
        headers={"Authorization": f"Bearer {(ACCOUNT / 'token').read_text().strip()}"},
    )
    trust = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    with urllib.request.urlopen(request, timeout=10, context=trust) as answer:  # noqa: S310 - https always
        found = json.load(answer)
    told = found.get("status", {})
    seen = told.get("observedGeneration", 0) >= found["metadata"]["generation"]
    return seen, told.get("numberReady", 0), told.get("desiredNumberScheduled", 0)


def main(namespace: str, name: str, seconds: str) -> int:
    """Ask until it is so."""
    deadline = time.monotonic() + float(seconds)
    last = "nothing is known yet"
    while True:
        try:
            seen, ready, wanted = status(namespace, name)
        except (OSError, ValueError, KeyError) as error:
            last = f"the API server was not understood: {error}"
        else:
            last = f"{ready} of {wanted} nodes are clean"
            if seen and ready >= wanted:
                print(last)
                return 0
        if time.monotonic() + PERIOD > deadline:
            print(f"{last}; the logs of the DaemonSet {namespace}/{name} say what is held by whom", file=sys.stderr)
            return 1
        time.sleep(PERIOD)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
