"""Which resource has which function, what each rule says of it, and that nothing moves for a reason that is none."""

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from supervisor import resource_name_problem
from supervisor_fpga.config import FpgaConfig, Match, Program, Resource
from supervisor_fpga.report import Function, Report
from supervisor_fpga.rules import offer
from tests.plugins.fpga.functions import (
    AFU,
    INTERFACE,
    ONES,
    OTHER_AFU,
    SUM,
    ZEROS,
    alveo,
    config_of,
    dfl,
    functions,
    ids,
    matches,
    offered,
    program,
    took,
    u30,
    vfio,
    zynq,
)

A, B = "0000:3b:00.0", "0000:3b:00.1"
SILENT = "is all ones, as of a card that does not answer"

# --- who takes what ---------------------------------------------------------------------------------------------------------


def test_without_resources_each_back_end_has_its_own() -> None:
    """Each function to one container, and no resource that has none."""
    found = offer(Report((dfl(), dfl(1), alveo(), zynq())), FpgaConfig())
    assert found.resources == tuple(f"fpga.device-plugin-supervisor.io/{name}" for name in ("dfl", "xrt", "manager"))
    assert ids(found, "fpga.device-plugin-supervisor.io/dfl") == [A, B]
    assert not found.notices
    assert offer(Report(), FpgaConfig()).resources == ()


def test_the_first_that_fits_has_it() -> None:
    """In the order of the file; within a match all must fit, of several matches one."""
    found = offered(
        "{name: a.io/odd, match: [{numaNode: [1], driver: [DFL-*]}, {backend: [manager]}]}, {name: 'a.io/{backend}'}",
        dfl(),
        dfl(1),
        zynq(),
        alveo(),
    )
    assert found.resources == ("a.io/odd", "a.io/dfl", "a.io/xrt")
    assert ids(found, "a.io/odd") == [B, "fpga0"]
    assert took(found) == {unit.functions[0].id: (unit.resource,) for unit in found.units}
    assert found.reasons[A] == (
        "a.io/odd refuses it: match[0]: NUMA node 0 is not 1; match[1]: back end dfl is not manager",
        "a.io/{backend} takes it as a.io/dfl",
    )
    assert found.reasons[B] == ("a.io/odd takes it: driver DFL-*, numaNode 1",)


def test_a_configured_resource_is_offered_without_functions() -> None:
    """Where its name is known; a template without a function has no name."""
    found = offered("{name: a.io/b, match: [{backend: [ma35]}]}, {name: 'a.io/{shell}', match: [{backend: [xrt]}]}", dfl())
    assert found.resources == ("a.io/b",)
    assert found.notices == (f"1 FPGA function that no resource takes: dfl-port.0 ({A})",)


def test_functions_come_in_the_order_of_the_bus() -> None:
    """Which is hexadecimal: 18 is before 4f."""
    found = offered("{name: a.io/b}", zynq(), *(dfl(id=f"0000:{bus}:00.0") for bus in ("4f", "a0", "18", "09")))
    assert ids(found, "a.io/b") == [*(f"0000:{bus}:00.0" for bus in ("09", "18", "4f", "a0")), "fpga0"]


def test_what_the_look_refused_has_its_reason() -> None:
    """By the kernel's name."""
    found = offer(Report((dfl(),), refused={"dfl-port.3": "it is released"}), FpgaConfig())
    assert found.reasons["dfl-port.3"] == ("it is released",)


# --- names that cannot be ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("odd", ["", ZEROS, ONES, "xyzzy", "5" * 31])
def test_an_odd_id_quarantines_that_function_alone(odd: str) -> None:
    """Its neighbours are offered, and no later rule takes it under a name that it would lose again."""
    found = offered(
        "{name: 'a.io/region-{interface_id}', match: [{backend: [dfl]}]}, {name: a.io/rest}", dfl(interface_id=odd), dfl(1)
    )
    assert found.resources == (f"a.io/region-{INTERFACE}", "a.io/rest")
    assert took(found) == {B: (f"a.io/region-{INTERFACE}",)}
    assert list(found.quarantined) == [A]
    assert found.reasons[A] == (f"a.io/region-{{interface_id}} would take it, and cannot: {found.quarantined[A]}",)
    assert not found.notices


def test_an_odd_id_that_no_name_needs_does_no_harm() -> None:
    """Nothing is asked of a fact that nothing depends on."""
    assert took(offered("{name: a.io/b}", dfl(interface_id="", afu_id="odd", shell="::"))) == {A: ("a.io/b",)}


