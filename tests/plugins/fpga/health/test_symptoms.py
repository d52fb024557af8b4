"""What speaks against a function, from what its drivers say of it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor_fpga.config import Limits
from supervisor_fpga.health.symptoms import LONGEST_TEXT, SYMPTOMS, missing_nodes, symptoms
from supervisor_fpga.report import Evidence, Function, Node, PciLink, Sensor
from tests.plugins.fpga.health.samples import LIMITS, ONES, ZEROS, fabric, hot, port


def seen(function: Function, limits: Limits = LIMITS, *believed: str) -> dict[str, str]:
    """The symptoms that are there."""
    return {name: text for name, text in symptoms(function, limits, believed).items() if text}


def test_a_function_that_is_well_has_none() -> None:
    """All can be told, and none is there."""
    for function in (port(), fabric(), fabric("unknown"), Function("0000:65:00.1", "xrt")):
        assert symptoms(function, LIMITS) == dict.fromkeys(SYMPTOMS, "")


@pytest.mark.parametrize(
    ("state", "symptom"),
    [
        ("unknown", None),
        ("operating", None),
        ("", None),
        ("power off", "NotOperating"),
        ("power up", "NotOperating"),
        ("reset", "NotOperating"),
        ("firmware request", "NotOperating"),
        ("firmware request error", "NotOperating"),
        ("write init", "NotOperating"),
        ("write init error", "ManagerError"),
        ("write", "NotOperating"),
        ("write error", "ManagerError"),
        ("write complete", "NotOperating"),
        ("write complete error", "ManagerError"),
    ],
)
def test_states_of_an_fpga_manager(state: str, symptom: str | None) -> None:
    """Errors are errors; what is not programmed does not operate; a driver that knows no state says nothing."""
    found = seen(fabric(state))
    assert [*found] == ([symptom] if symptom else [])
    assert all(f"says {state}" in text for text in found.values())


def test_errors_that_a_manager_reports() -> None:
    """They explain its state, and count without it, too."""
    both = fabric("write error", status=("reconfig CRC error",))
    assert seen(both) == {"ManagerError": "its FPGA manager says write error (reconfig CRC error)"}
    alone = fabric("unknown", status=("reconfig CRC error", "reconfig IP protocol error"))
    assert seen(alone)["ManagerError"] == "its FPGA manager reports reconfig CRC error, reconfig IP protocol error"


def test_bridges() -> None:
    """Those that are disabled cut the region off."""
    function = fabric(bridges={"br1": "disabled", "br0": "enabled", "br2": "disabled"})
    assert seen(function) == {"BridgeDisabled": "of its region's bridges these are disabled: br1, br2"}


@pytest.mark.parametrize(
    ("facts", "what"),
    [
        ({"afu_id": ONES}, "its AFU id"),
        ({"interface_id": ONES.upper()}, "its interface id"),
        ({"errors": {"fme/fme_errors": 1, "port/errors": 2**64 - 1}}, "its register port/errors"),
        ({"errors": {"port/errors": 2**32 - 1}}, "its register port/errors"),
    ],
)
def test_all_ones(facts: dict[str, Any], what: str) -> None:
    """What is gone from its bus reads so, and then nothing else that it says can be believed."""
    function = port(**{"sensors": (hot(1e6),), "offline": True, **facts})
    assert seen(function) == {"FallenOff": f"{what} reads all ones, as if it had fallen off its bus"}
    assert symptoms(function, LIMITS).keys() == {"Unresponsive", "FallenOff"}


def test_other_ids_are_no_symptom() -> None:
    """One that is not there, or 0, says nothing here."""
    for afu in ("", ZEROS, "ff00" * 8):
        assert not seen(port(afu_id=afu))


def test_error_registers() -> None:
    """Fatal ones apart from others; those that only explain others, or were written by somebody, are none."""
    errors = {"fme/catfatal_errors": 8, "fme/nonfatal_errors": 0, "port/errors": 0x300, "fme/pcie0_errors": 1}
    details = {"port/first_error": 0x100, "port/first_malformed_req": 5, "fme/next_error": 1, "fme/inject_errors": 1}
    assert seen(port(errors=errors | details)) == {
        "FatalErrors": "error registers are not 0: fme/catfatal_errors is 0x8",
        "Errors": "error registers are not 0: fme/pcie0_errors is 0x1, port/errors is 0x300",
    }
    assert not seen(port(errors=details))


def test_many_registers_are_counted() -> None:
    """A sentence stays a sentence."""
    found = seen(port(errors={f"port/e{number}": 1 for number in range(9)}))
    assert found["Errors"].endswith("port/e3 is 0x1 and 5 more")


@pytest.mark.parametrize(("level", "found"), [(None, []), (0, []), (1, ["Throttled"]), (2, ["Throttled"]), (6, ["ShutOff"])])
def test_power_states(level: int | None, found: list[str]) -> None:
    """AP1 and AP2 slow a port down, AP6 has ended it."""
    assert [*seen(port(power_state=level))] == found


@pytest.mark.parametrize(
    ("sensor", "limits", "hot_now"),
    [
        (hot(99.9), LIMITS, False),
        (hot(100), LIMITS, True),
        (hot(20, alarm=True), LIMITS, True),
        (hot(200, limit=None), LIMITS, False),
        (hot(200, limit=0), LIMITS, False),
        (Sensor("Core", "temperature", None, 100), LIMITS, False),
        (hot(90), Limits(temperature=85), True),
        (hot(120, alarm=True), Limits(temperature=125), False),
        (hot(90, limit=None), Limits(temperature=85), True),
    ],
)
def test_temperatures(sensor: Sensor, limits: Limits, hot_now: bool) -> None:
    """By the card's own limits and alarms; the operator's take their place."""
    assert ("TooHot" in seen(port(sensors=(sensor,)), limits)) is hot_now


def test_what_is_hot_names_its_limit_and_no_reading() -> None:
    """Or the reason would change with every poll."""
    assert seen(port(sensors=(hot(104.5),))) == {"TooHot": "temperature Core is at its limit of 100 °C, or beyond"}
    assert seen(port(sensors=(hot(20, alarm=True),))) == {"TooHot": "temperature Core raises its alarm"}


def test_what_was_too_hot_has_to_cool_down() -> None:
    """To 95 % of the limit: near the limit it would come and go."""
    assert not seen(port(sensors=(hot(96),)))
    assert seen(port(sensors=(hot(96),)), LIMITS, "TooHot")
    assert not seen(port(sensors=(hot(94.9),)), LIMITS, "TooHot")


def test_power_and_voltage() -> None:
    """Power has limits; of a voltage, which may be too low, too, only its alarm says something."""
    power = Sensor("Board", "power", 80.0, 75.0)
    assert seen(port(sensors=(power,))) == {"TooMuchPower": "power Board is at its limit of 75 W, or beyond"}
    assert not seen(port(sensors=(power,)), Limits(power=90))
    assert not seen(port(sensors=(Sensor("12 V", "voltage", 12.1, 12.0),)))
    assert seen(port(sensors=(Sensor("12 V", "voltage", alarm=True),))) == {"VoltageAlarm": "voltage 12 V raises its alarm"}


@pytest.mark.parametrize(
    ("link", "text"),
    [
        (PciLink(8.0, 8.0, 8, 8), None),
        (PciLink(2.5, 8.0, 8, 8), "its PCI Express link runs at 2.5 GT/s x8, and can do 8 GT/s x8"),
        (PciLink(8.0, 8.0, 4, 8), "its PCI Express link runs at 8 GT/s x4, and can do 8 GT/s x8"),
        (PciLink(None, 8.0, 0, 8), None),
        (PciLink(8.0, None, 4, None), None),
    ],
)
def test_pci_express(link: PciLink, text: str | None) -> None:
    """Slower or narrower than it can be; what is not known says nothing."""
    assert seen(port(pci_link=link)).get("PcieDegraded") == text


def test_offline() -> None:
    """In the driver's words."""
    assert seen(port(offline=True)) == {"Offline": "its driver says that the card is offline"}


