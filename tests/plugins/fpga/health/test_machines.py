"""What is said of whole machines after the first look at their sysfs, by the settings that nobody has changed."""

from collections.abc import Mapping

import pytest

from supervisor_fpga.config import Limits, Resource
from supervisor_fpga.health import Monitor, Verdict
from supervisor_fpga.report import Report
from supervisor_fpga.simulate.embedded import STATES
from supervisor_fpga.units import Unit
from tests.plugins.fpga.health.samples import PROGRAM
from tests.plugins.fpga.looks import ACME, NAMED, Plant, survey, until
from tests.plugins.fpga.machines import CARD, MACHINES, SECOND

RULE = Resource(name="fpga.example.com/function")
PROGRAMMED = Resource(name="fpga.example.com/nlb", program=PROGRAM)

WRONG: Mapping[str, Mapping[str, str]] = {
    "dfl_empty_compat_id": {CARD: "Quarantined"},
    "dfl_no_compat_id": {CARD: "Quarantined"},
    "dfl_all_ones": {CARD: "FallenOff"},
    "dfl_odd_afu_id": {CARD: "Quarantined"},
    "dfl_empty_afu_id": {CARD: "Quarantined"},
    "dfl_hanging": {CARD: "Unresponsive"},
    "dfl_no_node": {CARD: "NodeMissing"},
    "dfl_errors": {CARD: "FatalErrors"},
    "dfl_hot": {CARD: "TooHot"},
    "dfl_ap6": {CARD: "ShutOff"},
    "opae_two_cards": {SECOND: "Quarantined"},
    "alveo_without_rom": {"0000:65:00.1": "Quarantined"},
    "alveo_odd_shell": {"0000:65:00.1": "Quarantined"},
    "alveo_offline": {"0000:65:00.1": "Offline"},
    "vfio_group_with_other_driver": {"0000:5e:00.1": "Waiting"},
    "vfio_unbound": {"0000:5e:00.1": "Waiting"},
    "zynqmp_bridge_disabled": {"fpga0": "BridgeDisabled"},
    "zynqmp_hanging": {"fpga0": "Unresponsive"},
    **{
        f"zynq {state}": {"fpga0": "ManagerError" if state.endswith("error") else "NotOperating"}
        for state in STATES
        if state not in {"unknown", "operating"}
    },
}
"""The states of functions that are not simply healthy, by machine and id."""
CURED = {"zynqmp_bridge_disabled", *(name for name, wrong in WRONG.items() if wrong == {"fpga0": "NotOperating"})}
"""Machines whose one function is as it should be where it will be programmed."""


def seen(plant: Plant, name: str) -> Report:
    """The report of a machine, at most one of whose cards hangs."""
    looks = survey(plant(name), patience=0.2 if "hanging" in name else 20.0, vfio=NAMED, declared=ACME)
    until(lambda: sum(each.unresponsive for each in looks.look().report.functions) <= 1)
    return looks.look().report


def verdicts(report: Report, rule: Resource = RULE) -> dict[str, Verdict]:
    """What is said of each function after this look alone."""
    monitor = Monitor(Limits())
    monitor.look(report, 0.0)
    return {each.id: monitor.verdict(Unit(each.id, rule.name, rule, (each,))) for each in report.functions}


@pytest.mark.parametrize("name", MACHINES)
def test_states_at_first_sight(plant: Plant, name: str) -> None:
    """One bad function costs no other one its health."""
    said = verdicts(seen(plant, name))
    wrong = {function: verdict.state for function, verdict in said.items() if verdict.state != "Healthy"}
    assert wrong == WRONG.get(name, {})


@pytest.mark.parametrize("name", sorted(CURED))
def test_what_programming_will_mend(plant: Plant, name: str) -> None:
    """It is shown, and does not count where that comes first anyhow."""
    (verdict,) = verdicts(seen(plant, name), PROGRAMMED).values()
    assert verdict.state == "Healthy"
    assert len(verdict.shown) == 1


def test_errors_that_are_not_fatal_are_shown_beside_those_that_are(plant: Plant) -> None:
    """With the registers' values."""
    verdict = verdicts(seen(plant, "dfl_errors"))[CARD]
    assert verdict.reason == "FatalErrors: error registers are not 0: fme/catfatal_errors is 0x2"
    assert verdict.shown == ("Errors: error registers are not 0: port/errors is 0x21",)
