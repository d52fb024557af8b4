"""The metrics of FPGAs: what is exposed, in which units, and what is left out because nobody knows it."""

from collections.abc import Iterable

import msgspec
import pytest

from supervisor import MetricFamily
from supervisor.families import MOST_FAMILIES, MOST_SAMPLES, check_families
from supervisor_fpga.config import Limits, Resource
from supervisor_fpga.health import Monitor
from supervisor_fpga.health.policy import DEGRADATIONS
from supervisor_fpga.metrics import OUTCOMES, StartCount, families
from supervisor_fpga.report import Change, Function, PciLink, Poll, Report, Sensor
from supervisor_fpga.units import Offer, Unit
from tests.plugins.fpga.health.samples import AFU, INTERFACE, ONES, PROGRAM, fabric, hot, port

RULE = Resource(name="fpga.example.com/card")
PROGRAMMED = Resource(name="fpga.example.com/nlb", program=PROGRAM)
POWER = Sensor("Board", "power", 41.5, 75.0)
VOLTAGE = Sensor("12 V", "voltage", 12.1, 13.0)


def collected(
    *functions: Function, rule: Resource = RULE, polls: Iterable[Poll] = (), starts: Iterable[StartCount] = ()
) -> dict[str, MetricFamily]:
    """All families after a look at these functions, each a unit of one resource, and after polls; by name."""
    report = Report(functions, refused={"0000:99:00.0": "it has no driver"})
    units = tuple(Unit(each.id, rule.name, rule, (each,)) for each in functions if not each.problem)
    offer = Offer(
        units,
        (rule.name,),
        taken={unit.id: {unit.resource: unit.rule.name} for unit in units},
        quarantined={each.id: each.problem for each in functions if each.problem},
    )
    monitor = Monitor(Limits())
    monitor.look(report, 0.0)
    for number, poll in enumerate(polls):
        monitor.poll(poll, 5.0 * number)
    found = families(
        report,
        offer,
        monitor.verdict,
        monitor.readings(),
        monitor.counts(),
        starts,
        restarts={"fpga-sysfs": 3, "fpga-operate": 1},
    )
    return {family.name: family for family in found}


def values(family: MetricFamily, *labels: str) -> dict[tuple[str, ...], float]:
    """The samples by some of their labels."""
    return {tuple(sample.labels[label] for label in labels): sample.value for sample in family.samples}


def test_all_families_can_be_exposed() -> None:
    """By the supervisor's own check; names are unique, and all are there without any device."""
    starts = [StartCount("fpga.example.com/nlb", outcome, 1, 2.0, 1, 2.0, 1) for outcome in OUTCOMES]
    full = collected(port(sensors=(hot(40), POWER, VOLTAGE), errors={"port/errors": 1}), fabric(), starts=starts)
    for found in (full, collected()):
        assert check_families("fpga", found.values()) == (tuple(found.values()), ())
        assert found.keys() == full.keys()


def test_a_large_node_stays_within_the_bounds() -> None:
    """Sixteen cards, each with two functions and all the sensors that are read."""
    sensors = tuple(Sensor(f"Sensor {number}", "temperature", 40.0, 100.0) for number in range(64))
    functions = [port(number % 8, id=f"0000:{number:02x}:00.0", sensors=sensors) for number in range(32)]
    found = collected(*functions)
    assert len(found) <= MOST_FAMILIES
    assert sum(len(family.samples) for family in found.values()) <= MOST_SAMPLES


def test_sensors() -> None:
    """In SI units, by the card's own names, with the limits of those that have one; what cannot be read is left out."""
    found = collected(port(sensors=(hot(40.5), hot(55, limit=None, alarm=True), POWER, VOLTAGE, Sensor("Fan", "power"))))
    assert values(found["temperature_celsius"], "name", "sensor") == {("dfl-port.0", "Core"): 40.5}
    assert values(found["temperature_limit_celsius"], "sensor") == {("Core",): 100}
    assert values(found["power_watts"], "sensor") == {("Board",): 41.5}
    assert values(found["power_limit_watts"], "sensor") == {("Board",): 75}
    assert values(found["voltage_volts"], "sensor") == {("12 V",): 12.1}
    assert values(found["sensor_alarm"], "kind", "sensor")["temperature", "Core"] == 0
    assert check_families("fpga", found.values())[1] == ()


def test_polls_are_newer_than_looks() -> None:
    """A temperature is that of now."""
    warmer = port(sensors=(hot(77),))
    found = collected(port(sensors=(hot(40),)), polls=(Poll((Change(warmer.id, warmer.evidence, warmer.afu_id),)), Poll()))
    assert values(found["temperature_celsius"], "sensor") == {("Core",): 77}
    assert values(found["polls"]) == {(): 2}


def test_error_registers() -> None:
    """As the number of bits that are set: 64 of them do not fit into a number of Prometheus'."""
    found = collected(port(errors={"port/errors": 0x8000000000000001, "fme/pcie0_errors": 4, "fme/fme_errors": 0}))
    assert values(found["error_bits"], "device", "register") == {
        (port().id, "port/errors"): 2,
        (port().id, "fme/pcie0_errors"): 1,
    }


