"""What is offered of whole machines, as a look finds them: nothing that could not be registered, and nobody suffers for a neighbour."""

from collections.abc import Mapping

import pytest

from supervisor import resource_name_problem
from supervisor_fpga.config import Limits
from supervisor_fpga.health.policy import Scene, judge
from supervisor_fpga.presets import DEFAULT, PRESETS
from supervisor_fpga.report import Report
from supervisor_fpga.rules import offer
from supervisor_fpga.units import Offer
from tests.plugins.fpga.functions import config_of, program, took
from tests.plugins.fpga.looks import ACME, NAMED, Plant, look, survey
from tests.plugins.fpga.machines import CARD, MACHINES, SECOND

INTERFACE = "69528db6eb31577a8c3668f9faa081f6"
PATIENCE = 0.2
"""Seconds for a card that never answers."""
SECTIONS = [
    *(f"preset: '{preset}'" for preset in PRESETS),
    "resources: [{name: 'a.io/{shell}', unit: card}, {name: a.io/rest}]",
]


def seen(plant: Plant, machine: str) -> Report:
    patience = PATIENCE if "hanging" in machine else 20.0
    return survey(plant(machine), patience=patience, vfio=NAMED, declared=ACME).look().report


def of(section: str, report: Report, before: Mapping[str, object] | None = None) -> Offer:
    return offer(report, config_of(section), before)


@pytest.mark.parametrize("machine", MACHINES)
def test_of_every_machine_comes_an_offer(plant: Plant, machine: str) -> None:
    """With names and ids that the kubelet takes, and with a reason for each function that is not offered."""
    report = seen(plant, machine)
    for section in SECTIONS:
        found = of(section, report)
        given_out = [unit.id for unit in found.units]
        assert len(given_out) == len({*given_out})
        assert all(resource_name_problem(name) is None for name in found.resources)
        assert {each.id for each in report.functions} <= found.reasons.keys()
        assert all(found.reasons[each.id] for each in report.functions)
        assert not found.taken.keys() & found.quarantined.keys()


@pytest.mark.parametrize(
    "machine",
    [
        "dfl_empty_compat_id",
        "dfl_no_compat_id",
        "dfl_all_ones",
        "dfl_all_zero",
        "dfl_odd_afu_id",
        "dfl_empty_afu_id",
        "dfl_hanging",
    ],
)
def test_a_card_that_says_nothing_of_use_harms_no_other(plant: Plant, machine: str) -> None:
    """Its neighbour is offered by the names of Intel's plugin, and it waits with a reason, or is offered where no name needs its ids."""
    report = seen(plant, machine)
    functions = of("preset: intel-af", report)
    assert functions.taken.keys() == {SECOND}
    assert functions.quarantined.keys() == {CARD}
    regions = of("preset: intel-region", report)
    assert f"fpga.intel.com/region-{INTERFACE}" in took(regions)[SECOND]
    assert all(resource == f"fpga.intel.com/region-{INTERFACE}" for resource in regions.resources)


@pytest.mark.parametrize("machine", ["dfl_odd_afu_id", "dfl_empty_afu_id"])
def test_what_a_region_holds_matters_only_to_those_who_use_it(plant: Plant, machine: str) -> None:
    """A region with an accelerator that makes no sense is there to be programmed, as ever; as it is nobody gets it."""
    report = look(plant, machine)
    regions = (f"{{name: a.io/nlb, {program()}}}", "{name: a.io/region, unit: region}")
    for rule in regions:
        found = of(f"{{programming: [dfl-ioctl], resources: [{rule}]}}", report)
        assert found.taken.keys() == {CARD, SECOND}
        assert found.quarantined == {}
        assert all(judge(unit, Limits(), Scene({}, {})).healthy for unit in found.units)
    plain = of("{}", report)
    assert ({*plain.taken}, {*plain.quarantined}) == ({SECOND}, {CARD})
    kept = of("{}", report, before={CARD: {"fpga.device-plugin-supervisor.io/dfl": DEFAULT[0].name}})
    assert [judge(unit, Limits(), Scene({}, {})).state for unit in kept.units] == ["Quarantined", "Healthy"]


def test_a_region_backs_what_can_be_programmed(plant: Plant) -> None:
    """Each of two ports for either bitstream, by ids of its own and one claim."""
    resources = f"{{name: a.io/nlb, unit: region, {program()}}}, {{name: a.io/dma, unit: region, {program('dma.gbs')}}}"
    found = of(f"{{programming: [dfl-ioctl], resources: [{resources}]}}", look(plant, "dfl_two_ports"))
    assert found.resources == ("a.io/nlb", "a.io/dma")
    assert len(found.units) == 4
    assert {unit.claim for unit in found.units} == {f"{CARD}/region0", f"{CARD}/region1"}


def test_what_a_vf_has_is_named_by_its_card(plant: Plant) -> None:
    """The region is that of the card, whose FME says what fits it; alone it has no name that needs that."""
    section = "preset: intel-region"
    assert took(of(section, look(plant, "dfl_vf_of_card"))) == {"0000:3b:00.1": (f"fpga.intel.com/region-{INTERFACE}",)}
    alone = of(section, look(plant, "dfl_vf_alone"))
    assert alone.quarantined == {"0000:3b:00.1": "its interface id is not known"}


def test_cards_are_named_as_by_amds_plugin(plant: Plant) -> None:
    """Both chips of a U30 together, each other function by its shell, and one whose shell is none costs nobody anything."""
    section = "preset: amd"
    (unit,) = of(section, look(plant, "u30")).units
    assert (unit.resource, unit.id, len(unit.functions)) == ("amd.com/ama_u30", "XFL1RT5PHT31", 2)
    shell = "amd.com/xilinx_u250_gen3x16_xdma_shell_4_1-1638134452"
    assert took(of(section, look(plant, "u250"))) == {"0000:65:00.1": (shell,)}
    assert took(of(section, look(plant, "ma35d"))) == dict.fromkeys(("0000:c1:00.0", "0000:c2:00.0"), ("amd.com/MA35",))
    for machine in ("alveo_without_rom", "alveo_odd_shell"):
        found = of(section, look(plant, machine))
        assert found.taken.keys() == {"0000:66:00.1"}
        assert found.quarantined.keys() == {"0000:65:00.1"}


def test_what_the_configuration_describes_is_offered(plant: Plant) -> None:
    """By the name of its description, or by its back end; a group with another's driver in it is not."""
    section = "resources: [{name: 'a.io/{shell}', match: [{backend: [declared]}]}, {name: 'a.io/{backend}'}]"
    assert took(of(section, seen(plant, "declared_card"))) == {"0000:17:00.0": ("a.io/acme",)}
    assert took(of(section, seen(plant, "vfio_vf"))) == {"0000:5e:00.1": ("a.io/vfio",)}
    assert took(of(section, seen(plant, "vfio_group_with_other_driver"))) == {}
