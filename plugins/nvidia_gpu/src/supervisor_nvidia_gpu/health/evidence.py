"""What a look tells for and against a GPU.

What a GPU or its driver cannot tell is ``None``, and unknown is neither bad nor a change. A counter counts by its rise since the last
look, never by its value: what happened before anybody looked may have been repaired since.
"""

from collections.abc import Collection

import msgspec
from msgspec import Struct

from supervisor_nvidia_gpu.report import Evidence, Gpu, Report

RECOVERY_ACTIONS = {
    1: "a reset of the GPU",
    2: "a restart of the node",
    3: "its peer-to-peer traffic to be drained",
    4: "to be drained and reset",
    5: "a recovery of its IMEX domain",
    6: "a reset of its bus",
    7: "a restart of the system",
}
"""NVML field 230, ``NVML_FI_DEV_GET_GPU_RECOVERY_ACTION``; 0 is none."""

_WITHOUT_RESET = frozenset({0, 3, 5})
"""Actions that may go without the GPU having been reset."""


LONGEST_REASON = 400
"""Characters of what a driver says that are kept: a reason has to fit on a list of devices, and into the memory."""


class Judgement(Struct, frozen=True):
    """One thing that speaks against a GPU."""

    reason: str
    strong: bool = True
    """Counts at once. A weak one (no answer) makes the GPU suspect, until a look says more."""
    needs_reset: bool = False
    """Only a reset or a reboot takes it back."""


class Facts(Struct, frozen=True):
    """What came up at one moment."""

    against: tuple[Judgement, ...] = ()
    reset: str = ""
    """The sign by which it has been reset since the last look; empty: none."""
    looked: bool = False
    """Whether the GPU was asked, so that silence of the rest says something too. An event tells only what it tells."""


class Seen(Struct, frozen=True):
    """What the last looks knew of a GPU: that against which the next one is held."""

    pci: str = ""
    driver: str = ""
    driver_load: int | None = None
    uncorrected_ecc: int | None = None
    remap_pending: bool | None = None
    retirement_pending: bool | None = None
    recovery_action: int | None = None
    gone: bool = False
    """The GPU was not on the bus in the last look."""


def judge(gpu: Gpu, report: Report, before: Seen | None, unhealthy_on: Collection[str]) -> tuple[Facts, Seen]:
    """What a look tells of one GPU, and what to hold the next look against.

    After a sign of a reset nothing older is kept, so that one reset is not seen twice.
    """
    now = sight(gpu, report)
    if before is None:
        return Facts(_against(gpu, 0, unhealthy_on), looked=True), now
    sign = reset_sign(before, now)
    rise = 0
    if not sign and before.uncorrected_ecc is not None and now.uncorrected_ecc is not None:
        rise = now.uncorrected_ecc - before.uncorrected_ecc
    return Facts(_against(gpu, rise, unhealthy_on), sign, looked=True), now if sign else _merged(before, now)


def sight(gpu: Gpu, report: Report) -> Seen:
    """What this look alone knows of a GPU."""
    facts = gpu.evidence
    return Seen(
        pci=gpu.pci,
        driver=report.driver,
        driver_load=report.driver_load,
        uncorrected_ecc=facts.uncorrected_ecc,
        remap_pending=None if facts.remapped is None else facts.remapped.pending,
        retirement_pending=facts.retirement_pending,
        recovery_action=facts.recovery_action,
    )


def _merged(before: Seen, now: Seen) -> Seen:
    """What is known now, and what was known before of what cannot be told now."""
    known = {name: value for name, value in msgspec.structs.asdict(now).items() if value not in {None, ""}}
    return msgspec.structs.replace(before, **known)


def reset_sign(before: Seen, now: Seen) -> str:
    """By what one sees that the GPU was reset between two looks; empty: no sign.

    A reset leaves no mark of its own. It clears what waits for it, and starts the volatile counters anew.
    """
    if before.gone:
        return "it is back on the bus"
    if _differ(before.driver, now.driver) or _differ(before.driver_load, now.driver_load):
        return "the driver was loaded anew"
    if before.recovery_action not in _WITHOUT_RESET | {None} and now.recovery_action in _WITHOUT_RESET:
        return "the driver no longer asks for a reset"
    if before.uncorrected_ecc is not None and now.uncorrected_ecc is not None and now.uncorrected_ecc < before.uncorrected_ecc:
        return "its error counters started anew"
    if before.remap_pending and now.remap_pending is False:
        return "its broken memory rows were replaced"
    if before.retirement_pending and now.retirement_pending is False:
        return "its broken memory pages were retired"
    return ""


def _differ(before: str | int | None, now: str | int | None) -> bool:
    return bool(before) and bool(now) and before != now


def _against(gpu: Gpu, ecc_rise: int, unhealthy_on: Collection[str]) -> tuple[Judgement, ...]:
    against = [Judgement(reason) for kind, reason in _conditions(gpu.evidence, ecc_rise).items() if kind in unhealthy_on]
    if gpu.problem:
        against.append(Judgement(gpu.problem[:LONGEST_REASON], strong=False))
    return tuple(against)


def _conditions(facts: Evidence, ecc_rise: int) -> dict[str, str]:
    """What holds now, by the names of the setting ``unhealthyOn``."""
    found = {}
    if facts.recovery_action:
        wanted = RECOVERY_ACTIONS.get(facts.recovery_action, f"recovery action {facts.recovery_action}")
        found["recovery-action"] = f"the driver says that it needs {wanted}"
    if facts.remapped is not None and facts.remapped.failed:
        found["remap-failure"] = "a broken memory row could not be replaced"
    if facts.remapped is not None and facts.remapped.pending:
        found["remap-pending"] = "broken memory rows wait for a reset to be replaced"
    if facts.retirement_pending:
        found["retirement-pending"] = "broken memory pages wait for a reset to be retired"
    if ecc_rise > 0:
        found["uncorrected-ecc"] = f"{ecc_rise} new uncorrected memory error{'s' if ecc_rise > 1 else ''}"
    return found


def on_bus(pci: str, report: Report) -> bool | None:
    """Whether a GPU's place on the bus is taken in a look; ``None``: one that cannot be read may sit there."""
    if any(gpu.pci == pci for gpu in report.gpus):
        return True
    return None if not pci or any(not gpu.pci for gpu in report.gpus) else False
