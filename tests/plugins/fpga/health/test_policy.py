"""What is said of a unit when it is seen first, so that what is seen is believed at once."""

from typing import Any

import pytest
from hypothesis import given

from supervisor_fpga.config import Limits, Resource
from supervisor_fpga.health import STATES, Monitor, Verdict
from supervisor_fpga.health.policy import DEGRADATIONS
from supervisor_fpga.health.symptoms import SYMPTOMS
from supervisor_fpga.report import Evidence, Function, Node, PciLink, Report, Sensor
from supervisor_fpga.units import Unit
from tests.plugins.fpga.health.samples import LIMITS, ONES, PROGRAM, Machine, fabric, hot, port
from tests.plugins.fpga.health.test_symptoms import EVIDENCE

SLOW = PciLink(2.5, 8.0, 8, 8)


def first(function: Function, limits: Limits = LIMITS, **rule: Any) -> Verdict:
    """What is said after the very first look."""
    machine = Machine(function, limits=limits, rule=Resource(name="fpga.example.com/card", **rule))
    machine.look(0.0)
    verdict = machine.verdict()
    checked(verdict)
    return verdict


def checked(verdict: Verdict) -> None:
    """What is true of every verdict."""
    assert verdict.state in STATES
    assert verdict.healthy == (not verdict.reason)
    assert verdict.healthy or verdict.reason.startswith(f"{verdict.state}: ")
    assert set(verdict.degraded) <= set(DEGRADATIONS)


def test_all_is_well() -> None:
    """And there is nothing to say."""
    assert first(port()) == first(fabric()) == Verdict(healthy=True, state="Healthy")


@pytest.mark.parametrize(
    ("function", "state"),
    [
        (port(problem="its AFU id is no id"), "Quarantined"),
        (port(waiting_for="it has no driver"), "Waiting"),
        (port(unresponsive=True), "Unresponsive"),
        (port(afu_id=ONES), "FallenOff"),
        (port(offline=True), "Offline"),
        (fabric("write error"), "ManagerError"),
        (fabric("power off"), "NotOperating"),
        (fabric(bridges={"br0": "disabled"}), "BridgeDisabled"),
        (port(nodes=(Node("/dev/dfl-port.0", "port", present=False),)), "NodeMissing"),
        (port(errors={"fme/catfatal_errors": 1}), "FatalErrors"),
        (port(power_state=6), "ShutOff"),
        (port(sensors=(hot(110),)), "TooHot"),
        (port(sensors=(Sensor("Board", "power", 90, 75),)), "TooMuchPower"),
    ],
)
def test_what_makes_a_function_unhealthy(function: Function, state: str) -> None:
    """Each with a sentence."""
    verdict = first(function)
    assert (verdict.healthy, verdict.state) == (False, state)
    assert len(verdict.reason) > len(state) + 10


def test_health_that_is_not_judged() -> None:
    """Nothing is hidden: it is said that nobody judges."""
    verdict = first(port(problem="odd"), Limits(enabled=False))
    assert (verdict.healthy, verdict.state) == (True, "Unmonitored")
    assert verdict.shown


@pytest.mark.parametrize("level", [1, 2])
def test_a_throttled_port_is_degraded(level: int) -> None:
    """It works, and slowly."""
    verdict = first(port(power_state=level))
    assert (verdict.state, verdict.degraded) == ("Degraded", ("Throttled",))
    assert verdict.shown == (f"Throttled: it is in power state AP{level}: the card slows it down",)