def test_what_makes_no_sense_is_quarantined() -> None:
    """For one reason, whatever the rules are."""
    found = offered("{name: a.io/b, match: [{kind: [vf]}]}, {name: a.io/c}", dfl(problem="its port has no id"))
    assert found.quarantined == {A: "its port has no id"}
    assert found.reasons[A] == ("it is quarantined: its port has no id",)
    assert not found.units
    assert not found.notices


def test_a_name_that_is_too_long_is_never_cut() -> None:
    """Two shells would be one resource by accident."""
    found = offered("{name: 'a.io/{shell}-{timestamp}'}", alveo(shell="s" * 70), alveo(1))
    assert found.quarantined == {alveo().id: f"'a.io/{'s' * 70}-0' has more than 63 characters after the slash"}
    assert len(found.units) == 1


def test_one_id_is_given_once() -> None:
    """A serial number may read as another device's name."""
    found = offered("{name: a.io/g, unit: group, match: [{backend: [xrt]}]}, {name: a.io/b}", alveo(group="fpga0"), zynq())
    assert ids(found, "a.io/g") == ["fpga0"]
    assert found.quarantined == {"fpga0": "its id fpga0 is that of another one"}


# --- more than a function ---------------------------------------------------------------------------------------------------


def test_two_devices_of_one_card() -> None:
    """A card group is one unit by its serial number, in the names of either."""
    found = offered("{name: a.io/u30, unit: group}", u30(0), u30(1), u30(2, serial="2A0002"))
    assert ids(found, "a.io/u30") == ["2A0001", "2A0002"]
    assert [len(unit.functions) for unit in found.units] == [2, 1]
    assert took(found) == {f"0000:{0x81 + number:02x}:00.1": ("a.io/u30",) for number in range(3)}


@pytest.mark.parametrize(
    ("unit", "facts", "reason"),
    [
        ("group", {"group": ""}, "it has no serial number, which would say what belongs together"),
        ("card", {"card": ""}, "its card is not known"),
        ("region", {"region": ""}, "it is in no region that is known"),
    ],
)
def test_what_belongs_together_must_be_known(unit: str, facts: dict[str, Any], reason: str) -> None:
    """Else a container would get a part, under an id that is another's later."""
    assert offered(f"{{name: a.io/b, unit: {unit}}}", alveo(**facts)).reasons[alveo().id] == (f"a.io/b refuses it: {reason}",)


def test_a_whole_is_taken_as_a_whole() -> None:
    """What does not fit all is refused, and says for which function; so is what others have a part of."""
    ports = [
        dfl(id=f"{A}/port{number}", name=f"dfl-port.{number}", card=A, kind=kind) for number, kind in enumerate(["pf", "vf"])
    ]
    found = offered("{name: a.io/card, unit: card, match: [{kind: [pf]}]}", *ports)
    reason = f"a.io/card refuses it: dfl-port.1 ({A}/port1): kind vf is not pf"
    assert found.reasons == {port.id: (reason,) for port in ports}
    torn = offered("{name: a.io/vf, match: [{kind: [vf]}]}, {name: a.io/card, unit: card}", *ports)
    assert took(torn) == {f"{A}/port1": ("a.io/vf",)}
    assert torn.reasons[f"{A}/port0"][-1] == (f"a.io/card refuses it: dfl-port.1 ({A}/port1) of its card is taken already")
    whole = offered("{name: a.io/card, unit: card}", *ports)
    assert [(unit.id, len(unit.functions)) for unit in whole.units] == [(A, 2)]


def test_an_iommu_group_goes_together() -> None:
    """The kernel gives it to one program only, so it is one unit, with the id of its first function."""
    found = offered("{name: a.io/vfio}", vfio(1), vfio(0), vfio(2, group="43"))
    assert [(unit.id, len(unit.functions)) for unit in found.units] == [("0000:5e:00.0", 2), ("0000:5e:00.2", 1)]
    torn = offered("{name: a.io/card, unit: card}", vfio(0), vfio(1, card="0000:5f:00.0"))
    assert torn.reasons["0000:5e:00.0"] == ("a.io/card refuses it: its IOMMU group 42 reaches beyond its card",)
    assert not torn.units
    members = offered("{name: a.io/vfio, match: [{kind: [vf]}]}", vfio(0), vfio(1))
    assert members.reasons["0000:5e:00.1"] == ("a.io/vfio refuses it: 0000:5e:00.0: kind pf is not vf",)


