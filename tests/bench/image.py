"""The image: how large it is, how soon its container serves, and the memory that it takes there."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from tests.bench import procfs
from tests.bench.figures import Row
from tests.bench.lab import Lab, last_list
from tests.deploy.image import BASE, IMAGE, built
from tests.deploy.pod import Place
from tests.machine import TOOLS, found

NEEDS = ("root", "namespaces", "buildah", "podman", "crun", "index", "kustomize")


def image(lab: Lab, rounds: int) -> Iterator[Row]:
    """Nothing where the machine lacks what it needs, which is told."""
    missing = [f"{name} ({TOOLS[name].remedy})" for name in NEEDS if not found(name)]
    if missing:
        sys.stderr.write(f"  not measured, for want of {', '.join(missing)}\n")
        return
    starts, sizes = [], []
    store = built(lab.new_folder())
    megabytes = (store.inspect(IMAGE)["Size"] - store.inspect(BASE)["Size"]) / 1e6
    yield Row("the image beyond its base", "MB", [megabytes], at_most=90)
    for _ in range(rounds):
        with lab.kubelet() as kubelet:
            place = Place(kubelet, lab.new_folder())
            names = [resource["name"] for resource in place.config["plugins"]["generic"]["resources"]]
            with place.running(store) as container:
                starts.append((last_list(kubelet, names, 0) - container.started_ns) / 1e6)
                container.get("/metrics")
                sizes.append(procfs.usage(container.pid).rss)
    yield Row("its container, from podman's start to the last list", "ms", starts, at_most=1000)
    yield Row("RSS of the supervisor in it", "MB", sizes, at_most=64)
