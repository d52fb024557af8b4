"""Failures of the hardware: what is one, whom it concerns, and what ends it."""

import pytest
from msgspec.structs import replace

from supervisor_fpga.health.failures import Failure, concerns, failure, observed
from supervisor_fpga.operating.messages import Prepared
from supervisor_fpga.report import Function
from tests.plugins.fpga.health.samples import FAILED, ONES, OTHER_AFU, ZEROS, fabric, port


@pytest.mark.parametrize("outcome", ["ready", "busy", "refused", "late"])
def test_only_the_hardware_fails(outcome: str) -> None:
    """A refused bitstream is a mistake of the resource; who waited too long knows nothing of the device."""
    assert failure(port(), Prepared(outcome, "text"), 7.0) is None  # type: ignore[arg-type]  # each is one of the literal's


def test_a_failure() -> None:
    """It is told in the words of the process that operates, and never without any."""
    assert failure(port(), FAILED, 7.0) == Failure("0000:3b:00.0/region0", "programming ended with EIO", 7.0)
    silent = failure(port(), Prepared("failed"), 7.0)
    assert silent is not None
    assert silent.text == "its driver does not say why"


def test_whom_it_concerns() -> None:
    """The function, and those that are in one region with it."""
    failed = Failure("r", "text", 0.0)
    assert concerns(failed, "a", Function("a", "dfl", region="other"))
    assert concerns(failed, "a", Function("b", "dfl", region="r"))
    assert not concerns(failed, "a", Function("b", "dfl", region="other"))
    assert not concerns(Failure("", "text", 0.0), "a", Function("b", "dfl"))


def looked(before: Function, after: Function) -> bool:
    """Whether a failure lasts over these two looks."""
    failed = failure(before, FAILED, 0.0)
    assert failed is not None
    first = observed(failed, before)
    assert first is not None
    return observed(first, after) is not None


def test_it_lasts_while_nothing_changes() -> None:
    """However often somebody looks."""
    assert looked(port(), port())
    assert looked(fabric("write error"), fabric("write error"))
    assert looked(fabric("operating"), fabric("operating"))


def test_somebody_else_may_mend_it() -> None:
    """A tool of the vendor on the host: another function is there, or the manager operates again."""
    assert not looked(port(), port(afu_id=OTHER_AFU))
    assert not looked(port(afu_id=ZEROS), port())
    assert not looked(fabric("write error"), fabric("operating"))


@pytest.mark.parametrize(
    "after",
    [
        port(afu_id=ONES),
        port(afu_id=ZEROS),
        port(afu_id=""),
        port(afu_id=OTHER_AFU, unresponsive=True),
        port(afu_id=OTHER_AFU, problem="odd"),
        port(afu_id=OTHER_AFU, waiting_for="no driver"),
        port(afu_id=OTHER_AFU, status=("reconfig CRC error",)),
        port(afu_id=OTHER_AFU, state="write error"),
    ],
)
def test_what_does_not_mend_it(after: Function) -> None:
    """Ids that are none, and what cannot be read or is wrong still."""
    assert looked(port(), after)


def test_what_it_looked_like_is_seen_once_it_answers() -> None:
    """A function that is lost in the middle says nothing to compare with."""
    failed = failure(port(), FAILED, 0.0)
    assert failed is not None
    assert observed(failed, port(unresponsive=True)) == failed
    assert observed(failed, port()) == replace(failed, afu_id=port().afu_id)