def test_what_is_not_ready_is_refused_with_its_reason() -> None:
    """It is no fault of the hardware, and told once for all of a kind."""
    found = offered("{name: a.io/b}", dfl(waiting_for="no driver"), dfl(1, waiting_for="no driver"), dfl(2))
    assert found.reasons[A] == ("a.io/b refuses it: it cannot be used as it is: no driver",)
    assert found.notices == (f"2 FPGA functions not offered: no driver (dfl-port.0 ({A}), dfl-port.1 ({B}))",)
    assert not found.quarantined


# --- what is programmed -----------------------------------------------------------------------------------------------------

TWO = f"{{name: a.io/nlb, {program()}}}, {{name: a.io/dma, {program('dma.gbs')}}}, {{name: a.io/rest}}"


def test_a_region_may_back_several_resources() -> None:
    """Each has ids of its own for it, which share a claim; what is not programmed comes too late."""
    found = offered(TWO, dfl(), dfl(1, programmable=()))
    nlb, dma, rest = found.units
    assert (nlb.resource, dma.resource, rest.resource) == ("a.io/nlb", "a.io/dma", "a.io/rest")
    assert nlb.id != dma.id
    assert all(unit.id.startswith(f"{A}@") for unit in (nlb, dma))
    assert nlb.claim == dma.claim == nlb.region == f"{A}/region0"
    assert (rest.id, rest.claim, rest.region) == (B, "", "")
    assert took(found) == {A: ("a.io/nlb", "a.io/dma"), B: ("a.io/rest",)}
    assert found.reasons[A] == ("a.io/nlb takes it", "a.io/dma takes it")
    assert found.reasons[B] == (
        "a.io/nlb refuses it: it offers no way of programming it",
        "a.io/dma refuses it: it offers no way of programming it",
        "a.io/rest takes it",
    )


def test_another_resource_changes_no_id() -> None:
    """A pod may hold one while the configuration changes."""
    one = offered(f"{{name: a.io/nlb, {program()}}}", dfl())
    assert ids(one, "a.io/nlb") == ids(offered(TWO, dfl()), "a.io/nlb")


@pytest.mark.parametrize("afu", ["", AFU, OTHER_AFU, ONES, ZEROS, "odd"])
def test_what_is_programmed_now_changes_nothing(afu: str) -> None:
    """Neither resource nor id of a region depends on it."""
    resources = f"{{name: 'a.io/{{interface_id}}', unit: region, {program()}}}"
    assert [(unit.id, unit.resource, unit.claim) for unit in offered(resources, dfl(afu_id=afu)).units] == [
        (unit.id, unit.resource, unit.claim) for unit in offered(resources, dfl()).units
    ]


def test_what_shares_a_region_with_what_is_programmed_excludes_it() -> None:
    """Programming would take the ground from under another port."""
    other = dfl(id=f"{A}/port1", name="dfl-port.1", kind="vf")
    found = offered(f"{{name: a.io/nlb, match: [{{kind: [pf]}}], {program()}}}, {{name: a.io/rest}}", dfl(), other)
    assert [(unit.resource, unit.claim) for unit in found.units] == [
        ("a.io/nlb", f"{A}/region0"),
        ("a.io/rest", f"{A}/region0"),
    ]


def test_what_programming_may_move_is_for_one_at_a_time() -> None:
    """A function that is programmed while a container has it would be free under the name of its new AFU."""
    found = offered("{name: 'a.io/{intel_af}', match: [{kind: [pf]}]}, {name: a.io/vf}", dfl(), dfl(1, kind="vf"))
    assert [unit.claim for unit in found.units] == [A, ""]


@pytest.mark.parametrize(
    ("resource", "facts", "reason"),
    [
        (program(), {"programmable": ()}, "it offers no way of programming it"),
        (
            program(more=", way: xrt"),
            {},
            "it could be programmed by dfl-ioctl, and what may be used is xrt",
        ),
        (
            program(more=f", interfaceId: '{INTERFACE}'"),
            {"interface_id": AFU},
            f"its interface id is {AFU}, and the bitstream fits {INTERFACE}",
        ),
        (
            program(more=f", interfaceId: '{INTERFACE}'"),
            {"interface_id": ""},
            "its interface id is not known, which the bitstream must fit",
        ),
        ("reset: true", {"resettable": False}, "it cannot be reset, as it should be before each container"),
    ],
)
def test_what_could_never_be_made_ready_is_refused(resource: str, facts: dict[str, Any], reason: str) -> None:
    """Rather than each container that asks for it."""
    found = offered(f"{{name: a.io/b, {resource}}}", dfl(**facts))
    assert found.reasons[A] == (f"a.io/b refuses it: {reason}",)
    assert took(offered(f"{{name: a.io/b, {resource.replace('xrt', 'dfl-ioctl')}}}", dfl())) == {A: ("a.io/b",)}