def test_what_is_known_of_a_function() -> None:
    """Also what is programmed, and which resources have it."""
    found = collected(port(group="S123", shell="shell 1"), fabric(problem="odd"))
    labels = {sample.labels["device"]: sample.labels for sample in found["function"].samples}
    assert labels[port().id] == {
        "device": "0000:3b:00.0",
        "name": "dfl-port.0",
        "backend": "dfl",
        "kind": "pf",
        "pci": "0000:3b:00.0",
        "card": "0000:3b:00.0",
        "serial": "S123",
        "region": "0000:3b:00.0/region0",
        "numa_node": "0",
        "vendor": "8086",
        "device_id": "09c4",
        "driver": "dfl-pci",
        "shell": "shell 1",
        "interface_id": INTERFACE,
        "afu_id": AFU,
        "resource": "fpga.example.com/card",
    }
    assert labels["fpga0"]["resource"] == labels["fpga0"]["numa_node"] == ""


def test_states() -> None:
    """Of managers in the kernel's words, of offered devices in ours."""
    found = collected(port(afu_id=ONES), fabric("write error"))
    assert values(found["function_state"], "device", "state") == {("fpga0", "write error"): 1}
    assert values(found["device_state"], "resource", "device", "state") == {
        (RULE.name, port().id, "FallenOff"): 1,
        (RULE.name, "fpga0", "ManagerError"): 1,
    }


def test_what_nobody_knows_is_left_out() -> None:
    """A function that hangs or makes no sense is neither hot nor cold; it is told all the same."""
    sensors = (hot(40),)
    hung, odd = port(0, sensors=sensors, unresponsive=True, state="operating"), port(1, sensors=sensors, problem="odd")
    found = collected(hung, odd, port(2, sensors=sensors))
    assert values(found["temperature_celsius"], "device") == {(port(2).id,): 40}
    assert found["function_state"].samples == ()
    assert values(found["function_unresponsive"], "device") == {(hung.id,): 1, (odd.id,): 0, (port(2).id,): 0}
    assert values(found["function_quarantined"], "device") == {(hung.id,): 0, (odd.id,): 1, (port(2).id,): 0}


def test_degraded_devices() -> None:
    """Each kind is there from the start, at zero."""
    found = collected(port(pci_link=PciLink(2.5, 8.0, 8, 8), power_state=1))
    assert values(found["device_degraded"], "reason") == {
        (name,): float(name in {"PcieDegraded", "Throttled"}) for name in DEGRADATIONS
    }


def test_starts() -> None:
    """By outcome, at zero before the first; of what needs no making ready there are none."""
    assert collected(port())["starts"].samples == ()
    found = collected(port(), rule=PROGRAMMED)
    assert values(found["starts"], "resource", "outcome") == {(PROGRAMMED.name, outcome): 0 for outcome in OUTCOMES}
    starts = (
        StartCount(PROGRAMMED.name, "ready", 5, 12.5, 3, 12.0, 2),
        StartCount(PROGRAMMED.name, "failed", 2, 4.0),
        StartCount("fpga.example.com/gone", "refused", 1, 0.5),
    )
    found = collected(port(), rule=PROGRAMMED, starts=starts)
    counted = values(found["starts"], "resource", "outcome")
    assert (counted[PROGRAMMED.name, "ready"], counted[PROGRAMMED.name, "failed"], counted[PROGRAMMED.name, "busy"]) == (
        5,
        2,
        0,
    )
    assert counted["fpga.example.com/gone", "refused"] == 1
    assert values(found["start_seconds"], "resource", "outcome")[PROGRAMMED.name, "ready"] == 12.5
    for name, value in (("programmings", 3), ("programming_seconds", 12), ("programming_failures", 2), ("resets", 2)):
        assert values(found[name], "resource") == {(PROGRAMMED.name,): value}
        assert found[name].kind == "counter"


def test_the_processes() -> None:
    """How often each was replaced, and what cannot be offered."""
    found = collected(port())
    assert values(found["process_restarts"], "program") == {("fpga-sysfs",): 3, ("fpga-operate",): 1}
    assert values(found["refused"]) == {(): 1}


def test_long_texts_of_devices_are_cut() -> None:
    """The kernel gives what the firmware says."""
    long = "x" * 5_000
    found = collected(port(name=long, shell=long, sensors=(Sensor(long, "power", 1.0),), errors={long: 1}))
    assert check_families("fpga", found.values())[1] == ()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_left_out(value: float) -> None:
    """One of them must not cost the scrape."""
    found = collected(port(sensors=(Sensor("Core", "temperature", value, value), POWER)))
    assert found["temperature_celsius"].samples == found["temperature_limit_celsius"].samples == ()
    assert check_families("fpga", found.values())[1] == ()


def test_families_are_plain_values() -> None:
    """They travel to the thread that exposes them, or from another process."""
    found = collected(port(sensors=(hot(40),)))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode([*found.values()]), type=list[MetricFamily]) == [*found.values()]
