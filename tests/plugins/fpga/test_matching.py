"""Whether a match fits a function, why not, and whether that is certain."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from supervisor_fpga.config import Match
from supervisor_fpga.matching import FITS, Answer, all_of, answer, any_of, words
from supervisor_fpga.report import Function
from tests.plugins.fpga.functions import AFU, INTERFACE, ONES, OTHER_AFU, ZEROS, alveo, dfl, functions, match_of, matches, zynq


@pytest.mark.parametrize(
    ("text", "function"),
    [
        ("{id: ['0000:3B:00.0']}", dfl()),
        ("{id: ['3b:00.0']}", dfl()),
        ("{id: ['0000:3b:00.*']}", dfl()),
        ("{id: ['3b:00.0']}", dfl(id="0000:3b:00.0/port1")),
        ("{id: ['3b:00.0/port1']}", dfl(id="0000:3b:00.0/port1")),
        ("{id: ['*/port1']}", dfl(id="0000:3b:00.0/port1")),
        ("{id: ['fpga?']}", zynq()),
        ("{backend: [xrt, dfl]}", dfl()),
        ("{vendor: ['10EE'], device: ['5001']}", alveo()),
        ("{driver: [DFL-*]}", dfl()),
        ("{shell: ['XILINX_U250_*']}", alveo()),
        ("{interfaceId: ['69528db6-eb31-577a-8c36-68f9faa081f6']}", dfl()),
        ("{interfaceId: ['69528DB6*']}", dfl()),
        ("{interfaceId: ['6952????-eb31-*']}", dfl()),
        ("{afuId: [f7df405cbd7acf7222f144b0b93acd18, D8424DC4A4A3C413F89E433683F9040B]}", dfl()),
        ("{afuId: ['d8424dc4-*']}", dfl(afu_id="D8424DC4-A4A3-C413-F89E-433683F9040B")),
        ("{group: ['2130*']}", alveo()),
        ("{kind: [platform, vf]}", zynq()),
        ("{numaNode: [0, 1]}", dfl()),
        ("{not: [{kind: [vf]}, {backend: [xrt]}]}", dfl()),
        ("{not: [{not: [{backend: [dfl]}]}]}", dfl()),
        ("{backend: [dfl], kind: [pf], numaNode: [1], not: [{id: ['3b:00.0']}]}", dfl(1)),
    ],
)
def test_what_fits(text: str, function: Function) -> None:
    """Names by patterns, ids by their digits, case never counts."""
    assert answer(match_of(text), function) == FITS


@pytest.mark.parametrize(
    ("text", "function", "reason"),
    [
        ("{id: ['3b:00.1', 'fpga*']}", dfl(), "id 0000:3b:00.0 is none of 3b:00.1, fpga*"),
        ("{id: ['3b:00.0/port0']}", dfl(id="0000:3b:00.0/port1"), "id 0000:3b:00.0/port1, 0000:3b:00.0 is not 3b:00.0/port0"),
        ("{backend: [opae]}", dfl(), "back end dfl is not opae"),
        ("{vendor: ['10ee']}", dfl(), "vendor 8086 is not 10ee"),
        ("{device: ['5001']}", dfl(), "device 09c4 is not 5001"),
        ("{driver: [xocl]}", dfl(), "driver dfl-pci is not xocl"),
        ("{shell: ['*u30*']}", alveo(), "shell xilinx_u250_gen3x16_xdma_shell_4_1 is not *u30*"),
        (f"{{interfaceId: ['{AFU}']}}", dfl(), f"interface id {INTERFACE} is not {AFU}"),
        (f"{{afuId: ['{OTHER_AFU}']}}", dfl(), f"AFU id {AFU} is not {OTHER_AFU}"),
        ("{group: [S1]}", alveo(), "serial number 21300000000 is not S1"),
        ("{kind: [vf]}", dfl(), "kind pf is not vf"),
        ("{numaNode: [1]}", dfl(), "NUMA node 0 is not 1"),
        ("{not: [{kind: [vf]}, {vendor: ['8086'], numaNode: [0]}]}", dfl(), "not[1] fits it (vendor 8086, numaNode 0)"),
        ("{driver: [xocl], kind: [vf]}", dfl(driver=""), "kind pf is not vf"),
    ],
)
def test_what_certainly_does_not_fit(text: str, function: Function, reason: str) -> None:
    """The reason names what the function has and what was asked."""
    assert answer(match_of(text), function) == Answer(fits=False, reason=reason)


@pytest.mark.parametrize(
    ("text", "function", "reason"),
    [
        ("{vendor: ['10ee']}", zynq(), "vendor is not known"),
        ("{device: ['10ee']}", zynq(), "device is not known"),
        ("{driver: ['*']}", dfl(driver=""), "driver is not known"),
        ("{shell: ['*']}", zynq(), "shell is not known"),
        ("{interfaceId: ['*']}", dfl(interface_id=""), "interface id is not known"),
        ("{interfaceId: ['*']}", dfl(interface_id=ZEROS), "interface id is not known"),
        ("{afuId: ['*']}", dfl(afu_id=ONES), "AFU id is not known"),
        ("{afuId: ['*']}", dfl(afu_id="odd"), "AFU id is not known"),
        ("{group: ['*']}", dfl(), "serial number is not known"),
        ("{numaNode: [0]}", dfl(numa_node=None), "NUMA node is not known"),
    ],
)
def test_what_is_not_known(text: str, function: Function, reason: str) -> None:
    """It fits nothing, and its negation may fit; neither is certain."""
    assert answer(match_of(text), function) == Answer(fits=False, reason=reason, certain=False)
    assert answer(match_of(f"{{not: [{text}]}}"), function) == Answer(fits=True, reason=reason, certain=False)


def test_of_several_matches_one_suffices() -> None:
    """A certain one has the word; without any fit each says why."""
    certain, doubtful, never = (match_of(text) for text in ("{kind: [pf]}", "{not: [{group: [S1]}]}", "{backend: [xrt]}"))
    assert any_of((), dfl()) == FITS
    assert any_of((never, doubtful, certain), dfl()) == Answer(fits=True, reason="kind pf")
    assert any_of((never, doubtful), dfl()) == Answer(fits=True, reason="serial number is not known", certain=False)
    assert any_of((never,), dfl()) == Answer(fits=False, reason="back end dfl is not xrt")
    missing = match_of("{group: [S1]}")
    assert any_of((never, missing), dfl()) == Answer(
        fits=False, reason="match[0]: back end dfl is not xrt; match[1]: serial number is not known", certain=False
    )
    assert any_of((never,) * 40, dfl()).reason.endswith("match[4]: back end dfl is not xrt; and 35 matches more")


def test_the_gravest_answer_decides() -> None:
    """A certain refusal before a doubtful one, that before a doubtful fit, and the first of each."""
    answers = [
        Answer(fits=True),
        Answer(fits=True, reason="a"),
        Answer(fits=True, reason="b", certain=False),
        Answer(fits=True, reason="c", certain=False),
        Answer(fits=False, reason="d", certain=False),
        Answer(fits=False, reason="e"),
    ]
    found = [all_of(answers[:count]).reason for count in range(1, 7)]
    assert found == ["", "a", "b", "b", "d", "e"]
    assert all_of([]) == FITS


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{kind: [vf, pf], driver: [a]}", "driver a, kind vf or pf"),
        ("{interfaceId: ['6952*'], numaNode: [0, 1]}", "interfaceId 6952*, numaNode 0 or 1"),
        ("{not: [{id: [a]}, {group: [b], kind: [vf]}]}", "not (id a), not (group b, kind vf)"),
    ],
)
def test_a_match_in_words(text: str, told: str) -> None:
    """In the words of the configuration."""
    assert words(match_of(text)) == told


@given(matches(), functions())
def test_a_refusal_has_a_reason(match: Match, function: Function) -> None:
    """And so has every doubt."""
    found = answer(match, function)
    assert bool(found.reason) is not (found.fits and found.certain)


@given(matches(depth=2), functions())
def test_a_negation_is_the_opposite(match: Match, function: Function) -> None:
    """With the same certainty; twice, it is the match again."""
    found, negated = answer(match, function), answer(Match(not_=(match,)), function)
    assert (negated.fits, negated.certain) == (not found.fits, found.certain)


@given(matches(), functions(), st.sampled_from([AFU, OTHER_AFU]), st.sampled_from(["xilinx_u30", "b"]))
def test_what_is_certain_stays_so_when_more_is_known(match: Match, function: Function, afu: str, shell: str) -> None:
    """A missing fact that is found turns no certain answer around."""
    more = replace(
        function,
        shell=function.shell or shell,
        group=function.group or "S1",
        driver=function.driver or "xocl",
        vendor=function.vendor or "10ee",
        numa_node=1 if function.numa_node is None else function.numa_node,
        interface_id=INTERFACE,
        afu_id=function.afu_id if function.afu_id in {AFU, OTHER_AFU} else afu,
    )
    found = answer(match, function)
    if found.certain:
        assert answer(match, more).fits is found.fits