def test_a_command_may_program_what_no_driver_can() -> None:
    """It is the operator's own."""
    config = config_of(f"{{programming: [command], resources: [{{name: a.io/b, {program()}}}]}}")
    assert took(offer(Report((dfl(programmable=()),)), config)) == {A: ("a.io/b",)}


def test_two_templates_may_give_one_name() -> None:
    """A region is offered once under one name, and what is not programmed may join a resource."""
    found = offered(f"{{name: a.io/dfl, {program()}}}, {{name: 'a.io/{{backend}}', {program('b.gbs')}}}", dfl())
    assert len(found.units) == 1
    assert found.reasons[A][-1] == "a.io/{backend} refuses it: it is offered as a.io/dfl already"
    joined = offered("{name: a.io/dfl, match: [{numaNode: [0]}]}, {name: 'a.io/{backend}'}", dfl(), dfl(1))
    assert ids(joined, "a.io/dfl") == [A, B]


# --- nothing moves without a reason -----------------------------------------------------------------------------------------

REGION = "a.io/region-{interface_id}"
MODELS = "{name: a.io/u30, match: [{shell: ['*u30*']}]}, {name: 'a.io/region-{interface_id}', match: [{backend: [dfl]}]}, {name: a.io/rest}"


@pytest.mark.parametrize(("had", "template"), [("a.io/u30", "a.io/u30"), (f"a.io/region-{INTERFACE}", REGION)])
def test_a_function_keeps_its_resource_while_its_card_does_not_answer(had: str, template: str) -> None:
    """It has no shell and no ids, or ones of nothing but ones; under another name it would be free for a second pod."""
    blind = dfl(shell="", interface_id=ONES, afu_id=ONES, driver="")
    found = offered(MODELS, blind, before={A: {had: template}})
    assert took(found) == {A: (had,)}
    assert not found.quarantined


def test_a_kept_function_says_why() -> None:
    """And what comes before leaves it where it was."""
    blind = dfl(shell="", interface_id=ONES)
    assert offered(MODELS, blind, before={A: {f"a.io/region-{INTERFACE}": REGION}}).reasons[A] == (
        "a.io/u30 refuses it: shell is not known",
        f"a.io/region-{{interface_id}} keeps it as a.io/region-{INTERFACE}, as before: its interface id {SILENT}",
    )
    negated = "{name: a.io/new, match: [{not: [{shell: ['*u30*']}]}]}, {name: a.io/rest}"
    assert offered(negated, blind, before={A: {"a.io/rest": "a.io/rest"}}).reasons[A] == (
        "a.io/new leaves it where it was, since shell is not known",
        "a.io/rest takes it",
    )
    assert took(offered(negated, blind)) == {A: ("a.io/new",)}


@pytest.mark.parametrize(
    "facts", [{"problem": "gone mad"}, {"waiting_for": "no driver"}, {"programmable": ()}, {"interface_id": ""}]
)
def test_a_function_stays_where_it_was_offered(facts: dict[str, Any]) -> None:
    """A pod may have it; its health says the rest."""
    resource = f"{{name: 'a.io/{{interface_id}}', {program(more=f', interfaceId: {INTERFACE}')}}}"
    had = {A: {f"a.io/{INTERFACE}": "a.io/{interface_id}"}}
    found = offered(resource, dfl(**facts), before=had)
    assert took(found) == {A: (f"a.io/{INTERFACE}",)}
    assert [unit.id for unit in found.units] == [unit.id for unit in offered(resource, dfl()).units]
    assert not offered(resource, dfl(**facts)).taken


def test_a_function_moves_for_what_is_certain() -> None:
    """Another AFU is one; a resource before that certainly takes it, too."""
    af = "{name: 'a.io/{afu_id}'}"
    assert took(offered(af, dfl(afu_id=OTHER_AFU), before={A: {f"a.io/{AFU}": "a.io/{afu_id}"}})) == {A: (f"a.io/{OTHER_AFU}",)}
    assert took(offered(MODELS, dfl(), before={A: {"a.io/rest": "a.io/rest"}})) == {A: (f"a.io/region-{INTERFACE}",)}


