"""Names of resources: what a template makes of a function, and why it makes none."""

from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from supervisor import resource_name_problem
from supervisor_fpga.naming import (
    FIELDS,
    Name,
    bare_id,
    intel_af,
    known_id,
    may_be_name,
    resource_name,
    template_problem,
)
from supervisor_fpga.report import Function
from tests.plugins.fpga.functions import AFU, INTERFACE, ONES, OTHER_AFU, ZEROS, alveo, dfl, functions, zynq


@pytest.mark.parametrize(
    ("template", "function", "name"),
    [
        ("example.com/fpga", dfl(), "example.com/fpga"),
        ("example.com/{backend}", zynq(), "example.com/manager"),
        ("example.com/{vendor}-{device}", dfl(), "example.com/8086-09c4"),
        ("example.com/{driver}", zynq(), "example.com/zynqmp_fpga_manager"),
        ("example.com/{interface_id}", dfl(), f"example.com/{INTERFACE}"),
        ("example.com/afu.{afu_id}", dfl(), f"example.com/afu.{AFU}"),
        ("example.com/{afu_id}", dfl(afu_id="D8424DC4-A4A3-C413-F89E-433683F9040B"), f"example.com/{AFU}"),
        ("amd.com/{shell_id}", alveo(shell_id=AFU), f"amd.com/{AFU}"),
        ("amd.com/{shell}-{timestamp}", alveo(), "amd.com/xilinx_u250_gen3x16_xdma_shell_4_1-0"),
        ("amd.com/{shell}", alveo(shell="xilinx:u200:xdma:201830.2"), "amd.com/xilinx_u200_xdma_201830.2"),
        ("amd.com/{shell}", alveo(shell="_xilinx (beta)\n"), "amd.com/xilinx__beta"),
        ("{driver}.example.com/fpga", zynq(driver="Zynq_MP.1"), "zynq-mp-1.example.com/fpga"),
        ("example.com/{driver}", zynq(driver="Zynq_MP.1"), "example.com/Zynq_MP.1"),
    ],
)
def test_a_template_becomes_a_name(template: str, function: Function, name: str) -> None:
    """Fields are replaced by what the function tells, in characters that a name may have."""
    assert template_problem(template) == ""
    assert resource_name(template, [function]) == Name(name)


@pytest.mark.parametrize(
    ("template", "function", "problem", "certain"),
    [
        ("a.io/{interface_id}", dfl(interface_id=""), "its interface id is not known", False),
        ("a.io/{interface_id}", dfl(interface_id=ZEROS), "its interface id is all zeros", False),
        (
            "a.io/{interface_id}",
            dfl(interface_id=ONES.upper()),
            "its interface id is all ones, as of a card that does not answer",
            False,
        ),
        (
            "a.io/{afu_id}",
            dfl(afu_id="-5"),
            "its AFU id is '-5', which is no id of 32 hexadecimal digits",
            False,
        ),
        ("a.io/{intel_af}", dfl(afu_id=""), "its AFU id is not known", False),
        ("a.io/{intel_af}", dfl(interface_id="", afu_id=""), "its interface id is not known", False),
        ("a.io/{shell}", zynq(), "its shell is not known", False),
        ("a.io/{shell}", zynq(shell="::"), "its shell '::' has nothing that a name may have", False),
        ("a.io/{shell}", zynq(shell="s" * 64), f"'a.io/{'s' * 64}' has more than 63 characters after the slash", True),
        ("a.io/{shell}", zynq(shell="s" * 90), f"'a.io/{'s' * 75}…' has more than 63 characters after the slash", True),
        ("{shell}.io/a", zynq(shell="s" * 250), "is no resource name: its vendor domain is longer than 244", True),
    ],
)
def test_a_function_without_a_name_has_a_reason(template: str, function: Function, problem: str, certain: bool) -> None:
    """Missing facts may be there again later; what is too long is so for good."""
    name = resource_name(template, [function])
    assert name.text == ""
    assert problem in name.problem
    assert name.certain is certain