@pytest.mark.parametrize(
    ("function", "setting", "name"),
    [
        (port(errors={"fme/nonfatal_errors": 1}), "nonfatal_errors", "Errors"),
        (port(pci_link=SLOW), "pcie_degraded", "PcieDegraded"),
    ],
)
def test_what_the_operator_decides(function: Function, setting: str, name: str) -> None:
    """Whether errors that are not fatal, and a slow link, do nothing, degrade, or make Unhealthy; they are told in each case."""
    ignored, degraded, unhealthy = (
        first(function, Limits(**{setting: value}))  # type: ignore[arg-type]  # each is one of the literal's
        for value in ("ignore", "degraded", "unhealthy")
    )
    assert (ignored.state, ignored.degraded) == ("Healthy", ())
    assert (degraded.state, degraded.degraded) == ("Degraded", (name,))
    assert (unhealthy.state, unhealthy.degraded, unhealthy.healthy) == (name, (name,), False)
    assert ignored.shown == degraded.shown == (unhealthy.reason,)


@pytest.mark.parametrize("function", [fabric("reset"), fabric("write"), fabric(bridges={"br0": "disabled"})])
def test_what_will_be_programmed_need_not_operate(function: Function) -> None:
    """It is made so before each container; a failed attempt counts all the same."""
    verdict = first(function, program=PROGRAM)
    assert (verdict.healthy, verdict.state, verdict.degraded) == (True, "Healthy", ())
    assert verdict.shown
    assert not first(function, reset=True).healthy
    assert not first(fabric("write error"), program=PROGRAM).healthy


def test_only_the_nodes_that_a_container_gets() -> None:
    """Those of the card's management are no concern of a tenant."""
    function = port(nodes=(Node("/dev/dfl-port.0", "port"), Node("/dev/dfl-fme.0", "fme", present=False)))
    assert first(function).healthy
    verdict = first(function, nodes=("port", "fme"))
    assert verdict.reason == "NodeMissing: not there: /dev/dfl-fme.0"


def test_the_gravest_is_first() -> None:
    """Four are in the reason, the others are shown."""
    nodes = (Node("/dev/dfl-port.0", "port", present=False),)
    worst = port(
        nodes=nodes, errors={"fme/catfatal_errors": 1, "port/errors": 1}, power_state=6, sensors=(hot(110),), offline=True
    )
    verdict = first(worst)
    assert [text.partition(": ")[0] for text in verdict.reason.split("; ")] == [
        "NodeMissing",
        "Offline",
        "FatalErrors",
        "ShutOff",
    ]
    assert [text.partition(": ")[0] for text in verdict.shown] == ["TooHot", "Errors"]
    assert verdict.degraded == ("Errors",)


def test_what_makes_no_sense_says_no_more() -> None:
    """Nothing else that was read of it does."""
    verdict = first(port(problem="its AFU id is no id", offline=True, nodes=(Node("/dev/x", "port", present=False),)))
    assert verdict == Verdict(healthy=False, state="Quarantined", reason="Quarantined: its AFU id is no id")


def test_a_card_is_as_well_as_each_of_its_functions() -> None:
    """A container gets them all; the reason says which."""
    functions = (port(0), port(1, offline=True), port(2, power_state=1))
    monitor = Monitor(LIMITS)
    monitor.look(Report(functions), 0.0)
    verdict = monitor.verdict(
        Unit("0000:3b:00.0", "fpga.example.com/r", Resource(name="fpga.example.com/r", unit="card"), functions)
    )
    checked(verdict)
    assert verdict.reason == "Offline: 0000:3b:00.1: its driver says that the card is offline"
    assert verdict.shown == ("Throttled: 0000:3b:00.2: it is in power state AP1: the card slows it down",)
    assert monitor.verdict(
        Unit("0000:3b:00.0", "fpga.example.com/r", Resource(name="fpga.example.com/r"), (functions[0],))
    ).healthy


def test_states_have_their_own_names() -> None:
    """Each once; every symptom is one."""
    assert len(set(STATES)) == len(STATES)
    assert set(SYMPTOMS) <= set(STATES)
    assert set(DEGRADATIONS) <= set(SYMPTOMS)


@given(EVIDENCE)
def test_every_verdict_makes_sense(evidence: Evidence) -> None:
    """Whatever the hardware says."""
    first(port(**{name: getattr(evidence, name) for name in Evidence.__struct_fields__}))
