"""What is said of whole machines after the first look at their sysfs, by the settings that nobody has changed."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from supervisor_infiniband.config import InfinibandConfig
from supervisor_infiniband.health import Monitor, Verdict
from supervisor_infiniband.report import Report
from supervisor_infiniband.sysfs.messages import Options
from supervisor_infiniband.sysfs.survey import Survey
from supervisor_infiniband.units import Unit
from tests.bed.scratch import scratch
from tests.plugins.infiniband.trees import MACHINES, planted

CONFIG = InfinibandConfig()

WRONG: Mapping[str, Mapping[str, str]] = {
    "down": {"mlx5_0": "PortDown"},
    "exclusive-away": {"mlx5_1": "InUseElsewhere"},
    "garbage": {"mlx5_0": "Quarantined"},
    "half-gone": {"mlx5_0": "Quarantined"},
    "hangs": {"mlx5_0": "Unresponsive"},
    "pcie-degraded": {"mlx5_0": "Degraded"},
    "unreadable": {"mlx5_0": "Quarantined"},
    "without-uverbs": {"mlx5_0": "UverbsMissing", "mlx5_1": "UverbsMissing"},
}
"""The states of devices that are not simply healthy, by machine and kernel name."""


@contextmanager
def seen(name: str) -> Iterator[Report]:
    """The report of a machine, while it is there."""
    with scratch() as directory:
        tree = planted(name, directory / "tree")
        try:
            yield Survey(Options(str(tree.sys), str(tree.dev), patience=0.2)).look().report
        finally:
            tree.close()


def verdicts(report: Report, now: float = 0.0) -> dict[str, Verdict]:
    """What is said of each device after this look alone, by kernel name."""
    monitor = Monitor(CONFIG)
    monitor.look(report, 0.0)
    if now:
        monitor.look(report, now)
    pool = CONFIG.pools[-1]
    return {each.name: monitor.verdict(Unit(each.id, pool, (each,)), CONFIG.judgement, now) for each in report.devices}


@pytest.mark.parametrize("name", MACHINES)
def test_states_at_first_sight(name: str) -> None:
    """One bad device costs no other one its health."""
    with seen(name) as report:
        said = verdicts(report)
    wrong = {device: verdict.state for device, verdict in said.items() if verdict.state != "Healthy"}
    assert wrong == WRONG.get(name, {})


@pytest.mark.parametrize(("name", "functions"), [("roce-16-vfs", 16), ("infiniband-8-vfs-without-guid", 8)])
def test_functions_that_wait_for_their_pods_are_healthy(name: str, functions: int) -> None:
    """However long they wait; why they have no link of their own is shown."""
    with seen(name) as report:
        said = verdicts(report, now=3_600.0)
    names = [each.name for each in report.devices if each.kind == "vf"]
    assert len(names) == functions
    for each in names:
        assert said[each].healthy
        assert any(text.startswith("port 1 is DOWN, physically disabled; its ") for text in said[each].shown)


def test_a_machine_without_a_subnet_manager() -> None:
    """The device is what it is after the grace, and no sooner."""
    with seen("no-subnet-manager") as report:
        assert verdicts(report)["mlx5_0"].state == "Healthy"
        late = verdicts(report, now=60.0)
    assert late["mlx5_0"].reason == "NoSubnetManager: port 1 has waited 60 s in INIT for a subnet manager"
    assert late["mlx5_1"].healthy
