"""What a person is told who asks for an FPGA by any of its names."""

import pytest

from supervisor_fpga.explaining import explain
from supervisor_fpga.health import Verdict
from supervisor_fpga.report import Function, Node, Report
from supervisor_fpga.rules import offer
from supervisor_fpga.units import Unit
from tests.plugins.fpga.functions import AFU, INTERFACE, alveo, config_of, dfl, ids, program, u30, vfio, zynq

CONFIG = config_of(f"""
programming: [dfl-ioctl]
resources:
  - {{name: a.io/nlb, match: [{{backend: [dfl], kind: [pf]}}], {program("nlb.gbs")}}}
  - {{name: a.io/dma, match: [{{backend: [dfl], kind: [pf]}}], {program("dma.gbs")}}}
  - {{name: a.io/u30, unit: group, match: [{{shell: ['*u30*']}}]}}
  - {{name: a.io/vf, match: [{{kind: [vf]}}], reset: true}}
  - {{name: 'a.io/{{shell}}', match: [{{backend: [xrt]}}]}}
  - {{name: a.io/none, match: [{{backend: [ma35]}}]}}
""")


def well(unit: Unit) -> Verdict:
    return Verdict(healthy=True, state="Healthy")


def told(text: str, *functions: Function, **facts: object) -> list[str]:
    report = Report(functions, **facts)  # type: ignore[arg-type]  # any field of a report
    return list(explain(text, report, offer(report, CONFIG), well))


@pytest.mark.parametrize(
    "text",
    [
        "0000:3b:00.0",
        "3B:00.0",
        " dfl-port.0 ",
        "0000:3b:00.0/region0",
        "/dev/dfl-port.0",
        "dfl-fme.0",
        AFU,
        "d8424dc4-a4a3-c413-f89e-433683f9040b",
        "D8424DC4A4A3C413F89E433683F9040B",
    ],
)
def test_a_function_by_any_of_its_names(text: str) -> None:
    """All that the kernel, the kubelet and people call it lead to the same sentences."""
    neighbours = alveo(shell=""), zynq()
    nlb, dma = (unit.id for unit in offer(Report((dfl(),)), CONFIG).units)
    assert told(text, dfl(), *neighbours) == [
        "dfl-port.0 (0000:3b:00.0): a physical function, back end dfl, 8086:09c4, driver dfl-pci, NUMA node 0",
        f"0000:3b:00.0 says shell 0x123000200000185, interface id {INTERFACE}, AFU id {AFU}",
        "0000:3b:00.0 offers dfl-ioctl and reset, in region 0000:3b:00.0/region0",
        "0000:3b:00.0 has /dev/dfl-port.0 (port), /dev/dfl-fme.0 (fme)",
        "a.io/nlb takes it: backend dfl, kind pf",
        "a.io/dma takes it: backend dfl, kind pf",
        f"a.io/nlb offers it (function), by the id {nlb}",
        f"{nlb} is programmed with nlb.gbs before a container starts",
        f"{nlb} is for one container at a time, together with all that is 0000:3b:00.0/region0",
        f"{nlb} is healthy (Healthy)",
        f"a.io/dma offers it (function), by the id {dma}",
        f"{dma} is programmed with dma.gbs before a container starts",
        f"{dma} is for one container at a time, together with all that is 0000:3b:00.0/region0",
        f"{dma} is healthy (Healthy)",
    ]


def test_a_function_that_nobody_takes() -> None:
    """Each rule has its word."""
    assert told("fpga0", zynq(driver="", interface_id="")) == [
        "fpga0: of this machine's own fabric, back end manager, no driver",
        "fpga0 offers fpga-manager, in region fpga0",
        "a.io/nlb refuses it: back end manager is not dfl",
        "a.io/dma refuses it: back end manager is not dfl",
        "a.io/u30 refuses it: shell is not known",
        "a.io/vf refuses it: kind platform is not vf",
        "a.io/{shell} refuses it: back end manager is not xrt",
        "a.io/none refuses it: back end manager is not ma35",
    ]


def test_a_group_by_its_serial_number() -> None:
    """Both cards are told, and what they are together once."""
    lines = told("2A0001", u30(0), u30(1), alveo(7))
    assert [line for line in lines if "serial number" in line][1].startswith("renderD129 (0000:82:00.1): ")
    assert [line for line in lines if line.startswith("a.io/u30 offers")] == [
        "a.io/u30 offers renderD128 (0000:81:00.1), renderD129 (0000:82:00.1) together (group), by the id 2A0001"
    ]
    assert not any("0000:88" in line for line in lines)


def test_an_id_of_what_is_programmed() -> None:
    """It is another one than the function's."""
    unit = offer(Report((dfl(),)), CONFIG).units[1]
    assert f"{unit.id} is healthy (Healthy)" in told(unit.id, dfl(), zynq())
    assert told(f"{unit.id}0", dfl()) == []


def test_a_resource() -> None:
    """With its ids, or with the reason that it has none."""
    found = offer(Report((dfl(),)), CONFIG)
    assert told("a.io/nlb", dfl()) == [f"a.io/nlb offers {ids(found, 'a.io/nlb')[0]}"]
    assert told("a.io/none", dfl()) == ["a.io/none offers nothing, as no function fits"]


def test_what_is_quarantined() -> None:
    """With the reason, be it the look's or the name's."""
    assert told("0000:81:00.1", alveo(shell="::"))[-2:] == [
        "a.io/{shell} would take it, and cannot: its shell '::' has nothing that a name may have",
        "0000:81:00.1 is quarantined: its shell '::' has nothing that a name may have",
    ]
    assert told("0000:81:00.1", alveo(problem="its VBNV is gone"))[-1] == "it is quarantined: its VBNV is gone"


def test_what_is_no_function() -> None:
    """A name that the look has refused has its reason."""
    assert told("dfl-port.3", dfl(), refused={"dfl-port.3": "it is released"}) == ["dfl-port.3 is not offered: it is released"]


def test_what_waits_and_what_is_missing() -> None:
    """A node that is not there, and a reset that is promised."""
    virtual = vfio(1, waiting_for="no driver", driver="")
    assert told("5e:00.1", virtual)[-4:] == [
        "a.io/u30 refuses it: shell is not known",
        "a.io/vf refuses it: it cannot be used as it is: no driver",
        "a.io/{shell} refuses it: back end vfio is not xrt",
        "a.io/none refuses it: back end vfio is not ma35",
    ]
    lines = told("5e:00.1", vfio(1, resettable=True, nodes=(Node("/dev/vfio/42", "group", present=False),)))
    assert "0000:5e:00.1 has /dev/vfio/42 (group, missing)" in lines
    assert "0000:5e:00.1 is reset before a container starts" in lines


def test_the_verdict_is_told_in_full() -> None:
    """With its reason, and with what does not count."""
    report = Report((alveo(),))
    verdict = Verdict(healthy=False, state="Hot", reason="Hot: 110 °C", shown=("its link is slow",))
    assert list(explain("renderD128", report, offer(report, CONFIG), lambda _: verdict))[-2:] == [
        "0000:81:00.1 is not healthy (Hot): Hot: 110 °C",
        "its link is slow",
    ]


@pytest.mark.parametrize("text", ["", "/dev/", "dfl-port.9", "0000:3b:00.9", "-", "banana", "dri"])
def test_nothing_is_known_of_what_is_not_there(text: str) -> None:
    """No sentence, so that the core can say that nobody knows it, even where a function lacks facts."""
    assert told(text, dfl(), Function("fpga0", "manager")) == []