@pytest.mark.parametrize(
    "had",
    [
        REGION,
        [f"a.io/region-{INTERFACE}"],
        {f"a.io/region-{INTERFACE}": "a.io/gone"},
        {"a.io/gone": REGION},
        {f"a.io/region-{INTERFACE}": 7},
        {7: REGION},
        {"a.io/region-": REGION},
        None,
        7,
        {},
    ],
)
def test_what_makes_no_sense_counts_nothing(had: object) -> None:
    """Of a resource that is not there any more, or of a memory that was tampered with."""
    for function in (dfl(interface_id=""), dfl(problem="gone mad")):
        assert offered(MODELS, function, before={A: had}) == offered(MODELS, function)


# --- notices ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resources", "notices"),
    [
        ("{name: a.io/a}, {name: a.io/b}", ["a.io/b can never have a function: a.io/a before it takes them all"]),
        ("{name: a.io/a, unit: card}, {name: a.io/b}", []),
        ("{name: a.io/a, reset: true}, {name: a.io/b}", []),
        (f"{{name: a.io/a, {program()}}}, {{name: a.io/b}}", []),
        (
            "{name: a.io/a, match: [&v {kind: [vf]}]}, {name: a.io/b, match: [&p {kind: [pf]}]}, {name: a.io/c, match: [*p, *v]}",
            ["a.io/c can never have a function: a.io/b and a.io/a before it take them all"],
        ),
        (
            "{name: a.io/a, nodes: [port, fme, management]}",
            ["containers with a.io/a get the node for fme and management, and can change what others use"],
        ),
    ],
)
def test_what_is_worth_a_sentence(resources: str, notices: list[str]) -> None:
    """A resource that is in the way of another, and nodes that give more than a tenant should have."""
    assert list(offered(resources).notices) == notices


# --- laws -------------------------------------------------------------------------------------------------------------------


def rules(number: int) -> st.SearchStrategy[Resource]:
    """A rule of any sort, with a name that others may make, too."""
    name = st.sampled_from([f"a.io/r{number}", "a.io/{shell}", "a.io/{interface_id}", "a.io/x{afu_id}", "a.io/{backend}"])
    programs = st.sampled_from([Program(f"{number}.bin", SUM), Program("a.bin", SUM, interface_id=INTERFACE)])

    def any_rule(name: str, unit: str, program: Program | None, *, reset: bool, match: tuple[Match, ...]) -> Resource:
        afu_free = program is not None or unit == "region"
        fitting = tuple(each for each in match if not each.by_afu) if afu_free else match
        whole = "function" if program is not None and unit in {"card", "group"} else unit
        plain = "a.io/{device}" if afu_free and "afu" in name else name
        return Resource(name=plain, unit=whole, program=program, reset=reset, match=fitting)  # type: ignore[arg-type]  # drawn below

    return st.builds(
        any_rule,
        name,
        st.sampled_from(["function", "function", "region", "card", "group"]),
        st.none() | programs,
        reset=st.booleans(),
        match=st.lists(matches(), max_size=2).map(tuple),
    )


def configs() -> st.SearchStrategy[FpgaConfig]:
    """Up to four resources of any sort."""
    listed = st.integers(0, 4).flatmap(lambda most: st.tuples(*(rules(number) for number in range(most))))
    once = listed.map(lambda drawn: tuple({rule.name: rule for rule in drawn}.values()))
    return once.map(lambda drawn: FpgaConfig(resources=drawn, programming=("dfl-ioctl",)))


REPORTS = st.lists(functions(), max_size=6, unique_by=lambda each: each.id).map(lambda found: Report(tuple(found)))
TEMPLATES = ["a.io/r0", "a.io/r1", "a.io/{shell}", "a.io/{interface_id}", "a.io/gone"]
NAMES = st.dictionaries(
    st.sampled_from(["a.io/r0", "a.io/r1", "a.io/dfl", f"a.io/{INTERFACE}"]), st.sampled_from(TEMPLATES), max_size=2
)
EARLIER = st.dictionaries(st.sampled_from([A, B, "fpga0"]), NAMES)