def test_functions_that_come_together_have_one_name() -> None:
    """Where their facts differ, they have none."""
    assert resource_name("a.io/{driver}", [dfl(), dfl(1)]) == Name("a.io/dfl-pci")
    assert resource_name("a.io/{device}", [dfl(), dfl(1, device="0b2b")]) == Name(
        problem="its functions would have different names: a.io/09c4, a.io/0b2b"
    )
    assert resource_name("a.io/{shell}", [alveo(), zynq()]).problem == "its shell is not known"


def test_the_names_of_intel() -> None:
    """By the two examples in the tests of its own plugin."""
    assert intel_af("ce48969398f05f33946d560708be108a", AFU) == "ce4.d84.zkiWk5jwXzOUbVYHCL4QithCTcSko8QT-J5DNoP5BAs"
    assert intel_af("bfac4d851ee856fe8c95865ce1bbaa2d", OTHER_AFU) == "bfa.f7d.v6xNhR7oVv6MlYZc4buqLfffQFy9es9yIvFEsLk6zRg"


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16))
def test_every_name_of_intel_can_be_registered(interface: bytes, afu: bytes) -> None:
    """Whatever the ids are, base64 for URLs ends in no sign that a name must not end in."""
    assume(not {interface, afu} & {bytes(16), b"\xff" * 16})
    name = resource_name("fpga.intel.com/af-{intel_af}", [dfl(interface_id=interface.hex(), afu_id=afu.hex())])
    assert name.problem == ""
    assert len(name.text) == len("fpga.intel.com/") + 54


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("fpga", "it has no vendor domain"),
        ("a.io/{shel}", "{shel} is no field; there are {backend}, {vendor}, "),
        ("a.io/{}", "{} is no field"),
        ("a.io/{shell", "a brace is part of a field, like {shell}"),
        ("a.io/shell}", "a brace is part of a field"),
        ("a.io/{{shell}}", "a brace is part of a field"),
        ("a.io/b c", "it must be a lower-case DNS domain"),
        ("A.io/{shell}", "it must be a lower-case DNS domain"),
        ("a.io/-{shell}", "it must be a lower-case DNS domain"),
        ("a.io/{shell}/{device}", "it must be a lower-case DNS domain"),
        ("kubernetes.io/{shell}", "reserved for Kubernetes"),
        ("requests.a.io/{shell}", "requests."),
        (f"a.io/{'x' * 63}{{shell}}", "it must be a lower-case DNS domain"),
    ],
)
def test_a_template_that_can_be_no_name(template: str, problem: str) -> None:
    """It is refused when the configuration is read, before there is a function."""
    assert problem in template_problem(template)


@given(st.sampled_from(sorted(FIELDS)), st.sampled_from(sorted(FIELDS)), functions(), st.text(max_size=80))
def test_no_name_is_given_that_would_be_refused(first: str, second: str, function: Function, odd: str) -> None:
    """Whatever hardware says of itself; and a name does not change when it is asked for again."""
    told = replace(function, shell=odd, driver=odd[:20])
    for template in (f"{{{first}}}.io/{{{second}}}", f"a.io/{{{first}}}.{{{second}}}"):
        name = resource_name(template, [told])
        assert bool(name.text) is not bool(name.problem)
        if name.text:
            assert resource_name_problem(name.text) is None
            assert may_be_name(name.text, template, [told])


@given(st.sampled_from(sorted(FIELDS)), functions())
def test_a_name_may_still_be_when_a_fact_is_gone(field: str, function: Function) -> None:
    """What a function was called with all its facts is what it may be called without them."""
    template = f"a.io/x-{{{field}}}"
    name = resource_name(template, [function])
    assume(name.text)
    blind = replace(function, shell="", driver="", vendor="", device="", timestamp="", interface_id=ONES, afu_id="")
    assert may_be_name(name.text, template, [blind])
    assert not may_be_name("a.io/y", template, [blind])
    assert not may_be_name(f"{name.text}/z", template, [blind])


@given(st.uuids())
def test_ids_are_known_by_their_digits(id_: UUID) -> None:
    """Dashes and case do not count; zeros and ones mean nothing, as does half of an id."""
    assume(id_.int not in {0, 2**128 - 1})
    assert known_id(str(id_).upper()) == known_id(id_.hex) == bare_id(str(id_)) == id_.hex
    assert {known_id(text) for text in ("", ZEROS, ONES, str(UUID(int=0)), id_.hex[:16], f"0x{id_.hex}")} == {""}