def test_what_cannot_be_told_is_left_out() -> None:
    """That nothing is seen of a function is no sign that it is well."""
    broken: dict[str, Any] = {"offline": True, "sensors": (hot(200),)}
    assert symptoms(port(problem="its id is odd", **broken), LIMITS) == {}
    assert symptoms(port(waiting_for="it has no driver", **broken), LIMITS) == {}
    assert symptoms(port(unresponsive=True, **broken), LIMITS).keys() == {"Unresponsive"}


def test_nodes_that_are_not_there() -> None:
    """Only those that a container would get; of VFIO's two kinds for the IOMMU one does."""
    function = Function(
        "0000:3b:00.1",
        "vfio",
        nodes=(
            Node("/dev/vfio/7", "group", present=False),
            Node("/dev/vfio/vfio", "iommu"),
            Node("/dev/iommu", "iommu", present=False),
            Node("/dev/xclmgmt0", "management", present=False),
        ),
    )
    assert [*missing_nodes(function, ("group", "iommu"))] == ["/dev/vfio/7"]
    neither = Function(
        "a", "vfio", nodes=(Node("/dev/vfio/vfio", "iommu", present=False), Node("/dev/iommu", "iommu", present=False))
    )
    assert [*missing_nodes(neither, ("group", "iommu"))] == ["/dev/vfio/vfio", "/dev/iommu"]


TEXTS = st.text(max_size=400)
NUMBERS = st.none() | st.floats(allow_nan=False)
EVIDENCE = st.builds(
    Evidence,
    state=TEXTS,
    status=st.lists(TEXTS, max_size=6).map(tuple),
    bridges=st.dictionaries(TEXTS, st.sampled_from(["enabled", "disabled", ""]), max_size=6),
    errors=st.dictionaries(TEXTS, st.integers(0, 2**64 - 1), max_size=6),
    power_state=st.none() | st.integers(),
    offline=st.booleans(),
    sensors=st.lists(
        st.builds(Sensor, TEXTS, st.sampled_from(["temperature", "power", "voltage"]), NUMBERS, NUMBERS, st.booleans()),
        max_size=6,
    ).map(tuple),
    pci_link=st.none() | st.builds(PciLink, NUMBERS, NUMBERS, st.none() | st.integers(0, 64), st.none() | st.integers(0, 64)),
)


@given(EVIDENCE, TEXTS, st.booleans())
def test_anything_can_be_read(evidence: Evidence, afu: str, unresponsive: bool) -> None:
    """Whatever hardware says, each answer is a short sentence of one of the known symptoms, gravest first."""
    function = Function("0000:3b:00.0", "dfl", afu_id=afu, evidence=evidence, unresponsive=unresponsive)
    found = symptoms(function, LIMITS)
    assert [*found] == [name for name in SYMPTOMS if name in found]
    assert all(len(text) <= LONGEST_TEXT for text in found.values())


@given(EVIDENCE)
def test_what_counts_already_is_not_harder_to_see(evidence: Evidence) -> None:
    """A symptom that is seen without being believed is seen when it is, too."""
    function = Function("0000:3b:00.0", "dfl", evidence=evidence)
    assert seen(function).keys() <= seen(function, LIMITS, *SYMPTOMS).keys()
