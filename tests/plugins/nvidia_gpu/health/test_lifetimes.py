"""Whatever happens in whatever order, over restarts and hand-overs: nothing is laundered, and nothing is condemned for ever."""

import json
from collections.abc import Iterator

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec import Struct

from supervisor_nvidia_gpu.config import Health
from supervisor_nvidia_gpu.health import Monitor
from supervisor_nvidia_gpu.report import Evidence, Gpu, RemappedRows, Report
from tests.plugins.nvidia_gpu.health.samples import A, B, gpu, lost, mig, xid

GPUS = st.sampled_from([A, B])
STRONG = {48: False, 95: True}
"""XIDs that count against an H100, and whether only a reset heals them."""


class Hardware(Struct, frozen=True):
    """How a GPU really is."""

    ecc: int = 0
    action: int = 0
    failed: bool = False
    problem: str = ""
    plugged: bool = True
    telling: bool = True
    """Whether its driver can tell of errors and repairs at all."""


class Accusation(Struct, frozen=True):
    """Strong evidence that was shown to the monitor."""

    at: float
    needs_reset: bool


class Node(RuleBasedStateMachine):
    """A node with a divided GPU and a whole one, and a monitor that is restarted at will.

    The test keeps its own, much simpler book: who was accused when, and when which GPU really was reset.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now, self.load, self.made = 100.0, 1, 0
        self.hardware = {A: Hardware(), B: Hardware()}
        self.resets: dict[str, list[float]] = {A: [], B: []}
        self.layout: tuple[tuple[int, str], ...] = ()
        self.looked: tuple[tuple[int, str], ...] = ()
        self.book: dict[str, list[Accusation]] = {}
        self.lying: dict[str, set[str]] = {A: {A}, B: {B}}
        self.standby: Monitor | None = None

    @initialize(suspicion=st.sampled_from([0.0, 5.0]), telling=st.booleans())
    def begin(self, suspicion: float, *, telling: bool) -> None:
        """The first look."""
        self.config = Health(suspicion=suspicion)
        self.hardware[B] = Hardware(telling=telling)
        self.watch = Monitor(self.config)
        self.divide(frozenset({1, 2}))
        self.look()

    def report(self) -> Report:
        """What NVML would tell now."""
        return Report(tuple(self._gpus()), "580.65.06", driver_load=self.load)

    def _gpus(self) -> Iterator[Gpu]:
        for uuid, real in self.hardware.items():
            rows = RemappedRows(0, 0, pending=False, failed=real.failed)
            told = Evidence(real.ecc, rows, recovery_action=real.action) if real.telling and not real.problem else Evidence()
            devices = [mig(name, instance) for instance, name in self.layout] if uuid == A else []
            if real.plugged:
                yield gpu(uuid, *devices, evidence=told, problem=real.problem)

    def accuse(self, key: str, *, needs_reset: bool) -> None:
        self.book.setdefault(key, []).append(Accusation(self.now, needs_reset))

    def monitors(self) -> list[Monitor]:
        return [self.watch] if self.standby is None else [self.watch, self.standby]

    def change(self, uuid: str, **facts: object) -> None:
        self.hardware[uuid] = msgspec.structs.replace(self.hardware[uuid], **facts)

    @rule(seconds=st.sampled_from([0.5, 59.0, 61.0, 299.0, 301.0, 5_000.0]), looks=st.sampled_from([1, 1, 2, 0]))
    def wait(self, seconds: float, looks: int) -> None:
        """Time goes by, mostly watched."""
        for _ in range(max(1, looks)):
            self.now += seconds
            if looks:
                self.look()

    @rule()
    def have_a_quiet_day(self) -> None:
        """All that time can heal is healed."""
        for _ in range(3):
            self.now += 30_000.0
            self.look()

    @rule(uuid=GPUS, code=st.sampled_from([48, 95, 48, 95, 13, 154]), instance=st.sampled_from([None, None, 1, 2, 3]))
    def xid(self, uuid: str, code: int, instance: int | None) -> None:
        """The driver tells of an XID, of all of a GPU or of one instance as the last look knew it."""
        self.now += 0.01
        instance = instance if uuid == A else None
        inside = {name for each, name in self.looked if each == instance}
        whole = {A, *(name for _, name in self.looked)} if uuid == A else {B}
        for key in (inside or {A}) if instance is not None else whole:
            if code in STRONG:
                self.accuse(key, needs_reset=STRONG[code])
        for each in self.monitors():
            each.events([xid(code, uuid, self.now, instance)], self.now)

    @rule(uuid=st.sampled_from(["", A, B]))
    def lose_the_wait(self, uuid: str) -> None:
        """Waiting for events fails."""
        self.now += 0.01
        for each in self.monitors():
            each.events([lost(uuid, self.now)], self.now)

    @rule(uuid=GPUS, kind=st.sampled_from(["ecc", "action", "failed", "sound", "problem", "answers"]))
    def change_something(self, uuid: str, kind: str) -> None:
        """Something happens to the hardware that only a look shows, or its memory is replaced."""
        real = self.hardware[uuid]
        self.change(
            uuid,
            ecc=real.ecc + (kind == "ecc"),
            action=1 if kind == "action" else real.action,
            failed=kind == "failed" or (real.failed and kind != "sound"),
            problem="GPU is lost" if kind == "problem" else "" if kind == "answers" else real.problem,
        )

    @rule(uuid=GPUS, way=st.sampled_from(["reset", "driver", "bus"]))
    def start_anew(self, uuid: str, way: str) -> None:
        """A GPU is reset, the driver is loaded anew, or a GPU leaves the bus and comes back."""
        if way == "driver":
            self.load_the_driver_anew()
        elif way == "bus" and self.hardware[uuid].plugged:
            self.change(uuid, plugged=False)
        else:
            self.reset(uuid)

    def reset(self, uuid: str) -> None:
        """Only what the driver tells afterwards shows it."""
        self.now += 0.01
        self.resets[uuid].append(self.now)
        self.change(uuid, ecc=0, action=0, problem="", plugged=True)

    def load_the_driver_anew(self) -> None:
        """Which resets all GPUs that are there."""
        self.load += 1
        for uuid, real in self.hardware.items():
            if real.plugged:
                self.reset(uuid)

    @rule(instances=st.sets(st.integers(1, 3), max_size=3).map(frozenset))
    def divide(self, instances: frozenset[int]) -> None:
        """The first GPU gets another MIG layout; devices that were there already stay, new ones have new names."""
        kept = dict(self.layout)
        self.made += 1
        self.layout = tuple((each, kept.get(each) or f"MIG-{self.made}-{each}") for each in sorted(instances))

    @rule()
    def look(self) -> None:
        """A look at all of it."""
        self.now += 0.01
        for uuid, real in self.hardware.items():
            if real.plugged:
                self._note(uuid, real)
        for each in self.monitors():
            each.look(self.report(), self.now)
        for uuid, real in self.hardware.items():
            if real.plugged and real.problem and self.config.suspicion == 0.0:
                assert not self.watch.verdict(uuid, self.now).healthy

    def _note(self, uuid: str, real: Hardware) -> None:
        """Book what a look shows: what stands against a GPU, and that new MIG devices share the blame of all before them."""
        if uuid == A:
            self.looked = self.layout
            present = {A, *(name for _, name in self.layout)}
            blame = [each for key in self.lying[A] if key not in present or key == A for each in self.book.get(key, ())]
            self.book |= {key: list(blame) for key in present - self.lying[A]}
            self.lying[A] |= present
        if real.telling and not real.problem and (real.action or real.failed):
            for key in self.lying[uuid]:
                self.accuse(key, needs_reset=False)

    @rule(also_looked=st.booleans())
    def restart(self, *, also_looked: bool) -> None:
        """Another process takes over: from the memory alone, or after a look of its own."""
        self.now += 0.01
        kept = json.loads(json.dumps(self.watch.remember()))
        self.watch = Monitor(self.config)
        if also_looked:
            self.look()
        assert self.watch.recall(kept, self.now) == 0
        if not also_looked:
            self.look()

    @rule()
    def hand_over(self) -> None:
        """A standby is started, which looks and listens on its own from then on; the next time it becomes the owner."""
        if self.standby is None:
            self.standby = Monitor(self.config)
            self.look()
            return
        kept = json.loads(json.dumps(self.watch.remember()))
        self.watch, self.standby = self.standby, None
        assert self.watch.recall(kept, self.now) == 0

    @rule(alive=st.booleans())
    def die(self, *, alive: bool) -> None:
        """The NVML process dies, or is replaced."""
        if alive:
            self.look()
        else:
            self.watch.look(Report((), source="procfs", notices=("killed",)), self.now)

    @invariant()
    def nothing_is_laundered(self) -> None:
        """Who is healthy was reset after the last strong evidence, or had quiet and probation; what needs a reset had one."""
        for uuid in (A, B):
            present = {uuid} if uuid == B else {A, *(name for _, name in self.looked)}
            for key in present:
                if self.watch.verdict(key, self.now).state in {"healthy", "suspect"}:
                    assert all(self.is_settled(uuid, each) for each in self.book.get(key, ())), (key, self.book[key], self.now)

    def is_settled(self, uuid: str, accusation: Accusation) -> bool:
        """Whether a GPU may be healthy despite of it."""
        if any(reset_at > accusation.at and self.now - reset_at >= self.config.probation for reset_at in self.resets[uuid]):
            return True
        waited = self.now - accusation.at
        return not accusation.needs_reset and waited >= self.config.quiet + self.config.probation - 1e-6

    def follow(self) -> None:
        """Look when it is said that a look is due, and only then, until none is."""
        self.look()
        for _ in range(50):  # five devices, each with its quiet and its probation
            wake = self.watch.wake_at()
            if wake is None:
                return
            self.now = max(self.now, wake)
            self.watch.due(self.now)
            self.look()
        raise AssertionError("it asks for looks for ever")

    def teardown(self) -> None:
        """On sound hardware all heals but what needs a reset; after the driver has been loaded anew, that too."""
        for uuid in (A, B):
            if self.hardware[uuid].action or not self.hardware[uuid].plugged:
                self.reset(uuid)
            self.change(uuid, problem="", plugged=True, failed=False)
        self.follow()
        self.nothing_is_laundered()
        keys = [A, B, *(name for _, name in self.layout)]
        for key in keys:
            verdict = self.watch.verdict(key, self.now)
            assert verdict.healthy or verdict.reason.endswith("only a reset heals it")
        self.load_the_driver_anew()
        self.follow()
        self.nothing_is_laundered()
        assert [self.watch.verdict(key, self.now).state for key in keys] == ["healthy"] * len(keys)


TestLifetimes = Node.TestCase
TestLifetimes.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
