"""Slots: plugin code runs in its own threads, every call ends exactly once, and hung threads hurt nobody else."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from queue import SimpleQueue

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.slots import Expired, Outcome, Raised, Returned, Slots

SOON = 10.0
"""Seconds after which a test takes an event that has not come for one that never will."""
FAR = float("inf")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Gate:
    """A plugin function that says when it has begun and then waits to be let go."""

    begun: threading.Event = field(default_factory=threading.Event)
    open: threading.Event = field(default_factory=threading.Event)

    def __call__(self) -> str:
        self.begun.set()
        assert self.open.wait(SOON)
        return threading.current_thread().name


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still until a test moves it."""
    return Clock()


@pytest.fixture
def make(clock: Clock) -> Iterator[Callable[[int], Slots]]:
    """Make slots of a size; at the end they are closed and their threads must be gone."""
    made: list[Slots] = []

    def new(size: int) -> Slots:
        made.append(Slots(f"test-{len(made)}", size, clock))
        return made[-1]

    yield new
    for slots in made:
        slots.close()
        for thread in threads(slots):
            thread.join(SOON)
        assert threads(slots) == []


def threads(slots: Slots) -> list[threading.Thread]:
    """The live threads of these slots."""
    return [thread for thread in threading.enumerate() if thread.name.startswith(f"{slots.name} ")]


def outcome(slots: Slots, function: Callable[..., object], *args: object, deadline: float = FAR) -> Outcome:
    """Submit a call and wait for its outcome."""
    answers: SimpleQueue[Outcome] = SimpleQueue()
    slots.submit(function, *args, deadline=deadline, done=answers.put)
    return answers.get(timeout=SOON)


def test_a_call_returns_its_value_from_a_thread_of_the_plugin(make: Callable[[int], Slots]) -> None:
    """The value comes back, and the thread bears the plugin's name."""
    assert outcome(make(8), lambda *args: (args, threading.current_thread().name), 1, 2) == Returned(((1, 2), "test-0 rpc 1"))


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_whatever_is_raised_is_an_outcome(make: Callable[[int], Slots], error: BaseException) -> None:
    """No exception ends a worker: the one slot still answers the next call."""
    slots = make(1)

    def fail() -> None:
        raise error

    assert outcome(slots, fail) == Raised(error)
    assert outcome(slots, lambda: "next") == Returned("next")
    assert len(threads(slots)) == 1


def test_threads_are_started_when_needed_and_used_again(make: Callable[[int], Slots]) -> None:
    """None before the first call, one for calls in sequence, never more than the slots."""
    slots = make(2)
    assert threads(slots) == []
    assert outcome(slots, int) == outcome(slots, int) == Returned(0)
    gates = [Gate() for _ in range(3)]
    answers: SimpleQueue[Outcome] = SimpleQueue()
    for gate in gates:
        slots.submit(gate, deadline=FAR, done=answers.put)
    assert gates[0].begun.wait(SOON)
    assert gates[1].begun.wait(SOON)
    assert len(threads(slots)) == 2
    assert not gates[2].begun.is_set()
    for gate in gates:
        gate.open.set()
    assert {type(answers.get(timeout=SOON)) for _ in gates} == {Returned}


def test_a_hung_call_keeps_its_slot_and_leaves_the_others(make: Callable[[int], Slots]) -> None:
    """With one of two slots hung, later calls all run in the other."""
    slots, hung = make(2), Gate()
    late: SimpleQueue[Outcome] = SimpleQueue()
    slots.submit(hung, deadline=FAR, done=late.put)
    assert hung.begun.wait(SOON)
    names = {str(outcome(slots, lambda: threading.current_thread().name)) for _ in range(5)}
    assert len(names) == 1
    hung.open.set()
    assert str(late.get(timeout=SOON)) not in names


def test_the_deadline_counts_the_wait_for_a_slot(make: Callable[[int], Slots], clock: Clock) -> None:
    """A call whose time has run out in the queue never starts; the one behind it does."""
    slots, hung, ran = make(1), Gate(), threading.Event()
    answers: SimpleQueue[tuple[str, Outcome]] = SimpleQueue()
    slots.submit(hung, deadline=FAR, done=lambda got: answers.put(("hung", got)))
    assert hung.begun.wait(SOON)
    slots.submit(ran.set, deadline=5, done=lambda got: answers.put(("queued", got)))
    slots.submit(int, deadline=6, done=lambda got: answers.put(("behind", got)))
    clock.now = 5
    hung.open.set()
    got = [answers.get(timeout=SOON) for _ in range(3)]
    assert got == [("hung", Returned("test-0 rpc 1")), ("queued", Expired()), ("behind", Returned(0))]
    assert not ran.is_set()


def test_late_counts_the_calls_past_their_deadline_until_they_return(make: Callable[[int], Slots], clock: Clock) -> None:
    """The measure by which a caller opens and closes its breaker: back to 0 before the last ``done``."""
    slots, gates = make(3), [Gate() for _ in range(3)]
    counts: SimpleQueue[int] = SimpleQueue()
    for gate, deadline in zip(gates, (5, 10, FAR), strict=True):
        slots.submit(gate, deadline=deadline, done=lambda _: counts.put(slots.late))
        assert gate.begun.wait(SOON)
    assert slots.late == 0
    clock.now = 5
    assert slots.late == 1
    clock.now = 11
    assert slots.late == 2
    left = []
    for gate in gates:
        gate.open.set()
        left.append(counts.get(timeout=SOON))
    assert left == [1, 0, 0]


