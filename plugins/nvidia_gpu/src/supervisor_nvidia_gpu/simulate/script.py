"""What happens to simulated GPUs, line by line, and what each step does to a report.

    after 10s xid 79 on 0          an XID; with `gi 1 ci 0` at the end of one MIG device
    after 20s lose 1               the GPU does not answer any more
    after 30s recover 1            it does, as after a reset
    after 40s mig 0 1g.10gb*7      another MIG layout: profiles joined by commas, or `on` for none, or `off`

Times count from the beginning, in ms, s, m or h; GPUs by their index. Empty lines and what follows a `#` are passed over.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Literal

from msgspec import Struct, structs

from supervisor_nvidia_gpu.report import Evidence, Gpu, GpuEvent, MigDevice, RemappedRows, Report
from supervisor_nvidia_gpu.simulate.mig import partition

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_LINE = re.compile(r"after\s+([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*(ms|s|m|h)\s+(xid|lose|recover|mig)\s+(.+)")
_XID = re.compile(r"([0-9]{1,6})\s+on\s+([0-9]{1,3})(?:\s+gi\s+([0-9]{1,3})(?:\s+ci\s+([0-9]{1,3}))?)?")
_GPU = re.compile(r"([0-9]{1,3})")
_MIG = re.compile(r"([0-9]{1,3})\s+(\S+)")

LOST = "it does not answer any more (simulated)"

_WRONG_ECC = frozenset({48, 94, 95})
"""XIDs that come with an uncorrected memory error."""
_RECOVERY: Mapping[int, int] = {79: 2, 110: 2, 151: 2} | dict.fromkeys((46, 62, 95, 119, 120, 140, 143, 158), 1)
"""The recovery action that the driver asks for after an XID: 2 a restart of the node, 1 a reset."""


class Step(Struct, frozen=True):
    """One thing that happens to one GPU."""

    after: float
    """Seconds since the beginning."""
    action: Literal["xid", "lose", "recover", "mig"]
    gpu: int
    """Its position in the report."""
    xid: int = 0
    gpu_instance: int | None = None
    compute_instance: int | None = None
    mig: tuple[MigDevice, ...] | None = None
    """``None``: MIG is off."""


def parse(lines: Iterable[str], beginning: Report) -> tuple[Step, ...]:
    """The steps in the order of their times. Raises ``ValueError`` with all mistakes, each with its line."""
    steps, mistakes = [], []
    for number, line in enumerate(lines, start=1):
        text = line.partition("#")[0].strip()
        try:
            if text:
                steps.append(_step(text, beginning))
        except ValueError as mistake:
            mistakes.append(f"line {number}, {text[:80]!r}: {mistake}")
    if mistakes:
        raise ValueError("; ".join(mistakes))
    return tuple(sorted(steps, key=lambda step: step.after))


def _step(text: str, beginning: Report) -> Step:
    match = _LINE.fullmatch(text)
    if match is None:
        raise ValueError("expected `after TIME`, like 10s, then xid, lose, recover or mig")
    after = float(match[1]) * _SECONDS[match[2]]
    action, rest = match[3], match[4]
    if action == "xid":
        number, gpu, gpu_instance, compute_instance = _words(_XID, rest, "`xid 79 on 0`, perhaps with `gi 1 ci 0`")
        if not int(number):
            raise ValueError("there is no XID 0")
        return Step(after, "xid", _known(gpu, beginning), int(number), _number(gpu_instance), _number(compute_instance))
    if action == "mig":
        gpu, profiles = _words(_MIG, rest, "`mig 0 1g.10gb*7`, `mig 0 on` or `mig 0 off`")
        at = _known(gpu, beginning)
        return Step(after, "mig", at, mig=_partition(beginning.gpus[at], profiles))
    (gpu,) = _words(_GPU, rest, f"`{action} 0`")
    return Step(after, "lose" if action == "lose" else "recover", _known(gpu, beginning))


def _words(pattern: re.Pattern[str], text: str, example: str) -> tuple[str, ...]:
    match = pattern.fullmatch(text)
    if match is None:
        raise ValueError(f"expected {example}")
    return match.groups()


def _number(word: str | None) -> int | None:
    return None if word is None else int(word)


def _known(word: str, beginning: Report) -> int:
    if int(word) >= len(beginning.gpus):
        raise ValueError(f"there is no GPU {word}, only 0 to {len(beginning.gpus) - 1}")
    return int(word)


def _partition(gpu: Gpu, profiles: str) -> tuple[MigDevice, ...] | None:
    if gpu.mig_enabled is None:
        raise ValueError(f"{gpu.model} has no MIG")
    if profiles in {"on", "off"}:
        return () if profiles == "on" else None
    return partition(gpu, profiles)


def apply(step: Step, report: Report, beginning: Report) -> Report:
    """The report after a step; ``beginning`` is the one before all steps, to which a reset leads back."""
    gpu, fresh = report.gpus[step.gpu], beginning.gpus[step.gpu]
    if step.action == "lose":
        changed = structs.replace(gpu, problem=LOST, evidence=Evidence())
    elif step.action == "recover":
        changed = structs.replace(gpu, problem="", evidence=fresh.evidence)
    elif step.action == "mig":
        enabled = step.mig is not None
        changed = structs.replace(gpu, mig_enabled=enabled, mig_pending=enabled, mig=step.mig or ())
    else:
        changed = structs.replace(gpu, evidence=_after_xid(gpu.evidence, step.xid))
    return structs.replace(report, gpus=(*report.gpus[: step.gpu], changed, *report.gpus[step.gpu + 1 :]))


def _after_xid(evidence: Evidence, xid: int) -> Evidence:
    """What the counters and the driver say once it has happened; of a lost GPU, the driver alone."""
    errors, remapped, retirement = evidence.uncorrected_ecc, evidence.remapped, evidence.retirement_pending
    if remapped is not None and xid in {63, 64}:
        count = remapped.uncorrectable + (xid == 63)
        remapped = RemappedRows(
            remapped.correctable, count, pending=remapped.pending or xid == 63, failed=remapped.failed or xid == 64
        )
    return structs.replace(
        evidence,
        uncorrected_ecc=None if errors is None else errors + (xid in _WRONG_ECC),
        remapped=remapped,
        retirement_pending=None if retirement is None else retirement or xid == 63,
        recovery_action=_RECOVERY.get(xid, evidence.recovery_action),
    )


def event(step: Step, beginning: Report, at: float) -> GpuEvent:
    """What the driver tells of a step at a time of ``time.monotonic()``."""
    kinds = {"lose": "unavailable", "recover": "recovery-action", "mig": "mig-changed"}
    return GpuEvent(
        kind=kinds.get(step.action, "xid"),
        uuid=beginning.gpus[step.gpu].uuid,
        at=at,
        xid=step.xid,
        gpu_instance=step.gpu_instance,
        compute_instance=step.compute_instance,
        detail=LOST if step.action == "lose" else "",
    )
