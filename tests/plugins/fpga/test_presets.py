"""Names as other plugins give them."""

import pytest

from supervisor_fpga.config import FpgaConfig
from supervisor_fpga.presets import DEFAULT, PRESETS, rules_of
from supervisor_fpga.report import Report
from supervisor_fpga.rules import offer
from supervisor_fpga.units import Offer
from tests.plugins.fpga.functions import INTERFACE, alveo, config_of, dfl, ids, ma35, u30, vfio, zynq

EVERYTHING = Report((dfl(), dfl(1, backend="opae"), alveo(), u30(1), u30(2), ma35(), zynq(), vfio(0)))


def of(preset: str, report: Report = EVERYTHING) -> Offer:
    return offer(report, config_of(f"preset: '{preset}'"))


def test_functions_as_intel_names_them() -> None:
    """Each port by what is programmed now, for one container at a time, as its name changes with it."""
    found = of("intel-af")
    name = "fpga.intel.com/af-695.d84.aVKNtusxV3qMNmj5-qCB9thCTcSko8QT-J5DNoP5BAs"
    assert found.resources == (name,)
    assert ids(found, name) == ["0000:3b:00.0", "0000:3b:00.1"]
    assert [unit.claim for unit in found.units] == ids(found, name)


def test_regions_as_intel_names_them() -> None:
    """With all ports of each, and without the node that programs."""
    name = f"fpga.intel.com/region-{INTERFACE}"
    both = Report((dfl(id="0000:3b:00.0/port0"), dfl(id="0000:3b:00.0/port1"), dfl(1)))
    found = of("intel-region", both)
    assert found.resources == (name,)
    assert [(unit.id, len(unit.functions)) for unit in found.units] == [
        ("0000:3b:00.0/region0", 2),
        ("0000:3b:00.1/region0", 1),
    ]
    assert "fme" not in found.units[0].rule.nodes


def test_a_region_without_an_id_does_not_break_the_others() -> None:
    """Intel's own plugin does not come up with one."""
    found = of("intel-region", Report((dfl(interface_id=""), dfl(1))))
    assert found.resources == (f"fpga.intel.com/region-{INTERFACE}",)
    assert found.quarantined == {"0000:3b:00.0": "its interface id is not known"}


def test_cards_as_amd_names_them() -> None:
    """By shell and time stamp; the two devices of a U30 together, by a name of their own."""
    found = of("amd")
    assert found.resources == ("amd.com/ama_u30", "amd.com/MA35", "amd.com/xilinx_u250_gen3x16_xdma_shell_4_1-0")
    assert ids(found, "amd.com/ama_u30") == ["2A0001"]
    assert ids(found, "amd.com/MA35") == ["0000:c1:00.0"]
    assert ids(found, found.resources[2]) == ["0000:81:00.1"]
    assert all("management" not in unit.rule.nodes for unit in found.units)


def test_a_u30_waits_for_its_serial_number() -> None:
    """Alone it would have another id than later, and be free twice."""
    found = of("amd", Report((u30(0, serial=""), u30(1, serial=""))))
    assert not found.units
    assert found.reasons["0000:81:00.1"][0].startswith("amd.com/ama_u30 refuses it: it has no serial number")


def test_an_odd_shell_does_not_break_the_others() -> None:
    """AMD's own plugin ends with one."""
    found = of("amd", Report((alveo(shell="odd"), alveo(1, shell=""), alveo(2, shell="::"), alveo(3))))
    assert found.resources == ("amd.com/odd-0", "amd.com/xilinx_u250_gen3x16_xdma_shell_4_1-0")
    assert found.quarantined == {
        "0000:82:00.1": "its shell is not known",
        "0000:83:00.1": "its shell '::' has nothing that a name may have",
    }


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_what_could_be_configured(preset: str) -> None:
    """Without a doubt about their own order, and nothing is promised on a node that has none of it."""
    found = of(preset, Report())
    assert found.resources == ()
    assert found.notices == ()


def test_the_rules_in_force() -> None:
    """Those of the file, else the preset's, else one for each back end."""
    assert rules_of(FpgaConfig()) == DEFAULT
    assert rules_of(config_of("preset: amd")) == PRESETS["amd"]
    config = config_of("resources: [{name: a.io/b}]")
    assert rules_of(config) == config.resources