def test_slots_are_busy_while_somebody_waits(make: Callable[[int], Slots], clock: Clock) -> None:
    """For a call that runs or has yet to run; nobody waits any more for one whose deadline has passed."""
    slots, gate = make(1), Gate()
    assert not slots.busy
    slots.submit(gate, deadline=1, done=lambda _: None)
    assert gate.begun.wait(SOON)
    assert slots.busy
    clock.now = 1
    assert not slots.busy
    slots.submit(int, deadline=2, done=lambda _: None)
    assert slots.busy
    clock.now = 2
    assert not slots.busy
    gate.open.set()


def test_a_late_call_still_delivers_its_outcome(make: Callable[[int], Slots], clock: Clock) -> None:
    """Its caller must learn when the devices are free again."""
    slots, gate = make(1), Gate()
    answers: SimpleQueue[Outcome] = SimpleQueue()
    slots.submit(gate, deadline=1, done=answers.put)
    assert gate.begun.wait(SOON)
    clock.now = 100
    gate.open.set()
    assert answers.get(timeout=SOON) == Returned("test-0 rpc 1")


def test_expired_calls_leave_the_queue_though_every_slot_hangs(make: Callable[[int], Slots], clock: Clock) -> None:
    """Otherwise a plugin that hangs for good would make the queue grow for good."""
    slots, hung = make(1), Gate()
    ended: list[str] = []
    slots.submit(hung, deadline=1, done=lambda _: None)
    assert hung.begun.wait(SOON)
    for name in ("a", "b"):
        slots.submit(int, deadline=2, done=lambda got, name=name: ended.append(f"{name} {got}"))  # type: ignore[misc]  # mypy infers no default argument
    assert ended == []
    clock.now = 3
    slots.submit(int, deadline=9, done=lambda _: None)
    assert ended == ["a Expired()", "b Expired()"]
    hung.open.set()


def test_closed_slots_run_nothing_but_answer(make: Callable[[int], Slots]) -> None:
    """What waits or comes afterwards has expired; what runs comes to its end."""
    slots, gate = make(1), Gate()
    running: SimpleQueue[Outcome] = SimpleQueue()
    waiting: list[Outcome] = []
    slots.submit(gate, deadline=FAR, done=running.put)
    assert gate.begun.wait(SOON)
    slots.submit(int, deadline=FAR, done=waiting.append)
    slots.close()
    slots.submit(int, deadline=FAR, done=waiting.append)
    assert waiting == [Expired(), Expired()]
    gate.open.set()
    assert running.get(timeout=SOON) == Returned("test-0 rpc 1")


def test_an_idle_thread_holds_no_object_of_the_plugin(make: Callable[[int], Slots]) -> None:
    """The memory of a retired plugin's last call is given back though its thread waits on."""
    slots = make(1)
    freed = threading.Event()

    class Argument:
        def __del__(self) -> None:
            freed.set()

    slots.submit(type, Argument(), deadline=FAR, done=lambda _: None)
    assert freed.wait(SOON)


def test_a_hung_call_does_not_keep_the_process_from_ending() -> None:
    """The thread is a daemon: the interpreter exits although plugin code sleeps for ever."""
    code = """
import threading
from supervisor.slots import Slots
begun = threading.Event()
def hang():
    begun.set()
    threading.Event().wait()
Slots("hung").submit(hang, deadline=float("inf"), done=print)
begun.wait()
"""
    done = subprocess.run([sys.executable, "-c", code], timeout=30, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_thread_that_cannot_be_had_is_an_outcome() -> None:
    """Out of threads, a call fails with the reason instead of waiting for a worker that will never come."""
    code = """
import resource, threading
from pathlib import Path
from supervisor.slots import Slots
threading.stack_size(256 << 20)
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), resource.RLIM_INFINITY))
slots = Slots("poor")
for _ in range(2):
    slots.submit(int, deadline=float("inf"), done=lambda got: print(got.error))
"""
    done = subprocess.run([sys.executable, "-c", code], timeout=30, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "can't start new thread\n" * 2, "")


@given(
    size=st.integers(1, 4),
    calls=st.lists(st.sampled_from(["return", "raise", "expired"]), max_size=25),
)
def test_every_call_ends_once_and_as_it_should(size: int, calls: list[str]) -> None:
    """Whatever is mixed: one outcome for each call, of the right kind, from at most ``size`` threads, in a slot's order."""
    slots = Slots("mixed", size, Clock())
    answers: SimpleQueue[tuple[int, Outcome]] = SimpleQueue()
    began: list[int] = []

    def run(at: int, kind: str) -> int:
        began.append(at)
        if kind == "raise":
            raise LookupError(at)
        return at

    for at, kind in enumerate(calls):
        deadline = 0.0 if kind == "expired" else 1.0
        slots.submit(run, at, kind, deadline=deadline, done=lambda got, at=at: answers.put((at, got)))  # type: ignore[misc]  # as above
    got = sorted((answers.get(timeout=SOON) for _ in calls), key=lambda answer: answer[0])
    workers = threads(slots)
    slots.close()
    for worker in workers:
        worker.join(SOON)
    assert len(workers) <= min(size, len(calls))
    assert answers.empty()
    assert [at for at, _ in got] == list(range(len(calls)))
    kinds = {"return": Returned, "raise": Raised, "expired": Expired}
    assert all(isinstance(outcome, kinds[calls[at]]) for at, outcome in got)
    assert sorted(began) == [at for at, kind in enumerate(calls) if kind != "expired"]
    assert size > 1 or began == sorted(began)
    assert slots.late == 0
