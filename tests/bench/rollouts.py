"""Upgrades between containers under a load of pods; needs root and crun, and is left out without them."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from tests.bench.figures import Row
from tests.bench.lab import Lab
from tests.machine import TOOLS, found
from tests.system.handover_campaign import SIGNALS
from tests.system.rig import stage
from tests.system.rollout import LONGEST, MEDIAN, measured, replaced

NEEDS = ("root", "namespaces", "crun")
TIMES = 20


def rollout(lab: Lab, rounds: int) -> Iterator[Row]:
    """From the end of the first stream of the old container to the last list of the new one, three resources."""
    if missing := [name for name in NEEDS if not found(name)]:
        sys.stderr.write(f"  left out: needs {'; '.join(TOOLS[name].remedy for name in missing)}\n")
        return
    with stage() as folder:
        for name, number in SIGNALS.items():
            judgement, gaps = measured(folder / name, min(TIMES, 4 * rounds), replaced(number))
            milliseconds = [1000 * gap for gap in gaps]
            what = f"gap between containers after {name}"
            yield Row(f"{what}, p50 of {len(gaps)}", "ms", milliseconds, at_most=1000 * MEDIAN)
            yield Row(f"{what}, longest", "ms", [max(milliseconds)], at_most=1000 * LONGEST)
            yield Row(f"pods rejected beyond the gaps, {name}", "", [float(len(judgement.unexcused))], at_most=0)