@given(REPORTS, configs(), EARLIER)
def test_each_function_is_offered_once_or_to_be_programmed(
    report: Report, config: FpgaConfig, before: dict[str, dict[str, str]]
) -> None:
    """What is in several units is programmed for each of them, and they share a claim; what is taken is not quarantined."""
    found = offer(report, config, before)
    for function in report.functions:
        units = [unit for unit in found.units if any(each.id == function.id for each in unit.functions)]
        assert tuple(unit.resource for unit in units) == tuple(found.taken.get(function.id, ()))
        assert bool(units) is (function.id in found.taken)
        assert not (units and function.id in found.quarantined)
        if len(units) > 1:
            assert all(unit.rule.program for unit in units)
            assert len({unit.claim for unit in units} - {""}) == 1
    assert found.reasons.keys() == {each.id for each in report.functions}


@given(REPORTS, configs(), EARLIER)
def test_what_is_offered_can_be_registered(report: Report, config: FpgaConfig, before: dict[str, dict[str, str]]) -> None:
    """No name that the kubelet would refuse, and no id that is there twice, across all resources."""
    found = offer(report, config, before)
    given_out = [unit.id for unit in found.units]
    assert len(given_out) == len({*given_out})
    assert all(0 < len(each) <= 63 and each.isascii() and each.isprintable() and " " not in each for each in given_out)
    assert all(resource_name_problem(name) is None for name in found.resources)
    assert {unit.resource for unit in found.units} <= {*found.resources}
    assert all(len(unit.claim) <= 63 for unit in found.units)


@given(REPORTS, configs(), EARLIER, st.randoms(use_true_random=False))
def test_the_order_of_functions_does_not_matter(
    report: Report, config: FpgaConfig, before: dict[str, dict[str, str]], random: Random
) -> None:
    """What sysfs lists first has no privilege."""
    shuffled = [*report.functions]
    random.shuffle(shuffled)
    assert offer(Report(tuple(shuffled)), config, before) == offer(report, config, before)


@given(REPORTS, configs(), EARLIER)
def test_an_offer_is_its_own_successor(report: Report, config: FpgaConfig, before: dict[str, dict[str, str]]) -> None:
    """Where nothing has changed nothing moves."""
    first = offer(report, config, before)
    assert offer(report, config, first.taken).taken == first.taken


def test_a_neighbour_that_says_nothing_moves_nothing() -> None:
    """What is offered as a whole only since another of it is not known to be somebody else's stays where it was."""
    resources = (
        f"{{name: 'a.io/{{shell}}', match: [{{afuId: [{AFU}]}}]}}, {{name: a.io/region, unit: region}}, {{name: a.io/rest}}"
    )
    first, second = dfl(shell=""), dfl(1, region=dfl().region, afu_id=OTHER_AFU, shell="")
    found = offered(resources, first, second)
    assert took(found)[second.id] == ("a.io/rest",)
    blind = [replace(each, afu_id=ONES, interface_id=ONES) for each in (first, second)]
    assert took(offered(resources, *blind, before=found.taken))[second.id] == ("a.io/rest",)
    free = offered(resources, *(replace(each, afu_id=OTHER_AFU) for each in (first, second)), before=found.taken)
    assert took(free)[second.id] == ("a.io/region",)


@given(REPORTS, configs())
def test_blindness_moves_nothing(report: Report, config: FpgaConfig) -> None:
    """When no card tells anything any more, each function that had a resource has it still, or none."""

    def blind(function: Function) -> Function:
        return replace(function, shell="", driver="", interface_id=ONES, afu_id=ONES, programmable=(), numa_node=None)

    first = offer(report, config)
    later = offer(Report(tuple(map(blind, report.functions))), config, first.taken)
    for name, had in first.taken.items():
        assert had.items() <= later.taken.get(name, {}).items()


@given(REPORTS, configs(), st.sampled_from(["", AFU, OTHER_AFU, ONES]))
def test_programming_moves_no_region(report: Report, config: FpgaConfig, afu: str) -> None:
    """Where no rule looks at the AFU id, nothing of the offer but the functions themselves changes with it."""
    steady = FpgaConfig(
        resources=tuple(rule for rule in config.resources if not rule.by_afu), programming=("dfl-ioctl",), preset=""
    )
    programmed = Report(tuple(replace(each, afu_id=afu) for each in report.functions))
    first, later = offer(report, steady), offer(programmed, steady)
    assert [(unit.id, unit.resource, unit.claim) for unit in first.units] == [
        (unit.id, unit.resource, unit.claim) for unit in later.units
    ]
