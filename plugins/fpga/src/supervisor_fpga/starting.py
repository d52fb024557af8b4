"""What happens before a container starts: the process that operates FPGAs makes its functions ready, one request at a time for each region.

The kubelet tries again after an error, with ids that are Unhealthy by then, too: whatever was asked before, each try does all of it again.
"""

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from supervisor import AllocationRefused, BorderFailed, glob_pattern
from supervisor_fpga.config import FpgaConfig, Program, Resource, Way
from supervisor_fpga.health import Monitor
from supervisor_fpga.metrics import Outcome, StartCount
from supervisor_fpga.operating.messages import GRACE, Bitstream, Prepare, Prepared
from supervisor_fpga.report import Function
from supervisor_fpga.tally import Tally
from supervisor_fpga.units import Unit, region_of

MARGIN = GRACE + 0.2
"""Seconds that the process has less than all of this: for its last word, and for ours."""
MOST_THREADS = 16
"""Regions that are made ready for one container at the same time."""

_LONGEST_TEXT = 300
_PLACE = re.compile(r"\{[^{}]*\}")
"""In the template of a name."""
_SAID: dict[Outcome, str] = {
    "busy": "is busy",
    "refused": "cannot be made ready",
    "failed": "has failed",
    "late": "was not ready in time",
}
_T = TypeVar("_T")


class Operator(Protocol):
    """The border to the process that operates FPGAs."""

    def ask(self, request: Struct, kind: type[_T], deadline: float) -> _T: ...


class _Part(NamedTuple):
    """Those functions of a unit that are of one region."""

    unit: Unit
    functions: tuple[Function, ...]


class _Made(NamedTuple):
    """What came of one part: of its functions until the first that is not ready, and the seconds with the wait for others."""

    unit: Unit
    prepared: tuple[Prepared, ...]
    seconds: float


def is_made_ready(rule: Resource) -> bool:
    """Whether something happens before a container of this resource starts."""
    return rule.program is not None or rule.reset


def wanted(program: Program) -> Bitstream:
    """A bitstream as the process is asked for it."""
    return Bitstream(program.bitstream, program.sha256, program.afu_id, program.interface_id, program.signature or "")


def required(resource: str, units: Iterable[Unit], rules: Iterable[Resource]) -> bool:
    """Whether containers of a resource must not start before it is made ready.

    ``units``: all that are offered. While none is of this resource, each rule counts whose name it may be: a function that is away for
    a while must not come back to its container as it is.
    """
    own = [unit.rule for unit in units if unit.resource == resource]
    return any(is_made_ready(rule) for rule in own or (rule for rule in rules if _may_name(rule, resource)))


def _may_name(rule: Resource, resource: str) -> bool:
    return glob_pattern(_PLACE.sub("*", rule.name)).fullmatch(resource) is not None


