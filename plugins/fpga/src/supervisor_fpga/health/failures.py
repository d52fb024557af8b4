"""Programming and resets that the hardware has failed: they count until one has gone well. Pure."""

from typing import Final

import msgspec
from msgspec import Struct

from supervisor_fpga.health.symptoms import LONGEST_TEXT
from supervisor_fpga.operating.messages import Prepared
from supervisor_fpga.report import Function

_OPERATING: Final = "operating"


class Failure(Struct, frozen=True):
    """What went wrong with a function, and how it looked afterwards."""

    region: str
    """Empty: it concerns this function alone."""
    text: str
    since: float
    """``time.monotonic()``."""
    afu_id: str | None = None
    """What was programmed when it was seen first after this; ``None``: nobody has looked yet."""
    state: str = ""
    """Of its FPGA manager, then."""


def failure(function: Function, prepared: Prepared, now: float) -> Failure | None:
    """What has to be remembered of an outcome; ``None``: the hardware has not failed.

    That a bitstream is missing or refused, or somebody else uses the function, says nothing of it.
    """
    if prepared.outcome != "failed":
        return None
    text = prepared.text or "its driver does not say why"
    return Failure(function.region, text[:LONGEST_TEXT], now)


def concerns(failed: Failure, failed_id: str, function: Function) -> bool:
    """Whether a failure that ``failed_id`` had is one of this function, too: what failed may be the region of both."""
    return failed_id == function.id or bool(failed.region and failed.region == function.region)


def observed(failed: Failure, function: Function) -> Failure | None:
    """The failure after a look at its function; ``None``: somebody else has programmed it since, and it works.

    Not every driver says so, hence other functions of which nothing changes keep their failure.
    """
    if function.problem or function.unresponsive or function.waiting_for:
        return failed
    state = function.evidence.state
    if failed.afu_id is None:
        return msgspec.structs.replace(failed, afu_id=function.afu_id, state=state)
    if state.endswith("error") or function.evidence.status:
        return failed
    another = function.afu_id != failed.afu_id and bool(set(function.afu_id.lower()) - {"0", "f"})
    again = state == _OPERATING != failed.state
    return None if another or again else failed
