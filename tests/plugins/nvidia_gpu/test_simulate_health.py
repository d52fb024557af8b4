"""What a script does to the verdicts about simulated GPUs: the same as the hardware would, so that demos show the real thing."""

from collections.abc import Iterator, Sequence

import pytest

from supervisor_nvidia_gpu.config import Health
from supervisor_nvidia_gpu.health.monitor import Monitor
from supervisor_nvidia_gpu.health.policy import DEFAULTS
from supervisor_nvidia_gpu.simulate.layouts import layout
from supervisor_nvidia_gpu.simulate.script import apply, event, parse

CONFIG = Health(quiet=60, probation=300)
CONDEMNED = sorted(xid for xid, decision in DEFAULTS.items() if decision.action == "until-reset")


def play(name: str, lines: Sequence[str], moments: Sequence[float]) -> Iterator[list[bool]]:
    """Which GPUs are healthy at some moments, with a look after each step, at each moment and when health asks for one."""
    beginning = layout(name)
    monitor, report = Monitor(CONFIG), beginning
    steps = {step.after: step for step in parse(lines, beginning)}
    pending = sorted({0.0, *steps, *moments})
    while pending:
        now = pending.pop(0)
        if now in steps:
            monitor.events([event(steps[now], beginning, now)], now)
            report = apply(steps[now], report, beginning)
        monitor.look(report, now)
        if now in moments:
            yield [monitor.verdict(gpu.uuid, now).healthy for gpu in report.gpus]
        wake = monitor.wake_at()
        if wake is not None and pending and now < wake < pending[0]:
            pending.insert(0, wake)


@pytest.mark.parametrize("before", [[], ["after 5s lose 0"]], ids=["answering", "lost"])
@pytest.mark.parametrize("xid", CONDEMNED)
def test_what_only_a_reset_heals_is_healed_by_recovering(xid: int, before: list[str]) -> None:
    """No quiet time helps, a recovery does, after a probation; the other GPU never suffers."""
    lines = [*before, f"after 10s xid {xid} on 0", "after 10000s recover 0"]
    seen = list(play("mig-mixed", lines, [1, 11, 9999, 10001, 11000]))
    assert [healthy for healthy, _ in seen] == [True, False, False, False, True]
    assert all(other for _, other in seen)


def test_a_lost_gpu_comes_back() -> None:
    """Unhealthy while it does not answer, and healthy some time after it does again."""
    seen = play("l40s-4", ["after 20s lose 1", "after 30s recover 1"], [19, 21, 31, 1000])
    assert [healthy for _, healthy, _, _ in seen] == [True, False, False, True]


def test_an_application_fault_is_nothing() -> None:
    """Whatever an application did to itself, its GPU stays."""
    lines = [f"after {number}s xid {xid} on 0" for number, xid in enumerate((13, 31, 43, 45, 68, 94), start=1)]
    assert [seen[0] for seen in play("dgx-h100", lines, [7, 100])] == [True, True]