class Starter:
    """Makes units ready, for any number of containers at once; all methods may be called from any thread."""

    def __init__(self, operator: Operator, monitor: Monitor, config: FpgaConfig, changed: Callable[[], None]) -> None:
        """``changed`` is called, in any thread, when a look would say something new: no event tells of what is programmed."""
        self._operator = operator
        self._monitor = monitor
        self._ways = config.programming
        self._seconds = config.start_deadline
        self._changed = changed
        self._lock = threading.Lock()
        self._regions: dict[str, threading.Lock] = {}
        self._tally = Tally()

    def start(self, units: Sequence[Unit]) -> None:
        """Make units ready for one container, all within the configured time; healthy or not, they may become so.

        Raises ``AllocationRefused`` with the reason in one short sentence; what was ready by then is made ready again at the next try.
        """
        deadline = time.monotonic() + max(self._seconds - MARGIN, self._seconds / 2)
        asked = {(unit.resource, unit.id): unit for unit in units if is_made_ready(unit.rule)}.values()
        made = self._all([part for unit in asked for part in _parts(unit)], deadline)
        failed = [why for unit in asked if (why := self._count(unit, made))]
        if failed:
            more = f"; {len(failed) - 1} more of its {len(asked)} devices are not ready either" if len(failed) > 1 else ""
            raise AllocationRefused(f"{failed[0]}{more}")

    def counts(self) -> tuple[StartCount, ...]:
        """What came of all starts so far."""
        return self._tally.counts()

    def _all(self, parts: Sequence[_Part], deadline: float) -> list[_Made]:
        if len(parts) <= 1:
            return [self._make(part, deadline) for part in parts]
        with ThreadPoolExecutor(min(len(parts), MOST_THREADS), "fpga-start") as pool:
            return list(pool.map(self._make, parts, [deadline] * len(parts)))

    def _make(self, part: _Part, deadline: float) -> _Made:
        begun = time.monotonic()
        region = region_of(part.functions[0])
        lock = self._lock_of(region)
        if not lock.acquire(timeout=max(0.0, deadline - begun)):
            late = Prepared("late", f"{region} is being made ready for another start, which took all the time")
            return _Made(part.unit, (late,), time.monotonic() - begun)
        try:
            prepared = tuple(self._prepare(part, deadline))
        finally:
            lock.release()
        return _Made(part.unit, prepared, time.monotonic() - begun)

    def _lock_of(self, region: str) -> threading.Lock:
        with self._lock:
            return self._regions.setdefault(region, threading.Lock())

    def _prepare(self, part: _Part, deadline: float) -> Iterator[Prepared]:
        """One function after the other. Programming the first does it for the whole region."""
        for number, function in enumerate(part.functions):
            if time.monotonic() >= deadline:  # to ask all the same would end the process, with what it does for others
                yield Prepared("late", f"there was no time left for {function.id}")
                return
            request = _request(function, part.unit.rule, self._ways, deadline, programs=number == 0)
            prepared = self._ask(function, request)
            yield prepared
            if prepared.outcome != "ready":
                return

    def _ask(self, function: Function, request: Prepare) -> Prepared:
        """Where nobody answers, nothing is known of the hardware, and nothing is said against it."""
        answer: Prepared | None = None
        self._monitor.begin(function)
        try:
            answer = self._operator.ask(request, Prepared, request.deadline + GRACE)
            return answer
        except (BorderFailed, AllocationRefused) as error:
            return Prepared("late" if time.monotonic() >= request.deadline else "refused", str(error))
        finally:
            if self._monitor.end(function, answer, time.monotonic()):
                self._changed()

    def _count(self, unit: Unit, made: Sequence[_Made]) -> str:
        """Count what came of a unit; why it is not ready, or nothing."""
        own = [part for part in made if part.unit is unit]
        all_of_it = [prepared for part in own for prepared in part.prepared]
        last = next((each for each in all_of_it if each.outcome != "ready"), Prepared("ready"))
        self._tally.add(unit.resource, last.outcome, max(part.seconds for part in own), all_of_it)
        if last.outcome == "ready":
            return ""
        said = f"{unit.id} {_SAID[last.outcome]}"
        return f"{said}: {last.text[:_LONGEST_TEXT]}" if last.text else said


def _parts(unit: Unit) -> Iterator[_Part]:
    regions: dict[str, list[Function]] = {}
    for function in unit.functions:
        regions.setdefault(region_of(function), []).append(function)
    for functions in regions.values():
        yield _Part(unit, tuple(functions))


def _request(function: Function, rule: Resource, ways: Sequence[Way], deadline: float, *, programs: bool) -> Prepare:
    """What is asked for a function. ``programs``: whether it is the one by which its region gets its bitstream."""
    program = rule.program if programs else None
    request = Prepare(
        function.id, region_of(function), function.backend, deadline, reset=rule.reset, clear_errors=rule.clear_errors
    )
    if program is None:
        return request
    return replace(request, bitstream=wanted(program), ways=tuple(ways) if program.way == "auto" else (program.way,))
